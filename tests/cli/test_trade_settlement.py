"""A matched day, balanced against the meters, goes on chain by its net amounts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from energy_desk import MORNING, TOKEN
from trade_desk import DAY, MARKET, Desk

from serving.anvil import anvil
from serving.chain import Chain

pytestmark = pytest.mark.stack

SITES = {"A": 1, "B": 2, "C": 3}
POOL, GRID = 4, 5
MILLI = TOKEN // 1000
"""A VND is a thousandth of a token here."""


def test_a_matched_day_is_settled_by_its_net_amounts(tmp_path):
    with anvil(clock=MORNING, block_seconds=None) as node:
        accounts = Chain(node.url, reader=True).w3.eth.accounts
        desk = Desk(tmp_path, [accounts[n] for n in SITES.values()])

        def energy(*words: object, account: int = 0) -> dict:
            return desk.json("energy", *words, "--account", account, "--chain", node.url)

        energy("deploy")
        energy("post-rate", 2000)
        for account in (*SITES.values(), GRID):
            energy("buy-tokens", 2, account=account)
            energy("deposit", 4000, account=account)
            energy("limit", 4000, account=account)
        settlement = [f'pool = "{accounts[POOL]}"', f'grid = "{accounts[GRID]}"', f"token_units = {MILLI}"]
        desk.write("market.toml", MARKET, "[settlement]", *settlement)
        desk.match()
        statement = desk.balance(lambda name, start, export, imported: (export * 9 // 10, imported + 100))
        settled = energy("settle-day", statement["trades_file"], "--day", DAY)

        assert settled["state"] == "executed"
        assert accounts[POOL].lower() not in settled["net"]
        exact = {row["participant"]: row["net"] for row in statement["participants"]}
        for site, account in SITES.items():
            moved = settled["net"][accounts[account].lower()]
            owed = Fraction(exact[site], statement["fine_units_per_minor_unit"]) * MILLI
            assert abs(moved - owed) <= 4  # smallest units: each of its rows is rounded once
            assert energy("balance", account=account)["free"] == 4000 * TOKEN + moved
        grid = Fraction(statement["grid_net"], statement["fine_units_per_minor_unit"]) * MILLI
        assert abs(settled["net"][accounts[GRID].lower()] - grid) <= 4
        assert sum(settled["net"].values()) == 0
        desk.run("energy", "verify-day", settled["published"], "--chain", node.url)
