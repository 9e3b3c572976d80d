"""The pages on tariffs and on the market list what there is, and their files are files."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from domain.optimality import GRID_PRICES
from domain.prices import PRICE_RULES
from domain.tariff_data import parse_tariff
from negawatt.market_capacities import FORECAST_MISSING
from negawatt.market_delivery import WORSE_OFF
from negawatt.market_files import (
    MARKET_KEYS,
    SETTLEMENT_KEYS,
    SOURCE_COLUMNS,
    built_in_tariffs,
    find_tariff,
    read_market,
)
from negawatt.workspace import Workspace

DOCS = Path(__file__).parents[2] / "docs"
MARKET, TARIFFS = ((DOCS / name).read_text("utf-8") for name in ("market.md", "tariffs.md"))


def first_cells(page: str, header: str) -> list[str]:
    """Code words in the first column of the table whose first column is called ``header``."""
    lines = page[page.index(f"| {header} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [word for line in lines for word in re.findall(r"`([^`]+)`", line.strip().strip("|").split("|")[0])]


def block(page: str, kind: str) -> str:
    return page[page.index(f"```{kind}\n") :].split("\n", 1)[1].split("```", 1)[0]


def test_every_price_rule_and_finding_is_explained_and_no_other():
    assert first_cells(MARKET, "rule") == list(PRICE_RULES)
    assert first_cells(MARKET, "finding") == [GRID_PRICES, FORECAST_MISSING, WORSE_OFF]


def test_every_key_of_a_market_file_is_explained_and_no_other():
    assert set(first_cells(MARKET, "key")) == MARKET_KEYS | SETTLEMENT_KEYS


def test_every_column_of_the_participants_file_is_explained():
    table = MARKET[MARKET.index("| column |") :].split("\n\n", 1)[0].splitlines()[2:]
    columns = [line.strip("|").split("|")[0].strip() for line in table]
    assert columns == ["participant", "site", "tariff", "wallet", *SOURCE_COLUMNS]


def test_every_function_for_schedulers_is_there():
    for name in first_cells(MARKET, "function"):
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_the_market_file_shown_is_one_and_has_every_key(tmp_path):
    text = block(MARKET, "toml market")
    (tmp_path / "market.toml").write_text(text)
    (tmp_path / "participants.csv").write_text("participant,site,tariff\nA,a,kiee-2021-a\nB,b,kiee-2021-b\n")
    (tmp_path / "distances.csv").write_text("from,to,km\na,b,1\n")
    assert read_market(tmp_path / "market.toml").token_units == 10**16
    data = tomllib.loads(text)
    assert set(data) == MARKET_KEYS
    assert set(data["settlement"]) == SETTLEMENT_KEYS


def test_the_tariff_shown_is_one_and_every_key_of_it_is_explained():
    data = tomllib.loads(block(TARIFFS, "toml tariff"))
    assert parse_tariff(data).id == "two-prices"
    shown = {*data, *data["terms"][0], *data["terms"][0]["days"][0]}
    explained = set(first_cells(TARIFFS, "key"))
    assert shown <= explained
    assert explained - shown == {"seasons", "season"}


def test_every_built_in_tariff_is_listed_and_no_other(tmp_path):
    assert sorted(first_cells(TARIFFS, "tariff")) == built_in_tariffs()
    for name in built_in_tariffs():
        assert find_tariff(Workspace(tmp_path), name).id == name


DAY_FILES = ["capacities.csv", "capacities.json", "metered.csv"]


@pytest.mark.parametrize(
    "name", [*DAY_FILES, "matched.json", "positions.csv", "report.html", "statement.json", "trades.csv"]
)
def test_every_file_of_a_day_is_named(name):
    assert name in first_cells(MARKET, "file")
