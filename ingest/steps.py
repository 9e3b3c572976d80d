"""The interval length of a file, found from the steps between its readings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.intervals import INTERVAL_MINUTES
from ingest.checks import MeterNames
from ingest.clocks import read_instants
from ingest.columns import Columns
from ingest.sources import read_blocks

MAX_BLOCKS = 64
"""A file that shows no meter twice within so many blocks is not searched further."""


def detect_interval(path: Path, columns: Columns) -> int | None:
    """The most common step between successive readings of a meter, from the start of the file. [min]

    Returns
    -------
    int or None
        None when no meter was read at two times, as in a file of a single interval.

    Raises
    ------
    NegawattError
        The most common step is no interval that meters may have.
    """
    names = MeterNames()
    meters: list[NDArray[np.int32]] = []
    seconds: list[NDArray[np.int64]] = []
    for number, block in enumerate(read_blocks(path, (columns.meter, columns.start))):
        if len(block.lines):
            coded = block.columns[columns.meter].cast("string").dictionary_encode()
            at = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
            instants = read_instants(block.columns[columns.start], columns.zone)
            good = np.ones(len(at), np.bool_)
            for rows in instants.problems.values():
                good &= ~rows
            numbers = names.numbers_of([name or "" for name in coded.dictionary.to_pylist()] or [""])
            meters.append(numbers[at][good])
            seconds.append(instants.seconds[good])
        if seconds and (step := _common_step(np.concatenate(meters), np.concatenate(seconds))):
            return _as_minutes(step, path)
        if number + 1 == MAX_BLOCKS:
            break
    return None


def _common_step(meters: NDArray[np.int32], seconds: NDArray[np.int64]) -> int:
    """Most common step within a meter, the shortest of equally common ones; 0 when there is none. [s]

    >>> _common_step(np.int32([0, 1, 0, 1, 0]), np.int64([0, 0, 300, 300, 900]))
    300
    """
    order = np.lexsort((seconds, meters))
    steps = np.diff(seconds[order])[np.diff(meters[order]) == 0]
    values, counts = np.unique(steps[steps > 0], return_counts=True)
    return int(values[counts.argmax()]) if len(values) else 0


def _as_minutes(step: int, path: Path) -> int:
    minutes, odd = divmod(step, 60)
    if odd or minutes not in INTERVAL_MINUTES:
        shown = f"{step / 60:g} minutes"
        allowed = ", ".join(map(str, INTERVAL_MINUTES))
        raise NegawattError(
            f"{path}: most readings are {shown} apart; expected one of {allowed} minutes. If the file has "
            "gaps, say which with interval_minutes"
        )
    return minutes
