"""The report's charts as plain geometry: what is drawn where, in a square of 1000 by 1000 that CSS stretches.

Python draws the charts of the whole event, so that they show without a script and on paper; the page's script
draws one home at a time in the same square. Every quantity is a whole number until its label is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

SIDE = 1000
"""Width and height of the square that charts are drawn in."""

TICK_MINUTES = (5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440)
MOST_TICKS = 12
MOST_BINS = 16


@dataclass(frozen=True)
class Tick:
    """A label on an axis: how far along it, in percent, and what it says."""

    at: str
    label: str


@dataclass(frozen=True)
class TimeAxis:
    """The intervals of a chart, in order, with the event's among them.

    Attributes
    ----------
    starts : tuple of datetime
        Interval starts, UTC, ascending; a gap between two of them stays a gap.
    minutes : int
        Length of every interval. [min]
    event : range
        Positions of the event's intervals in ``starts``.
    zone : ZoneInfo
        Whose clocks the labels show.
    """

    starts: tuple[datetime, ...]
    minutes: int
    event: range
    zone: ZoneInfo

    @property
    def offsets(self) -> list[int]:
        """Interval starts since the first. [min]"""
        return [int((start - self.starts[0]) / timedelta(minutes=1)) for start in self.starts]

    @property
    def length(self) -> int:
        """From the first interval's start to the last one's end. [min]"""
        return self.offsets[-1] + self.minutes

    def clock(self, position: int) -> str:
        """Local time of day at which an interval starts."""
        return f"{self.starts[position].astimezone(self.zone):%H:%M}"

    def spans(self) -> list[str]:
        """Local time of day at which each interval starts and ends."""
        step = timedelta(minutes=self.minutes)
        local = [(start.astimezone(self.zone), (start + step).astimezone(self.zone)) for start in self.starts]
        return [f"{start:%H:%M}–{end:%H:%M}" for start, end in local]

    def ticks(self) -> list[Tick]:
        """Round local times along the axis, few enough to be read; midnight shows the new date."""
        marks = [*self.starts, self.starts[-1] + timedelta(minutes=self.minutes)]
        offsets = [*self.offsets, self.length]
        local = [mark.astimezone(self.zone) for mark in marks]
        for every in TICK_MINUTES:
            found = [n for n, time in enumerate(local) if (time.hour * 60 + time.minute) % every == 0]
            if len(found) <= MOST_TICKS:
                break
        return [Tick(percent(offsets[n], self.length), _time_label(local[n])) for n in found]


def _time_label(local: datetime) -> str:
    return f"{local:%H:%M}" if local.hour or local.minute else f"{local.day} {MONTHS[local.month - 1][:3]}"


MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def percent(part: int, whole: int) -> str:
    """A share in percent, for CSS.

    >>> percent(1, 8)
    '12.5'
    """
    return f"{100 * part / whole:.3f}".rstrip("0").rstrip(".")


def round_step(span: int, most: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50 … that divides ``span`` into at most ``most`` parts.

    >>> [round_step(span, 5) for span in (0, 5, 6, 42, 101, 10**20)]
    [1, 1, 2, 10, 50, 20000000000000000000]
    """
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * most >= span:
                return digit * power
        power *= 10


def decimal(value: int, decimals: int) -> str:
    """Write ``value / 10**decimals`` with all its decimals, exactly.

    >>> decimal(-1234567, 3), decimal(5, 2), decimal(7, 0)
    ('-1,234.567', '0.05', '7')
    """
    whole, part = divmod(abs(value), 10**decimals)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:,}.{part:0{decimals}d}" if decimals else f"{sign}{whole:,}"


def short_decimal(value: int, decimals: int) -> str:
    """`decimal` without trailing zeros, for axes.

    >>> short_decimal(2500, 3), short_decimal(-2000, 3)
    ('2.5', '-2')
    """
    text = decimal(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def steps(axis: TimeAxis, values: Sequence[int | None], top: int) -> str:
    """An SVG path that holds each interval's value over the whole interval; None leaves a gap.

    >>> from datetime import UTC
    >>> two = TimeAxis((datetime(2025, 7, 1, 8, tzinfo=UTC), datetime(2025, 7, 1, 9, tzinfo=UTC)), 60,
    ...                range(2), ZoneInfo("UTC"))
    >>> steps(two, [10, 5], 10)
    'M0,0H500V500H1000'
    """
    path: list[str] = []
    drawn_to = -1
    for start, value in zip(axis.offsets, values, strict=True):
        if value is None:
            continue
        x, end, y = _scaled(start, axis.length), _scaled(start + axis.minutes, axis.length), _height(value, top)
        path.append(f"V{y}H{end}" if start == drawn_to else f"M{x},{y}H{end}")
        drawn_to = start + axis.minutes
    return "".join(path)


def between(axis: TimeAxis, above: Sequence[int | None], below: Sequence[int | None], top: int) -> str:
    """An SVG path around the area between two series, interval by interval where both have a value."""
    path: list[str] = []
    for start, high, low in zip(axis.offsets, above, below, strict=True):
        if high is None or low is None:
            continue
        x, end = _scaled(start, axis.length), _scaled(start + axis.minutes, axis.length)
        path.append(f"M{x},{_height(high, top)}H{end}V{_height(low, top)}H{x}Z")
    return "".join(path)


def _scaled(part: int, whole: int) -> str:
    return f"{SIDE * part / whole:.1f}".removesuffix(".0")


def _height(value: int, top: int) -> str:
    return f"{SIDE - SIDE * value / top:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class LoadChart:
    """Baseline and usage over time, ready for the template. Paths are empty where there is nothing to draw."""

    x: list[Tick]
    y: list[Tick]
    window: tuple[str, str]
    usage: str
    baseline: str
    unadjusted: str
    reduction: str


def load_chart(
    axis: TimeAxis,
    usage_w: Sequence[int | None],
    baseline_w: Sequence[int | None],
    unadjusted_w: Sequence[int | None],
) -> LoadChart:
    """Lay out a chart of average power [W], labelled in kW, from zero up."""
    known = [value for series in (usage_w, baseline_w, unadjusted_w) for value in series if value is not None]
    step = round_step(max(known, default=1), 6)
    top = step * max(-(-max(known, default=1) // step), 1)
    offsets = axis.offsets
    opens, closes = offsets[axis.event[0]], offsets[axis.event[-1]] + axis.minutes
    return LoadChart(
        x=axis.ticks(),
        y=[Tick(percent(value, top), short_decimal(value, 3)) for value in range(0, top + 1, step)],
        window=(_scaled(opens, axis.length), _scaled(closes - opens, axis.length)),
        usage=steps(axis, usage_w, top),
        baseline=steps(axis, baseline_w, top),
        unadjusted="" if list(unadjusted_w) == list(baseline_w) else steps(axis, unadjusted_w, top),
        reduction=between(axis, baseline_w, usage_w, top),
    )


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: values in ``[low, high)``, and its place in the square."""

    low: str
    high: str
    count: int
    below_zero: bool
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Histogram:
    """How many homes fall where, with the five numbers that sum it up."""

    bars: list[Bar]
    x: list[Tick]
    y: list[Tick]
    summary: list[tuple[str, str]]


def histogram(values: Sequence[int], decimals: int) -> Histogram | None:
    """Count whole numbers into bins of round width; None when there are none.

    ``decimals`` says how many of the digits stand after the point in labels. Quartiles are values of the
    sample (nearest rank), so they are exact.

    >>> [(bar.low, bar.high, bar.count) for bar in histogram([-10, 0, 5, 39], 1).bars]
    [('-1', '-0.5', 1), ('-0.5', '0', 0), ('0', '0.5', 1), ('0.5', '1', 1), ('1', '1.5', 0), ('1.5', '2', 0), \
('2', '2.5', 0), ('2.5', '3', 0), ('3', '3.5', 0), ('3.5', '4', 1)]
    """
    if not values:
        return None
    ordered = sorted(values)
    step = round_step(ordered[-1] - ordered[0] + 1, MOST_BINS - 1)
    first = ordered[0] // step
    counts = [0] * (ordered[-1] // step - first + 1)
    for value in ordered:
        counts[value // step - first] += 1
    count_step = round_step(max(counts), 4)
    top = count_step * -(-max(counts) // count_step)
    bins = len(counts)
    edge_every = -(-bins // 6)
    edges = [n for n in range(bins + 1) if (first + n) % edge_every == 0]
    return Histogram(
        bars=[
            Bar(
                low=short_decimal((first + n) * step, decimals),
                high=short_decimal((first + n + 1) * step, decimals),
                count=count,
                below_zero=first + n < 0,
                x=_scaled(n, bins),
                y=_height(count, top),
                width=_scaled(1, bins),
                height=_scaled(count, top),
            )
            for n, count in enumerate(counts)
        ],
        x=[Tick(percent(n, bins), short_decimal((first + n) * step, decimals)) for n in edges],
        y=[Tick(percent(count, top), f"{count:,}") for count in range(0, top + 1, count_step)],
        summary=[
            (name, decimal(_ranked(ordered, quarter), decimals))
            for quarter, name in enumerate(("least", "lower quartile", "median", "upper quartile", "most"))
        ],
    )


def _ranked(ordered: Sequence[int], quarter: int) -> int:
    return ordered[max(-(-len(ordered) * quarter // 4), 1) - 1]
