"""After delivery: imbalances by tariff, exact sums, and a day's deals as rows that sum to zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.imbalance import Agreed, Deal, MeteringError, balance, between, to_trades, with_grid, with_pool
from domain.trades import net_positions

POOL, GRID = "0x" + 40 * "e", "0x" + 40 * "f"
ACCOUNTS = ["0x" + f"{n + 1:040x}" for n in range(6)]


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def agreed(sold=0, bought=0, earned=0, paid=0, fee=0) -> Agreed:
    return Agreed(*(column(value) for value in (sold, bought, earned, paid, fee)))


@pytest.mark.parametrize(
    ("trade", "export", "imported", "to_grid", "from_grid", "net"),
    [
        # the grid pays 10 and charges 20 a unit; 100 were sold for 1500
        ({"sold": 100, "earned": 1500}, 100, 0, 0, 0, 1500),  # as agreed
        ({"sold": 100, "earned": 1500}, 130, 0, 30, 0, 1500 + 300),  # more than agreed
        ({"sold": 100, "earned": 1500}, 60, 0, 0, 40, 1500 - 800),  # less: the grid fills up
        ({"sold": 100, "earned": 1500}, 0, 25, 0, 125, 1500 - 2500),  # used itself instead
        # 100 were bought for 1500
        ({"bought": 100, "paid": 1500}, 0, 100, 0, 0, -1500),
        ({"bought": 100, "paid": 1500}, 0, 160, 0, 60, -1500 - 1200),  # used more than it bought
        ({"bought": 100, "paid": 1500}, 0, 70, 30, 0, -1500 + 300),  # less: the rest goes to the grid
        ({"bought": 100, "paid": 1500, "fee": 7}, 0, 100, 0, 0, -1507),
    ],
)
def test_differences_are_settled_at_the_grids_tariff(trade, export, imported, to_grid, from_grid, net):
    done = balance(agreed(**trade), column(export), column(imported), column(10), column(20))
    assert (done.to_grid_wh[0], done.from_grid_wh[0], done.net[0]) == (to_grid, from_grid, net)


def test_the_gain_is_against_the_grid_alone():
    as_agreed = balance(agreed(sold=100, earned=1500), column(100), column(0), column(10), column(20))
    assert as_agreed.gain.tolist() == [1500 - 1000]
    too_little = balance(agreed(sold=100, earned=1500), column(20), column(0), column(10), column(20))
    assert too_little.gain.tolist() == [1500 - 80 * 20 - 20 * 10]  # worse off by 300: a finding, no error


def test_a_reading_below_zero_is_refused():
    with pytest.raises(MeteringError, match="-1 Wh"):
        balance(agreed(), column(-1), column(0), column(1), column(1))


amounts = st.lists(st.integers(0, 10**6), min_size=4, max_size=4)


@given(st.lists(st.tuples(amounts, amounts, st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=6))
def test_a_days_rows_sum_to_zero_over_participants_pool_and_grid(people):
    rows = np.array([[*one[0], *one[1]] for one in people], dtype=np.int64)
    shape = (len(people), 2)
    # Half of the intervals sell, half buy; what is paid is what is earned.
    sold, bought = rows[:, [0, 1]].copy(), rows[:, [2, 3]].copy()
    earned, paid = 13 * sold, np.zeros(shape, dtype=np.int64)
    paid[0, 0] = int(earned.sum())
    bought[0, 0] += 1
    sell = np.full(shape, 10) + np.array([[one[2]] * 2 for one in people])
    buy = sell + np.array([[one[3]] * 2 for one in people])
    done = balance(Agreed(sold, bought, earned, paid, sold * 0 + 3), rows[:, 4:6], rows[:, 6:8], sell, buy).day()
    accounts = ACCOUNTS[: len(people)]
    parts = [*with_pool(done.agreed, accounts, POOL), *with_grid(done, accounts, GRID)]
    trades = to_trades(parts, 1000)
    nets = dict(net_positions(trades))
    assert sum(nets.values()) == 0
    assert POOL not in nets, "the pool comes out even"
    for n, account in enumerate(accounts):
        assert abs(nets.get(account, 0) - int(done.net[n]) / 1000) <= 5, "each of its five rows is rounded once"


def test_rounding_leaves_no_remainder():
    deals = [Deal(ACCOUNTS[n], POOL, 10, 333) for n in range(3)]
    assert [trade.value for trade in to_trades([deals], 1000)] == [1, 0, 0]  # 0.999 rounds to 1
    assert [trade.value for trade in to_trades([deals], 1000, token_units=10**18)] == [333 * 10**15] * 3


def test_rows_are_numbered_through_all_parts():
    deals = [Deal(ACCOUNTS[0], POOL, 1, 1000)], [Deal(POOL, ACCOUNTS[1], 1, 1000)]
    assert [trade.index for trade in to_trades(deals, 1000)] == [0, 1]


def test_direct_trades_are_in_the_order_of_accounts():
    flows = {
        (ACCOUNTS[1], ACCOUNTS[0]): (5, 50),
        (ACCOUNTS[0], ACCOUNTS[1]): (7, 70),
        (ACCOUNTS[2], ACCOUNTS[0]): (0, 0),
    }
    assert [(deal.seller, deal.wh) for deal in between(flows)] == [(ACCOUNTS[0], 7), (ACCOUNTS[1], 5)]
