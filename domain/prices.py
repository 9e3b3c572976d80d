"""What a kilowatt-hour costs between two participants: the mid-price, and others behind the same small interface.

All prices are whole *price units* per kWh; a market chooses the unit so that tariffs, fees and mid-prices are whole
(see `domain.matching.Community`). A rule may only price pairs where the seller's grid pays no more than the
buyer's grid charges; between others nobody would gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NO_PRICE = -1
"""Stands where a pair has no price: it may not trade."""


@dataclass(frozen=True)
class Sides:
    """Who meets in one interval's market, by groups of equal grid prices.

    Attributes
    ----------
    ask : ndarray of int64, shape (sellers,)
        What the grid pays each seller, so the least it accepts. [price units/kWh]
    supply : ndarray of int64, shape (sellers,)
        [units of energy]
    bid : ndarray of int64, shape (buyers,)
        What the grid charges each buyer, so the most it pays. [price units/kWh]
    demand : ndarray of int64, shape (buyers,)
        [units of energy]
    """

    ask: NDArray[np.int64]
    supply: NDArray[np.int64]
    bid: NDArray[np.int64]
    demand: NDArray[np.int64]

    @property
    def gainful(self) -> NDArray[np.bool_]:
        """Which pairs have something to share, shape (sellers, buyers)."""
        return self.ask[:, None] <= self.bid


class PriceRule(Protocol):
    """Says the price of every pair."""

    def __call__(self, sides: Sides) -> NDArray[np.int64]:
        """Price of a kWh for each pair, shape (sellers, buyers), `NO_PRICE` where it may not trade. [price units]"""
        ...


def mid_price(sides: Sides) -> NDArray[np.int64]:
    """Half way between what the grid pays the seller and what it charges the buyer.

    Equation (3) of Na, Kim, Jung (2021). Both gain the same. Grid prices have to be even numbers of price units.

    >>> mid_price(Sides(np.array([1554]), np.array([1]), np.array([1658, 1552]), np.array([1, 1]))).tolist()
    [[1606, -1]]
    """
    return np.where(sides.gainful, (sides.ask[:, None] + sides.bid) // 2, NO_PRICE)


def supply_demand_price(sides: Sides) -> NDArray[np.int64]:
    """Nearer to the buyer's grid price the scarcer supply is.

    With R = supply / demand the price is s b / ((b - s) R + s), which falls from b at R = 0 to s at R = 1, and stays
    there; s is what the grid pays the seller, b what it charges the buyer. Rounded down to whole price units. The
    seller's price in [1]_, for each pair's own grid prices.

    References
    ----------
    .. [1] N. Liu et al., "Energy-Sharing Model With Price-Based Demand Response for Microgrids of Peer-to-Peer
       Prosumers", IEEE Transactions on Power Systems 32 (5), 2017.

    Examples
    --------
    Half of what is wanted is there: 10 * 30 / (20 / 2 + 10) = 15.

    >>> supply_demand_price(Sides(np.array([10]), np.array([4]), np.array([30]), np.array([8]))).tolist()
    [[15]]
    """
    supply, demand = int(sides.supply.sum()), int(sides.demand.sum())
    supply = min(supply, demand)
    found = np.full((len(sides.ask), len(sides.bid)), NO_PRICE, dtype=np.int64)
    asks, seller_at = np.unique(sides.ask, return_inverse=True)
    bids, buyer_at = np.unique(sides.bid, return_inverse=True)
    priced = np.array([[_scarce(s, b, supply, demand) for b in bids.tolist()] for s in asks.tolist()], dtype=np.int64)
    if priced.size:
        found = priced[np.ix_(seller_at, buyer_at)]
    return np.where(sides.gainful, found, NO_PRICE)


def _scarce(ask: int, bid: int, supply: int, demand: int) -> int:
    below = (bid - ask) * supply + ask * demand
    return ask * bid * demand // below if below > 0 and ask <= bid else bid


def uniform_price(sides: Sides) -> NDArray[np.int64]:
    """One price for everybody, where the sellers by rising and the buyers by falling grid price meet.

    It lies half way (rounded down) between the bounds that the last served and the first unserved set on both sides.
    Only sellers whose grid pays no more, and buyers whose grid charges no less, trade.

    >>> market = Sides(np.array([10, 20]), np.array([5, 5]), np.array([40, 18]), np.array([5, 9]))
    >>> uniform_price(market).tolist()   # 10 sells to 40; neither 20 nor 18 comes in: between 18 and 20
    [[19, -1], [-1, -1]]
    """
    price = _clearing_price(sides)
    trades = (sides.ask[:, None] <= price) & (price <= sides.bid)
    return np.where(trades, price, NO_PRICE)


def _clearing_price(sides: Sides) -> int:
    sell = [(a, s) for a, s in sorted(zip(sides.ask.tolist(), sides.supply.tolist(), strict=True)) if s > 0]
    buy = [(b, d) for b, d in sorted(zip(sides.bid.tolist(), sides.demand.tolist(), strict=True)) if d > 0][::-1]
    if not sell or not buy or sell[0][0] > buy[0][0]:
        return NO_PRICE
    low, high = sell[0][0], buy[0][0]
    seller = buyer = 0
    left_s, left_d = sell[0][1], buy[0][1]
    while sell[seller][0] <= buy[buyer][0]:
        low, high = sell[seller][0], buy[buyer][0]
        carried = min(left_s, left_d)
        left_s, left_d = left_s - carried, left_d - carried
        if not left_s:
            seller += 1
            left_s = sell[seller][1] if seller < len(sell) else 0
        if not left_d:
            buyer += 1
            left_d = buy[buyer][1] if buyer < len(buy) else 0
        if seller == len(sell) or buyer == len(buy):
            break
    if buyer < len(buy):
        low = max(low, min(buy[buyer][0], high))  # below it, one who gets nothing would outbid
    if seller < len(sell):
        high = min(high, max(sell[seller][0], low))
    return int(low + high) // 2


def pay_as_bid(sides: Sides) -> NDArray[np.int64]:
    """Each seller gets what it asks, which is what the grid pays it; all of the gain is the buyer's.

    >>> pay_as_bid(Sides(np.array([10, 20]), np.array([1, 1]), np.array([15]), np.array([1]))).tolist()
    [[10], [-1]]
    """
    return np.where(sides.gainful, sides.ask[:, None], NO_PRICE)


PRICE_RULES: Mapping[str, PriceRule] = MappingProxyType(
    {
        "mid": mid_price,
        "supply-demand": supply_demand_price,
        "uniform": uniform_price,
        "pay-as-bid": pay_as_bid,
    }
)
"""Rules by the name that a market file gives them."""
