"""Files about meters other than interval readings: reads of registers, and meters' clocks against concentrators'.

They are small and come from the operator's own systems, so the first bad line refuses the file, with its number.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO

import numpy as np

from domain.errors import NegawattError
from domain.intervals import slot_of
from domain.meter_clocks import ClockComparisons
from domain.registers import RegisterReads

_MAX_REGISTER_WH = 10**15


def read_register_reads(path: Path, interval_minutes: int) -> RegisterReads:
    """Read CSV with the columns meter, read_at and import_wh or import_kwh: what import registers showed, and when.

    Times carry a UTC offset and lie on the grid of the interval.

    Raises
    ------
    NegawattError
        Naming file, line, value and what was expected.
    """
    meters, slots, energies = [], [], []
    with _open(path) as lines:
        rows = csv.DictReader(lines)
        unit = next((u for u in ("import_wh", "import_kwh") if u in (rows.fieldnames or ())), None)
        if unit is None:
            raise NegawattError(f"{path}, line 1: no column import_wh or import_kwh; found: {rows.fieldnames}")
        _need(path, rows, ("meter", "read_at"))
        for where, row in _rows(path, rows):
            meters.append(_meter(where, row))
            instant = _time(where, row, "read_at")
            try:
                slots.append(slot_of(instant, interval_minutes))
            except NegawattError as off:
                raise NegawattError(f"{where}: read_at {row['read_at']!r}: {off}") from off
            energies.append(_energy(where, row, unit))
    return RegisterReads(
        np.array(meters, dtype=object), np.array(slots, dtype=np.int64), np.array(energies, dtype=np.int64)
    )


def read_clock_comparisons(path: Path) -> ClockComparisons:
    """Read CSV with the columns meter, meter_time and concentrator_time, both with a UTC offset.

    Raises
    ------
    NegawattError
        Naming file, line, value and what was expected.
    """
    meters, at, ahead = [], [], []
    with _open(path) as lines:
        rows = csv.DictReader(lines)
        _need(path, rows, ("meter", "meter_time", "concentrator_time"))
        for where, row in _rows(path, rows):
            meters.append(_meter(where, row))
            shown, real = _time(where, row, "meter_time"), _time(where, row, "concentrator_time")
            at.append(int(real.timestamp()))
            ahead.append(round((shown - real).total_seconds()))
    return ClockComparisons(
        np.array(meters, dtype=object), np.array(at, dtype=np.int64), np.array(ahead, dtype=np.int64)
    )


def _need(path: Path, rows: csv.DictReader[str], names: tuple[str, ...]) -> None:
    if missing := [name for name in names if name not in (rows.fieldnames or ())]:
        raise NegawattError(f"{path}, line 1: no column {', '.join(missing)}; found: {rows.fieldnames}")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            yield lines
    except UnicodeDecodeError as broken:
        raise NegawattError(f"{path}: not UTF-8: {broken}") from broken


def _rows(path: Path, rows: csv.DictReader[str]) -> Iterator[tuple[str, dict[str, str | None]]]:
    for row in rows:
        yield f"{path}, line {rows.line_num}", dict(row)


def _meter(where: str, row: dict[str, str | None]) -> str:
    if not row["meter"]:
        raise NegawattError(f"{where}: no meter is named")
    return row["meter"]


def _time(where: str, row: dict[str, str | None], name: str) -> datetime:
    try:
        instant = datetime.fromisoformat(row[name] or "")
    except ValueError as wrong:
        raise NegawattError(f"{where}: {name} {row[name]!r}: expected a time in ISO 8601") from wrong
    if instant.tzinfo is None:
        raise NegawattError(f"{where}: {name} {row[name]!r} names no instant: add its UTC offset")
    return instant


def _energy(where: str, row: dict[str, str | None], unit: str) -> int:
    try:
        shown = Decimal(row[unit] or "") * (1000 if unit == "import_kwh" else 1)
        wh = int(shown.to_integral_value())
    except (InvalidOperation, OverflowError, ValueError) as wrong:
        raise NegawattError(f"{where}: {unit} {row[unit]!r}: expected a decimal number") from wrong
    if not 0 <= wh <= _MAX_REGISTER_WH:
        raise NegawattError(f"{where}: {unit} {row[unit]!r}: a register shows 0 to {_MAX_REGISTER_WH} Wh")
    return wh
