"""A day's trades between microgrids, settled on chain: accounts and limits, proposal, dispute window, execution."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from web3 import Web3

from domain.errors import ChainError, InvalidTradesError
from domain.trades import Trade, TradeDay, day_number, net_hash
from serving.chain import Chain, TransactionRecord
from serving.energy import approve
from serving.energy_contracts import EnergyContracts
from serving.verifier import Check

COLUMNS = ("seller", "buyer", "wh", "value")
STATES = ("none", "proposed", "executed")


@dataclass(frozen=True)
class GridAccount:
    """A participant's account: what can be withdrawn, and what settling one day may take. [smallest units]"""

    free: int
    daily_limit: int


@dataclass(frozen=True)
class DayState:
    """How a day stands: none, proposed or executed; its root, and when it can be executed."""

    day: date
    state: str
    root: bytes
    executable_from: datetime | None


class Microgrids:
    """The settlement of microgrids' trades, seen from the account that sends.

    Parameters
    ----------
    chain : Chain
    contracts : EnergyContracts
    """

    def __init__(self, chain: Chain, contracts: EnergyContracts) -> None:
        self._chain, self._contracts = chain, contracts
        self._settlement = contracts.settlement.functions

    # --- participants -----------------------------------------------------------------------------------------

    def deposit(self, amount: int) -> TransactionRecord:
        """Pay tokens into the sender's account; they are approved first. [smallest units]"""
        approve(self._chain, self._contracts.token, self._contracts.settlement.address, amount)
        return self._chain.send("deposit", self._settlement.deposit(amount))

    def withdraw(self, amount: int) -> TransactionRecord:
        """Take tokens out of the sender's account. [smallest units]"""
        return self._chain.send("withdraw", self._settlement.withdraw(amount))

    def set_limit(self, amount: int) -> TransactionRecord:
        """Say what settling one day may take from the sender's account. [smallest units]"""
        return self._chain.send("set the daily limit", self._settlement.setDailyLimit(amount))

    def account(self, address: str) -> GridAccount:
        """A participant's account; zeros for an unknown one."""
        return GridAccount(*self._settlement.accountOf(Web3.to_checksum_address(address)).call())

    # --- a day ------------------------------------------------------------------------------------------------

    def state(self, day: date) -> DayState:
        """How a day stands."""
        root, _, _, _, _, _, proposed_at, state = self._settlement.dayOf(day_number(day)).call()
        window = int(self._settlement.disputeWindow().call())
        opens = datetime.fromtimestamp(proposed_at + window, UTC) if state else None
        return DayState(day, STATES[state], bytes(root), opens)

    def propose_day(self, trades: TradeDay) -> None:
        """Propose a day once it is over (UTC); nothing is sent when just these trades are proposed or executed.

        Raises
        ------
        ChainError
            The day isn't over, or other trades are proposed or executed for it.
        """
        held = self.state(trades.day)
        if held.state != "none":
            if held.root != trades.tree.root:
                raise ChainError(
                    f"{trades.day} is {held.state} on chain with root 0x{held.root.hex()}, these trades have "
                    f"0x{trades.tree.root.hex()}" + (": retract it first" if held.state == "proposed" else "")
                )
            return
        self._chain.wait_until(datetime.combine(trades.day + timedelta(days=1), datetime.min.time(), UTC))
        call = self._settlement.propose(
            trades.number,
            trades.tree.root,
            len(trades.trades),
            trades.total_wh,
            trades.total_value,
            trades.published_hash(),
            net_hash(trades.net),
        )
        self._chain.send(f"propose {len(trades.trades)} trades of {trades.day}", call)

    def was_retracted(self, trades: TradeDay) -> bool:
        """Whether just these trades were proposed for their day and taken back, and nothing was proposed since."""
        if self.state(trades.day).state != "none":
            return False
        logs = self._contracts.settlement.events.DayRetracted().get_logs(
            from_block=self._contracts.first_block, argument_filters={"day": trades.number}
        )
        return bool(logs) and bytes(logs[-1]["args"]["root"]) == trades.tree.root

    def retract_day(self, day: date) -> TransactionRecord:
        """Take back a proposal, in its dispute window or when it has stayed unexecuted for days after it."""
        return self._chain.send(f"retract {day}", self._settlement.retract(day_number(day)))

    def lacking(self, trades: TradeDay) -> list[str]:
        """Who does not hold or allow what the day takes from them, a sentence for each."""
        said = []
        for address, amount in trades.net:
            account = self.account(address) if amount < 0 else None
            if account and -amount > account.daily_limit:
                said.append(f"{address} allows {account.daily_limit} a day and owes {-amount}")
            elif account and -amount > account.free:
                said.append(f"{address} has {account.free} and owes {-amount}")
        return said

    def execute_day(self, trades: TradeDay) -> None:
        """Settle a proposed day whose dispute window has passed; nothing is sent when it is executed already.

        Raises
        ------
        ChainError
            The window is open, or somebody lacks tokens or has not allowed the amount: then nobody is debited.
        """
        if self.state(trades.day).state == "executed":
            return
        if lacking := self.lacking(trades):
            raise ChainError(f"{trades.day} can't be executed: {'; '.join(lacking)} [smallest units]")
        rows = [(Web3.to_checksum_address(address), amount) for address, amount in trades.net]
        self._chain.send(f"execute {trades.day}", self._settlement.execute(trades.number, rows))

    def settle_day(self, trades: TradeDay) -> DayState:
        """Do what is due: propose the day, and execute it when its dispute window has passed.

        On the built-in chain the clock is moved past the window; on another, run it again later.
        """
        self.propose_day(trades)
        held = self.state(trades.day)
        assert held.executable_from is not None  # noqa: S101  it is proposed or executed
        if held.state == "proposed" and self._chain.simulated:
            self._chain.wait_until(held.executable_from)
        if self._chain.now() >= held.executable_from:
            self.execute_day(trades)
        return self.state(trades.day)

    # --- checking ---------------------------------------------------------------------------------------------

    def verify_day(self, trades: TradeDay) -> list[Check]:
        """Recompute a published day and compare it with what is on chain; every trade is shown to the contract."""
        held = self._settlement.dayOf(trades.number).call()
        root, published, net, wh, value, count, _, state = held
        if state == 0:
            return [Check("the day is on chain", False, "nothing is proposed")]
        found = [
            Check("the day is on chain", True, STATES[state]),
            _same("root of the trades", trades.tree.root, bytes(root)),
            _same("hash of the published file", trades.published_hash(), bytes(published)),
            _same("hash of the net amounts", net_hash(trades.net), bytes(net)),
            Check("number of trades", len(trades.trades) == count, f"{len(trades.trades)}, on chain {count}"),
            Check("energy", trades.total_wh == wh, f"{trades.total_wh} Wh, on chain {wh} Wh"),
            Check("value", trades.total_value == value, f"{trades.total_value}, on chain {value}"),
        ]
        if STATES[state] == "executed":
            logs = self._contracts.settlement.events.NetSettled().get_logs(
                from_block=self._contracts.first_block, argument_filters={"day": trades.number}
            )
            moved = [(log["args"]["participant"].lower(), log["args"]["amount"]) for log in logs]
            found.append(Check("amounts that were moved", moved == trades.net, f"{len(moved)} participants"))
        return found

    def verify_trade(self, trades: TradeDay, index: int) -> bool:
        """Ask the contract whether a trade is among those that were proposed."""
        t = trades.trades[index]
        sides = Web3.to_checksum_address(t.seller), Web3.to_checksum_address(t.buyer)
        proof = trades.tree.proof(index)
        return bool(self._settlement.verifyTrade(trades.number, (index, *sides, t.wh, t.value), proof).call())


def read_trades(path: Path, day: date) -> TradeDay:
    """Read a day's trades from CSV with the columns seller, buyer, wh and value; rows stand in order of index.

    Energy is whole watt-hours, value whole smallest units of the token.

    Raises
    ------
    InvalidTradesError
        Naming file, line and what was expected.
    """
    trades: list[Trade] = []
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise InvalidTradesError(f"{path}, line 1", f"no column {', '.join(missing)}; found: {rows.fieldnames}")
        for row in rows:
            numbers = [row["wh"] or "", row["value"] or ""]
            if not all(number.isascii() and number.isdigit() for number in numbers):
                raise InvalidTradesError(
                    f"{path}, line {rows.line_num}", f"wh and value are {', '.join(numbers)}: expected whole numbers"
                )
            try:
                trades.append(Trade(len(trades), row["seller"], row["buyer"] or "", int(numbers[0]), int(numbers[1])))
            except InvalidTradesError as broken:
                raise InvalidTradesError(f"{path}, line {rows.line_num}", str(broken)) from broken
    return TradeDay(day, tuple(trades))


def _same(name: str, recomputed: bytes, held: bytes) -> Check:
    return Check(name, recomputed == held, f"0x{recomputed.hex()[:16]}…, on chain 0x{held.hex()[:16]}…")
