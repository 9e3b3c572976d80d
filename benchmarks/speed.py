"""The benchmark ``speed``: loading both speed stores, live views while readings come, provisional certificates.

Its parts are told in `benchmarks.speed_load`, `benchmarks.speed_live` and `benchmarks.speed_provisional`.
"""

from __future__ import annotations

from benchmarks import speed_live, speed_load, speed_provisional
from benchmarks.options import Options
from benchmarks.results import Row

SIZES = (10_000,)


def run(options: Options) -> list[Row]:
    """Measure the parts one after another."""
    return [row for part in (speed_load, speed_provisional, speed_live) for row in part.run(options)]
