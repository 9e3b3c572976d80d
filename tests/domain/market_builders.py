"""Builders of markets for the tests of matching: show only what matters."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from kiee_table7 import TARIFFS, capacities

from domain.intervals import slot_of
from domain.matching import Market, Objective, Participant, community
from domain.prices import PRICE_RULES
from domain.tariff_data import parse_tariff

FOLDER = Path(__file__).parents[2] / "negawatt" / "tariffs"

Row = tuple[str, str, str, int, int]
"""Name, site, tariff, surplus, deficit."""


def a_market(
    rows: Sequence[Row],
    prices: Mapping[str, tuple[int, int]],
    *,
    km: Mapping[tuple[str, str], int] | None = None,
    fee: str = "0",
    rule: str = "mid",
    objective: Objective = Objective.VALUE,
) -> Market:
    """A market of participants whose tariffs pay and charge ``prices``. [minor units/kWh]"""
    people = [Participant(*row[:3]) for row in rows]
    every = [Fraction(price) for pair in prices.values() for price in pair]
    metres = {pair: 1000 * far for pair, far in (km or {}).items()}
    held = community(people, metres, every, Fraction(fee))
    place = {name: n for n, name in enumerate(held.names)}
    surplus, deficit = (np.zeros(len(rows), dtype=np.int64) for _ in range(2))
    for name, _, _, over, lacking in rows:
        surplus[place[name]], deficit[place[name]] = over, lacking
    ask, bid = (
        np.array([held.units(Fraction(prices[tariff][n])) for tariff in held.tariffs], dtype=np.int64) for n in (0, 1)
    )
    return Market(held, surplus, deficit, ask, bid, PRICE_RULES[rule], objective)


def table_7_market(start, volumes: dict[str, int], objective: Objective = Objective.VALUE) -> Market:
    """A half hour of the golden case, with the volumes of the table as capacities. [tenths of Wh]"""
    tariffs = {
        name: parse_tariff(tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))) for name in TARIFFS.values()
    }
    prices = {name: tariff.prices(slot_of(start, 30), 1, 30) for name, tariff in tariffs.items()}
    surplus, deficit = capacities(volumes)
    rows = [
        (site, site, TARIFFS[site], int(over), int(lacking))
        for site, over, lacking in zip("ABC", surplus, deficit, strict=True)
    ]
    return a_market(rows, {name: (int(p.sell[0]), int(p.buy[0])) for name, p in prices.items()}, objective=objective)
