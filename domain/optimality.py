"""Proof that a matching is the best there is, checked without anything that made it.

By duality: give every seller and buyer a price on its capacity so that no pair is worth more than its two prices
together. Then no matching can be worth more than all capacities at these prices, and one that is worth just that is
best. The check goes back to participants, tariffs and sites, and shares no code with grouping or solving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from domain.errors import NegawattError
from domain.matching import Market, Matching, Objective, no_trades
from domain.prices import NO_PRICE, Sides
from domain.transport import SolverError

GRID_PRICES = "market.grid_prices"
"""Code of the finding that an interval was not matched."""


class NotOptimalError(NegawattError):
    """A matching breaks a limit, or its proof doesn't hold."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the matching is not proved: {problem}")


def prove(matching: Matching) -> None:
    """Check that a matching keeps all limits and that none is worth more.

    Raises
    ------
    NotOptimalError
        Saying what doesn't hold, with the figures.
    """
    _check_limits(matching)
    _check_sums(matching)
    pairs = _worth_of_pairs(matching)
    reached = 0
    for (seller, buyer), energy in np.ndenumerate(matching.flow):
        if energy < 0:
            raise NotOptimalError(f"{energy} flow from group {seller} to group {buyer}")
        if energy:
            if (seller, buyer) not in pairs:
                raise NotOptimalError(f"group {seller} may not trade with group {buyer}, but {energy} flow")
            reached += int(energy) * pairs[seller, buyer]
    bound = _bound(matching)
    if reached != bound:
        raise NotOptimalError(f"it is worth {reached}, and its proof allows {bound}")
    for (seller, buyer), worth in pairs.items():
        duals = int(matching.seller_dual[seller]) + int(matching.buyer_dual[buyer])
        if duals < worth:
            raise NotOptimalError(f"group {seller} to group {buyer} is worth {worth} a unit, its duals are {duals}")


def match_or_grid(market: Market, matcher: Callable[[Market], Matching]) -> tuple[Matching, list[dict[str, Any]]]:
    """Match and prove; where a solver gives no answer, or one that is not proved, leave everybody to the grid.

    Returns
    -------
    Matching
    list of dict
        Findings with ``code``, ``sentence`` and ``values``; empty when it was matched.
    """
    try:
        matching = matcher(market)
        prove(matching)
    except (SolverError, NotOptimalError) as failed:
        solver, reason = getattr(failed, "solver", "matching"), getattr(failed, "reason", "unproved")
        finding = {
            "code": GRID_PRICES,
            "sentence": "no proven matching was found; everybody trades with the grid",
            "values": {"solver": solver, "reason": reason, "problem": failed.problem},
        }
        return no_trades(market), [finding]
    return matching, []


def _check_limits(matching: Matching) -> None:
    """Nobody trades below zero or above its capacity, nor in a group that is not its own."""
    market, pairing = matching.market, matching.pairing
    held = market.community
    for what, traded, capacity, group_of, groups in (
        ("sold", matching.sold, market.surplus, pairing.seller_of, pairing.sellers),
        ("bought", matching.bought, market.deficit, pairing.buyer_of, pairing.buyers),
    ):
        members: defaultdict[int, int] = defaultdict(int)
        rows = zip(traded.tolist(), capacity.tolist(), group_of.tolist(), strict=True)
        for n, (energy, most, group) in enumerate(rows):
            if not 0 <= energy <= most:
                raise NotOptimalError(f"{held.names[n]} {what} {energy} of {most}")
            if group < 0:
                if most:
                    raise NotOptimalError(f"{held.names[n]} has {most} and was left out")
                continue
            members[group] += 1
            at = groups[group]
            if (at.site, at.tariff) != (int(held.site_of[n]), int(held.tariff_of[n])) or at.only not in (-1, n):
                raise NotOptimalError(f"{held.names[n]} is in a group that is not its own")
            if most and at.only < 0 and market.surplus[n] > 0 and market.deficit[n] > 0:
                raise NotOptimalError(f"{held.names[n]} sells and buys, and might trade with itself")
        if any(at.only >= 0 and members[group] != 1 for group, at in enumerate(groups)):
            raise NotOptimalError("a group that is kept for one has none or several")


def _check_sums(matching: Matching) -> None:
    """What members trade adds up to what flows, group by group."""
    pairing = matching.pairing
    for what, traded, group_of, flows in (
        ("sold", matching.sold, pairing.seller_of, matching.flow.sum(axis=1)),
        ("bought", matching.bought, pairing.buyer_of, matching.flow.sum(axis=0)),
    ):
        sums = [0] * len(flows)
        for energy, group in zip(traded.tolist(), group_of.tolist(), strict=True):
            if group >= 0:
                sums[group] += energy
            elif energy:
                raise NotOptimalError(f"somebody in no group {what} {energy}")
        if sums != flows.tolist():
            raise NotOptimalError(f"members {what} {sums}, and {flows.tolist()} flow")


def _worth_of_pairs(matching: Matching) -> dict[tuple[int, int], int]:
    """What a unit is worth between groups that may trade, worked out anew from participants, tariffs and fees."""
    market, pairing = matching.market, matching.pairing
    asks, bids, fees = market.ask.tolist(), market.bid.tolist(), market.community.fee.tolist()
    ruled = market.rule(_sides(matching)).tolist()
    shown = pairing.price.tolist()
    pairs = {}
    for s, seller in enumerate(pairing.sellers):
        ask, fees_from = asks[seller.tariff], fees[seller.site]
        for b, buyer in enumerate(pairing.buyers):
            price, bid, fee = ruled[s][b], bids[buyer.tariff], fees_from[buyer.site]
            alone = seller.only >= 0 and seller.only == buyer.only
            loses = 2 * (price - ask) < fee or 2 * (bid - price) < fee
            may = not (price < 0 or alone or loses or 2 * fee > price)
            if shown[s][b] != (price if may else NO_PRICE):
                raise NotOptimalError(f"group {s} and group {b} have a price of {shown[s][b]}, the rule says {price}")
            worth = price - fee if market.objective is Objective.VALUE else bid - ask - fee
            if may and worth > 0:
                pairs[s, b] = worth
    return pairs


def _sides(matching: Matching) -> Sides:
    market, pairing = matching.market, matching.pairing
    supply, demand = [0] * len(pairing.sellers), [0] * len(pairing.buyers)
    for sums, capacity, group_of in (
        (supply, market.surplus, pairing.seller_of),
        (demand, market.deficit, pairing.buyer_of),
    ):
        for energy, group in zip(capacity.tolist(), group_of.tolist(), strict=True):
            if group >= 0:
                sums[group] += energy
    return Sides(
        np.array([market.ask[group.tariff] for group in pairing.sellers], dtype=np.int64),
        np.array(supply, dtype=np.int64),
        np.array([market.bid[group.tariff] for group in pairing.buyers], dtype=np.int64),
        np.array(demand, dtype=np.int64),
    )


def _bound(matching: Matching) -> int:
    """The most that any matching can be worth by the duals."""
    market, pairing = matching.market, matching.pairing
    bound = 0
    for duals, capacity, group_of in (
        (matching.seller_dual, market.surplus, pairing.seller_of),
        (matching.buyer_dual, market.deficit, pairing.buyer_of),
    ):
        if len(duals) and int(duals.min()) < 0:
            raise NotOptimalError(f"a dual is {int(duals.min())}, below 0")
        held = duals.tolist()
        for energy, group in zip(capacity.tolist(), group_of.tolist(), strict=True):
            if group >= 0:
                bound += held[group] * energy
    return bound
