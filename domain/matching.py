"""Matching: who of a community sells how much to whom in one interval, instead of trading with the grid.

The linear programme of Na, Kim, Jung (2021), equations (4) to (7): carry x from seller i to buyer j for the greatest
sum of x (price - distance * fee), where nobody sells more than it has over or buys more than it lacks, and only pairs
trade whose price covers twice their network fee. Each side pays half of the fee, and a pair that would leave a side
worse off than the grid does not trade, which (7) alone would allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import lcm

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.prices import NO_PRICE, PriceRule, Sides
from domain.transport import Solver, SolverError, Transport

LEAST_SCALE = 1000
MAX_SCALE = 10**9
MAX_ENERGY = 2**53
MAX_PRICE = 2**53
MAX_PAIRS = 4_000_000
"""Pairs of groups that are matched at most; sites and tariffs alone are hardly ever so many."""


class InvalidMarketError(NegawattError):
    """A market can't be what it says: a capacity below zero, an unknown participant, a distance that is missing."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}")


class Objective(StrEnum):
    """What a matching makes as great as can be."""

    VALUE = "value"
    """Value of what is traded less network fees: equation (4). It favours sellers who are dear."""

    WELFARE = "welfare"
    """What all participants together save against the grid, less network fees."""


@dataclass(frozen=True)
class Participant:
    """One who may sell and buy.

    Attributes
    ----------
    name : str
    site : str
        Where it is; distances are between sites.
    tariff : str
        Its tariff with the grid.
    """

    name: str
    site: str
    tariff: str


@dataclass(frozen=True)
class Community:
    """The participants of a market, where they are, and in which unit prices are counted. Make it by `community`.

    Attributes
    ----------
    names : tuple of str
        Ascending; everything about participants is in this order.
    sites, tariffs : tuple of str
        Ascending.
    site_of, tariff_of : ndarray of int64, shape (participants,)
    distance_m : ndarray of int64, shape (sites, sites)
        From a seller's site to a buyer's. [m]
    fee : ndarray of int64, shape (sites, sites)
        Network fee of a kWh, an even number. [price units/kWh]
    scale : int
        Price units that make one minor unit.
    """

    names: tuple[str, ...]
    sites: tuple[str, ...]
    tariffs: tuple[str, ...]
    site_of: NDArray[np.int64]
    tariff_of: NDArray[np.int64]
    distance_m: NDArray[np.int64]
    fee: NDArray[np.int64]
    scale: int

    def units(self, price: Fraction) -> int:
        """A price in minor units per kWh as price units.

        Raises
        ------
        InvalidMarketError
            It is none of the prices that the community was made for.
        """
        exact = price * self.scale
        if exact.denominator != 1 or not 0 <= exact < MAX_PRICE:
            raise InvalidMarketError(f"price {price}", f"no whole number of 1/{self.scale} minor units")
        return exact.numerator


def community(
    participants: Sequence[Participant],
    distances_m: Mapping[tuple[str, str], int],
    prices: Sequence[Fraction],
    fee_per_kwh_km: Fraction = Fraction(0),
) -> Community:
    """Put participants in order and choose the unit of prices.

    Parameters
    ----------
    participants : sequence of Participant
        In any order, which changes nothing.
    distances_m : mapping of (str, str) to int
        Between two sites, in either order; within a site 0 unless it is given. [m]
    prices : sequence of Fraction
        Every price that tariffs will name. [minor units/kWh]
    fee_per_kwh_km : Fraction
        Network fee. [minor units/(kWh km)]

    Raises
    ------
    InvalidMarketError
        A name comes twice, a distance is missing where there is a fee, or numbers have too many digits.

    Examples
    --------
    >>> two = community([Participant("b", "south", "flat"), Participant("a", "north", "flat")],
    ...                 {("north", "south"): 1500}, [Fraction(3, 2)], Fraction(1, 10))
    >>> two.names, two.scale, two.fee.tolist()   # 0.15 minor units are 150 of 1000
    (('a', 'b'), 1000, [[0, 150], [150, 0]])
    """
    ordered = sorted(participants, key=lambda one: one.name)
    names = tuple(one.name for one in ordered)
    for before, after in pairwise(names):
        if before == after:
            raise InvalidMarketError(f"participant {after!r}", "is listed twice")
    if not names:
        raise InvalidMarketError("market", "there are no participants")
    sites, tariffs = (tuple(sorted({getattr(one, what) for one in ordered})) for what in ("site", "tariff"))
    if unknown := sorted({site for pair in distances_m for site in pair} - set(sites)):
        raise InvalidMarketError(f"site {unknown[0]!r}", "has a distance, but no participant")
    distance = np.zeros((len(sites), len(sites)), dtype=np.int64)
    for i, here in enumerate(sites):
        for j, there in enumerate(sites):
            found = {distances_m[pair] for pair in ((here, there), (there, here)) if pair in distances_m}
            if len(found) > 1 or any(metres < 0 for metres in found):
                raise InvalidMarketError(f"{here} to {there}", f"expected one distance of 0 m or more, got {found}")
            if not found and i != j and fee_per_kwh_km:
                raise InvalidMarketError(f"{here} to {there}", "no distance, which the network fee needs")
            distance[i, j] = found.pop() if found else 0
    if fee_per_kwh_km < 0:
        raise InvalidMarketError("fee", f"{fee_per_kwh_km} is below 0")
    fees = {int(metres): fee_per_kwh_km * int(metres) / 1000 for metres in np.unique(distance)}
    exact = lcm(*(price.denominator for price in (*prices, *fees.values())))
    scale = 2 * exact * -(-LEAST_SCALE // (2 * exact))
    greatest = max([*prices, *fees.values()], default=Fraction(0)) * scale
    if scale > MAX_SCALE or greatest >= MAX_PRICE:
        raise InvalidMarketError("prices and distances", "have too many digits; round prices, fee or distances")
    in_units = {metres: int(fee * scale) for metres, fee in fees.items()}
    return Community(
        names=names,
        sites=sites,
        tariffs=tariffs,
        site_of=_places([one.site for one in ordered], sites),
        tariff_of=_places([one.tariff for one in ordered], tariffs),
        distance_m=distance,
        fee=np.array([[in_units[int(metres)] for metres in row] for row in distance], dtype=np.int64),
        scale=scale,
    )


def _places(held: list[str], known: tuple[str, ...]) -> NDArray[np.int64]:
    place = {name: n for n, name in enumerate(known)}
    return np.array([place[name] for name in held], dtype=np.int64)


@dataclass(frozen=True)
class Market:
    """One interval's market.

    Attributes
    ----------
    community : Community
    surplus, deficit : ndarray of int64, shape (participants,)
        What each has over and what it lacks; one may have both, but does not trade with itself. [units of energy]
    ask, bid : ndarray of int64, shape (tariffs,)
        What the grid pays and charges for a kWh. [price units/kWh]
    rule : PriceRule
    objective : Objective

    Raises
    ------
    InvalidMarketError
        A capacity is below 0 or too large; the participant is named.
    """

    community: Community
    surplus: NDArray[np.int64]
    deficit: NDArray[np.int64]
    ask: NDArray[np.int64]
    bid: NDArray[np.int64]
    rule: PriceRule
    objective: Objective = Objective.VALUE

    def __post_init__(self) -> None:
        for what in ("surplus", "deficit"):
            energy = getattr(self, what)
            if energy.shape != (len(self.community.names),):
                raise InvalidMarketError(what, f"expected one for each of {len(self.community.names)} participants")
            if len(wrong := np.flatnonzero((energy < 0) | (energy >= MAX_ENERGY))):
                name = self.community.names[wrong[0]]
                raise InvalidMarketError(f"participant {name!r}", f"{what} of {energy[wrong[0]]}: expected 0 or more")
            if sum(energy.tolist()) >= MAX_ENERGY:
                raise InvalidMarketError(what, "of all participants together is too much")


@dataclass(frozen=True)
class Group:
    """Sellers or buyers of one site and tariff, for whom all prices are the same; ``only`` where it is just one.

    Attributes
    ----------
    site, tariff : int
        Place in the community.
    only : int
        The participant, where the group is kept for one; -1 for a group of a site and tariff.
    """

    site: int
    tariff: int
    only: int


@dataclass(frozen=True)
class Pairing:
    """A market by groups: the transport problem to solve, and what its rows and columns stand for.

    Attributes
    ----------
    sellers, buyers : tuple of Group
    seller_of, buyer_of : ndarray of int64, shape (participants,)
        Group of each participant, -1 for none.
    price : ndarray of int64, shape (sellers, buyers)
        `domain.prices.NO_PRICE` where a pair may not trade. [price units/kWh]
    problem : Transport
    """

    sellers: tuple[Group, ...]
    buyers: tuple[Group, ...]
    seller_of: NDArray[np.int64]
    buyer_of: NDArray[np.int64]
    price: NDArray[np.int64]
    problem: Transport


@dataclass(frozen=True)
class Matching:
    """What was matched in one interval.

    Attributes
    ----------
    market : Market
    pairing : Pairing
    flow : ndarray of int64, shape (seller groups, buyer groups)
        [units of energy]
    seller_dual, buyer_dual : ndarray of int64, shape (groups,)
        The proof that no other matching is worth more, see `domain.optimality`. [price units/kWh]
    sold, bought : ndarray of int64, shape (participants,)
        [units of energy]
    """

    market: Market
    pairing: Pairing
    flow: NDArray[np.int64]
    seller_dual: NDArray[np.int64]
    buyer_dual: NDArray[np.int64]
    sold: NDArray[np.int64]
    bought: NDArray[np.int64]

    @property
    def objective(self) -> int:
        """What the matching is worth by its objective. [price units x units of energy / kWh]"""
        return int((self.flow.astype(object) * self.pairing.problem.value).sum()) if self.flow.size else 0


Groups = tuple[tuple[Group, ...], NDArray[np.int64]]
"""Groups of one side, and the group of each participant, -1 for none."""


def pair_up(market: Market, sellers: Groups, buyers: Groups) -> Pairing:
    """The transport problem between groups of sellers and groups of buyers.

    Parameters
    ----------
    market : Market
    sellers, buyers : Groups

    Raises
    ------
    SolverError
        There are too many groups.
    """
    held = market.community
    (selling, seller_of), (buying, buyer_of) = sellers, buyers
    if len(selling) * len(buying) > MAX_PAIRS:
        raise SolverError(
            "matching",
            "size",
            f"{len(selling):,} by {len(buying):,} groups are too many; one who both sells and buys in an interval is "
            "a group of its own: offer the difference instead",
        )
    sites = [np.array([group.site for group in groups], dtype=np.int64) for groups in (selling, buying)]
    tariffs = [np.array([group.tariff for group in groups], dtype=np.int64) for groups in (selling, buying)]
    only = [np.array([group.only for group in groups], dtype=np.int64) for groups in (selling, buying)]
    sides = Sides(
        ask=market.ask[tariffs[0]],
        supply=_sums(market.surplus, seller_of, len(selling)),
        bid=market.bid[tariffs[1]],
        demand=_sums(market.deficit, buyer_of, len(buying)),
    )
    fee = held.fee[np.ix_(*sites)]
    price = market.rule(sides)
    half = fee // 2
    keeps = (price - half >= sides.ask[:, None]) & (price + half <= sides.bid)
    itself = (only[0][:, None] == only[1]) & (only[0][:, None] >= 0)
    may = (price >= 0) & keeps & (2 * fee <= price) & ~itself
    worth = price - fee if market.objective is Objective.VALUE else sides.bid - sides.ask[:, None] - fee
    return Pairing(
        sellers=selling,
        buyers=buying,
        seller_of=seller_of,
        buyer_of=buyer_of,
        price=np.where(may, price, NO_PRICE),
        problem=Transport(
            np.where(may, np.maximum(worth, 0), 0), sides.supply, sides.demand, held.distance_m[np.ix_(*sites)]
        ),
    )


def _sums(energy: NDArray[np.int64], group_of: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    found = np.zeros(groups, dtype=np.int64)
    inside = group_of >= 0
    np.add.at(found, group_of[inside], energy[inside])
    return found


def one_by_one(energy: NDArray[np.int64], held: Community) -> Groups:
    """Every participant that has some a group of its own: the programme as the paper states it."""
    having = np.flatnonzero(energy > 0)
    group_of = np.full(len(energy), -1, dtype=np.int64)
    group_of[having] = np.arange(len(having))
    return tuple(Group(int(held.site_of[n]), int(held.tariff_of[n]), int(n)) for n in having), group_of


def match_pairs(market: Market, solver: Solver) -> Matching:
    """Match participant by participant, for communities of some hundreds at most.

    Parameters
    ----------
    market : Market
    solver : Solver
        `domain.transport.solve_transport`, or PuLP's by `batch.lp.pulp_solver`.

    Raises
    ------
    SolverError
        The solver gave no answer.
    """
    held = market.community
    pairing = pair_up(market, one_by_one(market.surplus, held), one_by_one(market.deficit, held))
    plan = solver(pairing.problem)
    sold, bought = (np.zeros(len(held.names), dtype=np.int64) for _ in range(2))
    sold[pairing.seller_of >= 0] = plan.flow.sum(axis=1)
    bought[pairing.buyer_of >= 0] = plan.flow.sum(axis=0)
    return Matching(market, pairing, plan.flow, plan.seller_dual, plan.buyer_dual, sold, bought)


def no_trades(market: Market) -> Matching:
    """Nobody trades: everybody is left to the grid."""
    held = market.community
    pairing = pair_up(market, one_by_one(market.surplus * 0, held), one_by_one(market.deficit * 0, held))
    nothing = np.zeros(len(held.names), dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    return Matching(market, pairing, np.zeros((0, 0), dtype=np.int64), none, none, nothing, nothing.copy())
