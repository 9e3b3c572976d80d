"""A day's trades between microgrids settled on a chain: proposal, dispute window, execution, and every refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from energy_desk import MORNING, OPERATOR, TERMS, TOKEN, EnergyDesk, an_energy_desk

from domain.errors import ChainError, InvalidTradesError
from domain.trades import Trade, TradeDay, parse_day
from serving.chain import Chain
from serving.microgrids import GridAccount, read_trades

DAY = date(2025, 6, 10)  # over when the chain begins, on the 11th at 8:00
GRIDS = (5, 6, 7)
DEPOSIT = 50 * TOKEN


@pytest.fixture
def desk(tmp_path):
    """Three microgrids with 50 tokens each and a limit of 20 a day."""
    with an_energy_desk(tmp_path) as desk:
        for account in GRIDS:
            desk.trade(account).buy_tokens(10**18)
            desk.grids(account).deposit(DEPOSIT)
            desk.grids(account).set_limit(20 * TOKEN)
        yield desk


def a_day(desk: EnergyDesk, *values: int, day: date = DAY) -> TradeDay:
    """Each of the three sells to the next, in tokens: by default A comes out at -2, B at -3, C at 5."""
    who = [desk.address(account) for account in GRIDS]
    trades = [
        Trade(n, who[n % 3], who[(n + 1) % 3], 1000 * value, value * TOKEN)
        for n, value in enumerate(values or (4, 1, 6))
    ]
    return TradeDay(day, tuple(trades))


def free(desk: EnergyDesk) -> list[int]:
    return [desk.grids().account(desk.address(account)).free // TOKEN for account in GRIDS]


@pytest.mark.stack
class TestOnAChain:
    def test_a_day_is_proposed_checked_executed_and_never_again(self, desk):
        # A sells 4 to B and buys 6 of C: -2. B sells 1 to C and buys 4: -3. C sells 6 and buys 1: 5.
        day, grids = a_day(desk), desk.grids()
        grids.propose_day(day)
        held = grids.state(DAY)
        assert (held.state, held.root) == ("proposed", day.tree.root)
        assert held.executable_from - desk.chain().now() <= timedelta(seconds=TERMS.dispute_window_seconds)
        assert all(grids.verify_trade(day, index) for index in range(3))
        assert all(check.holds for check in grids.verify_day(day))
        grids._chain.wait_until(held.executable_from)
        grids.execute_day(day)
        assert free(desk) == [48, 47, 55]
        assert all(check.holds for check in grids.verify_day(day))
        assert len(grids.verify_day(day)) == 8
        sent = len(grids._chain.records)
        assert grids.settle_day(day).state == "executed"
        assert len(grids._chain.records) == sent
        desk.grids(GRIDS[2]).withdraw(55 * TOKEN)
        assert free(desk) == [48, 47, 0]

    def test_settling_does_all_that_is_due(self, desk):
        assert desk.grids().settle_day(a_day(desk)).state == "executed"
        assert free(desk) == [48, 47, 55]

    def test_on_a_chain_whose_clock_is_its_own_settling_waits_for_the_window(self, desk, monkeypatch):
        monkeypatch.setattr(Chain, "simulated", False)
        chain = Chain(desk.url)
        grids = desk_as(desk, chain)
        assert grids.settle_day(a_day(desk)).state == "proposed"
        assert grids.settle_day(a_day(desk)).state == "proposed"
        assert len(chain.records) == 1
        monkeypatch.undo()
        chain.wait_until(grids.state(DAY).executable_from)
        monkeypatch.setattr(Chain, "simulated", False)
        assert grids.settle_day(a_day(desk)).state == "executed"

    def test_a_day_that_is_not_over_is_waited_for(self, desk, monkeypatch):
        monkeypatch.setattr(Chain, "simulated", False)
        with pytest.raises(ChainError, match="this waits for 2025-06-12T00:00:00"):
            desk_as(desk, Chain(desk.url)).propose_day(a_day(desk, day=MORNING.date()))

    def test_other_trades_of_the_same_day_are_refused(self, desk):
        grids = desk.grids()
        grids.propose_day(a_day(desk))
        with pytest.raises(ChainError, match=r"2025-06-10 is proposed on chain with root .*: retract it first"):
            grids.propose_day(a_day(desk, 4, 1, 7))
        grids.settle_day(a_day(desk))
        with pytest.raises(ChainError, match="2025-06-10 is executed on chain"):
            grids.settle_day(a_day(desk, 4, 1, 7))

    def test_a_wrong_proposal_is_retracted_in_its_window_and_made_anew(self, desk):
        grids = desk.grids()
        grids.propose_day(a_day(desk, 9, 9, 9))
        grids.retract_day(DAY)
        assert grids.state(DAY).state == "none"
        assert [check.holds for check in grids.verify_day(a_day(desk))] == [False]
        grids.propose_day(a_day(desk))
        grids._chain.wait_until(grids.state(DAY).executable_from)
        with pytest.raises(ChainError, match=r"NotRetractable.*final for now"):
            grids.retract_day(DAY)

    def test_who_lacks_tokens_or_allowance_is_named_and_nobody_is_debited(self, desk):
        day, grids = a_day(desk), desk.grids()
        a, b, _ = GRIDS
        desk.grids(a).withdraw(DEPOSIT - TOKEN)
        desk.grids(b).set_limit(2 * TOKEN)
        lacking = sorted(
            [
                f"{desk.address(a).lower()} has {TOKEN} and owes {2 * TOKEN}",
                f"{desk.address(b).lower()} allows {2 * TOKEN} a day and owes {3 * TOKEN}",
            ]
        )
        with pytest.raises(ChainError, match="can't be executed: " + "; ".join(lacking)):
            grids.settle_day(day)
        assert grids.lacking(day) == lacking
        assert free(desk) == [1, 50, 50]
        desk.grids(a).deposit(TOKEN)
        desk.grids(b).set_limit(3 * TOKEN)
        assert desk.grids().settle_day(day).state == "executed"
        assert free(desk) == [0, 47, 55]

    def test_the_contract_refuses_for_itself_in_words(self, desk):
        day, grids = a_day(desk), desk.grids()
        call = desk.contracts().settlement.functions
        rows = [(who, amount) for who, amount in day.net]
        checksum = [(Chain(desk.url).w3.to_checksum_address(who), amount) for who, amount in rows]
        grids.propose_day(day)
        for purpose, attempt, says in (
            ("early", call.execute(day.number, checksum), r"DisputeWindowOpen.*dispute window has passed"),
            ("twice", call.propose(day.number, b"r" * 32, 1, 1, 1, bytes(32), bytes(32)), "WrongState"),
            ("future", call.propose(2**32 - 1, b"r" * 32, 1, 1, 1, bytes(32), bytes(32)), "DayNotOver"),
            ("rootless", call.propose(1, bytes(32), 1, 1, 1, bytes(32), bytes(32)), "ZeroRoot"),
            ("empty", call.propose(1, b"r" * 32, 0, 1, 1, bytes(32), bytes(32)), r"NoTrades.*needs no settlement"),
            ("unknown", call.retract(1), "WrongState"),
        ):
            with pytest.raises(ChainError, match=f"{purpose}: .*{says}"):
                grids._chain.send(purpose, attempt)
        grids._chain.wait_until(grids.state(DAY).executable_from)
        with pytest.raises(ChainError, match=r"WrongRows.*not those that were proposed"):
            grids._chain.send("others", call.execute(day.number, checksum[:2]))

    def test_only_an_operator_proposes_and_anyone_executes(self, desk):
        with pytest.raises(ChainError, match="AccessControlUnauthorizedAccount"):
            desk.grids(GRIDS[0]).propose_day(a_day(desk))
        desk.grids().propose_day(a_day(desk))
        assert desk.grids(GRIDS[0]).settle_day(a_day(desk)).state == "executed"

    def test_a_participant_withdraws_no_more_than_is_free(self, desk):
        with pytest.raises(ChainError, match=r"NotEnoughFree.*does not hold that much"):
            desk.grids(GRIDS[0]).withdraw(DEPOSIT + 1)
        desk.grids(GRIDS[0]).withdraw(DEPOSIT)
        assert desk.tokens(GRIDS[0]) == 2000 * TOKEN
        assert desk.grids().account(desk.address(GRIDS[0])) == GridAccount(0, 20 * TOKEN)
        with pytest.raises(ChainError, match="ZeroAmount"):
            desk.grids(GRIDS[0]).withdraw(0)

    def test_a_pause_stops_execution_and_no_withdrawal(self, desk):
        grids = desk.grids()
        grids.propose_day(a_day(desk))
        call = desk.contracts().settlement.functions
        grids._chain.send("pause", call.pause())
        with pytest.raises(ChainError, match="EnforcedPause"):
            grids.settle_day(a_day(desk))
        desk.grids(GRIDS[0]).withdraw(DEPOSIT)
        grids._chain.send("resume", call.unpause())

    @pytest.mark.parametrize("field", ["wh", "value", "seller"])
    def test_a_lie_in_the_published_file_is_seen(self, desk, field):
        day, grids = a_day(desk), desk.grids()
        grids.propose_day(day)
        first = day.trades[0]
        lie = replace(first, **{field: "0x" + 40 * "9" if field == "seller" else getattr(first, field) + 1})
        forged = TradeDay(DAY, (lie, *day.trades[1:]))
        failed = {check.name for check in grids.verify_day(forged) if not check.holds}
        assert {"root of the trades", "hash of the published file"} <= failed
        assert ("hash of the net amounts" in failed) == (field != "wh")
        assert not grids.verify_trade(forged, 0)
        assert all(check.holds for check in grids.verify_day(parse_day(day.published())))

    def test_a_large_day_fits_a_block(self, desk):
        who = [f"0x{n + 10**6:040x}" for n in range(200)]
        payer = desk.address(GRIDS[0])
        day = TradeDay(DAY, tuple(Trade(n, who[n], payer, 1, TOKEN // 100) for n in range(200)))
        grids = desk.grids(OPERATOR)
        assert grids.settle_day(day).state == "executed"
        assert grids.account(who[199]).free == TOKEN // 100
        assert grids._chain.records[-1].gas < 200 * 30_000


def desk_as(desk: EnergyDesk, chain: Chain):
    from serving.energy_contracts import attach_energy
    from serving.microgrids import Microgrids

    return Microgrids(chain, attach_energy(chain, desk.book))


# --- files -------------------------------------------------------------------------------------------------

A, B = "0x" + 40 * "a", "0x" + 40 * "b"


def test_trades_are_read_in_the_order_of_their_rows(tmp_path):
    (path := tmp_path / "trades.csv").write_text(f"wh,seller,note,buyer,value\n1500,{A},x,{B},300\n20,{B},y,{A},0\n")
    day = read_trades(path, DAY)
    assert day == TradeDay(DAY, (Trade(0, A, B, 1500, 300), Trade(1, B, A, 20, 0)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seller,buyer,wh\n", "line 1: no column value; found: .*seller"),
        ("", "line 1: no column seller, buyer, wh, value"),
        (f"seller,buyer,wh,value\n{A},{B},1.5,3\n", r"line 2: wh and value are 1\.5, 3: expected whole numbers"),
        (f"seller,buyer,wh,value\n{A},{B},1,\n", "line 2: wh and value are 1, : expected whole numbers"),
        (f"seller,buyer,wh,value\n{A},{B},1,1\n{A},{A},1,1\n", "line 3: trade 1: .* trades with itself"),
        (f"seller,buyer,wh,value\n{A},nobody,1,1\n", "line 2: trade 0: buyer 'nobody' is no address"),
        ("seller,buyer,wh,value\n", "2025-06-10: there are no trades"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path, text, says):
    (path := tmp_path / "trades.csv").write_text(text)
    with pytest.raises(InvalidTradesError, match=says):
        read_trades(path, DAY)
