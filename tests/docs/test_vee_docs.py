"""The page on VEE lists the checks, methods, rules and columns that there are, with the numbers that they have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from vee_desk import RULES_FILE

from batch.edit_log import SCHEMA
from domain.estimation import METHODS_OF_ESTIMATION
from domain.validation import CHECKS
from domain.vee_rules import parse_vee_rules

PAGE = (Path(__file__).parents[2] / "docs" / "vee.md").read_text("utf-8")


def table(header: str) -> list[list[str]]:
    """Rows of the table whose first column is called ``header``."""
    lines = PAGE[PAGE.index(f"| {header} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_check_and_method_is_explained_and_no_other():
    assert [words(row[0])[0] for row in table("code")] == [code for code, _ in CHECKS.values()]
    assert [words(row[0])[0] for row in table("method")] == [name for name, _ in METHODS_OF_ESTIMATION.values()]


def test_every_rule_is_explained_with_its_standard_value():
    shown = {words(row[0])[0]: row[1] for row in table("rule")}
    data = tomllib.loads(RULES_FILE.read_text())
    sections = {name: section for name, section in data.items() if isinstance(section, dict)}
    real = {
        f"{name}.{key}": str(v).lower() for name, s in sections.items() for key, v in s.items() if key != "source"
    }
    assert shown == real


def test_checks_that_edit_are_those_that_the_rules_let():
    rules = parse_vee_rules(tomllib.loads(RULES_FILE.read_text()))
    edits = {words(row[0])[0]: row[2] for row in table("code")}
    for code, section in (
        ("limit.exceeded", rules.limit),
        ("spike.isolated", rules.spike),
        ("stuck.value", rules.stuck_value),
        ("stuck.zero", rules.stuck_zero),
    ):
        assert edits[code] == ("yes" if section.edit else "no")


def test_every_column_of_the_log_is_explained():
    assert [name for row in table("column") for name in words(row[0])] == SCHEMA.names
