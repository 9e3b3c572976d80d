"""Forecasts that the workspace keeps, each with what it was made of: ``forecasts/NAME-DAY.csv`` and ``.json``.

The rows are what counts; the file beside them says when they were first issued and by what. The same rows made
again change neither.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import NegawattError
from domain.intervals import check_interval, slot_of
from negawatt.workspace import Workspace, write_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "negawatt-forecast/1"


@dataclass(frozen=True)
class KeptForecast:
    """A kept forecast, read.

    Attributes
    ----------
    file : str
        Its name in ``forecasts``.
    interval_minutes : int
    wh : dict of str to dict of int to int
        By site and slot; an interval that could not be forecast isn't there. [Wh]
    issue : dict
        file and sha256; and issued, model or plant, version, weather_kind, where they are known.
    """

    file: str
    interval_minutes: int
    wh: dict[str, dict[int, int]]
    issue: dict[str, Any]


def forecast_file(workspace: Workspace, name: str, day: date) -> Path:
    """Where the forecast of a model or a PV plant for a day is kept."""
    return workspace.folder / "forecasts" / f"{name}-{day.isoformat()}.csv"


def keep_forecast(
    workspace: Workspace, name: str, day: date, table: pa.Table, made_by: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Keep a forecast's rows and what they were made by.

    Parameters
    ----------
    name : str
        Of the model or the PV plant.
    day : date
        First local day.
    table : pyarrow.Table
        See `negawatt.forecasting.forecast_table`.
    made_by : mapping
        JSON values.
    now : datetime
        When these rows are issued, unless just these were kept already.

    Returns
    -------
    dict
        The issue: file, sha256, issued and ``made_by``.
    """
    from negawatt.forecasting import write_table  # noqa: PLC0415  brings the models' libraries with it

    path = forecast_file(workspace, name, day)
    write_table(path, table)
    issue = {"format": FORMAT, "file": path.name, "sha256": _sha256(path), **made_by}
    held = _issue_beside(path)
    if held is None or {key: value for key, value in held.items() if key != "issued"} != issue:
        held = issue | {"issued": now.isoformat(timespec="seconds")}
        write_json(path.with_suffix(".json"), held)
    return held


def read_kept(workspace: Workspace, name: str, day: date) -> KeptForecast:
    """A kept forecast of a day.

    Raises
    ------
    NegawattError
        There is none, or it can't be read: with file, line and what was expected.
    """
    path = forecast_file(workspace, name, day)
    if not path.exists():
        raise NegawattError(f"no forecast of {name!r} for {day}: no {path}; make it by `negawatt forecast` first")
    wh: dict[str, dict[int, int]] = {}
    lengths: set[int] = set()
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = csv.DictReader(lines)
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                minutes = check_interval(int(row["interval_minutes"]))
                lengths.add(minutes)
                at = slot_of(datetime.fromisoformat(row["interval_start"]), minutes)
                site = wh.setdefault(row["site"], {})
                text = row["forecast_wh"]
                if at in site:
                    raise NegawattError(f"{where}: a second row of {row['site']!r} at {row['interval_start']}")
                if text and not (text.isascii() and text.isdigit()):
                    raise NegawattError(f"{where}: forecast_wh {text!r}: expected whole Wh of 0 or more, or nothing")
                if text:
                    site[at] = int(text)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as broken:
        raise NegawattError(
            f"{path} is no forecast that `negawatt forecast` keeps ({broken}): make it again"
        ) from broken
    if len(lengths) != 1:
        found = ", ".join(f"{minutes} min" for minutes in sorted(lengths)) or "none"
        raise NegawattError(f"{path}: expected rows of one interval length, found {found}: make it again")
    digest = _sha256(path)
    beside = _issue_beside(path) or {}
    known = beside if beside.get("sha256") == digest else {"file": path.name, "sha256": digest}
    return KeptForecast(path.name, lengths.pop(), wh, {n: v for n, v in known.items() if n != "format"})


def _issue_beside(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
