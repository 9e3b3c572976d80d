"""After delivery: what was matched against what the meters say, the difference settled with the grid at its tariff.

A trade stands as it was matched. Who delivered or used otherwise than it traded has the difference with the grid: it
buys what is lacking at its tariff's price of buying, and sells what is over at its price of selling. Amounts are
whole fine units (see `domain.profits`) until a day is paid, which rounds once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.payments import apportion
from domain.trades import Trade


class MeteringError(NegawattError):
    """A reading that settles a day is missing or none; nothing is settled on a guess."""


@dataclass(frozen=True)
class Agreed:
    """What participants agreed to, an array of int64 each, shape (participants, intervals) or (participants,).

    Attributes
    ----------
    sold_wh, bought_wh : ndarray
        [Wh]
    earned, paid : ndarray
        For what was sold and bought, without network fees. [fine units]
    fee : ndarray
        Share of network fees. [fine units]
    """

    sold_wh: NDArray[np.int64]
    bought_wh: NDArray[np.int64]
    earned: NDArray[np.int64]
    paid: NDArray[np.int64]
    fee: NDArray[np.int64]


@dataclass(frozen=True)
class Balance:
    """What delivery came to, an array of int64 each, of the shape of what was agreed.

    Attributes
    ----------
    agreed : Agreed
    to_grid_wh, from_grid_wh : ndarray
        What was over and what lacked against the trades. [Wh]
    grid_pays, grid_charges : ndarray
        For these, by the tariff. [fine units]
    grid_alone : ndarray
        What the grid would have paid, or charged (negative), for the metered energy without any trade. [fine units]
    """

    agreed: Agreed
    to_grid_wh: NDArray[np.int64]
    from_grid_wh: NDArray[np.int64]
    grid_pays: NDArray[np.int64]
    grid_charges: NDArray[np.int64]
    grid_alone: NDArray[np.int64]

    @property
    def net(self) -> NDArray[np.int64]:
        """What all of it comes to: earned less paid, fees, and the imbalance. [fine units]"""
        agreed = self.agreed
        return agreed.earned - agreed.paid - agreed.fee + self.grid_pays - self.grid_charges

    @property
    def gain(self) -> NDArray[np.int64]:
        """Against trading with the grid alone; negative where what was agreed was too far off. [fine units]"""
        return self.net - self.grid_alone

    def day(self) -> Balance:
        """All intervals of each participant added up."""
        sums = {field.name: getattr(self, field.name).sum(axis=1) for field in fields(self) if field.name != "agreed"}
        agreed = {field.name: getattr(self.agreed, field.name).sum(axis=1) for field in fields(self.agreed)}
        return Balance(Agreed(**agreed), **sums)


def balance(
    agreed: Agreed,
    export_wh: NDArray[np.int64],
    import_wh: NDArray[np.int64],
    sell: NDArray[np.int64],
    buy: NDArray[np.int64],
) -> Balance:
    """Settle what was agreed against the meters, interval by interval.

    Parameters
    ----------
    agreed : Agreed
    export_wh, import_wh : ndarray of int64
        By the meters, of the same shape. [Wh]
    sell, buy : ndarray of int64
        What the grid pays and charges for a kWh, of the same shape. [price units/kWh]

    Raises
    ------
    MeteringError
        A reading is below 0.

    Examples
    --------
    Sold 2 kWh at 16, delivered 1.5 kWh: the grid charges 20 a kWh for the half that lacks. A price unit times a Wh is
    a fine unit, so a thousand of them make a unit of price.

    >>> one = [np.array([n]) for n in (2000, 0, 32_000, 0, 0)]
    >>> done = balance(Agreed(*one), np.array([1500]), np.array([0]), np.array([10]), np.array([20]))
    >>> done.from_grid_wh.tolist(), done.net.tolist(), done.gain.tolist()   # 32 - 10; the grid alone pays 15
    ([500], [22000], [7000])
    """
    if (lowest := min(int(export_wh.min(initial=0)), int(import_wh.min(initial=0)))) < 0:
        raise MeteringError(f"a reading of {lowest} Wh: expected 0 or more")
    metered = export_wh - import_wh
    over = metered - (agreed.sold_wh - agreed.bought_wh)
    to_grid, from_grid = np.maximum(over, 0), np.maximum(-over, 0)
    alone = metered * np.where(metered > 0, sell, buy)
    return Balance(agreed, to_grid, from_grid, to_grid * sell, from_grid * buy, alone)


@dataclass(frozen=True)
class Deal:
    """Energy of a day from one account to another, with its exact value. [Wh], [fine units]"""

    seller: str
    buyer: str
    wh: int
    value: int


def with_pool(agreed: Agreed, accounts: Sequence[str], pool: str) -> tuple[list[Deal], list[Deal]]:
    """A day's trades as each participant has them with a pool: what it buys, and what it sells. It comes out even.

    Parameters
    ----------
    agreed : Agreed
        Of the day, shape (participants,).
    accounts : sequence of str
        Of each participant.
    pool : str
        Account that buys from every seller and sells to every buyer.
    """
    bought, sold = [], []
    rows = (agreed.sold_wh, agreed.earned, agreed.bought_wh, agreed.paid)
    for account, wh, earned, bought_wh, paid in zip(accounts, *(row.tolist() for row in rows), strict=True):
        if wh:
            bought.append(Deal(account, pool, wh, earned))
        if bought_wh:
            sold.append(Deal(pool, account, bought_wh, paid))
    return bought, sold


def with_grid(day: Balance, accounts: Sequence[str], grid: str) -> tuple[list[Deal], list[Deal], list[Deal]]:
    """A day's imbalances and network fees as trades with the grid's account: what it buys, sells, and the fees.

    The energy of a fee is what the participant traded.
    """
    agreed = day.agreed
    rows = (day.to_grid_wh, day.grid_pays, day.from_grid_wh, day.grid_charges, agreed.fee)
    traded = (agreed.sold_wh + agreed.bought_wh).tolist()
    buys, sells, fees = [], [], []
    for account, over, pays, lacking, charges, fee, wh in zip(
        accounts, *(row.tolist() for row in rows), traded, strict=True
    ):
        if over:
            buys.append(Deal(account, grid, over, pays))
        if lacking:
            sells.append(Deal(grid, account, lacking, charges))
        if fee:
            fees.append(Deal(grid, account, wh, fee))
    return buys, sells, fees


def to_trades(parts: Sequence[Sequence[Deal]], per_minor_unit: int, token_units: int = 1) -> list[Trade]:
    """Round deals to whole units of the token and number them.

    Each part is rounded once: its sum half to even, then split by largest remainder. What a pool buys and what it
    sells are two parts of the same sum, so the pool comes out even.

    Parameters
    ----------
    parts : sequence of sequence of Deal
    per_minor_unit : int
        Fine units that make a minor unit of the currency.
    token_units : int
        Smallest units of the token that make a minor unit of the currency.

    Examples
    --------
    >>> a, b, pool = ("0x" + 40 * digit for digit in "abc")
    >>> deals = [Deal(a, pool, 500, 1500), Deal(b, pool, 500, 1500)], [Deal(pool, a, 1000, 3000)]
    >>> [(trade.wh, trade.value) for trade in to_trades(deals, 1000)]
    [(500, 2), (500, 1), (1000, 3)]
    """
    trades: list[Trade] = []
    for deals in parts:
        values = apportion([deal.value * token_units for deal in deals], per_minor_unit)
        trades += [
            Trade(len(trades) + n, deal.seller, deal.buyer, deal.wh, value)
            for n, (deal, value) in enumerate(zip(deals, values, strict=True))
        ]
    return trades


def between(flows: Mapping[tuple[str, str], tuple[int, int]]) -> list[Deal]:
    """A day's trades between accounts directly, in order of the accounts.

    Parameters
    ----------
    flows : mapping of (str, str) to (int, int)
        Energy and value by seller's and buyer's account. [Wh], [fine units]
    """
    return [Deal(*accounts, wh, value) for accounts, (wh, value) in sorted(flows.items()) if wh]
