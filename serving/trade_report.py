"""The report of a day's trades: one HTML page with trade by interval, prices between sites and gains of each side.

It is made of what `negawatt match` kept, and of the statement after delivery where there is one. Like an event's
report it loads nothing, has its style inside, and the same input gives the same bytes. It has no script.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from serving.pages import TEMPLATES, page_templates
from serving.report_charts import SIDE, Tick, TimeAxis, decimal, percent, round_step, short_decimal, steps

SERIES = 6
"""Series that a chart tells apart; what is less goes together as others."""

OWN_COLUMNS = 12
"""Up to so many participants each have columns in the table of gains; of more, their sites have."""

LISTED = 2000

Pair = tuple[str, str]


@dataclass(frozen=True)
class Column:
    """A piece of a column: which series, its place in the square, and what it says."""

    series: int
    x: str
    y: str
    width: str
    height: str
    title: str


@dataclass(frozen=True)
class Columns:
    """A chart of stacked columns over time."""

    legend: list[str]
    columns: list[Column]
    x: list[Tick]
    y: list[Tick]
    unit: str


@dataclass(frozen=True)
class PriceChart:
    """Price of one pair through the day, between what the grid pays the seller and what it charges the buyer."""

    title: str
    ask: str
    price: str
    bid: str
    x: list[Tick]
    y: list[Tick]


def render_trade_report(
    matched: Mapping[str, Any], positions: Sequence[Mapping[str, Any]], statement: Mapping[str, Any] | None = None
) -> str:
    """Write a day's report as one self-contained HTML page.

    Parameters
    ----------
    matched : mapping
        What `negawatt match` keeps as ``matched.json``.
    positions : sequence of mapping
        Rows of its ``positions.csv``, figures as numbers.
    statement : mapping or None
        What `negawatt balance-day` keeps; None before delivery.

    Returns
    -------
    str
        The page. It names participants.
    """
    book = _Book(matched)
    templates = page_templates(
        {"kwh": lambda wh: decimal(wh, 3), "money": book.money, "count": lambda number: f"{number:,}"}
    )
    return templates.get_template("trade_report.html.j2").render(
        style=(TEMPLATES / "report.css").read_text("utf-8"),
        matched=matched,
        currency=matched["currency"]["code"],
        totals=matched["totals"],
        trade=_trade_chart(book),
        prices=_price_charts(book),
        gains=_gain_chart(book),
        table=_gain_table(book, positions),
        flows=_flow_rows(book),
        intervals=[{**row, "clock": span} for row, span in zip(matched["intervals"], book.axis.spans(), strict=True)],
        participants=matched["participants"][:LISTED],
        left_out=max(len(matched["participants"]) - LISTED, 0),
        findings=[
            {"clock": span, **finding}
            for row, span in zip(matched["intervals"], book.axis.spans(), strict=True)
            for finding in row["findings"]
        ],
        statement=statement,
    )  # fmt: skip


class _Book:
    """The matched day with its time axis and its way of writing money."""

    def __init__(self, matched: Mapping[str, Any]) -> None:
        self.matched = matched
        self.intervals: list[Mapping[str, Any]] = matched["intervals"]
        self.decimals: int = matched["currency"]["decimals"] + 2
        self.per: int = matched["fine_units_per_minor_unit"]
        starts = tuple(datetime.fromisoformat(row["start"]) for row in self.intervals)
        self.axis = TimeAxis(starts, matched["interval_minutes"], range(0), ZoneInfo(matched["zone"]))

    def hundredths(self, fine: int) -> int:
        """Fine units as hundredths of a minor unit, rounded half to even."""
        return round(Fraction(fine * 100, self.per))

    def money(self, fine: int) -> str:
        """Fine units as people write them, to a hundredth of a minor unit."""
        return decimal(self.hundredths(fine), self.decimals)

    def price(self, units: int) -> int:
        """Price units as hundredths of a minor unit per kWh; a kWh of a fine unit a Wh is a thousand of them."""
        return self.hundredths(1000 * units)


def name_of(end: Mapping[str, Any]) -> str:
    """A seller or buyer as the page calls it.

    >>> name_of({"site": "north", "tariff": "flat", "participant": None})
    'north (flat)'
    """
    return str(end["participant"] or f"{end['site']} ({end['tariff']})")


def _trade_chart(book: _Book) -> Columns:
    cells: dict[str, dict[int, int]] = defaultdict(dict)
    for n, row in enumerate(book.intervals):
        for flow in row["flows"]:
            pair = f"{name_of(flow['seller'])} to {name_of(flow['buyer'])}"
            cells[pair][n] = cells[pair].get(n, 0) + flow["wh"]
    return _stacked(book, _largest(cells), 3, "kWh")


def _gain_chart(book: _Book) -> Columns:
    cells = {
        "sellers": {n: book.hundredths(row["seller_gain"]) for n, row in enumerate(book.intervals)},
        "buyers": {n: book.hundredths(row["buyer_gain"]) for n, row in enumerate(book.intervals)},
    }
    return _stacked(book, cells, book.decimals, book.matched["currency"]["code"])


def _largest(cells: Mapping[str, Mapping[int, int]]) -> dict[str, dict[int, int]]:
    """The series with most, by name on a tie, and the rest as one."""
    ordered = sorted(cells, key=lambda name: (-sum(cells[name].values()), name))
    kept = {name: dict(cells[name]) for name in ordered[: SERIES if len(ordered) <= SERIES else SERIES - 1]}
    others: dict[int, int] = {}
    for name in ordered[len(kept) :]:
        for n, value in cells[name].items():
            others[n] = others.get(n, 0) + value
    return kept | ({f"{len(ordered) - len(kept)} others": others} if others else {})


def _stacked(book: _Book, cells: Mapping[str, Mapping[int, int]], decimals: int, unit: str) -> Columns:
    axis, spans = book.axis, book.axis.spans()
    tops = [sum(series.get(n, 0) for series in cells.values()) for n in range(len(spans))]
    step = round_step(max(tops, default=1) or 1, 6)
    top = step * max(-(-max(tops, default=1) // step), 1)
    columns = []
    for n, offset in enumerate(axis.offsets):
        below = 0
        for number, (name, series) in enumerate(cells.items()):
            if value := series.get(n, 0):
                below += value
                columns.append(
                    Column(
                        number,
                        _place(offset, axis.length),
                        _place(top - below, top),
                        _place(axis.minutes, axis.length),
                        _place(value, top),
                        f"{spans[n]}, {name}: {decimal(value, decimals)} {unit}",
                    )
                )
    y = [Tick(percent(value, top), short_decimal(value, decimals)) for value in range(0, top + 1, step)]
    return Columns(list(cells), columns, axis.ticks(), y, unit)


def _place(part: int, whole: int) -> str:
    return f"{SIDE * part / whole:.2f}".rstrip("0").rstrip(".")


def _price_charts(book: _Book) -> list[PriceChart]:
    """Prices of the pairs that trade most, each between the lowest and the highest of its three."""
    energy: dict[Pair, int] = defaultdict(int)
    priced: dict[Pair, dict[int, tuple[int, int, int]]] = defaultdict(dict)
    for n, row in enumerate(book.intervals):
        for flow in row["flows"]:
            pair = name_of(flow["seller"]), name_of(flow["buyer"])
            energy[pair] += flow["wh"]
            ask, bid = row["grid"][flow["seller"]["tariff"]]["sell"], row["grid"][flow["buyer"]["tariff"]]["buy"]
            priced[pair][n] = book.price(ask), book.price(flow["price"]), book.price(bid)
    pairs = sorted(energy, key=lambda pair: (-energy[pair], pair))[:SERIES]
    charts = []
    for seller, buyer in pairs:
        along = [priced[seller, buyer].get(n) for n in range(len(book.intervals))]
        known = [price for row in along if row for price in row]
        step = round_step(max(known) - min(known), 4)
        low = step * (min(known) // step)
        high = max(step * -(-max(known) // step) - low, step)
        y = [Tick(percent(at, high), short_decimal(low + at, book.decimals)) for at in range(0, high + 1, step)]
        ask, price, bid = (steps(book.axis, [row and row[k] - low for row in along], high) for k in range(3))
        charts.append(PriceChart(f"{seller} to {buyer}", ask, price, bid, book.axis.ticks(), y))
    return charts


def _gain_table(book: _Book, positions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gains by interval, with a column for each seller and each buyer, or for each site of them; and their sums."""
    people = {row["participant"]: row for row in book.matched["participants"]}
    trading = {row["participant"] for row in positions}
    by_site = len(trading) > OWN_COLUMNS
    rows: dict[str, dict[Pair, int]] = {row["start"]: defaultdict(int) for row in book.intervals}
    columns: set[Pair] = set()
    for row in positions:
        who = people[row["participant"]]["site"] if by_site else row["participant"]
        for side, energy in (("seller", "sold_wh"), ("buyer", "bought_wh")):
            if row[energy]:
                rows[row["interval_start"]][side, who] += row[f"{side}_gain"]
                columns.add((side, who))
    ordered = sorted(columns, key=lambda column: (column[0] != "seller", column[1]))
    return {
        "columns": ordered,
        "by_site": by_site,
        "rows": [
            (span, [book.money(row.get(column, 0)) for column in ordered])
            for span, row in zip(book.axis.spans(), rows.values(), strict=True)
        ],
        "sums": [book.money(sum(row.get(column, 0) for row in rows.values())) for column in ordered],
    }


def _flow_rows(book: _Book) -> list[dict[str, Any]]:
    """Every flow of the day as text, up to the number that the page lists."""
    spans = book.axis.spans()
    rows = [
        {
            "clock": spans[n],
            "seller": name_of(flow["seller"]),
            "buyer": name_of(flow["buyer"]),
            "wh": flow["wh"],
            "price": decimal(book.price(flow["price"]), book.decimals),
        }
        for n, row in enumerate(book.intervals)
        for flow in row["flows"]
    ]
    return rows[:LISTED]
