"""Matching again by day: what is past stays as it was matched, and which capacities each part was matched by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from domain.errors import NegawattError
from domain.intervals import slot_of, slot_start
from negawatt.market_days import POSITION_COLUMNS, folder_of, read_matched, read_positions
from negawatt.workspace import Workspace

CAPACITIES_FORMAT = "negawatt-capacities/1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Past:
    """What stays of a day that was matched before.

    Attributes
    ----------
    document : dict or None
        The whole day as it is kept.
    intervals : list of dict
        Those that stay, as they stand in the document.
    rows : list of tuple
        Their positions.
    last_slot : int
        Of the intervals.
    """

    document: dict[str, Any] | None
    intervals: Sequence[dict[str, Any]]
    rows: Sequence[tuple[Any, ...]]
    last_slot: int


NOTHING_PAST = Past(None, (), (), 0)


def first_ahead(now: datetime, gate_minutes: int, minutes: int) -> int:
    """The first interval whose gate is open: it starts ``gate_minutes`` after ``now`` or later.

    >>> first_ahead(datetime(1970, 1, 1, 10, 0, tzinfo=UTC), 30, 30), first_ahead(
    ...     datetime(1970, 1, 1, 10, 0, 1, tzinfo=UTC), 30, 30)
    (21, 22)

    Raises
    ------
    NegawattError
        The time has no UTC offset.
    """
    if now.tzinfo is None:
        raise NegawattError(f"{now.isoformat()}: a time without a zone names no instant; add its UTC offset")
    return -((_EPOCH - now - timedelta(minutes=gate_minutes)) // timedelta(minutes=minutes))


def first_open(document: Mapping[str, Any], gate_minutes: int, now: datetime) -> str | None:
    """Start of a matched day's first interval whose gate is open at ``now``; None where all are closed."""
    minutes = int(document["interval_minutes"])
    opens = slot_start(first_ahead(now, gate_minutes, minutes), minutes)
    starts = (row["start"] for row in document["intervals"])
    return next((start for start in starts if datetime.fromisoformat(start) >= opens), None)


def kept_part(
    workspace: Workspace,
    day: date,
    ahead: int,
    head: Mapping[str, Any],
    people: Sequence[Mapping[str, Any]],
) -> Past:
    """What was matched before for intervals ahead of slot ``ahead``; nothing where the day was not matched.

    Raises
    ------
    NegawattError
        The market is another one now, so that what is past and what is to come don't fit together.
    """
    if not (folder_of(workspace, day) / "matched.json").exists():
        return NOTHING_PAST
    document = read_matched(workspace, day)
    minutes = int(document["interval_minutes"])
    slots = [slot_of(datetime.fromisoformat(row["start"]), minutes) for row in document["intervals"]]
    stay = [row for row, slot in zip(document["intervals"], slots, strict=True) if slot < ahead]
    if not stay:
        return Past(document, (), (), 0)
    then = [{name: row[name] for name in ("participant", "site", "tariff")} for row in document["participants"]]
    changed = [f"{name} was {document[name]}, is {value}" for name, value in head.items() if document[name] != value]
    if then != list(people):
        changed.append("participants, sites or tariffs are others")
    if changed:
        raise NegawattError(
            f"{day}: the market has changed since the day was matched ({'; '.join(changed)}), and what is past stays "
            "as it is; undo the change, or match the whole day again (without --from)"
        )
    starts = {row["start"] for row in stay}
    rows = [
        tuple(row[name] for name in POSITION_COLUMNS)
        for row in read_positions(workspace, day)
        if row["interval_start"] in starts
    ]
    return Past(document, stay, rows, slots[len(stay) - 1])


# --- where capacities come from ----------------------------------------------------------------------------


def capacities_digest(offered: Mapping[tuple[str, int], tuple[int, int]]) -> str:
    """SHA-256 of what is offered and lacked by name and slot, whatever the order of rows; zeros don't count."""
    lines = sorted(f"{name},{slot},{over},{lacking}\n" for (name, slot), (over, lacking) in offered.items())
    return hashlib.sha256("".join(line for line in lines if not line.endswith(",0,0\n")).encode()).hexdigest()


def issue_of(capacities: Path, offered: Mapping[tuple[str, int], tuple[int, int]]) -> dict[str, Any]:
    """By what a day is matched: the digest of the rows, and the forecasts behind them where they are known."""
    forecasts: list[Any] = []
    try:
        beside = json.loads(capacities.with_suffix(".json").read_text("utf-8"))
        if beside.get("file_sha256") == hashlib.sha256(capacities.read_bytes()).hexdigest():
            forecasts = beside["forecasts"]
    except (OSError, ValueError, KeyError, AttributeError):  # capacities of another source
        pass
    return {"capacities_sha256": capacities_digest(offered), "forecasts": forecasts}


def issues_of(past: Past, begin: str, issue: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The issues that a day was matched by, each with the interval from which on it counts; a repeat adds none."""
    started = datetime.fromisoformat(begin)
    held = [
        one
        for one in (past.document or {}).get("issues", [])
        if past.intervals and datetime.fromisoformat(one["from"]) < started
    ]
    if held and held[-1]["capacities_sha256"] == issue["capacities_sha256"]:
        return held
    return [*held, {"from": begin, **issue}]
