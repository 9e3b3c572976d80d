"""Gains against the grid alone: the paper's Table 7 cell by cell, exact sums, and nobody worse off."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiee_table7 import PRINTED_SUMS, PRINTED_TOTAL, TOLERANCE, UNITS_PER_KWH, half_hours
from market_builders import a_market, table_7_market

from domain.matching import Objective, match_pairs
from domain.matching_aggregated import match
from domain.profits import Profits, WorseOffError, profits
from domain.transport import solve_transport

PRICES = {"low": (100, 120), "middle": (130, 150), "high": (160, 200)}


def decimal(amount: Fraction) -> Decimal:
    return Decimal(amount.numerator) / Decimal(amount.denominator)


def cells(gained: Profits) -> dict[str, dict[str, Decimal]]:
    return {
        side: {site: decimal(Fraction(int(one.gain["ABC".index(site)]), gained.per_minor_unit)) for site in "ABC"}
        for side, one in (("seller", gained.seller), ("buyer", gained.buyer))
    }


@pytest.mark.parametrize("matcher", [match, lambda market: match_pairs(market, solve_transport)])
def test_table_7_cell_by_cell(matcher):
    total, sums = Fraction(0), {"seller": dict.fromkeys("ABC", Decimal(0)), "buyer": dict.fromkeys("ABC", Decimal(0))}
    for start, volumes, printed in half_hours():
        gained = profits(matcher(table_7_market(start, volumes)), UNITS_PER_KWH)
        for side, sites in cells(gained).items():
            for site, amount in sites.items():
                assert abs(amount - printed[side].get(site, Decimal(0))) <= TOLERANCE, (start, side, site)
                sums[side][site] += amount
        assert gained.seller_gain == gained.buyer_gain
        total += gained.seller_gain + gained.buyer_gain
    assert abs(decimal(total) - PRINTED_TOTAL) <= Decimal("0.3")
    for side, sites in PRINTED_SUMS.items():
        for site, printed_sum in sites.items():
            assert abs(sums[side][site] - printed_sum) <= Decimal("0.3")


person = st.tuples(
    st.sampled_from(["north", "south"]), st.sampled_from(sorted(PRICES)), st.integers(0, 30), st.integers(0, 30)
)


@given(
    st.lists(person, min_size=1, max_size=9),
    st.sampled_from(["mid", "supply-demand", "uniform", "pay-as-bid"]),
    st.sampled_from(list(Objective)),
    st.sampled_from(["0", "0.37", "6"]),
)
def test_nobody_loses_and_every_sum_is_exact(people, rule, objective, fee):
    rows = [(f"p{n}", *one) for n, one in enumerate(people)]
    km = {("north", "south"): 3} if {row[1] for row in rows} == {"north", "south"} else {}
    market = a_market(rows, PRICES, km=km, fee=fee, rule=rule, objective=objective)
    matching = match(market)
    gained = profits(matching)
    assert gained.seller.value.sum() == gained.buyer.value.sum()
    assert gained.seller.fee.sum() == gained.buyer.fee.sum()
    # What all gain is what the grids would have charged less what they would have paid, less the fees.
    saved = int((matching.bought * market.bid[market.community.tariff_of]).sum())
    lost = int((matching.sold * market.ask[market.community.tariff_of]).sum())
    fees = int(gained.seller.fee.sum() + gained.buyer.fee.sum())
    assert gained.seller_gain + gained.buyer_gain == Fraction(saved - lost - fees, gained.per_minor_unit)
    assert (gained.seller.gain >= 0).all()
    assert (gained.buyer.gain >= 0).all()
    if objective is Objective.WELFARE:
        assert matching.objective == saved - lost - fees


def test_at_the_mid_price_both_sides_gain_the_same():
    rows = [("a", "x", "low", 7, 0), ("b", "x", "middle", 5, 0), ("c", "x", "high", 0, 9), ("d", "x", "middle", 0, 2)]
    gained = profits(match(a_market(rows, PRICES)))
    assert gained.seller_gain == gained.buyer_gain > 0


def test_by_hand_with_a_fee():
    # 1 kWh at (100 + 200) / 2 = 150 over 3 km at 2: each side pays 3, so 47 of 50 are left to each.
    rows = [("a", "x", "low", 1000, 0), ("b", "y", "high", 0, 1000)]
    gained = profits(match(a_market(rows, PRICES, km={("x", "y"): 3}, fee="2")))
    assert (gained.seller_gain, gained.buyer_gain, gained.value) == (47, 47, 150)
    assert Fraction(int(gained.buyer.fee.sum()), gained.per_minor_unit) == 3


def test_equals_of_a_group_get_the_same_price():
    # a sells 10 to a buyer at 200 and 10 to one at 150: mid-prices 150 and 125, for both members 137.5 on the mean
    rows = [
        ("a", "x", "low", 10, 0),
        ("b", "x", "low", 10, 0),
        ("y", "x", "high", 0, 10),
        ("z", "x", "middle", 0, 10),
    ]
    gained = profits(match(a_market(rows, PRICES)))
    assert gained.seller.value.tolist()[:2] == [10 * 137_500, 10 * 137_500]


def test_what_does_not_divide_is_split_to_the_last_fine_unit():
    rows = [(name, "x", "low", 1, 0) for name in "abc"] + [("z", "x", "high", 0, 2), ("y", "y", "middle", 0, 1)]
    gained = profits(match(a_market(rows, PRICES, km={("x", "y"): 1}, fee="1")))
    assert gained.seller.value.sum() == gained.buyer.value.sum() == 2 * 150_000 + 125_000
    assert max(gained.seller.value[:3]) - min(gained.seller.value[:3]) <= 1


@pytest.mark.parametrize(("by", "side"), [(-60_000, "seller"), (60_000, "buyer")])
def test_a_price_that_makes_somebody_worse_off_is_an_error(by, side):
    matching = match(a_market([("a", "x", "low", 1000, 0), ("b", "x", "high", 0, 1000)], PRICES))
    wrong = replace(matching.pairing, price=matching.pairing.price + by)
    with pytest.raises(WorseOffError, match=rf"^[ab] loses 10 minor units as a {side}") as refused:
        profits(replace(matching, pairing=wrong))
    assert (refused.value.side, refused.value.gain) == (side, -10)


def test_nothing_traded_gains_nothing():
    gained = profits(match(a_market([("a", "x", "low", 1, 0)], PRICES)))
    assert (gained.seller_gain, gained.buyer_gain, gained.value) == (0, 0, 0)
    assert np.count_nonzero(gained.seller.energy) == 0
