"""Charts of an answer: lines over time or numbers, bars by name; in the terminal, or as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path

import pyarrow as pa

from domain.errors import NegawattError
from negawatt.sql_desk import Answer
from negawatt.sql_output import rows_of
from negawatt.workspace import write_whole

MOST_BARS = 40
MOST_SERIES = 8
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
_INKS = ("blue", "red", "green", "magenta", "yellow", "cyan", "white", "bright_black")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character: four dots high, two wide."""

Series = dict[str, list[tuple[float, float]]]
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes
    ----------
    across : str
        The column along the horizontal axis.
    is_time : bool
        That column is a time, in seconds since 1970.
    labels : tuple of str
        Names of the bars; empty for lines.
    series : dict of str to list of (float, float)
        Points of each line in order, or of each set of bars with the bar's number as first coordinate.
    """

    across: str
    is_time: bool
    labels: tuple[str, ...]
    series: Series


def chart_of(answer: Answer) -> Chart:
    """What an answer's columns show.

    The first column is the axis: a time or a number gives lines, a text gives bars. Every further column of
    numbers is a series; where the second column is a text, each of its values is a series of the third.

    Raises
    ------
    NegawattError
        There are no rows, or no column of numbers beside the first.
    """
    kinds = [field.type for field in answer.table.schema]
    names = answer.table.column_names
    rows = list(rows_of(answer.table))
    numbers = [n for n, kind in enumerate(kinds) if n and (pa.types.is_integer(kind) or pa.types.is_floating(kind))]
    if not rows or not numbers:
        raise NegawattError("nothing to draw: a chart takes a first column to draw over, and then columns of numbers")
    is_time, is_bars = pa.types.is_temporal(kinds[0]), pa.types.is_string(kinds[0]) or pa.types.is_boolean(kinds[0])
    by_text = not is_bars and len(kinds) > 2 and pa.types.is_string(kinds[1])
    series: Series = {}
    for number, row in enumerate(rows[:MOST_BARS] if is_bars else rows):
        if row[0] is None:
            continue
        x = float(number) if is_bars else _seconds(row[0]) if is_time else float(row[0])
        for at in numbers[:1] if by_text else numbers:
            if row[at] is not None and math.isfinite(row[at]):
                series.setdefault(str(row[1]) if by_text else names[at], []).append((x, float(row[at])))
    if len(series) > MOST_SERIES:
        raise NegawattError(f"{len(series)} lines are too many to tell apart; ask for at most {MOST_SERIES}")
    if not is_bars:
        series = {name: sorted(points) for name, points in series.items()}
    return Chart(names[0], is_time, tuple(str(row[0]) for row in rows[:MOST_BARS]) if is_bars else (), series)


def _seconds(moment: date) -> float:
    """Seconds since 1970; a day is its midnight in UTC."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp()


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, evenly apart.

    >>> round_ticks(3, 42), round_ticks(0, 0)
    ([0.0, 10.0, 20.0, 30.0, 40.0, 50.0], [0.0, 1.0])
    """
    if high == low:
        return [float(low), low + 1.0]
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit * most >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]


def _bounds(chart: Chart) -> tuple[float, float, list[float]]:
    """First and last place along the axis, and the ticks of the values; bars begin at zero."""
    places = [x for points in chart.series.values() for x, _ in points]
    values = [y for points in chart.series.values() for _, y in points]
    least, most = min(values), max(values)
    low = least if least < 0 or (not chart.labels and least > 0.7 * most) else 0.0
    return min(places), max(places), round_ticks(low, max(most, 0.0) if low < 0 else most)


def _mark(value: float) -> str:
    return f"{value:,.6g}"


def _place(chart: Chart, x: float) -> str:
    return f"{datetime.fromtimestamp(x, UTC):%m-%d %H:%M}" if chart.is_time else _mark(x)


# --- in the terminal ---------------------------------------------------------------------------------------------


def in_terminal(chart: Chart, width: int, height: int = 16) -> str:
    """The chart in characters, with colours as rich writes them."""
    return _bars(chart, width) if chart.labels else _lines(chart, width, height)


def _bars(chart: Chart, width: int) -> str:
    label = min(max(map(len, chart.labels)), 30)
    values = [y for points in chart.series.values() for _, y in points]
    longest = max(map(abs, values)) or 1.0
    figure = max(len(_mark(y)) for y in values)
    room = max(width - label - figure - 3, 10)
    lines = []
    for number, name in enumerate(chart.labels):
        for at, points in enumerate(chart.series.values()):
            for _, y in (point for point in points if point[0] == number):
                eighths = round(8 * room * abs(y) / longest)
                bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
                shown = name[:label] if at == 0 else ""
                lines.append(f"{_safe(shown):<{label}} {_mark(y):>{figure}} [{_INKS[at]}]{bar}[/]")
    return "\n".join([*_legend(chart), *lines])


def _lines(chart: Chart, width: int, height: int) -> str:
    first, last, ticks = _bounds(chart)
    margin = max(len(_mark(tick)) for tick in ticks)
    columns = max(width - margin - 2, 20)
    bits = [[0] * columns for _ in range(height)]
    inks = [[0] * columns for _ in range(height)]
    span_x, span_y = (last - first) or 1.0, ticks[-1] - ticks[0]
    for ink, points in enumerate(chart.series.values()):
        dots = [
            (round((2 * columns - 1) * (x - first) / span_x), round((4 * height - 1) * (ticks[-1] - y) / span_y))
            for x, y in points
        ]
        for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                x, y = x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps)
                bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
                inks[y // 4][x // 2] = ink
    at_row = {round((height - 1) * (ticks[-1] - tick) / span_y): _mark(tick) for tick in ticks}
    lines = []
    for row in range(height):
        cells = (
            f"[{_INKS[ink]}]{chr(0x2800 + bit)}[/]" if bit else " "
            for bit, ink in zip(bits[row], inks[row], strict=True)
        )
        lines.append(f"{at_row.get(row, ''):>{margin}} ┤{''.join(cells)}")
    left, right = _place(chart, first), _place(chart, last)
    lines.append(f"{'':>{margin}} └{'─' * columns}")
    lines.append(f"{'':>{margin}}  {left}{right:>{max(columns - len(left), len(right) + 1)}}")
    return "\n".join([*_legend(chart), *lines])


def _legend(chart: Chart) -> list[str]:
    if len(chart.series) < 2 and chart.labels:
        return []
    return ["  ".join(f"[{_INKS[n]}]■[/] {_safe(name)}" for n, name in enumerate(chart.series))]


def _safe(text: str) -> str:
    return text.replace("[", r"\[")


# --- as SVG ------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 420, 80, 40, 20, 60


def as_svg(chart: Chart, title: str = "") -> str:
    """The chart as an SVG document that needs nothing else."""
    first, last, ticks = _bounds(chart)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    if chart.labels:
        first, last = -0.5, len(chart.labels) - 0.5
        ticks = round_ticks(min(ticks[0], 0.0), max(ticks[-1], 0.0))

    def across(x: float) -> float:
        return _LEFT + wide * (x - first) / ((last - first) or 1.0)

    def up(y: float) -> float:
        return _TOP + high * (ticks[-1] - y) / (ticks[-1] - ticks[0])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f"<title>{escape(title or chart.across)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for tick in ticks:
        parts.append(
            f'<path d="M{_LEFT},{up(tick):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{escape(_mark(tick))}</text>'
        )
    parts += _svg_bars(chart, across, up) if chart.labels else _svg_lines(chart, across, up, first, last)
    for n, name in enumerate(chart.series):
        x = _LEFT + n * wide / len(chart.series)
        parts.append(
            f'<rect x="{x:.1f}" y="14" width="10" height="10" fill="{_COLOURS[n]}"/>'
            f'<text x="{x + 16:.1f}" y="23">{escape(name)}</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _svg_lines(chart: Chart, across: Scale, up: Scale, first: float, last: float) -> list[str]:
    parts = []
    for n in range(6):
        x = first + (last - first) * n / 5
        anchor = "start" if n == 0 else "end" if n == 5 else "middle"
        parts.append(
            f'<text x="{across(x):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="{anchor}">{_place(chart, x)}</text>'
        )
    for n, points in enumerate(chart.series.values()):
        path = "L".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{_COLOURS[n]}" stroke-width="1.8"/>')
    note = f"{chart.across}, UTC" if chart.is_time else chart.across
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 14}">{escape(note)}</text>')
    return parts


def _svg_bars(chart: Chart, across: Scale, up: Scale) -> list[str]:
    parts, width = [], (across(1) - across(0)) * 0.8 / len(chart.series)
    for n, points in enumerate(chart.series.values()):
        for number, y in points:
            x = across(number) + (n - len(chart.series) / 2) * width
            parts.append(
                f'<rect x="{x:.1f}" y="{min(up(y), up(0)):.1f}" width="{width:.1f}"'
                f' height="{abs(up(y) - up(0)):.1f}" fill="{_COLOURS[n]}"/>'
            )
    turned = len(chart.labels) > 10
    for number, label in enumerate(chart.labels):
        x, y = across(number), _HEIGHT - _BOTTOM + 16
        turn = f' transform="rotate(45 {x:.1f} {y})"' if turned else ""
        anchor = "start" if turned else "middle"
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}"{turn}>{escape(label)}</text>')
    return parts


def write_chart(chart: Chart, path: Path, title: str = "") -> None:
    """Write a chart into a file: .svg, or .html with the SVG in it.

    Raises
    ------
    NegawattError
        Another ending.
    """
    svg = as_svg(chart, title)
    match path.suffix.lower():
        case ".svg":
            write_whole(path, svg.encode())
        case ".html":
            page = f'<!doctype html>\n<meta charset="utf-8">\n<title>{escape(title or chart.across)}</title>\n{svg}'
            write_whole(path, page.encode())
        case other:
            raise NegawattError(f"{path}: {other or 'no ending'}: expected .svg or .html")
