"""Matching of many: participants of one site and tariff are one, and their trades are shared out among them.

Prices and fees depend on site and tariff alone, so the linear programme over participants has the same optimum as the
one over groups; that is solved in whole numbers. One who both sells and buys in an interval is a group of its own, so
that it does not trade with itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.matching import Community, Group, Groups, Market, Matching, pair_up
from domain.transport import Solver, solve_transport

MAX_PRODUCT = 2**63


def match(market: Market, solver: Solver = solve_transport) -> Matching:
    """Match a market of any size.

    The best matching is found over groups. What a group sells or buys is shared out to its members in proportion to
    what they offered, in whole units by largest remainder, on a tie in the order of their names; all of them trade at
    the group's mean price. Of several best matchings, one is taken that carries the energy least far; what is then
    still equal is settled by the order of sites, tariffs and names. The order of the input changes nothing.

    Raises
    ------
    SolverError
        The numbers are too large.
    """
    held = market.community
    both = (market.surplus > 0) & (market.deficit > 0)
    sellers = _grouped(market.surplus, both, held)
    buyers = _grouped(market.deficit, both, held)
    pairing = pair_up(market, sellers, buyers)
    plan = solver(pairing.problem)
    return Matching(
        market,
        pairing,
        plan.flow,
        plan.seller_dual,
        plan.buyer_dual,
        sold=share_among(plan.flow.sum(axis=1), sellers[1], market.surplus),
        bought=share_among(plan.flow.sum(axis=0), buyers[1], market.deficit),
    )


def _grouped(energy: NDArray[np.int64], both: NDArray[np.bool_], held: Community) -> Groups:
    """Groups of those that have some, by site and tariff, then those who are on both sides one by one."""
    tariffs = len(held.tariffs)
    kinds = len(held.sites) * tariffs
    having = np.flatnonzero(energy > 0)
    kind = held.site_of[having] * tariffs + held.tariff_of[having]
    keys, place = np.unique(np.where(both[having], kinds + having, kind), return_inverse=True)
    group_of = np.full(len(energy), -1, dtype=np.int64)
    group_of[having] = place
    groups = []
    for key in keys.tolist():
        only = key - kinds if key >= kinds else -1
        site, tariff = divmod(key, tariffs) if only < 0 else (int(held.site_of[only]), int(held.tariff_of[only]))
        groups.append(Group(site, tariff, only))
    return tuple(groups), group_of


def share_among(totals: NDArray[Any], group_of: NDArray[np.int64], weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each group's total over its members, by `share_out`; zeros for those of no weight or in no group.

    Parameters
    ----------
    totals : ndarray of int64, or of whole numbers of any size, shape (groups,)
    group_of : ndarray of int64, shape (participants,)
        -1 for none.
    weight : ndarray of int64, shape (participants,)
    """
    found = np.zeros(len(group_of), dtype=np.int64)
    members = np.flatnonzero((group_of >= 0) & (weight > 0))
    members = members[np.argsort(group_of[members], kind="stable")]
    group, held = group_of[members], weight[members]
    bounds = np.searchsorted(group, np.arange(len(totals) + 1))
    if not len(members):
        return found
    if int(totals.max()) * int(held.max()) >= MAX_PRODUCT:
        for total, start, end in zip(totals.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if total:
                found[members[start:end]] = share_out(total, held[start:end])
        return found
    # The same as by share_out, for all groups at once.
    total, whole = totals.astype(np.int64), np.zeros(len(totals), dtype=np.int64)
    np.add.at(whole, group, held)
    parts, rest = np.divmod(total[group] * held, whole[group])
    left = total.copy()
    np.subtract.at(left, group, parts)
    order = np.lexsort((-rest, group))
    first = np.arange(len(members)) - bounds[group] < left[group]
    parts[order[first]] += 1
    found[members] = parts
    return found


def share_out(total: int, weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split a whole number in proportion to weights by largest remainder, the earlier first on a tie.

    No part exceeds its weight when ``total`` is at most the sum of weights.

    >>> share_out(7, np.array([5, 5, 4])).tolist()   # 2.5, 2.5 and 2
    [3, 2, 2]
    """
    whole = int(weight.sum())
    if total * int(weight.max()) < MAX_PRODUCT:
        parts, rest = np.divmod(total * weight, whole)
    else:
        exact = [divmod(total * one, whole) for one in weight.tolist()]
        parts, rest = (np.array([pair[n] for pair in exact], dtype=np.int64) for n in (0, 1))
    left = total - int(parts.sum())
    parts[np.argsort(-rest, kind="stable")[:left]] += 1
    return parts
