"""A balanced day's trades on chain: proposed, and executed when the dispute window has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from domain.errors import NegawattError
from domain.trades import TradeDay
from negawatt.chains import open_chain
from negawatt.market_days import NO_TRADES, digest_of, folder_of, read_positions, read_statement
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole
from serving.energy_contracts import attach_energy
from serving.microgrids import Microgrids, read_trades


def propose_and_execute(workspace: Workspace, grids: Microgrids, held: TradeDay) -> dict[str, Any]:
    """Do what is due for a day's trades, and publish them as ``trades/DAY.jsonl``.

    On the built-in chain the clock is moved past the dispute window; on another, call again later. What was done is
    not done twice.

    Returns
    -------
    dict
        day, state (proposed or executed), root, executable_from, net [smallest units], published.

    Raises
    ------
    ChainError
        The day (UTC) isn't over on the chain's clock, other trades are proposed for it, or somebody lacks tokens or
        has not allowed the amount: then nobody is debited.
    """
    grids.propose_day(held)
    published = workspace.folder / "trades" / f"{held.day}.jsonl"
    write_whole(published, held.published())
    state = grids.settle_day(held)
    return {
        "day": held.day.isoformat(),
        "state": state.state,
        "root": "0x" + held.tree.root.hex(),
        "executable_from": state.executable_from.isoformat() if state.executable_from else None,
        "net": dict(held.net),
        "published": str(published),
    }


def settle_balanced_day(workspace: Workspace, settings: Settings, day: date) -> dict[str, Any]:
    """Settle on chain what `negawatt.market_delivery.balance_day` left behind.

    Settling it again sends nothing once the day is executed.

    Returns
    -------
    dict
        As of `propose_and_execute`, with the transactions that were sent. State ``no trades`` where nobody traded
        or who did has no account: then no chain is opened.

    Raises
    ------
    NegawattError
        The day is not balanced, was matched again since, or the operator retracted just these trades.
    ChainError
        See `propose_and_execute`.
    """
    nothing: dict[str, Any] = {
        "day": day.isoformat(),
        "state": NO_TRADES,
        "executable_from": None,
        "transactions": [],
    }
    if not read_positions(workspace, day):
        return nothing
    statement = read_statement(workspace, day)
    if statement is None:
        raise NegawattError(f"{day} has no statement of what was matched last; run `negawatt balance-day` first")
    if not statement["trades_file"]:
        return nothing
    held = read_trades(_trades_file(workspace, day, statement), day)
    with open_chain(workspace, settings) as chain:
        grids = Microgrids(chain, attach_energy(chain, workspace.address_book))
        if grids.was_retracted(held):
            raise NegawattError(
                f"the trades of {day} were proposed and retracted: balance the day anew, or propose the same again "
                "with `negawatt energy settle-day`"
            )
        document = propose_and_execute(workspace, grids, held)
        return document | {"transactions": [asdict(record) for record in chain.records]}


def _trades_file(workspace: Workspace, day: date, statement: Mapping[str, Any]) -> Path:
    path = folder_of(workspace, day) / "trades.csv"
    if not path.exists() or statement.get("trades_sha256") not in (None, digest_of(path)):
        raise NegawattError(f"{path} is not what the statement speaks of; run `negawatt balance-day` again")
    return path
