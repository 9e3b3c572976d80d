"""The programme in PuLP: the same optimum as the exact solver's, proved, and each way to fail by its name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from kiee_table7 import half_hours
from market_builders import a_market, table_7_market

from batch.lp import ENGINES, pulp_solver, solve_model
from domain.matching import Objective, match_pairs
from domain.matching_aggregated import match
from domain.optimality import match_or_grid, prove
from domain.transport import SolverError, Transport, solve_transport

pulp = pytest.importorskip("pulp")
PRICES = {"low": (100, 120), "middle": (130, 150), "high": (160, 200)}


def random_rows(count: int) -> list:
    random = np.random.default_rng(7)
    return [
        (f"p{n:03d}", f"s{random.integers(3)}", str(random.choice(sorted(PRICES))), *((wh, 0) if n % 2 else (0, wh)))
        for n, wh in enumerate(random.integers(0, 3000, count).tolist())
    ]


KM = {("s0", "s1"): 1, ("s0", "s2"): 4, ("s1", "s2"): 2}


@pytest.mark.parametrize("engine", ENGINES)
def test_table_7_by_the_papers_programme(engine):
    for start, volumes, _ in half_hours()[::2]:
        matching = match_pairs(table_7_market(start, volumes), pulp_solver(engine))
        prove(matching)
        assert sorted(matching.flow[matching.flow > 0].tolist()) == sorted(volumes.values())


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_reach_the_exact_optimum(engine, objective):
    market = a_market(random_rows(40), PRICES, km=KM, fee="2", objective=objective)
    matching = match_pairs(market, pulp_solver(engine))
    prove(matching)
    assert matching.objective == match(market).objective > 0


def test_those_without_capacity_have_duals_that_hold():
    value = np.array([[5, 9], [7, 1]])
    problem = Transport(value, np.array([3, 0]), np.array([2, 0]))
    plan = pulp_solver()(problem)
    assert plan.flow.tolist() == [[2, 0], [0, 0]]
    assert (plan.seller_dual[:, None] + plan.buyer_dual >= value).all()
    assert plan.seller_dual @ problem.supply + plan.buyer_dual @ problem.demand == 10
    assert solve_transport(problem).flow.tolist() == plan.flow.tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_infeasible_model_is_called_so(engine):
    model = pulp.LpProblem("none", pulp.LpMaximize)
    x = model.add_variable("x", lowBound=0)
    model += x
    model += x >= 2, "more"
    model += x <= 1, "less"
    with pytest.raises(SolverError, match="no solution") as refused:
        solve_model(model, engine)
    assert refused.value.reason == "infeasible"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unbounded_model_is_called_so(engine):
    model = pulp.LpProblem("all", pulp.LpMaximize)
    x, y = (model.add_variable(name, lowBound=0) for name in "xy")
    model += x + y
    model += x - y <= 1, "apart"
    with pytest.raises(SolverError) as refused:
        solve_model(model, engine)
    assert refused.value.reason in ("unbounded", "infeasible")  # engines may say "one of the two"


@pytest.mark.parametrize("engine", ENGINES)
def test_no_time_is_a_finding_and_grid_prices(engine):
    market = a_market(random_rows(160), PRICES, km=KM, fee="2")
    matching, (finding,) = match_or_grid(market, lambda held: match_pairs(held, pulp_solver(engine, 1e-9)))
    assert matching.sold.sum() == 0
    assert finding["values"]["reason"] == "timeout"
    assert finding["values"]["solver"] == engine


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    problem = Transport(np.array([[1]]), np.array([1]), np.array([1]))
    with pytest.raises(SolverError, match="known: auto, highs, cbc"):
        pulp_solver("gurobi")(problem)
    monkeypatch.setattr(pulp.HiGHS, "available", lambda self: False)
    with pytest.raises(SolverError, match=r"pip install negawatt\[market\]") as refused:
        pulp_solver("highs")(problem)
    assert refused.value.reason == "absent"
    assert pulp_solver("auto")(problem).flow.tolist() == [[1]], "CBC stands in"


def test_without_pulp_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pulp", None)
    with pytest.raises(SolverError, match=r"pip install negawatt\[market\]"):
        pulp_solver()(Transport(np.array([[1]]), np.array([1]), np.array([1])))
