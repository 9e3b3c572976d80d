"""The checks that a row must pass to become a reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from domain.readings import MAX_REVISION, MAX_WH_PER_HOUR, MISSING, Quality, Readings, Register
from ingest.clocks import read_instants
from ingest.columns import Columns
from ingest.quantities import read_energies
from ingest.rejects import Code, Reject
from ingest.sources import Block

GRID_SECONDS = 300
"""Every interval that meters may have starts on this grid. [s]"""

_QUALITIES = {quality.name.lower(): int(quality) for quality in (Quality.ACTUAL, Quality.ESTIMATED)}


class MeterNames:
    """Numbers the meters of a run in order of appearance, and tells the known from the unknown."""

    def __init__(self, known: frozenset[str] | None = None) -> None:
        self._known = known
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []
        self._is_known: list[bool] = []

    def numbers_of(self, names: list[str]) -> NDArray[np.int32]:
        """The meters' numbers; new ones are given the next."""
        return np.array([self._number(name) for name in names], np.int32)

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self._is_known.append(self._known is None or name in self._known)
        return number

    def unknown(self, numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the numbered meters aren't among the known ones."""
        return np.array([not self._is_known[number] for number in numbers], np.bool_)

    def as_array(self) -> NDArray[np.object_]:
        """All names, by number."""
        return np.array(self.names, dtype=object)


@dataclass(frozen=True)
class AcceptedRows:
    """Rows that passed every check, as columns of equal length.

    Attributes
    ----------
    line : ndarray of int64
        Where the row stands in its file.
    meter : ndarray of int32
        Number of the meter (see `MeterNames`).
    slot : ndarray of int64
        Interval number.
    import_wh, export_wh : ndarray of int32
        Energy of each register; `domain.readings.MISSING` where there is no export. [Wh]
    quality : ndarray of int8
    revision : ndarray of int16
    """

    line: NDArray[np.int64]
    meter: NDArray[np.int32]
    slot: NDArray[np.int64]
    import_wh: NDArray[np.int32]
    export_wh: NDArray[np.int32]
    quality: NDArray[np.int8]
    revision: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.line)

    def readings(self, meters: NDArray[np.object_], interval_minutes: int) -> list[Readings]:
        """The rows as one batch for each register that has any, naming only the meters in it."""
        batches = []
        for register, wh in ((Register.IMPORT, self.import_wh), (Register.EXPORT, self.export_wh)):
            rows = wh != MISSING
            if not rows.any():
                continue
            present = np.zeros(len(meters), np.bool_)
            present[self.meter[rows]] = True
            renumbered = np.cumsum(present, dtype=np.int32) - 1
            batches.append(
                Readings(
                    interval_minutes,
                    register,
                    meters[present],
                    renumbered[self.meter[rows]].astype(np.int32),
                    self.slot[rows],
                    wh[rows],
                    self.quality[rows],
                    self.revision[rows],
                )
            )
        return batches


@dataclass(frozen=True)
class RowChecker:
    """Checks blocks of one file's rows.

    Attributes
    ----------
    file : str
        The file as rejects shall name it.
    columns : Columns
        What its columns mean.
    interval_minutes : int
        Length of its intervals. [min]
    meters : MeterNames
        The run's meters, added to as new ones appear.
    now : datetime or None
        Intervals that end after this instant are rejected; None to accept any.
    """

    file: str
    columns: Columns
    interval_minutes: int
    meters: MeterNames
    now: datetime | None = None

    def check(self, block: Block) -> tuple[AcceptedRows, list[Reject]]:
        """Split a block into readings and rejects; the first check that a row fails names it."""
        n = len(block.lines)
        if n == 0:
            return _accepted([np.empty(0)] * len(_KINDS)), list(block.rejects)
        failures = _Failures(n)
        meter = self._meters(block.columns[self.columns.meter], failures)
        slot = self._slots(block.columns[self.columns.start], failures)
        import_wh = self._energies(block.columns[self.columns.import_energy], failures)
        export_wh = np.full(n, MISSING, np.int64)
        if self.columns.export_energy is not None:
            failures.register = Register.EXPORT
            export_wh = self._energies(block.columns[self.columns.export_energy], failures, optional=True)
        quality = np.full(n, int(Quality.ACTUAL))
        if self.columns.quality is not None:
            quality = _words(block.columns[self.columns.quality], _QUALITIES, failures, Code.QUALITY_UNKNOWN)
        revision = np.zeros(n, np.int64)
        if self.columns.revision is not None:
            revision = _revisions(block.columns[self.columns.revision], failures)
        keep = failures.none()
        values: list[NDArray[Any]] = [block.lines, meter, slot, import_wh, export_wh, quality, revision]
        if not keep.all():
            values = [column[keep] for column in values]
        return _accepted(values), [*block.rejects, *self._rejects(block, failures)]

    def _meters(self, column: pa.Array, failures: _Failures) -> NDArray[np.int32]:
        coded = _coded(column)
        names = pc.fill_null(pc.utf8_trim_whitespace(coded.dictionary.cast(pa.string())), "").to_pylist()
        names.append("")
        numbers = self.meters.numbers_of([name for name in names if name])
        blank = np.array([not name for name in names])
        number_of = np.full(len(names), -1, np.int32)
        number_of[~blank] = numbers
        unknown = np.zeros(len(names), np.bool_)
        unknown[~blank] = self.meters.unknown(numbers)
        at = pc.fill_null(coded.indices, len(names) - 1).to_numpy(zero_copy_only=False)
        failures.add(Code.METER_MISSING, blank[at])
        failures.add(Code.METER_UNKNOWN, unknown[at])
        numbered: NDArray[np.int32] = number_of[at]
        return numbered

    def _slots(self, column: pa.Array, failures: _Failures) -> NDArray[np.int64]:
        instants = read_instants(column, self.columns.zone)
        length = self.interval_minutes * 60
        start = instants.seconds - (length if self.columns.stamps == "end" else 0)
        slot = start // length
        for code, rows in instants.problems.items():
            failures.add(code, rows)
        failures.add(Code.TIME_UNREADABLE, (slot < 0) | (slot > 2**40))
        failures.add(Code.TIME_OFF_GRID, (start % GRID_SECONDS != 0) | instants.fraction)
        failures.add(Code.INTERVAL_WRONG, start % length != 0)
        if self.now is not None:
            failures.add(Code.TIME_FUTURE, start + length > self.now.timestamp())
        return slot

    def _energies(self, column: pa.Array, failures: _Failures, *, optional: bool = False) -> NDArray[np.int64]:
        energies = read_energies(column, self.columns.unit)
        missing = energies.problems.pop(Code.ENERGY_MISSING, None)
        if missing is not None and not optional:
            failures.add(Code.ENERGY_MISSING, missing)
        for code, rows in energies.problems.items():
            failures.add(code, rows)
        failures.add(Code.ENERGY_ABSURD, energies.wh > MAX_WH_PER_HOUR * self.interval_minutes // 60)
        return energies.wh if missing is None else np.where(missing, MISSING, energies.wh)

    def _rejects(self, block: Block, failures: _Failures) -> list[Reject]:
        rows = np.flatnonzero(~failures.none()).tolist()
        if not rows:
            return []
        text = {name: _as_text(block.columns[name].take(pa.array(rows, pa.int64()))) for name in self.columns.used}
        reasons = self._reasons()
        rejects = []
        for i, row in enumerate(rows):
            code = failures.code_of(row)
            column = self._column_of(code, failures.is_export[row])
            value = text[column][i]
            meter, start = text[self.columns.meter][i], text[self.columns.start][i]
            reason = f"{column}: {reasons[code]}"
            rejects.append(Reject(self.file, int(block.lines[row]), meter, start, value, code, reason))
        return rejects

    def _column_of(self, code: Code, is_export: bool) -> str:
        columns = self.columns
        if code is Code.QUALITY_UNKNOWN and columns.quality:
            return columns.quality
        if code is Code.REVISION_INVALID and columns.revision:
            return columns.revision
        subject = code.split(".")[0]
        if subject == "energy":
            return columns.export_energy if is_export and columns.export_energy else columns.import_energy
        return columns.meter if subject == "meter" else columns.start

    def _reasons(self) -> Mapping[Code, str]:
        minutes = self.interval_minutes
        limit = MAX_WH_PER_HOUR * minutes // 60
        now = self.now.isoformat() if self.now else ""
        return {
            Code.METER_MISSING: "no meter is named",
            Code.METER_UNKNOWN: "no such meter is registered",
            Code.TIME_UNREADABLE: "not a time since 1970 in ISO 8601",
            Code.TIME_NAIVE: "no UTC offset, and no zone was given for local times",
            Code.TIME_AMBIGUOUS: f"clocks in {self.columns.zone} show this time twice (end of summer time)",
            Code.TIME_NONEXISTENT: f"clocks in {self.columns.zone} skip this time (start of summer time)",
            Code.TIME_OFF_GRID: f"intervals start on a {GRID_SECONDS // 60}-minute grid of UTC",
            Code.TIME_FUTURE: f"the interval ends after now, {now}",
            Code.INTERVAL_WRONG: f"no {minutes}-minute interval of UTC {self.columns.stamps}s at this time",
            Code.ENERGY_MISSING: "no energy; a gap is not zero",
            Code.ENERGY_NOT_A_NUMBER: "not a decimal number",
            Code.ENERGY_NEGATIVE: "energy of a register can't be negative",
            Code.ENERGY_ABSURD: f"more than {limit:,} Wh in {minutes} minutes",
            Code.QUALITY_UNKNOWN: f"expected {' or '.join(_QUALITIES)}",
            Code.REVISION_INVALID: f"expected a whole number from 0 to {MAX_REVISION}",
        }


_KINDS: tuple[Any, ...] = (np.int64, np.int32, np.int64, np.int32, np.int32, np.int8, np.int16)
_CODES = tuple(Code)


def _accepted(columns: Sequence[NDArray[Any]]) -> AcceptedRows:
    return AcceptedRows(*(column.astype(kind, copy=False) for column, kind in zip(columns, _KINDS, strict=True)))


class _Failures:
    """The first check that each row failed."""

    def __init__(self, n: int) -> None:
        self._first = np.full(n, -1, np.int8)
        self.is_export = np.zeros(n, np.bool_)
        self.register = Register.IMPORT

    def add(self, code: Code, rows: NDArray[np.bool_]) -> None:
        if rows.any():
            new = rows & (self._first < 0)
            self._first[new] = _CODES.index(code)
            self.is_export[new] = self.register is Register.EXPORT

    def none(self) -> NDArray[np.bool_]:
        passed: NDArray[np.bool_] = self._first < 0
        return passed

    def code_of(self, row: int) -> Code:
        return _CODES[int(self._first[row])]


def _coded(column: pa.Array) -> pa.Array:
    return column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()


def _as_text(column: pa.Array) -> list[str]:
    texts: list[str] = pc.fill_null(column.cast(pa.string()), "").to_pylist()
    return texts


def _words(column: pa.Array, meanings: Mapping[str, int], failures: _Failures, code: Code) -> NDArray[np.int64]:
    """Numbers that the column's words mean, in any case of letters; 0 where they mean nothing."""
    coded = _coded(column)
    words = pc.fill_null(coded.dictionary.cast(pa.string()), "").to_pylist()
    meaning = np.array([meanings.get(word.strip().lower(), -1) for word in words] + [-1])
    values: NDArray[np.int64] = meaning[pc.fill_null(coded.indices, len(words)).to_numpy(zero_copy_only=False)]
    failures.add(code, values < 0)
    values[values < 0] = 0
    return values


def _revisions(column: pa.Array, failures: _Failures) -> NDArray[np.int64]:
    if pa.types.is_integer(column.type):
        values: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        failures.add(Code.REVISION_INVALID, (values < 0) | (values > MAX_REVISION))
        return values.clip(0, MAX_REVISION)
    words = {word: int(word) for word in _distinct(column) if _is_revision(word)}
    return _words(column, words, failures, Code.REVISION_INVALID)


def _distinct(column: pa.Array) -> list[str]:
    return [word.strip() for word in _as_text(column.cast(pa.string()).unique())]


def _is_revision(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= MAX_REVISION
