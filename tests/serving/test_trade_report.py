"""The page of a day's trades: what it shows is what was matched, and nothing in it can escape or vary."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from serving.trade_report import OWN_COLUMNS, render_trade_report

PER = 1_000_000
HOSTILE = "</style><script>alert(1)</script>\"'&"


def an_end(name: str, tariff: str = "flat") -> dict[str, Any]:
    return {"site": f"site of {name}", "tariff": tariff, "participant": name}


def a_day(pairs: list[tuple[str, str, int]], intervals: int = 2, **changes: Any) -> tuple[dict, list[dict]]:
    """Each pair trades its Wh at 15 minor units an interval, between 10 and 20 with the grid: 5 a side and kWh."""
    starts = [f"2025-06-11T{10 + n:02d}:00:00+02:00" for n in range(intervals)]
    wh = sum(pair[2] for pair in pairs)
    rows = [
        {
            "start": start,
            "surplus_wh": 2 * wh,
            "deficit_wh": wh,
            "traded_wh": wh,
            "value": 15_000 * wh,
            "fee": 0,
            "seller_gain": 5_000 * wh,
            "buyer_gain": 5_000 * wh,
            "findings": [],
            "grid": {"flat": {"sell": 10_000, "buy": 20_000}},
            "flows": [
                {"seller": an_end(seller), "buyer": an_end(buyer), "wh": part, "price": 15_000}
                for seller, buyer, part in pairs
            ],
        }
        for start in starts
    ]
    people = sorted({name for pair in pairs for name in pair[:2]})
    positions = []
    for start in starts:
        for name in people:
            sold = sum(part for seller, _, part in pairs if seller == name)
            bought = sum(part for _, buyer, part in pairs if buyer == name)
            gains = {"seller_gain": 5_000 * sold, "buyer_gain": 5_000 * bought}
            positions.append(
                {"participant": name, "interval_start": start, "sold_wh": sold, "bought_wh": bought, **gains}
            )
    matched = {
        "format": "negawatt-market/1",
        "day": "2025-06-11",
        "zone": "Europe/Paris",
        "interval_minutes": 60,
        "currency": {"code": "EUR", "decimals": 2},
        "fine_units_per_minor_unit": PER,
        "price": "mid",
        "objective": "value",
        "method": "groups",
        "totals": {
            key: sum(row[key] for row in rows)
            for key in ("surplus_wh", "deficit_wh", "traded_wh", "value", "fee", "seller_gain", "buyer_gain")
        }
        | {"unmatched_intervals": 0},
        "participants": [
            {
                "participant": name,
                "site": an_end(name)["site"],
                "tariff": "flat",
                "earned": 0,
                "paid": 0,
                "fee": 0,
                **{
                    key: sum(row[key] for row in positions if row["participant"] == name)
                    for key in ("sold_wh", "bought_wh", "seller_gain", "buyer_gain")
                },
            }
            for name in people
        ],
        "intervals": rows,
    }
    return matched | changes, positions


class Words(HTMLParser):
    """Elements of a page, and its text outside the style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        self.words += "" if self._style else data


def test_amounts_are_exact_to_a_hundredth_of_a_cent():
    # 1,234 Wh at 15 cents a kWh, twice; each side gains 5 cents a kWh
    page = Words(render_trade_report(*a_day([("a", "b", 1234)])))
    assert "0.1234 EUR" in page.words  # 2 x 1.234 kWh x 5 cents
    assert "2.468" in page.words
    assert "0.1500" in page.words  # the price of a kWh
    assert "a as seller" in page.words
    assert "b as buyer" in page.words


def test_columns_stack_up_to_the_whole():
    page = render_trade_report(*a_day([("a", "b", 3000), ("c", "b", 1000)]))
    chart = page[page.index('id="trade"') : page.index('id="prices"')]
    rects = re.findall(r'<rect class="s(\d)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)">', chart)
    assert [(r[0], r[1], float(r[2]) + float(r[4])) for r in rects[:2]] == [("0", "0", 1000.0), ("1", "0", 250.0)]
    assert [float(r[4]) for r in rects[:2]] == [750.0, 250.0]
    assert rects[2][1] == "500"


def test_small_pairs_go_together_as_others():
    pairs = [(f"s{n}", "buyer", 100 + n) for n in range(9)]
    page = Words(render_trade_report(*a_day(pairs)))
    assert "4 others" in page.words
    assert "s8 to buyer" in page.words


def test_of_many_participants_the_table_of_gains_has_sites():
    pairs = [(f"s{n:02d}", f"b{n:02d}", 100) for n in range(OWN_COLUMNS)]
    assert "site of s03 as seller" in Words(render_trade_report(*a_day(pairs))).words
    assert "site of s03 as seller" not in Words(render_trade_report(*a_day(pairs[:3]))).words


def test_names_cannot_break_out_and_nothing_is_loaded():
    page = render_trade_report(*a_day([(HOSTILE, "b", 1000)]))
    read = Words(page)
    assert not {"script", "img", "link"} & set(read.tags) - {"link"}
    assert HOSTILE in read.words
    assert not re.search(r"(src|href)=\"(?!#|data:,)", page)
    assert "default-src 'none'" in page


def test_the_same_day_gives_the_same_bytes():
    day = a_day([("a", "b", 1000), ("b", "c", 500)])
    assert render_trade_report(*day) == render_trade_report(*day)


def test_a_day_without_trades_and_one_with_findings():
    empty = Words(render_trade_report(*a_day([])))
    assert "Nothing was traded." in empty.words
    matched, positions = a_day([("a", "b", 10)])
    matched["intervals"][1]["findings"] = [
        {"code": "market.grid_prices", "sentence": "no proven matching", "values": {"problem": "out of time"}}
    ]
    matched["totals"]["unmatched_intervals"] = 1
    page = Words(render_trade_report(matched, positions))
    assert "1 of 2 intervals were left to the grid" in page.words
    assert "market.grid_prices" in page.words
    assert "11:00–12:00: no proven matching (out of time)" in page.words


def test_the_statement_after_delivery_is_shown_with_its_findings():
    row = {
        "participant": "a", "to_grid_wh": 5, "from_grid_wh": 1500, "grid_pays": 0, "grid_charges": 30 * PER,
        "net": -7 * PER, "gain": -2 * PER,
    }  # fmt: skip
    finding = {
        "code": "delivery.worse_off",
        "sentence": "too far off",
        "values": {"participant": "a", "gain": -2 * PER},
    }
    page = Words(render_trade_report(*a_day([("a", "b", 10)]), {"participants": [row], "findings": [finding]}))
    assert "-0.0700" in page.words
    assert "1.500" in page.words
    assert "too far off (-0.0200 EUR)" in page.words
