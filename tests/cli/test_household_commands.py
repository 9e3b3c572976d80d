"""Consent, choice, dispute, claim and trade, command by command, on the embedded chain."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from eth_account import Account
from terminal import Terminal

pytestmark = pytest.mark.stack

PROGRAMMES = Path(__file__).parents[2] / "negawatt" / "programmes"
PASSWORD = "not a secret: made for this test"


def negawatt(folder: Path, *words: object, exit_code: int = 0) -> dict:
    """Run a command in this process, so that Spark starts once."""
    with contextlib.chdir(folder):
        done = Terminal(Path("workspace")).invoke(*words, "--json")
    assert done.exit_code == exit_code, done.stderr or done.exception
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten simulated homes under a programme with a dispute window and payments to claim; one has its own key."""
    folder = tmp_path_factory.mktemp("homes")
    rules = (PROGRAMMES / "kpx-max-4-of-5.toml").read_text()
    own = folder / "workspace" / "programmes" / "kpx-max-4-of-5.toml"
    own.parent.mkdir(parents=True)
    rules = rules.replace("dispute_window_minutes = 0", 'dispute_window_minutes = 60\ndelivery = "claim"')
    own.write_text(rules)
    (folder / "workspace" / "negawatt.toml").write_text('spark = "none"\n')
    made = negawatt(folder, "simulate", "in", "--homes", 10, "--days", 32, "--interval", 30)
    account = Account.create()
    (folder / "home.json").write_text(json.dumps(Account.encrypt(account.key, PASSWORD, iterations=2)))
    (folder / "home.password").write_text(PASSWORD)
    (folder / "home.password").chmod(0o600)
    homes = Path(folder / made["homes"])
    lines = homes.read_text().splitlines()
    name, watt, _, feeder = lines[1].split(",")
    lines[1] = f"{name},{watt},{account.address.lower()},{feeder}"
    homes.write_text("\n".join(lines) + "\n")
    negawatt(folder, "ingest", "--resources", made["homes"], made["readings"])
    return folder, made["event"]


OWNER = ("--owner-keystore", "home.json", "--owner-password-file", "home.password")


def test_the_life_of_an_event_from_a_households_side(place):
    folder, file = place
    # Consent: nobody is registered without it.
    refused = negawatt(folder, "announce", file, exit_code=1)["error"]
    assert "1 owners have not agreed to be registered" in refused
    event = "peak-" + Path(folder / file).read_text().split("peak-")[1][:10]
    asked = negawatt(folder, "consent", "request", "requests")["written"]
    mine = next(path for path in asked if "home-0001" in path)
    assert len(asked) == 10
    assert "no signed consent" in negawatt(folder, "consent", "add", mine, exit_code=1)["error"]
    negawatt(folder, "consent", "sign", mine, *OWNER)
    negawatt(folder, "consent", "add", mine)
    negawatt(folder, "announce", event)
    # Choice: the owner of home-0002 stays out, and the operator can't opt it in again.
    negawatt(folder, "home", "choose", event, "home-0002", "--out")
    negawatt(folder, "announce", event)
    assert (
        "only its owner can decide"
        in negawatt(folder, "home", "choose", event, "home-0001", "--out", exit_code=1)["error"]
    )
    negawatt(folder, "certify", event)
    mismatch = negawatt(folder, "settle", event, "--confirmations", 0, exit_code=1)["error"]
    assert "by the chain 9 homes take part, certified are 10" in mismatch
    assert negawatt(folder, "roster", event)["participants"] == 9
    certified = negawatt(folder, "certify", event)
    assert certified["homes"] == 9
    # Dispute: payment waits for an answer.
    stopped = negawatt(folder, "settle", event, "--certify-only", "--confirmations", 1)
    assert stopped["state"] == "certified"
    negawatt(folder, "home", "challenge", event, "home-0001", "--reason", "my meter ran backwards", *OWNER)
    (told,) = negawatt(folder, "dispute", "list", event)["challenges"]
    assert (told["meter"], told["open"]) == ("home-0001", True)
    assert "ChallengesOpen" in negawatt(folder, "settle", event, "--confirmations", 0, exit_code=1)["error"]
    negawatt(folder, "dispute", "answer", event, "home-0001", "--reason", "it did not")
    settled = negawatt(folder, "settle", event, "--confirmations", 1)
    assert settled["delivery"] == "claim"
    # Claim: the balance grows by exactly what the certificate says.
    published = (folder / certified["certificates_file"]).read_text().splitlines()
    wallets = {row["wallet"]: row["payment"] for row in map(json.loads, published[1:])}
    own = Account.from_key(Account.decrypt(json.loads((folder / "home.json").read_text()), PASSWORD)).address.lower()
    before = negawatt(folder, "home", "balance", own, "--event", event)
    assert (before["balance"], before["claimable"]) == (0, wallets[own])
    assert wallets[own] > 0
    negawatt(folder, "home", "claim", event, own)
    assert negawatt(folder, "home", "balance", own)["balance"] == wallets[own]
    assert "were paid before" in negawatt(folder, "home", "claim", event, own, exit_code=1)["error"]
    assert negawatt(folder, "verify", event)["holds"] is True
    assert "ClaimWindowOpen" in negawatt(folder, "reclaim", event, exit_code=1)["error"]
    # Leave.
    negawatt(folder, "home", "leave", "home-0001", *OWNER)
    assert "NotRegistered" in negawatt(folder, "home", "leave", "home-0001", *OWNER, exit_code=1)["error"]


def test_a_wrong_resource_is_named(place):
    folder, _ = place
    assert "neither an address nor a meter" in negawatt(folder, "home", "balance", "nobody", exit_code=1)["error"]
