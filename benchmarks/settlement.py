"""The benchmark ``settlement``: from an event's end to confirmed payment on a network of two Geth nodes.

Table 1 of Kim et al. (2018) is redone: certification, contract, confirmation, for 10 to 10,000 homes, at a block a
second and at the paper's 15 s. Gas is counted on the same network, for each way of paying and for the plain ways.

Readings are those of a day of 2025; the chain's own event is a window of a few real seconds, since no home can be
made to wait an hour for a benchmark. The clock starts when that window ends.
"""

from __future__ import annotations

import shutil

from benchmarks.homes import Fleet, load_fleet
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.settlement_runs import Gas, SettlementTimes, measure_gas, settle_sizes

SIZES = (10, 100, 1_000, 10_000)

PAPER_S = {10: 206.0, 100: 321.0}
"""Totals of Table 1. [s]"""

LIMITS_S = {100: 20.0, 10_000: 40.0}
"""Totals at a block a second. [s]"""

PAPER_PERIOD_S, PAPER_SIZES = 15, (10, 100)
ROOT_ONLY = 10_000
"""From so many homes on, payments are claimed, not pushed."""

GAS_HOMES = 1_000
GAS_LIMITS = {"root": 5.0, "claim": 60_000.0, "push-warm": 7_000.0}


def run(options: Options) -> list[Row]:
    """Measure every size at both periods, then gas."""
    sizes = sorted(options.homes)
    stores = {}
    for homes in sorted({*sizes, GAS_HOMES}):
        stores[homes] = options.folder / f"settlement-{homes}" / "store"
        if not stores[homes].exists():
            options.say(f"homes={homes}: make readings")
            load_fleet(stores[homes], Fleet.of(homes))
    try:
        options.say("a block a second")
        fast = isolated(settle_sizes, options.folder / "network-1", 1, {n: stores[n] for n in sizes}, ROOT_ONLY)
        rows = [row for times in fast for row in _times(times, 1, fast[-1])]
        slow_sizes = [n for n in sizes if n in PAPER_SIZES]
        if slow_sizes:
            options.say(f"a block every {PAPER_PERIOD_S} s")
            slow = isolated(
                settle_sizes,
                options.folder / f"network-{PAPER_PERIOD_S}",
                PAPER_PERIOD_S,
                {n: stores[n] for n in slow_sizes},
                ROOT_ONLY,
            )
            rows += [row for times in slow for row in _times(times, PAPER_PERIOD_S, slow[-1])]
        options.say(f"homes={GAS_HOMES}: gas of each way to pay")
        gas = isolated(measure_gas, options.folder / "network-gas", stores[GAS_HOMES])
        rows += _gas(gas, fast)
    finally:
        if not options.keep:
            for path in (*(store.parent for store in stores.values()), *options.folder.glob("network-*")):
                shutil.rmtree(path, ignore_errors=True)
    return rows


def _times(times: SettlementTimes, period: int, largest: SettlementTimes) -> list[Row]:
    at = f"period={period} homes={times.homes}"
    total, paper = times.total, PAPER_S.get(times.homes)
    limit = LIMITS_S.get(times.homes) if period == 1 else None
    if limit:
        versus = ("limit", limit)
    elif paper:
        versus = (f"paper homes={times.homes}", paper)
    else:
        versus = (f"total_s period={period} homes={largest.homes}", largest.total)
    rows = [Row(f"total_s {at}", total, "s", *versus)]
    if limit and paper:
        rows.append(Row(f"total_against_paper_s {at}", total, "s", f"paper homes={times.homes}", paper))
    part = (f"total_s {at}", total)
    return [
        *rows,
        Row(f"certify_s {at}", times.certify, "s", *part),
        Row(f"contract_s {at}", times.contract, "s", *part),
        Row(f"confirmation_s {at}", times.confirmation, "s", *part),
    ]


def _gas(gas: Gas, fast: list[SettlementTimes]) -> list[Row]:
    plain = f"gas_per_home mode=one-transaction-each homes={GAS_HOMES}"
    rows = []
    for times in fast:
        per_home = times.root_gas / times.homes
        name = f"gas_per_home mode=root homes={times.homes}"
        limited = times.homes == ROOT_ONLY
        versus = ("limit", GAS_LIMITS["root"]) if limited else (plain, gas.ways["one-transaction-each"])
        rows.append(Row(name, per_home, "gas", *versus))
    for mode, per_home in gas.ways.items():
        limit = GAS_LIMITS.get(mode)
        if mode == "one-transaction-each":
            batch = f"gas_per_home mode=batched-transfers homes={GAS_HOMES}"
            rows.append(Row(plain, per_home, "gas", batch, gas.ways["batched-transfers"]))
        else:
            versus = ("limit", limit) if limit else (plain, gas.ways["one-transaction-each"])
            rows.append(Row(f"gas_per_home mode={mode} homes={GAS_HOMES}", per_home, "gas", *versus))
    one = gas.seconds["one-transaction-each"]
    for mode, seconds in gas.seconds.items():
        peer = (
            ("batched-transfers", gas.seconds["batched-transfers"])
            if seconds is one
            else ("one-transaction-each", one)
        )
        name = f"pay_to_receipt_s mode={mode} homes={GAS_HOMES}"
        rows.append(Row(name, seconds, "s", f"pay_to_receipt_s mode={peer[0]} homes={GAS_HOMES}", peer[1]))
    return rows
