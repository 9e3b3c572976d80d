"""A settlement taken step by step on real geth nodes, each step by a client of its own that never stands still."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import numpy as np
import pytest
from builders import a_plan
from web3 import Web3

from domain.certificates import Resource, issue_certificates
from domain.certification import LoadBlock, certify
from domain.errors import InvalidEventError
from domain.events import DREvent, EventState
from infra.daemons import wait_until
from negawatt import settling
from negawatt.demo_wallets import demo_wallet
from negawatt.settings import Settings
from negawatt.waiting import Waiting
from negawatt.workspace import Workspace, write_whole
from serving.chain import Chain
from serving.deployment import Coin, attach, deploy
from serving.disputes import Disputes
from serving.outbox import Outbox
from serving.settlement import Settlement
from serving.signers import KeystoreSigner

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]  # the first of them may have to build geth

PROGRAMME = "kpx-max-4-of-5"
SETTINGS = Settings(confirmations=3)


@pytest.fixture
def client(geth_network, tmp_path):
    """Makes a client as another process would: its own connection, the same outbox."""

    def make() -> Chain:
        signer = KeystoreSigner(geth_network.operator_keystore, geth_network.operator_password_file)
        return Chain(",".join(geth_network.urls), signer=signer, outbox=Outbox.at(str(tmp_path / "outbox"), tmp_path))

    return make


@pytest.fixture
def workspace(tmp_path):
    """Three homes, and the programme with a dispute window of a minute."""
    place = Workspace(tmp_path / "workspace")
    text = files("negawatt").joinpath(f"programmes/{PROGRAMME}.toml").read_text()
    assert "dispute_window_minutes = 0" in text
    changed = text.replace("dispute_window_minutes = 0", "dispute_window_minutes = 1")
    write_whole(place.folder / "programmes" / f"{PROGRAMME}.toml", changed.encode())
    place.add_resources([Resource(f"home-{n}", 1000, demo_wallet(f"home-{n}"), "") for n in range(3)])
    return place


def publish(workspace: Workspace, name: str, event_wh: int = 300) -> None:
    """Certificates of an event of that name: each home used 500 Wh in every half-hour of other days."""
    start = datetime(2025, 6, 18, 8, tzinfo=UTC)
    plan = a_plan(DREvent(name, PROGRAMME, start, start + timedelta(hours=1)))
    people = workspace.resources()
    wh = np.full((len(people), *plan.slots.shape), 500, dtype=np.int32)
    wh[:, 0, : plan.event_intervals] = event_wh
    reductions = certify(plan, LoadBlock(np.array(list(people), dtype=object), wh, None))
    certificates = issue_certificates(plan, reductions, people, workspace.salt())
    write_whole(workspace.certificates(name), certificates.published())


def set_window(workspace: Workspace, minutes: int) -> None:
    path = workspace.folder / "programmes" / f"{PROGRAMME}.toml"
    changed = re.sub(r"dispute_window_minutes = \d+", f"dispute_window_minutes = {minutes}", path.read_text())
    write_whole(path, changed.encode())


def announced(workspace: Workspace, client, name: str) -> DREvent:
    """An event that is over, announced before, with certificates."""
    start = client().now() + timedelta(seconds=8)
    event = DREvent(name, PROGRAMME, start, start + timedelta(seconds=2))
    workspace.add_event(event)
    settling.announce(workspace, client(), event)
    publish(workspace, name)
    assert wait_until(lambda: client().now() >= event.end, 60)
    return event


def coins(contracts, workspace: Workspace) -> list[int]:
    wallets = [Web3.to_checksum_address(home.wallet) for home in workspace.resources().values()]
    return [contracts.coin.functions.balanceOf(wallet).call() for wallet in wallets]


def test_a_settlement_goes_as_far_as_it_can_and_names_the_time_to_look_again(workspace, client):
    deploy(client(), workspace.address_book, Coin("DRC", 2))
    start = client().now() + timedelta(seconds=20)
    event = DREvent("stepwise", PROGRAMME, start, start + timedelta(seconds=2))
    workspace.add_event(event)
    settling.announce(workspace, client(), event)
    publish(workspace, event.id)

    reasons, document, calls = [], None, 0
    deadline = time.monotonic() + 300
    while document is None and time.monotonic() < deadline:
        done = settling.settle_step(workspace, SETTINGS, client(), event)
        calls += 1
        if isinstance(done, Waiting):
            reasons.append(done.reason)
            again = (done.until - datetime.now(UTC)).total_seconds()
            assert again < 70
            time.sleep(max(again, 0.2))
        else:
            document = done

    assert document is not None
    kinds = [next(word for word in ("clock", "dispute", "confirmations") if word in reason) for reason in reasons]
    assert sorted(set(kinds), key=kinds.index) in (
        ["clock", "dispute", "confirmations"],
        ["dispute", "confirmations"],
    )
    assert calls < 15, "it is asked when there is something to see"
    contracts = attach(client(), workspace.address_book)
    assert Settlement(client(), contracts).state(event.id) is EventState.CLOSED
    paid = coins(contracts, workspace)
    assert len(set(paid)) == 1
    assert paid[0] > 0

    supply = contracts.coin.functions.totalSupply().call()
    assert settling.settle_step(workspace, SETTINGS, client(), event) == document
    assert contracts.coin.functions.totalSupply().call() == supply


class KilledError(BaseException):
    """Stands for the end of a process."""


def test_what_a_killed_step_had_sent_is_named_and_its_confirmations_are_waited_for(workspace, client):
    set_window(workspace, 0)
    deploy(client(), workspace.address_book, Coin("DRC", 2))
    event = announced(workspace, client, "cut-short")
    cut, patient = client(), Settings(confirmations=15)

    def die(tickets, progress=None):
        raise KilledError

    cut.wait = die  # the payment is broadcast, and nobody is left to see it mined
    with pytest.raises(KilledError):
        settling.settle_step(workspace, patient, cut, event)
    done = settling.settle_step(workspace, patient, client(), event)
    assert isinstance(done, Waiting), "opening the chain saw it mined, not confirmed"
    assert "of 15 confirmations are to come" in done.reason
    head = 0
    for _ in range(60):
        head = client().w3.eth.block_number
        done = settling.settle_step(workspace, patient, client(), event)
        if not isinstance(done, Waiting):
            break
        time.sleep(1)
    kinds = {row["purpose"].split()[0]: row for row in done["transactions"]}
    assert list(kinds)[-5:] == ["opt", "certify", "finalise", "pay", "close"]
    assert head + 2 - kinds["pay"]["block"] >= patient.confirmations  # a block or two came since it was asked
    assert len({row["hash"] for row in done["transactions"]}) == len(done["transactions"])


def test_certificates_that_were_taken_back_are_not_certified_again_but_others_are(workspace, client):
    deploy(client(), workspace.address_book, Coin("DRC", 2))
    event = announced(workspace, client, "taken-back")
    assert "may dispute" in settling.settle_step(workspace, SETTINGS, client(), event).reason
    contracts = attach(client(), workspace.address_book)
    Disputes(client(), contracts, event.id).withdraw_certification(b"1" * 32)
    workspace.committed(event.id).unlink()

    done = settling.settle_step(workspace, SETTINGS, client(), event)
    assert "was taken back" in done.reason
    assert Settlement(client(), contracts).state(event.id) is EventState.ENDED
    assert not workspace.committed(event.id).exists(), "so that it can be certified anew"

    publish(workspace, event.id, event_wh=250)
    assert "may dispute" in settling.settle_step(workspace, SETTINGS, client(), event).reason
    assert Settlement(client(), contracts).state(event.id) is EventState.CERTIFIED


def test_an_event_that_began_without_being_announced_is_refused_before_anything_is_sent(workspace, client):
    start = client().now() - timedelta(hours=1)
    event = DREvent("unannounced", PROGRAMME, start, start + timedelta(minutes=30))
    workspace.add_event(event)
    publish(workspace, event.id)
    with pytest.raises(InvalidEventError, match="began without `negawatt announce`") as refused:
        settling.settle_step(workspace, SETTINGS, client(), event)
    assert not refused.value.retry_may_help
    assert not workspace.address_book.exists()
