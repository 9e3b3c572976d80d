"""What the chain's callers hold: options going in, tickets while they wait, records of what was mined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import ChainError, NonceLostError
from serving.fees import GWEI, Limits
from serving.outbox_rows import LOST, MINED, Row


@dataclass(frozen=True)
class TransactionRecord:
    """A transaction that was mined: why, which, where, at what cost, how long the receipt took. [gas], [s]"""

    purpose: str
    hash: str
    block: int
    gas: int
    seconds: float
    block_hash: str = ""


@dataclass(frozen=True)
class Ticket:
    """A transaction that was written and broadcast, to wait for."""

    row_id: int
    key: str
    purpose: str
    hash: str
    nonce: int
    was_mined: bool = False


@dataclass(frozen=True)
class ChainOptions:
    """How a chain is dealt with.

    Attributes
    ----------
    stuck_seconds : float
        The next transaction in line is replaced at a higher price when it was not mined for so long. [s]
    max_gas : int
        Gas of a transaction at most.
    max_fee_gwei : int
        Price of a unit of gas at most. [gwei]
    receipt_seconds : float
        Waiting ends when nothing was mined for so long. [s]
    confirm_seconds : float
        Confirming ends after so long, reorganisations and all. [s]
    timeout_seconds : float
        For one answer of a node. [s]
    lag_seconds : float
        For a node that is behind what was read before to catch up. [s]
    """

    stuck_seconds: float = 60.0
    max_gas: int = 15_000_000
    max_fee_gwei: int = 500
    receipt_seconds: float = 120.0
    confirm_seconds: float = 3600.0
    timeout_seconds: float = 10.0
    lag_seconds: float = 30.0

    @property
    def limits(self) -> Limits:
        """The limits on gas and its price."""
        return Limits(self.max_gas, self.max_fee_gwei * GWEI)


def ticket_of(row: Row) -> Ticket:
    """The ticket of a row."""
    return Ticket(row.id, row.key, row.purpose, row.hash, row.nonce, was_mined=row.state == MINED)


def record_of(row: Row) -> TransactionRecord:
    """The record of a mined row."""
    seconds = round((row.finished or row.created) - row.created, 4)
    return TransactionRecord(row.purpose, row.hash, row.block or 0, row.gas_used or 0, seconds, row.block_hash or "")


def raise_if_failed(rows: Sequence[Row]) -> None:
    """Say what came of transactions that did not succeed.

    Raises
    ------
    ChainError
        One was refused or reverted, or (`NonceLostError`) lost its nonce.
    """
    bad = [row for row in rows if row.state != MINED]
    if not bad:
        return
    first = bad[0]
    if first.state == LOST:
        raise NonceLostError(first.purpose, first.lane.sender, first.nonce)
    more = f" ({len(bad) - 1} more failed)" if len(bad) > 1 else ""
    raise ChainError(f"{first.purpose}: {first.error}{more}")
