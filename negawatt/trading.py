"""A day of the workspace's market, step by step, as schedulers call it: match by forecasts, balance by meters.

The market is that of ``market.toml`` in the workspace. Each step can be run again, and then changes nothing that it
had done from the same inputs; each returns what became of it as plain values. The last step, on chain, is
`negawatt.market_settlement.settle_balanced_day`.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from negawatt.market import match_day
from negawatt.market_capacities import capacities_of_forecasts
from negawatt.market_days import NO_TRADES, folder_of, read_matched, read_positions, read_statement
from negawatt.market_delivery import balance_day
from negawatt.market_files import MarketFile, read_market
from negawatt.market_intraday import first_open
from negawatt.market_metering import metered_of_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole
from serving.trade_report import render_trade_report

SHOWN = 20
"""Findings that a step returns; the files of the day have all."""


def market_of(workspace: Workspace) -> MarketFile:
    """The workspace's market.

    Raises
    ------
    InvalidMarketError
        There is none, or it can't be read.
    """
    return read_market(workspace.folder / "market.toml")


def coming_day(workspace: Workspace, now: datetime) -> date:
    """The day after ``now`` in the market's zone: what is matched a day ahead."""
    return now.astimezone(ZoneInfo(market_of(workspace).zone)).date() + timedelta(days=1)


def match_market(
    workspace: Workspace, settings: Settings, day: date, *, now: datetime, leave_out: bool = False
) -> dict[str, Any]:
    """Match a day by the forecasts that are kept now: a day ahead, and again within the day.

    Capacities are worked out anew and those intervals matched whose gate is open at ``now``; the others stay as they
    were matched. So it may run whenever there are new forecasts, and again after any crash, with the time as it is.

    Parameters
    ----------
    workspace : Workspace
    settings : Settings
        Not looked at; all steps are called alike.
    day : date
        Local day of the market's zone.
    now : datetime
        The time, with its offset: not that of a schedule, which may be long past when the step runs.
    leave_out : bool
        See `negawatt.market_capacities.capacities_of_forecasts`.

    Returns
    -------
    dict
        day, first_ahead (None where no gate is open), intervals, totals, forecasts, findings (the
        first of findings_total), folder. Amounts are in fine units.

    Raises
    ------
    NegawattError
        A participant's forecast is missing, or the market can't be so.
    """
    file = market_of(workspace)
    capacities = capacities_of_forecasts(workspace, file, day, leave_out=leave_out)
    document = match_day(workspace, file, Path(capacities["file"]), day=day, now=now)
    ahead = first_open(document, file.gate_minutes, now)
    findings = [*capacities["findings"], *(f for row in document["intervals"] for f in row["findings"])]
    return {
        "day": day.isoformat(),
        "first_ahead": ahead,
        "intervals": len(document["intervals"]),
        "totals": document["totals"],
        "currency": document["currency"],
        "fine_units_per_minor_unit": document["fine_units_per_minor_unit"],
        "forecasts": capacities["forecasts"],
        "findings": findings[:SHOWN],
        "findings_total": len(findings),
        "folder": str(folder_of(workspace, day)),
    }


def balance_market(workspace: Workspace, settings: Settings, day: date) -> dict[str, Any]:
    """Settle a matched day against the batch store's readings; writes metered.csv, statement.json and trades.csv.

    Returns
    -------
    dict
        day, state, participants (how many), grid_net [fine units], trades, trades_file, findings. State is
        ``balanced``, or ``no trades`` where nobody traded.

    Raises
    ------
    MeteringError
        A reading is missing: naming participant and interval. Bring it, and run the step again.
    NegawattError
        The day was not matched.
    """
    file = market_of(workspace)
    if not read_positions(workspace, day):
        nothing = {"trades": 0, "trades_file": None, "findings": list[Any](), "findings_total": 0}
        return {"day": day.isoformat(), "state": NO_TRADES, "participants": 0, **nothing}
    document = balance_day(workspace, file, day, metered_of_store(workspace, settings, file, day))
    return {
        "day": day.isoformat(),
        "state": "balanced",
        "participants": len(document["participants"]),
        "grid_net": document["grid_net"],
        "currency": document["currency"],
        "fine_units_per_minor_unit": document["fine_units_per_minor_unit"],
        "trades": document["trades"],
        "trades_file": document["trades_file"],
        "findings": document["findings"][:SHOWN],
        "findings_total": len(document["findings"]),
    }


def write_report(workspace: Workspace, day: date) -> Path:
    """Write a matched day's page, with its statement where it is balanced; returns its path.

    Raises
    ------
    NegawattError
        The day was not matched.
    """
    page = render_trade_report(
        read_matched(workspace, day), read_positions(workspace, day), read_statement(workspace, day)
    )
    path = folder_of(workspace, day) / "report.html"
    write_whole(path, page.encode())
    return path
