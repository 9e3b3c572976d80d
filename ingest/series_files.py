"""Files of loads and of weather as series on a UTC grid: CSV, also compressed, or Parquet, with columns by name.

They are for analysis, so nothing is stored and nothing rejected row by row: the first wrong value refuses the file,
with its line. An empty cell is a missing value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from domain.intervals import INTERVAL_MINUTES
from domain.series import WEATHER_BOUNDS, InvalidSeriesError, Loads, Weather
from ingest.clocks import read_instants
from ingest.rejects import Code
from ingest.sources import header_of, read_blocks

WH_PER_UNIT = {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6}
_MISSING = ("", "NA", "NaN", "nan", "null", "Null", "NULL")
_TIME_WORDS = {
    Code.TIME_UNREADABLE: "no time could be read; expected ISO 8601, such as 2025-06-01T00:30Z",
    Code.TIME_NAIVE: "the time has no UTC offset; add one, or name the zone (--file-zone)",
    Code.TIME_AMBIGUOUS: "clocks showed that time twice that day; add the UTC offset",
    Code.TIME_NONEXISTENT: "clocks never showed that time that day; add the UTC offset",
}


@dataclass(frozen=True)
class LoadColumns:
    """What the columns of a file of loads mean.

    Attributes
    ----------
    load : str
        Energy in the interval.
    start : str
        Start of the interval.
    site : str
        Name of the site; empty where the file is of one site, which then goes by the file's name.
    unit : {"Wh", "kWh", "MWh"}
        Unit of the energy.
    zone : str or None
        IANA zone of times that carry no UTC offset.
    """

    load: str
    start: str = "interval_start"
    site: str = ""
    unit: str = "Wh"
    zone: str | None = None


@dataclass(frozen=True)
class _Rows:
    """A file's rows: line numbers, instants [s], and the other columns."""

    lines: NDArray[np.int64]
    seconds: NDArray[np.int64]
    numbers: Mapping[str, NDArray[np.float64]]
    names: NDArray[np.object_] | None


def read_loads(path: Path, columns: LoadColumns) -> Loads:
    """Read a file of loads. Returned in Wh.

    Raises
    ------
    InvalidSeriesError
        A column isn't there, a value is wrong, or an interval comes twice: file, line, value and what was expected.
    UnreadableFileError
        The file can't be read at all.
    """
    if columns.unit not in WH_PER_UNIT:
        raise InvalidSeriesError(f"unit {columns.unit!r}: expected one of {', '.join(WH_PER_UNIT)}")
    rows = _read(path, columns.start, [columns.load], columns.site, columns.zone)
    minutes = _interval(path, rows)
    load = rows.numbers[columns.load] * WH_PER_UNIT[columns.unit]
    negative = np.flatnonzero(load < 0)
    if len(negative):
        at = negative[0]
        raise InvalidSeriesError(
            f"{path}, line {rows.lines[at]}: {columns.load} {rows.numbers[columns.load][at]:g}; expected 0 or more. "
            "Give what a site produces apart from what it uses"
        )
    if rows.names is None:
        sites, row = np.array([site_name(path)], dtype=object), np.zeros(len(load), np.int64)
    else:
        sites, row = np.unique(rows.names, return_inverse=True)
    slots = rows.seconds // (60 * minutes)
    first, length = int(slots.min()), int(np.ptp(slots)) + 1
    place = row * length + (slots - first)
    _refuse_repeats(path, rows, place, None if rows.names is None else rows.names)
    grid = np.full(len(sites) * length, np.nan)
    grid[place] = load
    return Loads(sites, first, minutes, grid.reshape(len(sites), length))


def site_name(path: Path) -> str:
    """Name of the one site of a file: the file's name up to its first point."""
    return path.name.partition(".")[0]


def read_weather(
    path: Path,
    start: str = "interval_start",
    columns: Mapping[str, str] | None = None,
    zone: str | None = None,
) -> Weather:
    """Read a file of the weather of one place.

    Parameters
    ----------
    start : str
        Column of the interval's start.
    columns : mapping of str to str, optional
        The file's column for each of `domain.series.WEATHER_BOUNDS`. Default: those that the file has under our
        names.
    zone : str, optional
        IANA zone of times that carry no UTC offset.

    Raises
    ------
    InvalidSeriesError
        No column of weather is there, or a value is wrong: file, line, value and what was expected.
    UnreadableFileError
        The file can't be read at all.
    """
    given = dict(columns or {})
    for name in given:
        if name not in WEATHER_BOUNDS:
            raise InvalidSeriesError(f"no column of weather is called {name!r}; known: {', '.join(WEATHER_BOUNDS)}")
    header = header_of(path)
    named = {name: given.get(name, name) for name in WEATHER_BOUNDS}
    there = {name: column for name, column in named.items() if column in header or name in given}
    if not there:
        raise InvalidSeriesError(
            f"{path}: no column of weather; expected one or more of {', '.join(WEATHER_BOUNDS)}, found "
            f"{', '.join(map(repr, header))}. Say which is which, e.g. --weather-column temperature_c=temp"
        )
    rows = _read(path, start, list(there.values()), "", zone)
    minutes = _interval(path, rows)
    for name, column in there.items():
        low, high = WEATHER_BOUNDS[name]
        values = rows.numbers[column]
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise InvalidSeriesError(
                f"{path}, line {rows.lines[wrong[0]]}: {column} {values[wrong[0]]:g}; "
                f"expected {low:g} to {high:g}. Is it in the unit that {name} says?"
            )
    slots = rows.seconds // (60 * minutes)
    first, length = int(slots.min()), int(np.ptp(slots)) + 1
    _refuse_repeats(path, rows, slots, None)
    values_of = {name: np.full(length, np.nan) for name in there}
    for name, column in there.items():
        values_of[name][slots - first] = rows.numbers[column]
    return Weather(first, minutes, values_of)


def _read(path: Path, start: str, numbers: Sequence[str], name: str, zone: str | None) -> _Rows:
    header = header_of(path)
    wanted = [start, *numbers, *([name] if name else [])]
    for column in wanted:
        if header.count(column) != 1:
            problem = "no column" if column not in header else "two columns"
            raise InvalidSeriesError(f"{path}: {problem} {column!r}; found {', '.join(map(repr, header))}")
    lines: list[NDArray[np.int64]] = []
    held: dict[str, list[pa.Array]] = {column: [] for column in wanted}
    for block in read_blocks(path, list(dict.fromkeys(wanted))):
        for reject in block.rejects:
            raise InvalidSeriesError(f"{path}, line {reject.line}: {reject.reason}")
        lines.append(block.lines)
        for column, parts in held.items():
            parts.append(block.columns[column])
    if not lines or not sum(map(len, lines)):
        raise InvalidSeriesError(f"{path}: no rows under the header")
    line = np.concatenate(lines)
    whole = {column: _joined(parts) for column, parts in held.items()}
    instants = read_instants(whole[start], zone)
    for code, rows in instants.problems.items():
        at = int(np.flatnonzero(rows)[0])
        words = _TIME_WORDS.get(code, str(code))
        raise InvalidSeriesError(f"{path}, line {line[at]}: {start} {whole[start][at].as_py()!r}: {words}")
    return _Rows(
        line,
        instants.seconds,
        {column: _numbers(path, line, column, whole[column]) for column in numbers},
        _names(path, line, name, whole[name]) if name else None,
    )


def _joined(parts: list[pa.Array]) -> pa.Array:
    whole = pa.chunked_array(parts).combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _numbers(path: Path, lines: NDArray[np.int64], name: str, column: pa.Array) -> NDArray[np.float64]:
    """A column as numbers, NaN where a cell is empty."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        text = pc.if_else(pc.is_in(text, pa.array(_MISSING, text.type)), None, text)
        try:
            column = text.cast(pa.float64())
        except pa.ArrowInvalid as wrong:
            for at, cell in enumerate(text.to_pylist()):
                if cell is not None and not _is_number(cell):
                    raise InvalidSeriesError(
                        f"{path}, line {lines[at]}: {name} {cell!r}; expected a number, or nothing if it is missing"
                    ) from wrong
            raise InvalidSeriesError(f"{path}: {name}: {wrong}") from wrong
    values: NDArray[Any] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise InvalidSeriesError(f"{path}, line {lines[infinite[0]]}: {name} is infinite; expected a number")
    return values.astype(np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _names(path: Path, lines: NDArray[np.int64], name: str, column: pa.Array) -> NDArray[np.object_]:
    found = np.array(column.cast(pa.string()).to_pylist(), dtype=object)
    unnamed = np.flatnonzero([not value for value in found])
    if len(unnamed):
        raise InvalidSeriesError(f"{path}, line {lines[unnamed[0]]}: {name} is empty; expected the name of a site")
    return found


def _interval(path: Path, rows: _Rows) -> int:
    """The file's interval: the smallest step between two of its times. [min]"""
    times = np.unique(rows.seconds)
    if len(times) < 2:
        raise InvalidSeriesError(f"{path}: one time only, which shows no interval; expected a series")
    step = int(np.diff(times).min())
    if step % 60 or step // 60 not in INTERVAL_MINUTES:
        expected = ", ".join(map(str, INTERVAL_MINUTES))
        raise InvalidSeriesError(f"{path}: intervals of {step / 60:g} min; expected one of {expected} min")
    off = np.flatnonzero(rows.seconds % step)
    if len(off):
        raise InvalidSeriesError(
            f"{path}, line {rows.lines[off[0]]}: the time is not on the {step // 60}-minute grid"
        )
    return step // 60


def _refuse_repeats(path: Path, rows: _Rows, place: NDArray[np.int64], names: NDArray[np.object_] | None) -> None:
    order = np.argsort(place, kind="stable")
    twice = np.flatnonzero(np.diff(place[order]) == 0)
    if len(twice):
        before, again = (int(order[at]) for at in (twice[0], twice[0] + 1))
        of = "" if names is None else f" of {names[again]!r}"
        raise InvalidSeriesError(
            f"{path}, line {rows.lines[again]}: the interval{of} was given before, in line {rows.lines[before]}; "
            "expected each once"
            + (". With several sites, name their column (--site-column)" if names is None else "")
        )
