"""The transaction engine: from a request to a receipt, through the outbox, whatever dies on the way."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_typing import HexStr
from web3 import Web3
from web3.exceptions import (
    ContractLogicError,
    TransactionIndexingInProgress,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.types import TxReceipt

from domain.errors import ChainError
from serving.fees import Market, ask_market, first_fees, gas_limit, raised_fees, too_much_gas
from serving.nodes import Nodes, NoNodeError
from serving.outbox import NonceInUseError, Outbox
from serving.outbox_rows import FAILED, LOST, MINED, NEW, Lane, Request, Row
from serving.records import ChainOptions, Ticket, ticket_of
from serving.refusals import explain
from serving.signers import Signer, Unsigned

_MARKET_SECONDS = 1.0
_LOST_SECONDS = 3.0
_AGAIN_SECONDS = 1.0
_IDLE_SECONDS = 5.0
_FASTEST_POLL, _SLOWEST_POLL = 0.02, 0.25
_CATCH_UP_SECONDS = 5.0
_PLAIN_GAS = 21_000

_TOO_LOW = ("nonce too low", "nonce is too low", "oldnonce")
_TOO_CHEAP = ("underpriced", "less than block base fee", "fee too low", "feetoolow")
_NOT_NOW = ("pool is full", "txpool full", "pool limit", "not ready", "syncing", "rate limit", "too many requests",
            "timeout", "timed out", "internal error", "account limit", "nonce too high")  # fmt: skip


@dataclass
class _Watch:
    """What one wait has seen: since when the chain stands still, what a node said to which row."""

    count: int = -1
    still_since: float = field(default_factory=time.monotonic)
    head: tuple[int, int] = (-1, -1)
    head_since: float = 0.0
    pushed: dict[int, float] = field(default_factory=dict)
    missing_since: dict[int, float] = field(default_factory=dict)
    said: str = ""


class Transactions:
    """Sends one account's transactions on one chain.

    Everything it knows is in the outbox and on the chain, so any process may take over from any other at any point.

    Parameters
    ----------
    w3 : Web3
        Over `nodes`.
    nodes : Nodes
    lane : Lane
    signer : Signer
    outbox : Outbox
    options : ChainOptions
    """

    def __init__(
        self, w3: Web3, nodes: Nodes, lane: Lane, signer: Signer, outbox: Outbox, options: ChainOptions
    ) -> None:
        self._w3, self._nodes, self.lane, self._signer = w3, nodes, lane, signer
        self.outbox, self.options = outbox, options
        self._market: tuple[float, Market] | None = None

    # --- sending ----------------------------------------------------------------------------------------------

    def submit(
        self, purpose: str, to: str | None, data: bytes, *, key: str | None, gas: int | None, value: int = 0
    ) -> Ticket:
        """Write a transaction to the outbox and broadcast it.

        Parameters
        ----------
        key : str or None
            A key that is at work or done already gives its ticket back, and nothing is sent. None: never the same.
        gas : int or None
            None: estimated, which fails when the call does.

        Raises
        ------
        ChainError
            Refused by the contract, the limits, the signer or every node; or the key stands for another call.
        """
        key = key or f"{purpose}/{uuid.uuid4().hex}"
        row = self._at_work(key)
        if row is None:
            market = self._ask_market()
            try:
                needed = gas if gas is not None else self._estimate(to, data, value, market)
                allowed = gas_limit(needed, market, self.options.limits, estimated=gas is None)
                fees = first_fees(market, self.options.limits)
            except (ChainError, Web3Exception) as refused:
                if isinstance(refused, NoNodeError):
                    raise
                raise ChainError(f"{purpose}: {explain(refused)}") from refused
            row = self._write(Request(key, purpose, to, data, allowed, value), fees)
        elif (row.to, row.data, row.value) != (to, data, value):
            raise ChainError(
                f"{purpose}: key {key!r} stands for another transaction, {row.hash} ({row.purpose}), "
                f"which is {row.state}"
            )
        if row.unfinished:
            self._broadcast(row, _Watch())
        return Ticket(row.id, key, purpose, row.hash, row.nonce, was_mined=row.state == MINED)

    def wait(
        self, tickets: Sequence[Ticket], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[Row]:
        """Wait until each transaction is finished, well or not, and return their rows in order.

        Parameters
        ----------
        progress : callable
            Called with the transactions finished and all.

        Raises
        ------
        ChainError
            Nothing was mined for too long, or a stuck transaction reached the highest price allowed. They stay in
            the outbox, so that waiting can go on later.
        """
        wanted = {ticket.row_id for ticket in tickets}
        watch, pause, waiting, done = _Watch(), _FASTEST_POLL, "", -1
        while True:
            try:
                before = watch.still_since
                left = self._round(wanted, watch)
                pause = _FASTEST_POLL if watch.still_since != before else min(pause * 1.3, _SLOWEST_POLL)
                if len(wanted) - len(left) != done:
                    done = len(wanted) - len(left)
                    progress(done, len(wanted))
                if not left:
                    found = self.outbox.get(wanted)
                    return [found[ticket.row_id] for ticket in tickets]
                waiting = left[0].purpose
            except (NoNodeError, Web3Exception) as away:
                waiting, watch.said = waiting or tickets[0].purpose, in_words(away)
            if time.monotonic() - watch.still_since > self.options.receipt_seconds:
                said = f" ({watch.said})" if watch.said else ""
                raise ChainError(
                    f"{waiting}: no receipt within {self.options.receipt_seconds:g} s{said}; it stays in the outbox, "
                    "run `negawatt outbox --resume` to go on waiting"
                )
            time.sleep(pause)

    def recover(self) -> list[Row]:
        """Finish what any process left unfinished, and mine anew what a reorganisation took away; returns the rows.

        Raises
        ------
        ChainError
            As `wait`.
        """
        latest = self._count("latest")
        if gone := self.outbox.mined_from(self.lane, latest):
            self._nodes.wait_for_head(max(row.block or 0 for row in gone), _CATCH_UP_SECONDS)
            self.recheck(self.outbox.mined_from(self.lane, self._count("latest")))
        unfinished = self.outbox.unfinished(self.lane)
        for row in unfinished:
            if row.nonce >= latest:
                self._broadcast(row, _Watch())
        return self.wait([ticket_of(row) for row in unfinished])

    def recheck(self, rows: Iterable[Row]) -> list[Row]:
        """See whether mined rows are still in their blocks; returns those that are not, as they are now.

        One in another block is moved there. One in no block is broadcast again and has to be waited for.
        """
        changed = []
        for row in rows:
            receipt = self._receipt_of(row)
            if receipt is not None and receipt["blockHash"].to_0x_hex() == row.block_hash:
                continue
            if receipt is not None:
                self._finish(row, receipt)
            else:
                self.outbox.mark_vanished(row)
            (row_now,) = self.outbox.get([row.id]).values()
            if row_now.unfinished:
                self._broadcast(row_now, _Watch())
            changed.append(row_now)
        return changed

    # --- one look at everything that is unfinished ------------------------------------------------------------

    def _round(self, wanted: set[int], watch: _Watch) -> list[Row]:
        """Look once; returns the wanted rows that are not finished, by nonce."""
        rows = self.outbox.unfinished(self.lane)
        if not any(row.id in wanted for row in rows):
            return []
        count = self._count("latest")
        if count != watch.count:
            watch.count, watch.still_since = count, time.monotonic()
        passed = {row.id for row in rows if row.nonce < count}
        watch.missing_since = {id_: since for id_, since in watch.missing_since.items() if id_ in passed}
        if [row for row in rows if row.id in passed and self._look(row, watch)]:
            watch.still_since = time.monotonic()
            rows = self.outbox.unfinished(self.lane)
        if left := [row for row in rows if row.id in wanted]:
            self._push([row for row in rows if row.nonce >= count], count, watch)
        return left

    def _look(self, row: Row, watch: _Watch) -> bool:
        """Look for a receipt of a row whose nonce is used; whether the row is finished now."""
        receipt = self._receipt_of(row)
        if receipt is not None:
            self._finish(row, receipt)
            return True
        if time.monotonic() - watch.missing_since.setdefault(row.id, time.monotonic()) < _LOST_SECONDS:
            return False
        self.outbox.mark_lost(row)
        return True

    def _push(self, rows: Sequence[Row], count: int, watch: _Watch) -> None:
        """Bring forward what can't go on by itself: not yet taken, dropped, stuck, or behind a gap."""
        now = time.monotonic()
        for row in rows:
            pause = _AGAIN_SECONDS if row.state == NEW else _IDLE_SECONDS
            last = watch.pushed.setdefault(row.id, 0.0 if row.state == NEW else now)
            if now - last >= pause and (row.state == NEW or now - watch.still_since >= _IDLE_SECONDS):
                watch.pushed[row.id] = now
                self._broadcast(row, watch)
        if not rows:
            return
        first = rows[0]
        if first.nonce == count:
            head = (first.id, len(first.attempts))
            if head != watch.head:
                watch.head, watch.head_since = head, now
            elif now - watch.head_since >= self.options.stuck_seconds:
                self._replace(first, watch)
        elif now - watch.still_since >= _IDLE_SECONDS and self._count("pending") == count:
            self._fill(count)

    # --- single steps -----------------------------------------------------------------------------------------

    def _at_work(self, key: str) -> Row | None:
        """The row that stands for a key: done, under way, or thought failed and mined all the same."""
        rows = self.outbox.of_key(self.lane, key)
        if rows and rows[-1].state == MINED:
            self.recheck(rows[-1:])
        elif rows and rows[-1].state in (FAILED, LOST):
            for row in rows:
                if row.block is None and (receipt := self._receipt_of(row)) is not None:
                    self._finish(row, receipt)
        else:
            return rows[-1] if rows else None
        row = self.outbox.of_key(self.lane, key)[-1]
        return None if row.state in (FAILED, LOST) else row

    def _write(self, request: Request, fees: tuple[int, int | None], only_nonce: int | None = None) -> Row:
        def sign(nonce: int) -> tuple[bytes, int, int | None]:
            asked = Unsigned(self.lane.chain_id, nonce, request.to, request.data, request.value, request.gas, *fees)
            return self._signer.sign(asked), *fees

        row, _ = self.outbox.add(self.lane, request, self._count("pending"), sign, only_nonce=only_nonce)
        return row

    def _broadcast(self, row: Row, watch: _Watch) -> None:
        """Give a row to the nodes, its newest attempt first; a row that all of them refuse is finished."""
        said = self._nodes.broadcast(row.attempts[-1].raw)
        if not said.accepted:
            older = any(self._nodes.broadcast(attempt.raw).accepted for attempt in row.attempts[-2::-1])
            watch.said = "; ".join(said.refusals) or watch.said
            if not older:
                self._refused(row, said.refusals, said.unreachable, watch)
                return
        if row.state == NEW:
            self.outbox.mark_sent(row)

    def _refused(self, row: Row, refusals: Sequence[str], unreachable: int, watch: _Watch) -> None:
        kinds = [_kind(refusal) for refusal in refusals]
        if "cheap" in kinds and row.state == NEW:
            self._market = None
            self._replace(row, watch)
        elif kinds and not unreachable and set(kinds) == {"final"} and self._receipt_of(row) is None:
            self.outbox.mark_refused(row, refusals[0])

    def _replace(self, row: Row, watch: _Watch) -> None:
        """Sign a row anew at a higher price and broadcast it."""
        last = row.attempts[-1]
        try:
            fees = raised_fees(last.max_fee, last.tip, self._ask_market(), self.options.limits)
        except ChainError as bound:
            if isinstance(bound, NoNodeError):
                raise
            raise ChainError(f"{row.purpose}: transaction {row.hash} is not mined: {bound}") from bound

        def sign() -> tuple[bytes, int, int | None]:
            return self._signer.sign(row.unsigned(row.nonce, *fees)), *fees

        replaced = self.outbox.add_attempt(row, sign)
        if replaced.unfinished and replaced.attempts != row.attempts:
            self._broadcast(replaced, watch)

    def _fill(self, nonce: int) -> None:
        """Use up a nonce that nothing of ours has, for later ones wait behind it: send nothing to ourselves."""
        purpose = f"fill the gap at nonce {nonce}"
        fees = first_fees(self._ask_market(), self.options.limits)
        request = Request(f"{purpose}/{uuid.uuid4().hex}", purpose, self.lane.sender, b"", _PLAIN_GAS)
        with contextlib.suppress(NonceInUseError):
            self._broadcast(self._write(request, fees, only_nonce=nonce), _Watch())

    def _finish(self, row: Row, receipt: TxReceipt) -> None:
        hash_ = receipt["transactionHash"].to_0x_hex()
        error = None if receipt["status"] == 1 else self._why_reverted(row, receipt)
        self.outbox.mark_mined(
            row, hash_, receipt["blockNumber"], receipt["blockHash"].to_0x_hex(), receipt["gasUsed"], error
        )

    def _why_reverted(self, row: Row, receipt: TxReceipt) -> str:
        """Run a reverted call again, on the state before its block and after it, to hear the contract's reason."""
        mined = f"transaction {receipt['transactionHash'].to_0x_hex()} was mined and reverted"
        if receipt["gasUsed"] >= row.gas:
            return f"{mined}: it used up its {row.gas:,} gas"
        call = self._call(row.to, row.data, row.value) | {"gas": row.gas}
        for block in (receipt["blockNumber"] - 1, receipt["blockNumber"]):
            try:
                self._w3.eth.call(call, block)  # type: ignore[arg-type]
            except ContractLogicError as refused:
                return f"{explain(refused)}; {mined}"
            except (Web3Exception, NoNodeError):  # a node that keeps no state of old blocks
                continue
        return mined

    def _receipt_of(self, row: Row) -> TxReceipt | None:
        hashes = dict.fromkeys([row.hash, *(attempt.hash for attempt in reversed(row.attempts))])
        for hash_ in hashes:
            try:
                return self._w3.eth.get_transaction_receipt(HexStr(hash_))
            except TransactionNotFound:
                continue
            except TransactionIndexingInProgress as early:
                raise NoNodeError(f"{self._nodes.names} is still indexing") from early
        return None

    def _estimate(self, to: str | None, data: bytes, value: int, market: Market) -> int:
        try:
            return self._w3.eth.estimate_gas(self._call(to, data, value))  # type: ignore[arg-type]
        except Web3RPCError as failed:
            said = in_words(failed)
            if "gas required exceeds" in said.lower():
                raise too_much_gas("more", market, self.options.limits) from failed
            raise ChainError(said) from failed

    def _call(self, to: str | None, data: bytes, value: int) -> dict[str, Any]:
        call: dict[str, Any] = {"from": self.lane.sender, "data": data, "value": value}
        return call if to is None else call | {"to": to}

    def _count(self, block: str) -> int:
        return self._w3.eth.get_transaction_count(Web3.to_checksum_address(self.lane.sender), block)  # type: ignore[arg-type]

    def _ask_market(self) -> Market:
        if self._market is None or time.monotonic() - self._market[0] > _MARKET_SECONDS:
            self._market = (time.monotonic(), ask_market(self._w3))
        return self._market[1]


def in_words(failed: Exception) -> str:
    """A node's message out of web3's error."""
    response: Any = getattr(failed, "rpc_response", None) or {}
    error = response.get("error")
    return str(error["message"]) if isinstance(error, dict) and "message" in error else str(failed)


def _kind(refusal: str) -> str:
    """What a node's refusal means: the nonce is gone, the price too low, not now, or never."""
    text = refusal.lower()
    for kind, words in (("nonce", _TOO_LOW), ("cheap", _TOO_CHEAP), ("later", _NOT_NOW)):
        if any(word in text for word in words):
            return kind
    return "final"
