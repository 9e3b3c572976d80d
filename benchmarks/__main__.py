"""``python -m benchmarks``: run all benchmarks, or one; print a table and write ``results/NAME.json`` of each."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.options import Options
from benchmarks.results import show, write_results
from domain.errors import NegawattError

BENCHMARKS = {
    name: f"benchmarks.{name}"
    for name in ("airflow", "batch", "certify", "forecast", "kernel", "market", "settlement", "speed", "vee")
}
"""Module of each benchmark; it has ``run(options)`` and, where it has sizes, their defaults in ``SIZES``."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="default: all")
    parser.add_argument("--homes", nargs="+", type=int, metavar="N", help="sizes; default: each benchmark's own")
    parser.add_argument("--repeats", type=int, default=3, help="runs after the first, for a median [%(default)s]")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="place for data [%(default)s]")
    parser.add_argument("--keep", action="store_true", help="leave the data there and use what an earlier run left")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="place for results")
    given = parser.parse_args()
    if given.repeats < 1 or any(homes < 1 for homes in given.homes or ()):
        parser.error("--repeats and --homes: expected numbers above 0")
    log = Console(stderr=True, highlight=False)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name in [given.name] if given.name else sorted(BENCHMARKS):
        module = importlib.import_module(BENCHMARKS[name])
        sizes = tuple(given.homes or getattr(module, "SIZES", ()))
        options = Options(sizes, given.folder.resolve(), given.repeats, given.keep, log.print)
        try:
            rows = module.run(options)
        except NegawattError as error:
            log.print(f"error: {error}")
            return error.exit_code
        show(console, name, rows)
        console.print(f"written: {write_results(given.results, name, rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
