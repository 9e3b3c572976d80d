"""Rows that an import refuses: what each was, why, and the file that keeps them."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self


class Code(StrEnum):
    """Why a row was rejected. The text is stable: scripts and dashboards may rely on it."""

    FILE_UNREADABLE = "file.unreadable"
    FILE_TRUNCATED = "file.truncated"
    ROW_MALFORMED = "row.malformed"
    METER_MISSING = "meter.missing"
    METER_UNKNOWN = "meter.unknown"
    TIME_UNREADABLE = "time.unreadable"
    TIME_NAIVE = "time.naive"
    TIME_AMBIGUOUS = "time.ambiguous"
    TIME_NONEXISTENT = "time.nonexistent"
    TIME_OFF_GRID = "time.off_grid"
    TIME_FUTURE = "time.future"
    INTERVAL_WRONG = "interval.wrong"
    ENERGY_MISSING = "energy.missing"
    ENERGY_NOT_A_NUMBER = "energy.not_a_number"
    ENERGY_NEGATIVE = "energy.negative"
    ENERGY_ABSURD = "energy.absurd"
    QUALITY_UNKNOWN = "quality.unknown"
    REVISION_INVALID = "revision.invalid"
    DUPLICATE_CONFLICT = "duplicate.conflict"


@dataclass(frozen=True)
class Reject:
    """One refused row.

    Attributes
    ----------
    file : str
        The file as it was named.
    line : int
        Line of a text file (the header is line 1), row of a Parquet file (from 1); 0 means the whole file.
    meter, interval_start : str
        As the file has them; for conflicting duplicates the start in UTC. Empty when the row has none.
    value : str
        The text that was refused.
    code : Code
        Why, for machines.
    reason : str
        Why, for people.
    """

    file: str
    line: int
    meter: str
    interval_start: str
    value: str
    code: Code
    reason: str


FIELDS = ("file", "line", "meter", "interval_start", "value", "code", "reason")


class RejectsFile:
    """The CSV file of an import's rejects, which appears whole or not at all.

    Rows go to a neighbouring temporary file; leaving the context renames it, whether the import succeeded or
    not, so that a failed run still tells why. An import without rejects leaves a file with only the header,
    lest the rejects of an earlier run be taken for its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_code: Counter[str] = Counter()
        self._part = path.with_name(f"{path.name}.{os.getpid()}.part")

    @property
    def count(self) -> int:
        """Rows rejected so far."""
        return self.by_code.total()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._part.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(FIELDS)
        return self

    def add(self, rejects: Iterable[Reject]) -> None:
        """Write the rejects and count them by code."""
        for reject in rejects:
            self.by_code[reject.code.value] += 1
            cells = (reject.meter, reject.interval_start, reject.value, reject.code.value, reject.reason)
            self._writer.writerow((reject.file, reject.line, *map(_one_line, cells)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._part.replace(self.path)


def _one_line(cell: str) -> str:
    """The cell without line breaks, and short: a broken file may hold megabytes without one.

    >>> _one_line("a" * 300).count("a")
    200
    """
    shown = cell if cell.isprintable() else cell.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= 200 else f"{shown[:200]}…"
