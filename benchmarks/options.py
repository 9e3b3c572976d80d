"""What a run of the benchmarks is told: sizes, place, number of repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Choices of one run.

    Attributes
    ----------
    homes : tuple of int
        Sizes to measure, for benchmarks that have sizes.
    folder : Path
        Where data are made; some 20 GiB for a million homes.
    repeats : int
        Runs after the first, of which the median counts.
    keep : bool
        Leave the data for another run, and take what an earlier one left.
    say : callable
        Takes a line about what is going on.
    """

    homes: tuple[int, ...]
    folder: Path
    repeats: int
    keep: bool
    say: Callable[[str], None]
