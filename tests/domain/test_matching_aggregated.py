"""Matching by groups: the optimum of all participants, shares, proofs that fail for lies, and no order of input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiee_table7 import half_hours
from market_builders import a_market, table_7_market

from domain.matching import Matching, Objective, match_pairs
from domain.matching_aggregated import match, share_among, share_out
from domain.optimality import NotOptimalError, match_or_grid, prove
from domain.transport import solve_transport

PRICES = {"low": (100, 120), "middle": (130, 150), "high": (160, 200)}

person = st.tuples(
    st.sampled_from(["north", "south", "west"]),
    st.sampled_from(sorted(PRICES)),
    st.integers(0, 30),
    st.integers(0, 30),
    st.booleans(),
)


def a_random_market(people, rule, objective, fee, order=None):
    rows = [
        (f"p{n:02d}", site, tariff, over if both or over > lacking else 0, lacking if both or over <= lacking else 0)
        for n, (site, tariff, over, lacking, both) in enumerate(people)
    ]
    rows = [rows[n] for n in order] if order is not None else rows
    sites = {row[1] for row in rows}
    km = {("north", "south"): 2, ("north", "west"): 5, ("south", "west"): 3}
    km = {pair: far for pair, far in km.items() if set(pair) <= sites}
    return a_market(rows, PRICES | {}, km=km, fee=fee, rule=rule, objective=objective)


markets = st.tuples(
    st.lists(person, min_size=1, max_size=9),
    st.sampled_from(["mid", "supply-demand", "uniform", "pay-as-bid"]),
    st.sampled_from(list(Objective)),
    st.sampled_from(["0", "0.5", "4"]),
)


@given(markets)
def test_groups_reach_the_optimum_of_all_participants_and_prove_it(given_market):
    market = a_random_market(*given_market)
    by_group = match(market)
    prove(by_group)
    one_by_one = match_pairs(market, solve_transport)
    prove(one_by_one)
    assert by_group.objective == one_by_one.objective
    assert by_group.sold.sum() == by_group.bought.sum() == by_group.flow.sum()


@given(markets, st.randoms(use_true_random=False))
def test_the_order_of_participants_changes_nothing(given_market, random):
    people = given_market[0]
    order = list(range(len(people)))
    random.shuffle(order)
    straight, shuffled = match(a_random_market(*given_market)), match(a_random_market(*given_market, order))
    for name in ("flow", "sold", "bought", "seller_dual", "buyer_dual"):
        assert getattr(straight, name).tolist() == getattr(shuffled, name).tolist()


def test_the_proof_covers_every_pair_of_participants():
    random = np.random.default_rng(4)
    tariffs = {f"t{n}": tuple(sorted(random.integers(50, 300, 2).tolist())) for n in range(8)}
    rows = [
        (f"p{n:04d}", f"s{random.integers(5)}", f"t{random.integers(8)}", *((int(wh), 0) if n % 2 else (0, int(wh))))
        for n, wh in enumerate(random.integers(1, 2000, 600))
    ]
    km = {(f"s{i}", f"s{j}"): 1 + 3 * i + j for i in range(5) for j in range(i + 1, 5)}
    market = a_market(rows, tariffs, km=km, fee="1")
    matching = match(market)
    prove(matching)
    # Anew and pair by pair: what 90,000 pairs are worth, against the duals of their groups.
    held = market.community
    price = (market.ask[held.tariff_of][:, None] + market.bid[held.tariff_of]) // 2
    fee = held.fee[np.ix_(held.site_of, held.site_of)]
    gains = (2 * (price - market.ask[held.tariff_of][:, None]) >= fee) & (
        2 * (market.bid[held.tariff_of] - price) >= fee
    )
    worth = np.where(gains & (2 * fee <= price), price - fee, 0)
    duals = np.zeros((2, len(rows)), dtype=np.int64)
    for n, (of_group, group_of) in enumerate(
        ((matching.seller_dual, matching.pairing.seller_of), (matching.buyer_dual, matching.pairing.buyer_of))
    ):
        duals[n] = np.where(group_of >= 0, of_group[group_of], 0)
    trades = (market.surplus > 0)[:, None] & (market.deficit > 0)
    assert trades.sum() == 90_000
    assert (duals[0][:, None] + duals[1] >= worth)[trades].all()
    assert duals[0] @ market.surplus + duals[1] @ market.deficit == matching.objective > 0


def test_the_golden_case_comes_out_the_same_by_groups():
    for start, volumes, _ in half_hours():
        market = table_7_market(start, volumes)
        by_group, one_by_one = match(market), match_pairs(market, solve_transport)
        prove(by_group)
        assert by_group.sold.tolist() == one_by_one.sold.tolist()
        assert by_group.bought.tolist() == one_by_one.bought.tolist()


def test_members_share_in_proportion_to_what_they_offer():
    rows = [("a", "x", "low", 100, 0), ("b", "x", "low", 300, 0), ("z", "x", "high", 0, 200)]
    assert match(a_market(rows, PRICES)).sold.tolist() == [50, 150, 0]


def test_what_does_not_divide_goes_to_the_largest_remainders_then_by_name():
    rows = [(name, "x", "low", 10, 0) for name in "cab"] + [("z", "x", "high", 0, 20)]
    assert match(a_market(rows, PRICES)).sold.tolist() == [7, 7, 6, 0]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.floats(0, 1))
def test_shares_add_up_and_nobody_gives_more_than_it_has(weights, part):
    weight = np.array(weights, dtype=np.int64)
    total = int(part * int(weight.sum()))
    shares = share_out(total, weight)
    assert shares.sum() == total
    assert (shares <= weight).all()
    assert (abs(shares - total * weight / weight.sum()) < 1 + 1e-6).all()


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 40)), max_size=12), st.floats(0, 1))
def test_shares_of_all_groups_at_once_are_those_of_each_by_itself(members, part):
    group_of, weight = (np.array([one[n] for one in members], dtype=np.int64) for n in (0, 1))
    totals = np.array([int(part * weight[group_of == group].sum()) for group in range(4)], dtype=np.int64)
    found = share_among(totals, group_of, weight)
    for group, total in enumerate(totals.tolist()):
        mine = (group_of == group) & (weight > 0)
        assert found[mine].tolist() == (share_out(total, weight[mine]).tolist() if mine.any() else [])
    assert not found[(group_of < 0) | (weight == 0)].any()


def test_shares_of_numbers_beyond_64_bits_stay_exact():
    weight = np.array([3 * 10**17, 10**17])
    assert share_out(10**18, weight).tolist() == [75 * 10**16, 25 * 10**16]
    assert share_among(np.array([10**18]), np.array([0, 0]), weight).tolist() == [75 * 10**16, 25 * 10**16]


def test_too_many_who_sell_and_buy_at_once_are_left_to_the_grid():
    rows = [(f"p{n:04d}", "x", "low", 2, 1) for n in range(2001)]
    matching, (finding,) = match_or_grid(a_market(rows, PRICES), match)
    assert matching.sold.sum() == 0
    assert finding["values"]["reason"] == "size"
    assert "offer the difference" in finding["values"]["problem"]


# --- lies --------------------------------------------------------------------------------------------------


def a_matching() -> Matching:
    rows = [
        ("a", "x", "low", 100, 0),
        ("b", "x", "low", 50, 0),
        ("c", "y", "high", 0, 120),
        ("d", "y", "middle", 0, 60),
        ("e", "y", "middle", 10, 5),
    ]
    return match(a_market(rows, PRICES, km={("x", "y"): 2}, fee="1"))


def less(matching: Matching, **changes: int) -> Matching:
    """The matching with a unit more or less in the first place of arrays."""
    arrays = {name: getattr(matching, name).copy() for name in changes}
    for name, by in changes.items():
        arrays[name].flat[int(np.flatnonzero(arrays[name])[0])] += by
    return replace(matching, **arrays)


def test_the_matching_as_it_was_found_is_proved():
    prove(a_matching())


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ({"flow": -1}, "members sold"),
        ({"flow": -1, "sold": -1, "bought": -1}, "it is worth"),
        ({"sold": -1}, "members sold"),
        ({"sold": 1}, "a sold 101 of 100"),
        ({"bought": 1}, "bought|of"),
        ({"buyer_dual": 1}, "its proof allows"),
        ({"buyer_dual": -1}, "its proof allows"),
        ({"sold": 1000}, "a sold"),
    ],
)
def test_a_lie_is_not_proved(lie, problem):
    with pytest.raises(NotOptimalError, match=problem):
        prove(less(a_matching(), **lie))


def test_duals_that_bound_a_poorer_matching_are_not_accepted():
    matching = a_matching()
    nothing = replace(
        matching,
        flow=matching.flow * 0,
        sold=matching.sold * 0,
        bought=matching.bought * 0,
        seller_dual=matching.seller_dual * 0,
        buyer_dual=matching.buyer_dual * 0,
    )
    with pytest.raises(NotOptimalError, match="its duals are 0"):
        prove(nothing)


def test_a_pair_that_is_hidden_from_the_solver_is_noticed():
    matching = a_matching()
    price = matching.pairing.price.copy()
    price[price >= 0] = -1
    blind = replace(matching.pairing, price=price)
    with pytest.raises(NotOptimalError, match="the rule says"):
        prove(replace(matching, pairing=blind))


def test_a_participant_in_a_group_that_is_not_its_own_is_noticed():
    matching = a_matching()
    buyer_of = matching.pairing.buyer_of.copy()
    at = np.flatnonzero(buyer_of >= 0)[:2]
    buyer_of[at] = buyer_of[at[::-1]]
    with pytest.raises(NotOptimalError, match="not its own"):
        prove(replace(matching, pairing=replace(matching.pairing, buyer_of=buyer_of)))


def test_a_participant_that_is_left_out_is_noticed():
    matching = a_matching()
    buyer_of = matching.pairing.buyer_of.copy()
    out = int(np.flatnonzero(buyer_of >= 0)[0])
    buyer_of[out] = -1
    bought = matching.bought.copy()
    bought[out] = 0
    with pytest.raises(NotOptimalError, match=r"was left out|in no group"):
        prove(replace(matching, bought=bought, pairing=replace(matching.pairing, buyer_of=buyer_of)))
