"""The benchmark ``market``: matching by groups in one interval, and the linear programme over participants beside it.

Participants lie in ten sites and have one of eight tariffs; half have something over, half lack something. Every
matching is proved, and what PuLP finds has to be worth just as much, or the run stops with an error.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from batch.lp import pulp_solver
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.results import Row, Timed, timed
from domain.errors import NegawattError
from domain.matching import Market, Participant, community, match_pairs
from domain.matching_aggregated import match
from domain.optimality import prove
from domain.prices import PRICE_RULES
from domain.profits import profits
from domain.transport import solve_transport

SIZES = (10_000, 100_000)
LIMIT_S = {10_000: 0.3, 100_000: 3.0}
SITES, TARIFFS = 10, 8
LP_SIDE = 300
"""Sellers, and buyers, of the programme over participants."""

SHORT = 10
"""So many times more runs where one takes milliseconds."""

FASTER = 50
"""So many times faster than PuLP with CBC, at least."""


def run(options: Options) -> list[Row]:
    """Measure every size, then compare with PuLP."""
    rows = []
    for size in sorted(options.homes):
        at = f"participants={size}"
        options.say(at)
        matched, proved, gained = isolated(_time_groups, size, options.repeats)
        rows += [
            Row(f"aggregated_s {at}", matched.warm, "s", *_limit(size, proved.warm, f"prove_s {at}")),
            Row(f"prove_s {at}", proved.warm, "s", f"aggregated_s {at}", matched.warm),
            Row(f"profits_s {at}", gained.warm, "s", f"aggregated_s {at}", matched.warm),
        ]
    at = f"n={LP_SIDE}"
    options.say(f"{at}: PuLP")
    seconds = isolated(_time_programmes, options.repeats)
    ours = seconds["aggregated"].warm
    rows += [
        Row(f"aggregated_s {at}", ours, "s", f"pulp_cbc_s {at}", seconds["cbc"].warm),
        Row(f"pairs_s {at}", seconds["pairs"].warm, "s", f"aggregated_s {at}", ours),
        Row(f"pulp_highs_s {at}", seconds["highs"].warm, "s", f"aggregated_s {at}", ours),
        Row(f"speedup_vs_cbc {at}", seconds["cbc"].warm / ours, "x", "limit", FASTER, better="higher"),
    ]
    return rows


def _limit(size: int, otherwise: float, name: str) -> tuple[str, float]:
    return ("limit", LIMIT_S[size]) if size in LIMIT_S else (name, otherwise)


def a_market(participants: int, seed: int = 1) -> Market:
    """A random interval: half sell, half buy, up to 3 kWh each; net metering at 8 tariffs, sites up to 28 km off."""
    random = np.random.default_rng(seed)
    people = [
        Participant(f"p{n:06d}", f"site-{random.integers(SITES)}", f"tariff-{random.integers(TARIFFS)}")
        for n in range(participants)
    ]
    places = random.integers(0, 20_000, (SITES, 2))
    metres = {
        (f"site-{i}", f"site-{j}"): int(np.hypot(*(places[i] - places[j])))
        for i in range(SITES)
        for j in range(i + 1, SITES)
    }
    sites = {one.site for one in people}
    metres = {pair: far for pair, far in metres.items() if set(pair) <= sites}
    prices = random.permutation(np.arange(1000, 3000, 7))[:TARIFFS].tolist()
    held = community(people, metres, [Fraction(price) for price in prices], Fraction(3))
    grid = np.array([held.units(Fraction(prices[int(name[-1])])) for name in held.tariffs], dtype=np.int64)
    wh = random.integers(1, 3001, participants)
    selling = np.arange(participants) % 2 == 0
    return Market(held, np.where(selling, wh, 0), np.where(selling, 0, wh), grid, grid, PRICE_RULES["mid"])


def _time_groups(participants: int, repeats: int) -> tuple[Timed, Timed, Timed]:
    market = a_market(participants)
    matched, matching = timed(lambda: match(market), repeats)
    proved, _ = timed(lambda: prove(matching), repeats)
    gained, _ = timed(lambda: profits(matching), repeats)
    return matched, proved, gained


def _time_programmes(repeats: int) -> dict[str, Timed]:
    market = a_market(2 * LP_SIDE, seed=2)
    jobs = {
        "aggregated": lambda: match(market),
        "pairs": lambda: match_pairs(market, solve_transport),
        "highs": lambda: match_pairs(market, pulp_solver("highs")),
        "cbc": lambda: match_pairs(market, pulp_solver("cbc")),
    }
    seconds, worth = {}, {}
    for name, job in jobs.items():
        seconds[name], matching = timed(job, SHORT * repeats if name == "aggregated" else repeats)
        prove(matching)
        worth[name] = matching.objective
    if len(set(worth.values())) != 1:
        raise NegawattError(f"the programmes differ in what their matchings are worth: {worth}")
    return seconds
