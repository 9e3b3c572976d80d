"""The transport problem with leave to trade less: carry energy from sellers to buyers for the greatest value.

Solved by the network simplex on whole numbers, so the answer is exact and whole, and it comes with the potentials
that prove it best. The tree of the basis is kept strongly feasible (Cunningham 1976), so no pivot is ever made twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError

MAX_SUM = 2**62


class SolverError(NegawattError):
    """A solver gave no answer: it is not installed, took too long, or found the model infeasible or unbounded.

    Attributes
    ----------
    reason : str
        ``absent``, ``timeout``, ``infeasible``, ``unbounded``, ``numbers``, ``size`` or ``failed``.
    """

    def __init__(self, solver: str, reason: str, problem: str) -> None:
        self.solver, self.reason, self.problem = solver, reason, problem
        super().__init__(f"{solver}: {problem}")


@dataclass(frozen=True)
class Transport:
    """What may be carried between sellers and buyers, and what it is worth.

    Attributes
    ----------
    value : ndarray of int64, shape (sellers, buyers)
        Worth of each unit. Only pairs of a value above 0 trade; a pair that may not trade has 0.
    supply : ndarray of int64, shape (sellers,)
    demand : ndarray of int64, shape (buyers,)
        At least 0. [units of energy]
    distance : ndarray of int64, shape (sellers, buyers), or None
        Of several best answers, one with the least sum of energy times distance is taken.
    """

    value: NDArray[np.int64]
    supply: NDArray[np.int64]
    demand: NDArray[np.int64]
    distance: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TransportPlan:
    """An answer, with its proof.

    Attributes
    ----------
    flow : ndarray of int64, shape (sellers, buyers)
        [units of energy]
    seller_dual, buyer_dual : ndarray of int64
        What one unit more of a seller's supply or a buyer's demand would be worth. No value exceeds the sum of its
        seller's and buyer's, and the worth of all supply and demand is that of the plan.
    """

    flow: NDArray[np.int64]
    seller_dual: NDArray[np.int64]
    buyer_dual: NDArray[np.int64]


Solver = Callable[[Transport], TransportPlan]


def solve_transport(problem: Transport) -> TransportPlan:
    """Find a plan of the greatest value.

    Raises
    ------
    SolverError
        The numbers are too large for sums in 64 bits.

    Examples
    --------
    >>> plan = solve_transport(Transport(np.array([[5, 4], [3, 0]]), np.array([10, 10]), np.array([8, 7])))
    >>> plan.flow.tolist(), plan.seller_dual.tolist(), plan.buyer_dual.tolist()
    ([[3, 7], [5, 0]], [2, 0], [3, 2])
    """
    sellers = np.flatnonzero(problem.supply > 0)
    buyers = np.flatnonzero(problem.demand > 0)
    plan = TransportPlan(
        np.zeros(problem.value.shape, dtype=np.int64),
        np.zeros(len(problem.supply), dtype=np.int64),
        np.zeros(len(problem.demand), dtype=np.int64),
    )
    inside = np.ix_(sellers, buyers)
    value = problem.value[inside]
    if value.size and value.max() > 0:
        worth, scale = _lexicographic(value, None if problem.distance is None else problem.distance[inside])
        simplex = _Simplex(worth, problem.supply[sellers].tolist(), problem.demand[buyers].tolist())
        simplex.run()
        plan.flow[inside] = simplex.flows()
        plan.seller_dual[sellers], plan.buyer_dual[buyers] = simplex.duals(scale)
    _price_out(problem, plan)
    return plan


def _lexicographic(value: NDArray[np.int64], distance: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], int]:
    """Values in whose last digits the distance decides; pairs that may not trade become -1.

    A path in the basis has fewer arcs than there are nodes, so distances along it never reach half a unit of value.
    """
    nodes = sum(value.shape) + 2
    farthest = 0 if distance is None else int(distance.max())
    scale = 2 * nodes * farthest + 1
    if nodes * (int(value.max()) + 1) * scale >= MAX_SUM:
        raise SolverError("transport", "numbers", "values and distances are too large; give them with fewer digits")
    worth = value * scale
    if distance is not None:
        worth = worth - distance
    return np.where(value > 0, worth, -1), scale


class _Simplex:
    """The basis: a tree over sellers and buyers, with a seller and a buyer more that stand for the grid.

    Nodes are numbered sellers first, then the grid as seller, buyers, and the grid as buyer, the root. What a
    seller doesn't sell flows to the grid, what a buyer lacks comes from it; both are worth 0.
    """

    def __init__(self, worth: NDArray[np.int64], supply: list[int], demand: list[int]) -> None:
        sellers, buyers = worth.shape
        self._sellers, self._buyers = sellers, buyers
        self._worth = np.zeros((sellers + 1, buyers + 1), dtype=np.int64)
        self._worth[:sellers, :buyers] = worth
        self._grid = sellers
        self._root = sellers + buyers + 1
        self._first_buyer = sellers + 1
        nodes = self._root + 1
        self._parent = [self._root] * nodes
        self._flow = [*supply, 0, *demand, 0]  # of the arc between a node and its parent
        for buyer in range(self._first_buyer, self._root):
            self._parent[buyer] = self._grid
        self._parent[self._root] = -1
        self._next: list[set[int]] = [set() for _ in range(nodes)]
        for node, parent in enumerate(self._parent[:-1]):
            self._next[node].add(parent)
            self._next[parent].add(node)
        self._u = np.zeros(sellers + 1, dtype=np.int64)
        self._v = np.zeros(buyers + 1, dtype=np.int64)

    def run(self) -> None:
        """Pivot on the most promising pair until none is left."""
        columns = self._buyers + 1
        gain = np.empty_like(self._worth)
        while True:
            np.subtract(self._worth, self._u[:, None], out=gain)
            np.subtract(gain, self._v, out=gain)
            best = int(gain.argmax())
            seller, column = divmod(best, columns)
            step = int(gain[seller, column])
            if step <= 0:
                return
            self._pivot(seller, self._first_buyer + column, step)

    def _pivot(self, seller: int, buyer: int, gain: int) -> None:
        """Bring a pair into the basis, carry over it what its cycle allows, and let the arc that blocks go."""
        up, flow, first_buyer = self._parent, self._flow, self._first_buyer
        above_seller = []
        node = seller
        while node != -1:
            above_seller.append(node)
            node = up[node]
        place = {held: n for n, held in enumerate(above_seller)}
        below_buyer = []
        node = buyer
        while node not in place:
            below_buyer.append(node)
            node = up[node]
        below_seller = above_seller[: place[node]]
        # The cycle runs from the apex down to the seller, over the new arc, and up from the buyer. On the way down
        # arcs to sellers lose, on the way up arcs from buyers do. The last one of the least flow leaves.
        least, leaving = -1, -1
        for node in reversed(below_seller):
            if node < first_buyer and (least < 0 or flow[node] <= least):
                least, leaving = flow[node], node
        for node in below_buyer:
            if node >= first_buyer and (least < 0 or flow[node] <= least):
                least, leaving = flow[node], node
        if least:
            for node in below_seller:
                flow[node] += -least if node < first_buyer else least
            for node in below_buyer:
                flow[node] += least if node < first_buyer else -least
        near, far = (seller, buyer) if leaving in below_seller else (buyer, seller)
        self._hang(near, far, leaving, least)
        self._shift(near, far, gain if near == seller else -gain)

    def _hang(self, near: int, far: int, leaving: int, carried: int) -> None:
        """Cut the tree below ``leaving`` off and hang it, turned over, from ``far`` by ``near``."""
        up, flow, beside = self._parent, self._flow, self._next
        beside[leaving].discard(up[leaving])
        beside[up[leaving]].discard(leaving)
        beside[near].add(far)
        beside[far].add(near)
        node, parent, arc = near, far, carried
        while True:
            above, below = up[node], flow[node]
            up[node], flow[node] = parent, arc
            if node == leaving:
                return
            node, parent, arc = above, node, below

    def _shift(self, near: int, far: int, by: int) -> None:
        """Move the potentials of the part that hangs from ``near``, sellers up by ``by`` and buyers down."""
        beside, first_buyer, up = self._next, self._first_buyer, self._parent
        part = [near]
        for node in part:
            parent = up[node]
            part.extend(other for other in beside[node] if other != parent)
        self._u[[node for node in part if node < first_buyer]] += by
        self._v[[node - first_buyer for node in part if node >= first_buyer]] -= by

    def flows(self) -> NDArray[np.int64]:
        """What is carried between sellers and buyers, the grid left out."""
        found = np.zeros(self._worth.shape, dtype=np.int64)
        for node, (parent, carried) in enumerate(zip(self._parent[:-1], self._flow[:-1], strict=True)):
            seller, buyer = (node, parent) if node < self._first_buyer else (parent, node)
            found[seller, buyer - self._first_buyer] = carried
        return found[: self._sellers, : self._buyers]

    def duals(self, scale: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Potentials against the grid, rounded to what they are without the distances."""
        half = scale // 2
        return (self._u[:-1] + self._v[-1] + half) // scale, (self._v[:-1] + self._u[-1] + half) // scale


def _price_out(problem: Transport, plan: TransportPlan) -> None:
    """Give those without supply or demand the least dual that no pair of theirs exceeds."""
    idle_sellers = np.flatnonzero(problem.supply == 0)
    idle_buyers = np.flatnonzero(problem.demand == 0)
    if len(idle_sellers) and problem.value.shape[1]:
        above = problem.value[idle_sellers] - plan.buyer_dual
        plan.seller_dual[idle_sellers] = np.maximum(above.max(axis=1), 0)
    if len(idle_buyers) and problem.value.shape[0]:
        above = problem.value[:, idle_buyers] - plan.seller_dual[:, None]
        plan.buyer_dual[idle_buyers] = np.maximum(above.max(axis=0), 0)
