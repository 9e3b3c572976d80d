"""The matching as a linear programme in PuLP, as the paper states it, solved by HiGHS or else by CBC.

For communities of some hundreds of participants, and as a check of `domain.transport`, which is faster by far. The
solvers count in floating point; what they find is rounded to whole numbers, and holds only once
`domain.optimality.prove` has proved it. PuLP comes with the extra ``market``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.transport import Solver, SolverError, Transport, TransportPlan

ENGINES = ("highs", "cbc")
"""In order of preference."""

TIME_LIMIT_S = 60.0
TOLERANCE = 1e-4
"""How far from a whole number a solver's figure may be."""


def pulp_solver(engine: str = "auto", time_limit_s: float = TIME_LIMIT_S) -> Solver:
    """A solver of transport problems by PuLP.

    Parameters
    ----------
    engine : str
        ``highs``, ``cbc``, or ``auto`` for the first of them that is installed.
    time_limit_s : float
        For each problem. [s]

    Returns
    -------
    callable
        Raises `SolverError` when the engine is absent, takes too long, or finds no optimum.
    """

    def solve(problem: Transport) -> TransportPlan:
        plan = TransportPlan(
            np.zeros(problem.value.shape, dtype=np.int64),
            np.zeros(len(problem.supply), dtype=np.int64),
            np.zeros(len(problem.demand), dtype=np.int64),
        )
        if _cells(problem):
            model, carried, selling, buying = build_model(problem)
            name = solve_model(model, engine, time_limit_s)
            for cell, variable in carried.items():
                plan.flow[cell] = _whole(name, variable.varValue)
            for duals, limits in ((plan.seller_dual, selling), (plan.buyer_dual, buying)):
                for n, limit in limits.items():
                    duals[n] = _whole(name, abs(limit.pi))  # engines differ in the sign for a maximum
        _idle(plan.seller_dual, problem.supply == 0, problem.value, plan.buyer_dual)
        _idle(plan.buyer_dual, problem.demand == 0, problem.value.T, plan.seller_dual)
        return plan

    return solve


def build_model(problem: Transport) -> tuple[Any, dict[tuple[int, int], Any], dict[int, Any], dict[int, Any]]:
    """Equations (4) to (6): the model, its variables by seller and buyer, and its limits by seller and by buyer.

    Raises
    ------
    SolverError
        PuLP is not installed.
    """
    pulp = _pulp()
    model = pulp.LpProblem("matching", pulp.LpMaximize)
    carried = {(i, j): model.add_variable(f"x_{i}_{j}", lowBound=0) for i, j in _cells(problem)}
    model += pulp.LpAffineExpression([(x, int(problem.value[cell])) for cell, x in carried.items()])
    rows: dict[int, list[Any]] = {}
    columns: dict[int, list[Any]] = {}
    for (i, j), x in carried.items():
        rows.setdefault(i, []).append(x)
        columns.setdefault(j, []).append(x)
    limits: list[dict[int, Any]] = []
    for name, terms, most in (("G", rows, problem.supply), ("L", columns, problem.demand)):
        made = {}
        for n, variables in terms.items():
            made[n] = pulp.LpAffineExpression([(x, 1) for x in variables]) <= int(most[n])
            model += made[n], f"{name}_{n}"
        limits.append(made)
    return model, carried, limits[0], limits[1]


def _cells(problem: Transport) -> list[list[int]]:
    """Pairs that may trade and have something to."""
    found = np.argwhere((problem.value > 0) & (problem.supply[:, None] > 0) & (problem.demand > 0))
    cells: list[list[int]] = found.tolist()
    return cells


def solve_model(model: Any, engine: str = "auto", time_limit_s: float = TIME_LIMIT_S) -> str:
    """Solve a PuLP model to its optimum; returns the name of the engine that did.

    Raises
    ------
    SolverError
        With the reason ``absent``, ``timeout``, ``infeasible``, ``unbounded`` or ``failed``.
    """
    pulp = _pulp()
    name, made = _engine(engine, time_limit_s)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # CBC moves into a package of its own in PuLP 4
            model.solve(made())
    except pulp.PulpSolverError as broken:
        raise SolverError(name, "failed", f"stopped with an error: {broken}") from broken
    if model.status == pulp.LpStatusInfeasible:
        raise SolverError(name, "infeasible", "the model has no solution: its limits contradict each other")
    if model.status == pulp.LpStatusUnbounded:
        raise SolverError(name, "unbounded", "the model has no optimum: its value grows without bound")
    if model.status != pulp.LpStatusOptimal or model.sol_status != pulp.LpSolutionOptimal:
        raise SolverError(name, "timeout", f"no optimum within {time_limit_s:g} s")
    return name


def _pulp() -> Any:
    try:
        import pulp  # noqa: PLC0415  optional, and heavy
    except ImportError as absent:
        raise SolverError(
            "PuLP", "absent", "is not installed; install it with `pip install negawatt[market]`"
        ) from absent
    return pulp


def _engine(wanted: str, time_limit_s: float) -> tuple[str, Callable[[], Any]]:
    pulp = _pulp()
    made: dict[str, Callable[[], Any]] = {
        "highs": lambda: pulp.HiGHS(msg=False, timeLimit=time_limit_s),
        "cbc": lambda: pulp.PULP_CBC_CMD(msg=False, timeLimit=time_limit_s, timeMode="elapsed"),
    }
    if wanted != "auto" and wanted not in made:
        raise SolverError(wanted, "absent", f"is no solver that is known; known: auto, {', '.join(ENGINES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in ENGINES if wanted == "auto" else (wanted,):
            if made[name]().available():
                return name, made[name]
    raise SolverError(wanted, "absent", "is not installed; install it with `pip install negawatt[market]`")


def _whole(engine: str, figure: float | None) -> int:
    if figure is None or abs(figure - round(figure)) > TOLERANCE:
        raise SolverError(engine, "failed", f"found {figure}, and a whole number was expected")
    return round(figure)


def _idle(
    duals: NDArray[np.int64], idle: NDArray[np.bool_], value: NDArray[np.int64], others: NDArray[np.int64]
) -> None:
    """Give those without capacity, which the model leaves out, the least dual that no pair of theirs exceeds."""
    if idle.any() and value.shape[1]:
        duals[idle] = np.maximum((value[idle] - others).max(axis=1), 0)
