"""What tests of validation, estimation and editing share: blocks of readings, rules, and edits put to use."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np

from domain.readings import MISSING, Quality, precedence
from domain.registers import RegisterReads, Spans, spans_between
from domain.validation import Check, DayBlock
from domain.vee import VeeResult, process, window_of
from domain.vee_rules import VeeRules, parse_vee_rules

RULES_FILE = Path(__file__).parents[1] / "negawatt" / "rules" / "vee-standard.toml"
FIRST_DAY = 20_000
DAY = 24
"""Hours, and slots at 60 minutes."""


def the_rules(**sections: dict[str, int | bool]) -> VeeRules:
    rules = parse_vee_rules(tomllib.loads(RULES_FILE.read_text()))
    return replace(rules, **{name: replace(getattr(rules, name), **values) for name, values in sections.items()})


def plain_days(days: int = 31, meters: int = 1) -> np.ndarray:
    """Hourly readings of homes whose every hour is a little different: 500 Wh at midnight to 523, at 19 h 2,000."""
    day = 500 + np.arange(DAY)
    day[19] = 2000
    return np.tile(day, (meters, days, 1)).astype(np.int32)


def a_block(wh: np.ndarray, estimated: np.ndarray | None = None, minutes: int = 60) -> DayBlock:
    names = np.array([f"m{n}" for n in range(len(wh))], dtype=object)
    days = np.arange(FIRST_DAY, FIRST_DAY + wh.shape[1])
    flags = np.zeros(wh.shape, dtype=bool) if estimated is None else estimated
    return DayBlock(minutes, names, days, wh.astype(np.int32), flags)


def a_window(block: DayBlock, first: int, last: int) -> np.ndarray:
    """Days from the block's ``first`` to before its ``last``."""
    per_day = block.wh.shape[2]
    slots = (int(block.days[0]) + first) * per_day, (int(block.days[0]) + last) * per_day
    return window_of(block.days, block.interval_minutes, *slots)


def some_reads(*reads: tuple[int, int], meter: str = "m0") -> RegisterReads:
    """Reads of a register: hours since the block's first midnight, and Wh."""
    slots = np.array([FIRST_DAY * DAY + hour for hour, _ in reads], dtype=np.int64)
    return RegisterReads(np.array([meter] * len(reads), object), slots, np.array([wh for _, wh in reads], np.int64))


def some_spans(*reads: tuple[int, int], rules: VeeRules | None = None) -> Spans:
    return spans_between(some_reads(*reads), (rules or the_rules()).register, 25_000)


def worked(
    block: DayBlock, window: np.ndarray, *, rules: VeeRules | None = None, spans: Spans | None = None
) -> VeeResult:
    none = np.zeros(len(block.meters), dtype=np.int64)
    return process(block, window, rules or the_rules(), none, spans if spans is not None else some_spans())


def after(block: DayBlock, result: VeeResult) -> DayBlock:
    """The block as a store shows it once the edits are in: by precedence, over actual readings of revision 0."""
    wh, estimated = block.wh.copy(), block.estimated.copy()
    row = {meter: n for n, meter in enumerate(block.meters)}
    place = {int(day): n for n, day in enumerate(block.days)}
    edits = result.edits
    for n in range(len(edits)):
        day, slot = divmod(int(edits.slot[n]), wh.shape[2])
        at = row[edits.meters[n]], place[day], slot
        old = stamp(int(wh[at]), Quality.ESTIMATED if estimated[at] else Quality.ACTUAL, 0)
        if wh[at] == MISSING or stamp(int(edits.wh[n]), Quality.ESTIMATED, int(edits.revision[n])) > old:
            wh[at], estimated[at] = edits.wh[n], True
    return DayBlock(block.interval_minutes, block.meters, block.days, wh, estimated)


def stamp(wh: int, quality: int, revision: int) -> int:
    return int(precedence(np.int32([wh]), np.int8([quality]), np.int16([revision]))[0])


def found(result: VeeResult) -> dict[Check, int]:
    """Intervals by finding, over all meters."""
    findings = result.findings
    return {
        check: int(findings.intervals[findings.check == check].sum())
        for check in Check
        if (findings.check == check).any()
    }


def edited(result: VeeResult) -> dict[int, int]:
    """New Wh by hour since the block's first midnight."""
    hours = (result.edits.slot - FIRST_DAY * DAY).tolist()
    return dict(zip(hours, result.edits.wh.tolist(), strict=True))
