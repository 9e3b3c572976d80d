"""What people see: tables, progress bars and sums in words. Machines get JSON on standard output instead."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

Progress = Callable[[str, int, int], None]
"""Called with a step's name, units done and units in all."""


def quiet(step: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Screen:
    """Prints for people on standard error and, when asked for, one JSON document on standard output.

    Parameters
    ----------
    as_json : bool
        Keep silent but for the JSON document.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._people = Console(stderr=as_json, quiet=as_json, highlight=False)

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._people.print(text, soft_wrap=True)

    def document(self, data: Mapping[str, Any]) -> None:
        """Print the command's result for machines."""
        if self.as_json:
            print(json.dumps(data, indent=2))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table; numbers stand to the right."""
        table = Table(title=title or None, title_justify="left", title_style="bold")
        for n, column in enumerate(columns):
            numbers = all(isinstance(row[n], int | float) for row in rows)
            table.add_column(column, justify="right" if numbers else "left")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        self._people.print(table)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar for each step that reports; call it with a step's name, units done and units in all."""
        bars: dict[str, TaskID] = {}
        with Bars(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._people,
            transient=True,
        ) as progress:

            def report(step: str, done: int, total: int) -> None:
                if step not in bars:
                    bars[step] = progress.add_task(step, total=total)
                progress.update(bars[step], completed=done, total=total)

            yield report


def money(amount: int, decimals: int, code: str) -> str:
    """An amount of minor units as people write it.

    >>> money(123456, 2, "DRC")
    '1,234.56 DRC'
    >>> money(5, 0, "KRW")
    '5 KRW'
    """
    whole, part = divmod(abs(amount), 10**decimals)
    sign = "-" if amount < 0 else ""
    fraction = f".{part:0{decimals}d}" if decimals else ""
    return f"{sign}{whole:,}{fraction} {code}"


def kwh(wh: int) -> str:
    """Energy as people write it.

    >>> kwh(-1234567)
    '-1,234.567 kWh'
    """
    whole, part = divmod(abs(wh), 1000)
    return f"{'-' if wh < 0 else ''}{whole:,}.{part:03d} kWh"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
