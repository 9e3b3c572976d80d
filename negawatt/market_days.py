"""What the workspace keeps of a matched day: its document, its positions, and the statement after delivery."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from domain.errors import NegawattError
from negawatt.workspace import Workspace, write_json, write_whole

FORMAT = "negawatt-market/1"
POSITION_COLUMNS = (
    "participant", "interval_start", "sold_wh", "bought_wh", "earned", "paid", "fee", "seller_gain", "buyer_gain",
)  # fmt: skip

NO_TRADES = "no trades"
"""State of a day that has nothing to settle."""

_BEFORE = "positions.before.csv"
"""While a day is matched again, and after a crash then: the positions that matched.json still speaks of."""


def folder_of(workspace: Workspace, day: date) -> Path:
    """Where a matched day lies."""
    return workspace.folder / "market" / day.isoformat()


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    """The bytes of a CSV file."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(rows)
    return out.getvalue().encode()


def read_matched(workspace: Workspace, day: date) -> dict[str, Any]:
    """A matched day's document.

    Raises
    ------
    NegawattError
        The day was not matched in this workspace.
    """
    path = folder_of(workspace, day) / "matched.json"
    if not path.exists():
        raise NegawattError(f"{day} is not matched: no {path}; run `negawatt match` first")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if document.get("format") != FORMAT:
        raise NegawattError(f"{path}: format {document.get('format')!r}, expected {FORMAT!r}")
    return document


def read_positions(workspace: Workspace, day: date) -> list[dict[str, Any]]:
    """A matched day's positions: participant, interval_start, and whole numbers for the rest.

    Raises
    ------
    NegawattError
        The day was not matched, or its positions were changed since.
    """
    folder, digest = folder_of(workspace, day), read_matched(workspace, day).get("positions_sha256")
    for name in ("positions.csv", _BEFORE):
        path = folder / name
        if path.exists() and digest in (None, digest_of(path)):
            with path.open(newline="", encoding="utf-8") as lines:
                return [
                    {name: text if name in POSITION_COLUMNS[:2] else int(text) for name, text in row.items()}
                    for row in csv.DictReader(lines)
                ]
    raise NegawattError(f"{folder / 'positions.csv'} is not what `negawatt match` wrote: match {day} again")


def write_matched(workspace: Workspace, day: date, document: Mapping[str, Any], positions: bytes) -> None:
    """Keep a matched day: both files together, or after a crash still those of before."""
    folder = folder_of(workspace, day)
    path, before = folder / "positions.csv", folder / _BEFORE
    if path.exists() and path.read_bytes() != positions and (held := _positions_in_force(folder)):
        write_whole(before, held)
    write_whole(path, positions)
    write_json(folder / "matched.json", document)
    before.unlink(missing_ok=True)


def _positions_in_force(folder: Path) -> bytes | None:
    """The positions that matched.json speaks of, where they are known."""
    try:
        digest = json.loads((folder / "matched.json").read_text("utf-8")).get("positions_sha256")
    except (OSError, ValueError):
        return None
    found = (path.read_bytes() for name in ("positions.csv", _BEFORE) if (path := folder / name).exists())
    return next((data for data in found if digest_of_bytes(data) == digest), None)


def read_statement(workspace: Workspace, day: date) -> dict[str, Any] | None:
    """A settled day's statement; None before it is settled, or when it was matched anew since."""
    folder = folder_of(workspace, day)
    path = folder / "statement.json"
    if not path.exists():
        return None
    statement: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return statement if statement.get("matched") == digest_of(folder / "matched.json") else None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, by which a statement names the matching that it settles."""
    return digest_of_bytes(path.read_bytes())


def digest_of_bytes(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
