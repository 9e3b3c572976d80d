"""Pages of figures for correlations and forecasts: one HTML file that loads nothing, drawn as SVG.

Their style is that of the report of an event; there is no script.
"""

from __future__ import annotations

import hashlib
import html
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from serving.pages import TEMPLATES

FloatArray = NDArray[np.float64]

WIDTH, HEIGHT = 640, 400
LEFT, BOTTOM, TOP, RIGHT = 72, 50, 14, 18
MOST_POINTS = 3000
"""Points of a scatter plot at most; of more, an even choice is drawn."""

MOST_STEPS = 24 * 14 * 2
"""Intervals of a line chart at most: two weeks of half-hours."""

STYLE = """
figure.chart{margin:1rem 0 1.6rem;max-width:46rem}
figure.chart svg{position:static;display:block;width:100%;height:auto;background:var(--panel)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:0 1.5rem}
.chart text{fill:var(--quiet);font-size:16px;font-variant-numeric:tabular-nums}
.chart .grid{stroke:var(--hair);stroke-width:1}
.chart .dots{stroke:var(--bar);stroke-width:4;stroke-linecap:round;stroke-opacity:.4;fill:none}
.chart .fit{stroke:var(--usage);stroke-width:2;fill:none}
.chart .came{stroke:var(--usage);stroke-width:1.6;fill:none}
.chart .said{stroke:var(--baseline);stroke-width:1.6;fill:none}
.chart .range{fill:var(--fill);stroke:none}
table.plain{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.6rem 0 1.2rem}
table.plain th,table.plain td{text-align:right;padding:.2rem .7rem;
  border-bottom:1px solid var(--hair);white-space:nowrap}
table.plain th:first-child,table.plain td:first-child{text-align:left}
"""


def page(title: str, lead: str, body: Iterable[str]) -> str:
    """A whole page; ``title`` and ``lead`` are text, ``body`` is HTML."""
    css = (TEMPLATES / "report.css").read_text("utf-8") + STYLE
    digest = b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{css}</style></head><body>"
        f'<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p></header>'
        + "".join(body)
        + "</body></html>\n"
    )


def section(title: str, body: Iterable[str]) -> str:
    """A part of a page under a heading."""
    return f"<section><h2>{html.escape(title)}</h2>{''.join(body)}</section>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of texts and numbers; None is a dash."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(_text(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most about ``most`` of them.

    >>> ticks(0.3, 9.7)
    [2.0, 4.0, 6.0, 8.0]
    """
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * digit for digit in (1, 2, 5, 10, 20) if span / (power * digit) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


class _Frame:
    """A drawing's axes: from values to places."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x0, self.x1 = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self.y0, self.y1 = y if y[1] > y[0] else (y[0] - 0.5, y[0] + 0.5)

    def across(self, value: FloatArray | float) -> FloatArray:
        share = (np.asarray(value, dtype=np.float64) - self.x0) / (self.x1 - self.x0)
        place: FloatArray = LEFT + (WIDTH - LEFT - RIGHT) * share
        return place

    def down(self, value: FloatArray | float) -> FloatArray:
        share = (np.asarray(value, dtype=np.float64) - self.y0) / (self.y1 - self.y0)
        place: FloatArray = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
        return place

    def axes(self, x_ticks: Sequence[tuple[float, str]], x_name: str, y_name: str) -> str:
        """Lines and labels."""
        out = []
        for value in ticks(self.y0, self.y1):
            y = float(self.down(value))
            out.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
        for value, label in x_ticks:
            x = float(self.across(value))
            out.append(f'<path class="grid" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
            out.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{html.escape(label)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        out.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_name)}</text>')
        out.append(
            f'<text transform="rotate(-90)" x="{-(TOP + HEIGHT - BOTTOM) / 2:.0f}" y="14" text-anchor="middle">'
            f"{html.escape(y_name)}</text>"
        )
        return "".join(out)


def _figure(drawing: str, caption: str) -> str:
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(caption)}">'
        f"{drawing}</svg><figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def scatter(x: FloatArray, y: FloatArray, x_name: str, y_name: str, caption: str) -> str:
    """A scatter plot of two series with the line of least squares through it, as in the paper's figure 1.

    Pairs that lack a value are left out; without two of them there is no plot.
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0:
        return ""
    frame = _Frame((float(x.min()), float(x.max())), (min(float(y.min()), 0.0), float(y.max())))
    some = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).astype(int))
    dots = "".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(frame.across(x[some]), frame.down(y[some]), strict=True))
    slope, height = np.polyfit(x, y, 1)
    ends = np.array([frame.x0, frame.x1])
    line = "L".join(
        f"{a:.1f},{b:.1f}"
        for a, b in zip(
            frame.across(ends), frame.down(np.clip(height + slope * ends, frame.y0, frame.y1)), strict=True
        )
    )
    axes = frame.axes([(value, f"{value:,g}") for value in ticks(frame.x0, frame.x1)], x_name, y_name)
    return _figure(f'{axes}<path class="dots" d="{dots}"/><path class="fit" d="M{line}"/>', caption)


def forecast_chart(
    first_slot: int,
    interval_minutes: int,
    series: Mapping[str, FloatArray],
    caption: str,
) -> str:
    """A forecast over time in kW, with its interval, and what came where that is known.

    Parameters
    ----------
    series : mapping of str to ndarray of float64, shape (n,)
        ``middle``, ``low``, ``high`` and perhaps ``actual``: energy per interval, NaN where there is none. [Wh]
    """
    kw = {name: values[:MOST_STEPS] * 60 / interval_minutes / 1000 for name, values in series.items()}
    known = np.concatenate(list(kw.values()))
    known = known[~np.isnan(known)]
    if len(known) == 0:
        return ""
    n = len(kw["middle"])
    frame = _Frame((0.0, float(n)), (0.0, float(known.max()) * 1.02))
    x = frame.across(np.arange(n, dtype=np.float64) + 0.5)
    places = {name: frame.down(values) for name, values in kw.items()}
    drawn = [f'<path class="range" d="{_band(x, places["low"], places["high"])}"/>']
    for name, style in (("actual", "came"), ("middle", "said")):
        if name in places:
            drawn.append(f'<path class="{style}" d="{_line(x, places[name])}"/>')
    starts = (first_slot + np.arange(n)) * 60 * interval_minutes
    every = 86_400 if n * interval_minutes > 2 * 1440 else 6 * 3600
    if n * interval_minutes > 5 * 1440:
        every = 2 * 86_400
    marks = [(float(at), _when(int(starts[at]), every)) for at in np.flatnonzero(starts % every == 0)]
    return _figure(frame.axes(marks, "UTC", "kW") + "".join(drawn), caption)


def _when(seconds: int, every: int) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%d %b}" if every >= 86_400 else f"{moment:%H:%M}"


def _line(x: FloatArray, y: FloatArray) -> str:
    """A path through the points, broken where a value is missing."""
    out, down = [], False
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if np.isnan(b):
            down = False
            continue
        out.append(f"{'L' if down else 'M'}{a:.1f},{b:.1f}")
        down = True
    return "".join(out)


def _band(x: FloatArray, low: FloatArray, high: FloatArray) -> str:
    """The area between two series, stretch by stretch."""
    known = ~(np.isnan(low) | np.isnan(high))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(int), [0]])))
    out = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        up = [f"{a:.1f},{b:.1f}" for a, b in zip(x[begin:end], high[begin:end], strict=True)]
        back = [f"{a:.1f},{b:.1f}" for a, b in zip(x[begin:end][::-1], low[begin:end][::-1], strict=True)]
        out.append("M" + "L".join([*up, *back]) + "Z")
    return "".join(out)
