"""Rules of validation, estimation and editing as data: thresholds, each with its source, checked when they are read.

What a rule does is in `domain.validation` and `domain.estimation`; its numbers, and who says so, are here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from domain.errors import NegawattError

T = TypeVar("T")


class InvalidVeeRulesError(NegawattError):
    """A rule set breaks a rule: unknown key, missing key, or a value out of range."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"VEE rules: {path}: {problem}")


def _whole(low: int, high: int) -> Any:
    return field(metadata={"low": low, "high": high})


@dataclass(frozen=True)
class GapRule:
    """Gaps up to ``interpolate_minutes`` are filled by a straight line. [min]"""

    interpolate_minutes: int = _whole(0, 1440)
    source: str = ""


@dataclass(frozen=True)
class LikeDaysRule:
    """What a reading is compared with: the same slot on the same weekday of ``weeks`` earlier weeks.

    Where fewer than ``min_days`` of them have a reading, the ``nearby_days`` days before stand in.
    """

    weeks: int = _whole(1, 12)
    nearby_days: int = _whole(0, 6)
    min_days: int = _whole(1, 12)
    source: str = ""


@dataclass(frozen=True)
class LimitRule:
    """No more than ``watts``, or ``contracted_pct`` percent of the contracted capacity where that is more."""

    watts: int = _whole(100, 1_000_000)
    contracted_pct: int = _whole(0, 100_000)
    edit: bool = False
    source: str = ""


@dataclass(frozen=True)
class SpikeRule:
    """At most ``longest_intervals`` readings in a row, above all of three measures.

    ``median_pct`` percent of the median of like intervals, ``peak_pct`` percent of the third-highest reading of
    the days compared with, and ``floor_watts``.
    """

    median_pct: int = _whole(100, 100_000)
    peak_pct: int = _whole(100, 100_000)
    floor_watts: int = _whole(0, 1_000_000)
    longest_intervals: int = _whole(1, 288)
    edit: bool = False
    source: str = ""


@dataclass(frozen=True)
class StuckValueRule:
    """``minutes`` of equal readings of at least ``floor_wh`` an interval: smaller ones repeat by rounding."""

    minutes: int = _whole(60, 20_160)
    floor_wh: int = _whole(1, 1_000_000)
    edit: bool = False
    source: str = ""


@dataclass(frozen=True)
class StuckZeroRule:
    """``minutes`` of zeros, where zeros were at most ``usual_zeros_permille`` of the days compared with."""

    minutes: int = _whole(60, 20_160)
    usual_zeros_permille: int = _whole(0, 1000)
    edit: bool = False
    source: str = ""


@dataclass(frozen=True)
class RegisterRule:
    """Reads of the register against the intervals between them.

    The difference may be ``tolerance_wh`` and ``tolerance_permille`` of the register's. ``rollover_wh`` is where the
    register starts again at 0 (0: it does not). Reads further apart than ``longest_days`` are not used.
    """

    tolerance_wh: int = _whole(0, 1_000_000)
    tolerance_permille: int = _whole(0, 1000)
    rollover_wh: int = _whole(0, 10**15)
    longest_days: int = _whole(1, 400)
    source: str = ""


@dataclass(frozen=True)
class ClockRule:
    """A clock drifts when the median of ``min_comparisons`` or more is off by more than ``tolerance_seconds``."""

    tolerance_seconds: int = _whole(1, 86_400)
    min_comparisons: int = _whole(1, 1000)
    source: str = ""


@dataclass(frozen=True)
class VeeRules:
    """A rule set."""

    id: str
    title: str
    gap: GapRule
    like_days: LikeDaysRule
    limit: LimitRule
    spike: SpikeRule
    stuck_value: StuckValueRule
    stuck_zero: StuckZeroRule
    register: RegisterRule
    clock: ClockRule

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any of the rules: what an edit was made under."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def reference_offsets(self) -> tuple[int, ...]:
        """Days back that a reading is compared with, nearest first. [days]"""
        nearby = range(1, self.like_days.nearby_days + 1)
        return tuple(sorted({*nearby, *self.like_offsets}))

    @property
    def like_offsets(self) -> tuple[int, ...]:
        """Days back to the same weekday. [days]"""
        return tuple(7 * week for week in range(1, self.like_days.weeks + 1))


_SECTIONS: dict[str, type] = {
    "gap": GapRule,
    "like_days": LikeDaysRule,
    "limit": LimitRule,
    "spike": SpikeRule,
    "stuck_value": StuckValueRule,
    "stuck_zero": StuckZeroRule,
    "register": RegisterRule,
    "clock": ClockRule,
}


def parse_vee_rules(data: Mapping[str, Any]) -> VeeRules:
    """Make a rule set of a mapping as read from TOML: every section and every key, and nothing else.

    Raises
    ------
    InvalidVeeRulesError
        Naming the key.
    """
    _same_keys("", set(data), {"id", "title", *_SECTIONS})
    for name in ("id", "title"):
        if not isinstance(data[name], str) or not data[name].strip():
            raise InvalidVeeRulesError(name, f"expected text, got {data[name]!r}")
    made: dict[str, Any] = {name: _section(name, kind, data[name]) for name, kind in _SECTIONS.items()}
    rules = VeeRules(id=data["id"], title=data["title"], **made)
    if rules.like_days.min_days > rules.like_days.weeks:
        raise InvalidVeeRulesError("like_days.min_days", f"expected at most weeks, {rules.like_days.weeks}")
    return rules


def _section(name: str, kind: type[T], data: Any) -> T:
    if not isinstance(data, Mapping):
        raise InvalidVeeRulesError(name, f"expected a table, got {data!r}")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    _same_keys(f"{name}.", set(data), set(known))
    for key, value in data.items():
        bounds = known[key].metadata
        if bounds:
            if type(value) is not int or not bounds["low"] <= value <= bounds["high"]:
                raise InvalidVeeRulesError(
                    f"{name}.{key}",
                    f"expected a whole number from {bounds['low']} to {bounds['high']}, got {value!r}",
                )
        elif key == "edit":
            if type(value) is not bool:
                raise InvalidVeeRulesError(f"{name}.{key}", f"expected true or false, got {value!r}")
        elif not isinstance(value, str) or not value.strip():
            raise InvalidVeeRulesError(f"{name}.{key}", "expected text that says who sets these numbers")
    return kind(**data)


def _same_keys(prefix: str, have: set[str], want: set[str]) -> None:
    if unknown := sorted(have - want):
        raise InvalidVeeRulesError(f"{prefix}{unknown[0]}", f"unknown key; known: {', '.join(sorted(want))}")
    if missing := sorted(want - have):
        raise InvalidVeeRulesError(f"{prefix}{missing[0]}", "missing")
