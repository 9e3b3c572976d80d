"""Waiting until transactions are so deep that they stay, and sending again what a reorganisation took away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from eth_typing import HexStr
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound

from domain.errors import ChainError
from serving.nodes import NoNodeError
from serving.outbox_rows import MINED
from serving.records import TransactionRecord, raise_if_failed, record_of, ticket_of
from serving.transactions import Transactions

_POLL_SECONDS = 0.1


def confirm(
    engine: Transactions,
    w3: Web3,
    records: Sequence[TransactionRecord],
    depth: int,
    progress: Callable[[int], None],
) -> list[TransactionRecord]:
    """Wait for blocks on top of transactions, and see that each is still in its block then; `Chain.confirm`."""
    records, deadline = list(records), time.monotonic() + engine.options.confirm_seconds
    while records:
        highest = max(records, key=lambda record: record.block)
        is_deep = _wait_for_depth(engine, w3, highest, depth, progress, deadline)
        checked = [_recheck(engine, w3, record) for record in records]
        if is_deep and checked == records:
            break
        records = checked
    return records


def _wait_for_depth(
    engine: Transactions,
    w3: Web3,
    highest: TransactionRecord,
    depth: int,
    progress: Callable[[int], None],
    deadline: float,
) -> bool:
    """Wait for ``depth`` blocks on the highest record's block; False as soon as that is no longer on the chain."""
    seen, last_change = -1, time.monotonic()
    while True:
        with contextlib.suppress(NoNodeError):  # a short failure of all nodes is sat out
            on_top = max(w3.eth.block_number - highest.block, 0)
            if on_top != seen:
                seen, last_change = on_top, time.monotonic()
                progress(min(on_top, depth))
                if _displaced(w3, highest):
                    return False
            if on_top >= depth:
                return True
        now, patience = time.monotonic(), engine.options.receipt_seconds
        if now - last_change > patience:
            raise ChainError(f"{max(seen, 0)} of {depth} confirmations, and no block for {patience:g} s")
        if now > deadline:
            raise ChainError(f"{max(seen, 0)} of {depth} confirmations after {engine.options.confirm_seconds:g} s")
        time.sleep(_POLL_SECONDS)


def _displaced(w3: Web3, record: TransactionRecord) -> bool:
    try:
        block = w3.eth.get_block(record.block)
    except BlockNotFound:
        return True
    return bool(record.block_hash) and block["hash"].to_0x_hex() != record.block_hash


def _recheck(engine: Transactions, w3: Web3, record: TransactionRecord) -> TransactionRecord:
    """The record as the chain has it now; one that vanished is sent again and waited for."""
    row = engine.outbox.find(engine.lane, record.hash)
    if row is None:  # sent by another outbox: it can be looked at, not sent again
        try:
            receipt = w3.eth.get_transaction_receipt(HexStr(record.hash))
        except TransactionNotFound as gone:
            raise ChainError(
                f"{record.purpose}: transaction {record.hash} is no longer on the chain, and not in the outbox"
            ) from gone
        block_hash = receipt["blockHash"].to_0x_hex()
        return TransactionRecord(
            record.purpose, record.hash, receipt["blockNumber"], receipt["gasUsed"], record.seconds, block_hash
        )
    changed = engine.recheck([row]) if row.state == MINED else [row]
    if not changed:
        return record if record.block_hash == row.block_hash else record_of(row)
    rows = engine.wait([ticket_of(changed[0])])
    raise_if_failed(rows)
    return record_of(rows[0])
