"""``negawatt energy`` as a prosumer, a neighbour, a meter operator and microgrids use it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click
import pytest
from energy_desk import BUYER, EVENING, METER, METER_OPERATOR, MORNING, NOON, SELLER, STRANGER, TOKEN
from eth_account import Account
from terminal import Terminal

from domain.errors import NegawattError
from negawatt.cli_energy import energy
from negawatt.cli_energy_base import parse_amount, parse_time
from serving.anvil import anvil
from serving.chain import Chain

PSEUDONYM = "0x" + METER.hex()
PASSWORD = "not a secret: made for this test"
DAY = "2025-06-10"  # over when the chain begins, on the 11th at 8:00


class Counter(Terminal):
    """A terminal for ``energy``, on a chain that stays up between commands."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder / "workspace")
        self.url = url
        self.accounts = Chain(url, reader=True).w3.eth.accounts

    def run(self, *words: object, exit_code: int = 0, account: int | None = None) -> str:
        who = [] if account is None else ["--account", account]
        return super().run("energy", *words, *who, "--chain", self.url, exit_code=exit_code)

    def refused(self, *words: object, account: int | None = None, exit_code: int = 1) -> str:
        return self.run(*words, account=account, exit_code=exit_code).replace("\n", " ")

    def trades(self, *rows: tuple[int, int, int]) -> Path:
        """A CSV file: seller, buyer, value in tenths of a token; 1000 Wh each."""
        lines = [f"{self.accounts[s]},{self.accounts[b]},1000,{tenths * TOKEN // 10}" for s, b, tenths in rows]
        return self.write("trades.csv", "seller,buyer,wh,value", *lines)


@pytest.fixture
def counter(tmp_path):
    """Contracts with a posted rate; account 4 signs meter statements, the buyer has 100 tokens."""
    with anvil(clock=MORNING, block_seconds=None) as node:
        counter = Counter(tmp_path, node.url)
        made = counter.json("deploy", "--meter-operator", counter.accounts[METER_OPERATOR])
        assert set(made["contracts"]) == {"EnergyToken", "EnergyMarket", "MicrogridSettlement"}
        counter.json("post-rate", 2000)
        counter.json("buy-tokens", "0.05", account=BUYER)
        yield counter


def offer(counter: Counter, wh: int = 5000) -> int:
    words = ("offer", PSEUDONYM, wh, "--price", "0.20", "--from", NOON.isoformat(), "--until", EVENING.isoformat())
    return counter.json(*words, account=SELLER)["offer"]


@pytest.mark.parametrize("command", list(energy.commands))
def test_every_command_explains_itself_and_speaks_json(command, tmp_path):
    said = Terminal(tmp_path).run("energy", command, "--help")
    assert "--json" in said
    assert "--chain" in said
    options = [p for p in energy.commands[command].params if isinstance(p, click.Option) and p.name != "help"]
    assert all(p.help or p.metavar for p in options)


# --- amounts and times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "units"), [("0", 0), ("1", 100), ("0.20", 20), ("1e3", 100_000), ("12.5", 1250)])
def test_amounts_are_read_exactly(text, units):
    assert parse_amount(text, 2, "NRG") == units


def test_large_amounts_are_not_rounded():
    assert parse_amount("123456789012.123456789012345678", 18, "NRG") == 123456789012123456789012345678


@pytest.mark.parametrize("text", ["", "much", "-1", "0.001", "nan", "inf", "1e999999999", "9" * 80])
def test_amounts_that_are_none_are_refused(text):
    with pytest.raises(NegawattError, match="expected"):
        parse_amount(text, 2, "NRG")


@pytest.mark.parametrize("text", ["noon", "2025-06-11T12:00", "2025-06-11T12:00:00.5Z", "1969-12-31T00:00Z"])
def test_times_without_offset_or_sense_are_refused(text):
    with pytest.raises(NegawattError, match="2025-06-11T12:00"):
        parse_time(text)


# --- neighbours --------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_a_neighbour_buys_and_the_meter_pays_the_seller(counter):
    number = offer(counter)
    (shown,) = counter.json("offers")["offers"]
    assert (shown["offer"], shown["meter"], shown["left_wh"]) == (number, PSEUDONYM, 5000)
    assert (shown["deliver_from"], shown["deliver_until"]) == (NOON.isoformat(), EVENING.isoformat())

    bought = counter.json("buy", number, 2000, "--max-price", "0.20", account=BUYER)
    assert bought["amount"] == 4 * TOKEN // 10  # 2 kWh at 0.20
    assert [t["purpose"] for t in bought["transactions"]] == ["approve the amount", "buy 2000 Wh of offer 1"]
    assert counter.json("deals", "--open")["deals"][0]["state"] == "open"

    path = counter.folder / "statement.json"
    signed = counter.json("sign-delivery", 1, 1800, "-o", path, account=METER_OPERATOR)
    assert signed["signer"] == counter.accounts[METER_OPERATOR]
    settled = counter.json("deliver", path, account=STRANGER)
    assert (settled["paid"], settled["returned"]) == (36 * TOKEN // 100, 4 * TOKEN // 100)
    assert counter.json("balance", account=SELLER)["tokens"] == 36 * TOKEN // 100
    assert counter.json("balance", counter.accounts[BUYER])["tokens"] == 100 * TOKEN - 36 * TOKEN // 100
    assert counter.json("deals", "--open")["deals"] == []
    assert counter.json("offers")["offers"] == []  # delivery is over
    assert counter.json("offers", "--all")["offers"][0]["left_wh"] == 3000
    assert "settled before" in counter.refused("deliver", path)


@pytest.mark.stack
def test_without_a_statement_the_buyer_gets_everything_back(counter):
    offer(counter)
    counter.json("buy", 1, 2000, "--max-price", "0.20", account=BUYER)
    assert counter.json("cancel", 1, account=SELLER)["offer"] == 1
    assert counter.json("refund", 1)["returned"] == 4 * TOKEN // 10
    assert counter.json("balance", account=BUYER)["tokens"] == 100 * TOKEN


@pytest.mark.stack
def test_people_see_tables_and_what_is_wrong_in_a_sentence(counter):
    assert "100.00 NRG" in counter.run("balance", account=BUYER)
    offer(counter)
    assert "0.20 NRG" in counter.run("offers")
    for words, account, says in (
        (("buy", 1, 9000, "--max-price", "0.20"), BUYER, "less is left than the buyer wants"),
        (("buy", 1, 1000, "--max-price", "0.19"), BUYER, "costs more than the buyer wants to pay"),
        (("buy", 1, 1000, "--max-price", "cheap"), BUYER, "'cheap': expected an amount of NRG"),
        (("buy", 7, 1000, "--max-price", "0.20"), BUYER, "there is no offer 7"),
        (("cancel", 1), BUYER, "only the seller cancels"),
        (("post-rate", "1"), BUYER, "AccessControlUnauthorizedAccount"),
        (("deposit", "1000"), BUYER, "ERC20InsufficientBalance"),
        (("withdraw", "1"), BUYER, "does not hold that much"),
        (("deposit", "1e40"), BUYER, "there can't be so many NRG"),
        (("balance",), 99, "no account 99"),
        (("deploy", "--symbol", "XYZ"), None, "symbol 'NRG', not 'XYZ'"),
        (("withdraw-ether", "1", "--to", counter.accounts[9]), None, "does not hold that much ether"),
    ):
        assert says in counter.refused(*words, account=account)
    for words in (("balance", "0x12"), ("withdraw-ether", "1", "--to", "me"), ("deploy", "--meter-operator", "0x0")):
        assert "is no address" in counter.refused(*words, exit_code=2)
    assert "not in the range" in counter.refused("cancel", 10**80, exit_code=2)
    counter.json("buy", 1, 1000, "--max-price", "0.20", account=BUYER)
    assert "is over 1000 Wh" in counter.refused("sign-delivery", 1, 1001, "-o", counter.folder / "s.json")
    assert not (counter.folder / "s.json").exists()


@pytest.mark.stack
def test_a_meter_operator_signs_with_a_key_file(counter):
    account = Account.create()
    keystore, password = counter.folder / "meter.json", counter.folder / "password"
    keystore.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, iterations=2)))
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    counter.json("deploy", "--meter-operator", account.address)
    offer(counter)
    counter.json("buy", 1, 2000, "--max-price", "0.20", account=BUYER)
    path = counter.folder / "statement.json"
    key = ("--keystore", keystore, "--password-file", password)
    assert counter.json("sign-delivery", 1, 2000, "-o", path, *key)["signer"] == account.address
    assert counter.json("deliver", path)["returned"] == 0


@pytest.mark.stack
def test_the_proceeds_go_to_the_treasury(counter):
    treasury = "0x" + 38 * "0" + "aa"
    assert counter.json("withdraw-ether", "0.05", "--to", treasury)["wei"] == 5 * 10**16
    assert counter.json("balance", treasury)["wei"] == 5 * 10**16


@pytest.mark.stack
def test_deploying_again_sends_nothing(counter):
    assert counter.json("deploy", "--meter-operator", counter.accounts[METER_OPERATOR])["transactions"] == []


@pytest.mark.stack
def test_without_contracts_the_command_that_makes_them_is_named(tmp_path):
    with anvil(clock=MORNING, block_seconds=None) as node:
        assert "run `negawatt energy deploy`" in Counter(tmp_path, node.url).refused("offers")


@pytest.mark.stack
def test_the_built_in_chain_keeps_trades_between_commands(tmp_path):
    def run(*words: str) -> dict:
        return Terminal(tmp_path).json("energy", *words)

    run("deploy", "--symbol", "SUN", "--decimals", "6", "--statement-hours", "2", "--dispute-hours", "1")
    run("post-rate", "10.5")
    assert run("buy-tokens", "2", "--account", "1")["balance"] == 21_000_000
    terms = run("deploy")["terms"]
    assert (terms["symbol"], terms["decimals"]) == ("SUN", 6)
    assert (terms["statement_window_seconds"], terms["dispute_window_seconds"]) == (7200, 3600)


# --- microgrids --------------------------------------------------------------------------------------------

GRIDS = (5, 6, 7)


@pytest.fixture
def grids(counter):
    """Three microgrids with 50 tokens each and a limit of 20 a day."""
    for account in GRIDS:
        counter.json("buy-tokens", 1, account=account)
        assert counter.json("deposit", 50, account=account)["free"] == 50 * TOKEN
        assert counter.json("limit", 20, account=account)["daily_limit"] == 20 * TOKEN
    return counter


@pytest.mark.stack
def test_a_day_is_settled_once_and_checked_by_its_file(grids):
    a, b, c = GRIDS
    # A sells 4.0 and buys 6.0: -2.0. B sells 1.0 and buys 4.0: -3.0. C sells 6.0 and buys 1.0: 5.0.
    trades = grids.trades((a, b, 40), (b, c, 10), (c, a, 60))
    settled = grids.json("settle-day", trades, "--day", DAY)
    assert settled["state"] == "executed"
    assert settled["net"] == {
        grids.accounts[a].lower(): -2 * TOKEN,
        grids.accounts[b].lower(): -3 * TOKEN,
        grids.accounts[c].lower(): 5 * TOKEN,
    }
    assert [grids.json("balance", account=n)["free"] // TOKEN for n in GRIDS] == [48, 47, 55]
    assert grids.json("settle-day", trades, "--day", DAY)["transactions"] == []
    published = Path(settled["published"])
    assert published == grids.folder / "workspace" / "trades" / f"{DAY}.jsonl"
    assert grids.json("verify-day", published)["holds"]
    assert "8 of 8 checks hold" in grids.run("verify-day", published)
    assert grids.json("withdraw", 55, account=c)["free"] == 0
    assert "is executed on chain" in grids.refused("settle-day", grids.trades((a, b, 40)), "--day", DAY)


@pytest.mark.stack
def test_on_a_chain_with_a_clock_of_its_own_a_day_waits_and_can_be_retracted(grids, monkeypatch):
    a, b, c = GRIDS
    simulated = Chain.simulated
    monkeypatch.setattr(Chain, "simulated", False)
    proposed = grids.json("settle-day", grids.trades((a, b, 40)), "--day", DAY)
    assert proposed["state"] == "proposed"
    assert "run it again from 2025-06-12" in grids.run("settle-day", grids.trades((a, b, 40)), "--day", DAY)
    grids.json("verify-day", proposed["published"])
    assert grids.json("retract-day", DAY)["state"] == "none"
    assert "nothing is proposed" in grids.refused("verify-day", proposed["published"], exit_code=4)
    tomorrow = (MORNING + timedelta(days=1)).date()
    assert "this waits for" in grids.refused("settle-day", grids.trades((a, b, 40)), "--day", tomorrow)
    monkeypatch.setattr(Chain, "simulated", simulated)
    assert grids.json("settle-day", grids.trades((a, c, 40)), "--day", DAY)["state"] == "executed"


@pytest.mark.stack
def test_who_cannot_pay_is_named_and_a_lie_exits_with_4(grids):
    a, b, _ = GRIDS
    grids.json("limit", 1, account=b)
    said = grids.refused("settle-day", grids.trades((a, b, 40)), "--day", DAY)
    assert f"{grids.accounts[b].lower()} allows {TOKEN} a day and owes {4 * TOKEN}" in said
    published = grids.folder / "workspace" / "trades" / f"{DAY}.jsonl"
    lie = grids.folder / "lie.jsonl"
    lie.write_bytes(published.read_bytes().replace(b'"wh":1000', b'"wh":1001'))
    assert "does not verify: root of the trades" in grids.refused("verify-day", lie, exit_code=4)
    lie.write_bytes(published.read_bytes().replace(b'"wh":1000}}', b'"wh":1001}}'))
    assert "is not what follows from its trades" in grids.refused("verify-day", lie, exit_code=4)


@pytest.mark.stack
def test_a_file_of_trades_that_makes_no_sense_is_refused_with_its_line(counter):
    path = counter.trades((1, 1, 5))
    assert "line 2: trade 0: " in counter.refused("settle-day", path, "--day", DAY)
