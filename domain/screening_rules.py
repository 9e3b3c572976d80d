"""Rules of baseline screening as data: limits and numbers of days, each with its source, checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import NegawattError


class InvalidScreeningRulesError(NegawattError):
    """A rule set breaks a rule: unknown key, missing key, or a value out of range."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"screening rules: {path}: {problem}")


@dataclass(frozen=True)
class ScreeningRules:
    """When a baseline fits a home.

    Attributes
    ----------
    id, title : str
    limit_pct : int
        A baseline fits when its RRMSE is at most so much. [%]
    bias_limit_pct : int
        A mean error beyond this, up or down, is reported. [%]
    days : int
        Proxy days to look for. [days]
    min_days : int
        With fewer of them nothing is said of a home. [days]
    """

    id: str
    title: str
    limit_pct: int
    bias_limit_pct: int
    days: int
    min_days: int


MOST_DAYS = 366
"""Proxy days at most. [days]"""

_NUMBERS: dict[str, dict[str, tuple[str, int, int]]] = {
    "accuracy": {"limit_pct": ("limit_pct", 1, 1000)},
    "bias": {"limit_pct": ("bias_limit_pct", 1, 1000)},
    "days": {"wanted": ("days", 1, MOST_DAYS), "fewest": ("min_days", 1, MOST_DAYS)},
}
"""Sections, their keys, and for each the field and its range."""


def parse_screening_rules(data: Mapping[str, Any]) -> ScreeningRules:
    """Make a rule set of a mapping as read from TOML: every section and every key, and nothing else.

    Raises
    ------
    InvalidScreeningRulesError
        Naming the key.
    """
    _same_keys("", data, {"id", "title", *_NUMBERS})
    values: dict[str, Any] = {name: _text(name, data[name]) for name in ("id", "title")}
    for section, keys in _NUMBERS.items():
        table = data[section]
        if not isinstance(table, Mapping):
            raise InvalidScreeningRulesError(section, f"expected a table, got {table!r}")
        _same_keys(f"{section}.", table, {"source", *keys})
        _text(f"{section}.source", table["source"])
        for key, (name, low, high) in keys.items():
            value = table[key]
            if type(value) is not int or not low <= value <= high:
                problem = f"expected a whole number from {low} to {high}, got {value!r}"
                raise InvalidScreeningRulesError(f"{section}.{key}", problem)
            values[name] = value
    rules = ScreeningRules(**values)
    if rules.min_days > rules.days:
        raise InvalidScreeningRulesError("days.fewest", f"expected at most days.wanted, {rules.days}")
    return rules


def _text(path: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidScreeningRulesError(path, f"expected text, got {value!r}")
    return value


def _same_keys(prefix: str, have: Mapping[str, Any], want: set[str]) -> None:
    if unknown := sorted(set(have) - want):
        raise InvalidScreeningRulesError(f"{prefix}{unknown[0]}", f"unknown key; known: {', '.join(sorted(want))}")
    if missing := sorted(want - set(have)):
        raise InvalidScreeningRulesError(f"{prefix}{missing[0]}", "missing")
