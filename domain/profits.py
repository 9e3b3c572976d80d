"""What each side gains by a matching against trading with the grid alone: exact, and never below zero.

A seller gains what it gets less what its grid would have paid, a buyer what its grid would have charged less what it
pays; each pays half of the network fee. Amounts are whole *fine units*: a price unit times a unit of energy, so that
nothing is rounded; `Profits.per_minor_unit` of them make a minor unit. What a group gets or pays is shared out to its
members in proportion to the energy they trade, to the last fine unit by largest remainder.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.matching import Matching
from domain.matching_aggregated import share_among

WH_PER_KWH = 1000


class WorseOffError(NegawattError):
    """A matching leaves somebody worse off than the grid alone would.

    Attributes
    ----------
    who : str
    side : str
        ``seller`` or ``buyer``.
    gain : Fraction
        Below 0. [minor units]
    """

    def __init__(self, who: str, side: str, gain: Fraction) -> None:
        self.who, self.side, self.gain = who, side, gain
        super().__init__(
            f"{who} loses {float(-gain):.6g} minor units as a {side} against the grid alone; the matching is refused"
        )


@dataclass(frozen=True)
class Side:
    """What every participant trades on one side of an interval's market, shape (participants,) each.

    Attributes
    ----------
    energy : ndarray of int64
        Sold, or bought. [units of energy]
    value : ndarray of int64
        What a seller gets or a buyer pays, without the network fee. [fine units]
    fee : ndarray of int64
        Its half of the network fee. [fine units]
    gain : ndarray of int64
        Against the grid alone, the fee taken off. [fine units]
    """

    energy: NDArray[np.int64]
    value: NDArray[np.int64]
    fee: NDArray[np.int64]
    gain: NDArray[np.int64]


@dataclass(frozen=True)
class Profits:
    """Gains of an interval.

    Attributes
    ----------
    seller, buyer : Side
    per_minor_unit : int
        Fine units that make a minor unit of the currency.
    """

    seller: Side
    buyer: Side
    per_minor_unit: int

    @property
    def seller_gain(self) -> Fraction:
        """Of all sellers. [minor units]"""
        return Fraction(sum(self.seller.gain.tolist()), self.per_minor_unit)

    @property
    def buyer_gain(self) -> Fraction:
        """Of all buyers. [minor units]"""
        return Fraction(sum(self.buyer.gain.tolist()), self.per_minor_unit)

    @property
    def value(self) -> Fraction:
        """What is traded is worth. [minor units]"""
        return Fraction(sum(self.seller.value.tolist()), self.per_minor_unit)


def profits(matching: Matching, units_per_kwh: int = WH_PER_KWH) -> Profits:
    """Work out everybody's gain, and see that the sums are exact and nobody loses.

    Parameters
    ----------
    matching : Matching
    units_per_kwh : int
        Units of energy that make a kWh.

    Raises
    ------
    WorseOffError
        Naming who would lose, on which side and how much.
    NegawattError
        What sellers get is not what buyers pay: a bug.
    """
    per = matching.market.community.scale * units_per_kwh
    result = Profits(_side(matching, "seller", per), _side(matching, "buyer", per), per)
    paid = sum(result.buyer.value.tolist())
    if paid != sum(result.seller.value.tolist()):
        raise NegawattError(f"sellers get {sum(result.seller.value.tolist())} and buyers pay {paid} fine units")
    return result


def _side(matching: Matching, name: str, per: int) -> Side:
    market, pairing = matching.market, matching.pairing
    selling = name == "seller"
    sign = 1 if selling else -1
    axis = 1 if selling else 0
    traded = matching.sold if selling else matching.bought
    group_of = pairing.seller_of if selling else pairing.buyer_of
    site = [np.array([group.site for group in groups], dtype=np.intp) for groups in (pairing.sellers, pairing.buyers)]
    # Whole numbers of any size: a day of a large community may exceed 64 bits before it is shared out.
    flow = matching.flow.astype(object)
    values = (flow * np.maximum(pairing.price, 0)).sum(axis=axis)
    halves = (flow * (market.community.fee[np.ix_(*site)] // 2)).sum(axis=axis)
    fee = share_among(halves, group_of, traded)
    with_fee = share_among(values - sign * halves, group_of, traded)
    alone = traded * (market.ask if selling else market.bid)[market.community.tariff_of]
    gain = sign * (with_fee - alone)
    if len(losing := np.flatnonzero(gain < 0)):
        who = int(losing[0])
        raise WorseOffError(market.community.names[who], name, Fraction(int(gain[who]), per))
    return Side(traded, with_fee + sign * fee, fee, gain)
