"""Matching participant by participant: the paper's programme, what may trade, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from kiee_table7 import half_hours
from market_builders import a_market, table_7_market

from domain.matching import InvalidMarketError, Market, Objective, Participant, community, match_pairs, no_trades
from domain.optimality import match_or_grid, prove
from domain.prices import mid_price
from domain.transport import SolverError, Transport, solve_transport

PRICES = {"low": (100, 120), "high": (160, 200)}


def flows(matching) -> dict[str, int]:
    held, pairing = matching.market.community, matching.pairing
    name = lambda group, members: held.names[group.only if group.only >= 0 else members[0]]  # noqa: E731
    return {
        f"{name(pairing.sellers[s], np.flatnonzero(pairing.seller_of == s))}>"
        f"{name(pairing.buyers[b], np.flatnonzero(pairing.buyer_of == b))}": int(matching.flow[s, b])
        for s, b in np.argwhere(matching.flow).tolist()
    }


def test_table_7_volume_by_volume():
    for start, volumes, _ in half_hours():
        matching = match_pairs(table_7_market(start, volumes), solve_transport)
        prove(matching)
        assert flows(matching) == volumes


def test_the_volumes_of_table_7_have_the_greatest_welfare_too():
    # Not the only ones: what A sells to B and B to C saves as much as A selling to C.
    gain = {"A>B": 52, "A>C": 104, "B>C": 52, "B>A": 520}
    for start, volumes, _ in half_hours():
        matching = match_pairs(table_7_market(start, volumes, Objective.WELFARE), solve_transport)
        prove(matching)
        expected = sum(gain[pair] * volume for pair, volume in volumes.items())
        assert matching.objective == expected * matching.market.community.scale


def test_nobody_trades_with_itself():
    market = a_market([("a", "x", "low", 50, 50), ("b", "x", "low", 0, 20)], PRICES)
    assert flows(match_pairs(market, solve_transport)) == {"a>b": 20}


def test_a_seller_whose_grid_pays_more_keeps_its_energy():
    market = a_market([("a", "x", "high", 50, 0), ("b", "x", "low", 0, 20)], PRICES)
    assert flows(match_pairs(market, solve_transport)) == {}


def test_value_prefers_dear_sellers_and_welfare_cheap_ones():
    # To one buyer at 200: a mid-price of (160 + 200) / 2 = 180 beats 150, though 100 is saved by the cheap seller.
    rows = [("cheap", "x", "low", 10, 0), ("dear", "x", "high", 10, 0), ("z", "x", "high", 0, 10)]
    assert flows(match_pairs(a_market(rows, PRICES), solve_transport)) == {"dear>z": 10}
    market = a_market(rows, PRICES, objective=Objective.WELFARE)
    assert flows(match_pairs(market, solve_transport)) == {"cheap>z": 10}


def test_the_objective_is_the_sum_of_equation_4():
    # 10 at 150 less a fee of 2 a km over 3 km: 10 * (150 - 6), in price units of a thousandth
    market = a_market([("a", "x", "low", 10, 0), ("b", "y", "high", 0, 10)], PRICES, km={("x", "y"): 3}, fee="2")
    matching = match_pairs(market, solve_transport)
    assert Fraction(matching.objective, market.community.scale) == 10 * (150 - 6)


@pytest.mark.parametrize(("fee", "traded"), [("20", 10), ("20.001", 0)])
def test_a_pair_whose_fee_eats_the_gain_does_not_trade(fee, traded):
    # 140 to 160: each gains 10 at 150 and pays half of the fee. (7) alone would allow fees up to 75.
    prices = {"a": (140, 150), "b": (130, 160)}
    market = a_market([("s", "x", "a", 10, 0), ("t", "y", "b", 0, 10)], prices, km={("x", "y"): 1}, fee=fee)
    matching = match_pairs(market, solve_transport)
    prove(matching)
    assert matching.sold.sum() == traded


def test_equation_7_bounds_the_fee_by_half_the_price():
    # ask 0, bid 100: mid-price 50, so a fee of 25 at most, though both sides would still gain above it
    prices = {"free": (0, 100)}
    for fee, traded in (("25", 10), ("25.001", 0)):
        rows = [("a", "x", "free", 10, 0), ("b", "y", "free", 0, 10)]
        market = a_market(rows, prices, km={("x", "y"): 1}, fee=fee)
        assert match_pairs(market, solve_transport).sold.sum() == traded


def test_of_equal_matchings_the_nearest_is_taken():
    rows = [("a", "x", "low", 10, 0), ("b", "y", "low", 10, 0), ("c", "x", "high", 0, 10), ("d", "y", "high", 0, 10)]
    market = a_market(rows, PRICES, km={("x", "y"): 5})
    assert flows(match_pairs(market, solve_transport)) == {"a>c": 10, "b>d": 10}


def test_nothing_to_trade_is_an_empty_matching():
    market = a_market([("a", "x", "low", 0, 0)], PRICES)
    for matching in (match_pairs(market, solve_transport), no_trades(market)):
        prove(matching)
        assert (matching.objective, matching.sold.sum(), matching.bought.sum()) == (0, 0, 0)


# --- the solver --------------------------------------------------------------------------------------------


def best_by_trying(problem: Transport) -> int:
    """The greatest value, by trying every amount on every pair."""
    cells = np.argwhere(problem.value > 0).tolist()

    def best(n: int, supply: tuple[int, ...], demand: tuple[int, ...]) -> int:
        if n == len(cells):
            return 0
        i, j = cells[n]
        return max(
            amount * int(problem.value[i, j])
            + best(
                n + 1,
                (*supply[:i], supply[i] - amount, *supply[i + 1 :]),
                (*demand[:j], demand[j] - amount, *demand[j + 1 :]),
            )
            for amount in range(min(supply[i], demand[j]) + 1)
        )

    return best(0, tuple(problem.supply.tolist()), tuple(problem.demand.tolist()))


def test_small_problems_are_solved_as_by_trying_everything():
    random = np.random.default_rng(1)
    for _ in range(150):
        shape = random.integers(1, 4, 2)
        problem = Transport(
            random.integers(0, 6, shape),
            random.integers(0, 4, shape[0]),
            random.integers(0, 4, shape[1]),
            random.integers(0, 5, shape),
        )
        plan = solve_transport(problem)
        value = int((plan.flow * problem.value).sum())
        assert value == best_by_trying(problem)
        assert value == plan.seller_dual @ problem.supply + plan.buyer_dual @ problem.demand
        assert (plan.flow.sum(axis=1) <= problem.supply).all()
        assert (plan.flow.sum(axis=0) <= problem.demand).all()
        assert (plan.flow >= 0).all()
        assert (plan.seller_dual[:, None] + plan.buyer_dual >= problem.value).all()


def test_many_ties_end():
    problem = Transport(np.ones((40, 40), dtype=np.int64), np.full(40, 3), np.full(40, 3))
    assert solve_transport(problem).flow.sum() == 120


def test_numbers_that_would_overflow_are_refused():
    problem = Transport(np.array([[2**61]]), np.array([1]), np.array([1]), np.array([[1000]]))
    with pytest.raises(SolverError, match="fewer digits") as refused:
        solve_transport(problem)
    assert refused.value.reason == "numbers"


# --- falling back ------------------------------------------------------------------------------------------


def test_without_an_answer_everybody_trades_with_the_grid():
    market = a_market([("a", "x", "low", 50, 0), ("b", "x", "high", 0, 20)], PRICES)

    def out_of_time(_):
        raise SolverError("highs", "timeout", "no optimum within 1 s")

    matching, (finding,) = match_or_grid(market, lambda held: match_pairs(held, out_of_time))
    assert (matching.sold.sum(), matching.bought.sum()) == (0, 0)
    assert finding["code"] == "market.grid_prices"
    assert finding["values"] == {"solver": "highs", "reason": "timeout", "problem": "no optimum within 1 s"}


def test_an_answer_that_is_not_proved_is_not_used():
    market = a_market([("a", "x", "low", 50, 0), ("b", "x", "high", 0, 20)], PRICES)

    def too_little(problem):
        plan = solve_transport(problem)
        plan.flow[:] -= 1
        return plan

    matching, (finding,) = match_or_grid(market, lambda held: match_pairs(held, too_little))
    assert matching.sold.sum() == 0
    assert finding["values"]["reason"] == "unproved"


# --- what is refused ---------------------------------------------------------------------------------------

TWO = [Participant("a", "x", "low"), Participant("b", "y", "low")]


@pytest.mark.parametrize(
    ("people", "km", "fee", "problem"),
    [
        ([*TWO, TWO[0]], {}, "0", "participant 'a': is listed twice"),
        ([], {}, "0", "there are no participants"),
        (TWO, {}, "1", "x to y: no distance, which the network fee needs"),
        (TWO, {("x", "z"): 1}, "0", "site 'z': has a distance, but no participant"),
        (TWO, {("x", "y"): -1}, "0", "expected one distance of 0 m or more"),
        (TWO, {("x", "y"): 1, ("y", "x"): 2}, "0", "expected one distance of 0 m or more"),
        (TWO, {("x", "y"): 1}, "-1", "fee: -1 is below 0"),
        (TWO, {("x", "y"): 1}, "1/7000000019", "too many digits"),
    ],
)
def test_what_a_community_cannot_be_is_refused(people, km, fee, problem):
    with pytest.raises(InvalidMarketError, match=problem):
        community(people, km, [Fraction(100)], Fraction(fee))


@pytest.mark.parametrize(
    ("surplus", "problem"), [([-1, 0], "'a': surplus of -1"), ([2**53, 0], "0 or more"), ([1], "2 p")]
)
def test_capacities_that_are_none_are_refused_by_name(surplus, problem):
    held = community(TWO, {}, [Fraction(100)])
    price = np.array([100_000])
    with pytest.raises(InvalidMarketError, match=problem):
        Market(held, np.array(surplus), np.array([0, 0]), price, price, mid_price)


def test_a_price_that_the_community_was_not_made_for_is_refused():
    held = community(TWO, {}, [Fraction(100)])
    with pytest.raises(InvalidMarketError, match="price 1/7"):
        held.units(Fraction(1, 7))
