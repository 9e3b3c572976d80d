"""Price rules: the paper's prices, and what every rule keeps to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.prices import NO_PRICE, PRICE_RULES, Sides, mid_price, supply_demand_price, uniform_price


def sides(ask, supply, bid, demand) -> Sides:
    return Sides(*(np.array(values, dtype=np.int64) for values in (ask, supply, bid, demand)))


def test_the_papers_prices_of_standard_hours():
    # Table 6, standard hours, by equation (3): A to B (1555 + 1607) / 2 = 1581, A to C 1607, B to C 1633.
    # The text prints 1,518 for A to B, a slip: its gains of 26 a kWh are those of 1581.
    a, b, c = 15550, 16070, 16590
    assert mid_price(sides([a, b], [1, 1], [b, c], [1, 1])).tolist() == [[15810, 16070], [16070, 16330]]


def test_where_the_sellers_grid_pays_more_there_is_no_price():
    # "for other combinations 0 is assigned": peak hours, A pays 2871 and B 2351
    assert mid_price(sides([28710], [1], [23510], [1])).tolist() == [[NO_PRICE]]


@pytest.mark.parametrize(
    ("supply", "demand", "price"),
    [
        (0, 5, 30),  # nothing is there: what the grid charges
        (5, 5, 10),  # enough is there: what the grid pays
        (9, 5, 10),
        (5, 10, 15),  # 10 * 30 / ((30 - 10) / 2 + 10)
        (5, 20, 20),  # 10 * 30 / (20 / 4 + 10)
    ],
)
def test_the_supply_demand_price_falls_as_supply_grows(supply, demand, price):
    assert supply_demand_price(sides([10], [supply], [30], [demand])).tolist() == [[price]]


@pytest.mark.parametrize(
    ("ask", "supply", "bid", "demand", "price"),
    [
        ([10, 20], [5, 5], [40, 30], [5, 5], 25),  # all trade: between the last seller's 20 and the last buyer's 30
        ([10, 20], [5, 5], [40, 30], [5, 1], 20),  # supply is left: the last seller's
        ([10, 20], [5, 1], [40, 30], [5, 5], 30),  # demand is left: the last buyer's
        ([10, 35], [5, 5], [40, 30], [5, 5], 32),  # 35 is too dear and 30 too little: half way between them, down
        ([50], [5], [40], [5], NO_PRICE),
        ([], [], [40], [5], NO_PRICE),
        ([10], [0], [40], [5], NO_PRICE),
    ],
)
def test_the_uniform_price_is_where_both_sides_meet(ask, supply, bid, demand, price):
    found = uniform_price(sides(ask, supply, bid, demand))
    assert set(found.ravel().tolist()) - {NO_PRICE} == {price} - {NO_PRICE}


group = st.tuples(st.integers(0, 60).map(lambda half: 2 * half), st.integers(0, 30))


@given(st.sampled_from(sorted(PRICE_RULES)), st.lists(group, max_size=6), st.lists(group, max_size=6))
def test_no_rule_lets_anybody_lose_against_the_grid(rule, sellers, buyers):
    market = sides(*([pair[n] for pair in side] for side in (sellers, buyers) for n in (0, 1)))
    price = PRICE_RULES[rule](market)
    assert price.shape == (len(sellers), len(buyers))
    priced = price != NO_PRICE
    assert not (priced & ~market.gainful).any()
    ask, bid = (np.broadcast_to(one, price.shape) for one in (market.ask[:, None], market.bid))
    assert (price[priced] >= ask[priced]).all()
    assert (price[priced] <= bid[priced]).all()
    if rule != "uniform":
        assert (priced == market.gainful).all()


@given(st.lists(group, min_size=1, max_size=5), st.lists(group, min_size=1, max_size=5))
def test_at_the_uniform_price_all_of_one_side_that_want_to_trade_can(sellers, buyers):
    market = sides(*([pair[n] for pair in side] for side in (sellers, buyers) for n in (0, 1)))
    (price, *others) = sorted(set(uniform_price(market).ravel().tolist()) - {NO_PRICE}) or [None]
    assert not others
    if price is not None:
        willing = [market.supply[market.ask <= price].sum(), market.demand[market.bid >= price].sum()]
        eager = [market.supply[market.ask < price].sum(), market.demand[market.bid > price].sum()]
        assert eager[0] <= willing[1]
        assert eager[1] <= willing[0]
