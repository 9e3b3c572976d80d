"""What a benchmark leaves behind: rows of a value beside its peer, the machine they come from, a table, a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

from rich.console import Console
from rich.table import Table

PACKAGES = ("pyspark", "duckdb", "pyarrow", "numpy", "pandas", "kafka-python", "happybase", "web3", "heavyai")
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One measured value beside another of the same run, or beside a limit.

    ``name`` starts with the quantity and its unit, then says at what size: ``spark_warm_s homes=100``. ``better``
    says which way is good, so a limit is held when ``ratio`` is at most 1 (lower) or at least 1 (higher).
    """

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float:
        """Value over peer's value."""
        return self.value / self.peer_value

    @property
    def held(self) -> bool | None:
        """Whether a limit is held; None where the peer is no limit."""
        if self.peer != "limit":
            return None
        return self.ratio <= 1 if self.better == "lower" else self.ratio >= 1


@dataclass(frozen=True)
class Timed:
    """Seconds of a first run and of the runs after it."""

    first: float
    later: tuple[float, ...]

    @property
    def warm(self) -> float:
        """Median of the runs after the first."""
        return statistics.median(self.later)


def timed(run: Callable[[], T], repeats: int) -> tuple[Timed, T]:
    """Time a first run and ``repeats`` more; returns the last result with the times."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
    return Timed(seconds[0], tuple(seconds[1:])), result


def machine() -> dict[str, object]:
    """The machine and the versions that a result depends on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def write_results(folder: Path, name: str, rows: Sequence[Row]) -> Path:
    """Write ``NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "name": name,
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ratio": "value / peer_value; `better` says which way is good",
        "rows": [
            asdict(row)
            | {"value": _digits(row.value), "peer_value": _digits(row.peer_value), "ratio": _digits(row.ratio)}
            for row in rows
        ],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def show(console: Console, name: str, rows: Sequence[Row]) -> None:
    """Print rows as a table; limits that are not held stand in red."""
    table = Table(title=name)
    for heading in ("row", "value", "unit", "peer", "peer's value", "ratio", "better"):
        table.add_column(heading, justify="right" if heading in ("value", "peer's value", "ratio") else "left")
    for row in rows:
        style = {True: "green", False: "bold red", None: ""}[row.held]
        figures = [f"{_digits(x):,}" for x in (row.value, row.peer_value, row.ratio)]
        table.add_row(row.name, figures[0], row.unit, row.peer, *figures[1:], row.better, style=style)
    console.print(table)


def _digits(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
