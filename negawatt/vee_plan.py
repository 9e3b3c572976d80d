"""What to check: days, zone, rules and files of a workspace, made into a plan of the VEE job."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources as package_files
from pathlib import Path

import numpy as np

from batch.edit_log import EditLog
from batch.stores import BatchStore, only_interval
from batch.vee import VeePlan
from domain.errors import NegawattError, StoreError
from domain.intervals import local_day_bounds, slot_of, slots_per_day
from domain.meter_clocks import ClockComparisons, drifting_clocks
from domain.readings import Register
from domain.registers import RegisterReads, Spans, spans_between
from domain.validation import Check
from domain.vee import Findings
from domain.vee_rules import InvalidVeeRulesError, VeeRules, parse_vee_rules
from domain.zones import zone_named
from ingest.meter_files import read_clock_comparisons, read_register_reads
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace


@dataclass(frozen=True)
class VeeWork:
    """What to look at.

    Attributes
    ----------
    first, last : date
        Local days of ``zone``, both inclusive.
    zone : str
        IANA zone.
    registers, clocks : Path or None
        Files of register reads and of clock comparisons.
    spark : bool
        As a Spark job, on the master of the settings; else in this process.
    dry_run : bool
        Store and log nothing.
    by : str
        Who runs it, for the log.
    """

    first: date
    last: date
    zone: str = "UTC"
    registers: Path | None = None
    clocks: Path | None = None
    spark: bool = False
    dry_run: bool = False
    by: str = ""


def rules_of(workspace: Workspace) -> VeeRules:
    """The rule set of the workspace's ``vee.toml``, or the standard one that comes with negawatt.

    Raises
    ------
    InvalidVeeRulesError
        It breaks a rule.
    """
    own = workspace.folder / "vee.toml"
    standard = package_files.files("negawatt").joinpath("rules/vee-standard.toml")
    try:
        return parse_vee_rules(tomllib.loads(own.read_text() if own.exists() else standard.read_text()))
    except tomllib.TOMLDecodeError as broken:
        raise InvalidVeeRulesError(str(own), str(broken)) from broken


def edit_log(workspace: Workspace) -> EditLog:
    """The workspace's log of edits."""
    return EditLog(workspace.folder / "vee" / "edits")


def plan_window(workspace: Workspace, store: BatchStore, work: VeeWork) -> VeePlan:
    """What to read and check for some local days.

    Raises
    ------
    NegawattError
        See `vee`.
    """
    minutes = only_interval(store.intervals(), store.url)
    if work.last < work.first:
        raise NegawattError(f"the days run from {work.first} to {work.last}: expected the earlier one first")
    zone = zone_named(work.zone)
    first = slot_of(local_day_bounds(work.first, zone)[0], minutes)
    last = slot_of(local_day_bounds(work.last, zone)[1], minutes)
    rules = rules_of(workspace)
    reads = read_register_reads(work.registers, minutes) if work.registers else RegisterReads.none()
    spans = spans_between(reads, rules.register, rules.limit.watts * minutes // 60)
    resources = workspace.resources()
    return VeePlan(
        minutes,
        first,
        last,
        rules,
        {meter: resource.contracted_w for meter, resource in resources.items()} or None,
        spans_near(spans, first, last, rules.register.longest_days * slots_per_day(minutes)),
        edit_log(workspace).confirmed(first, last, minutes),
        Register.IMPORT,
    )


def last_whole_day(workspace: Workspace, settings: Settings) -> date:
    """The day before the last UTC day that has import readings.

    Raises
    ------
    StoreError
        There are no readings.
    """
    store = batch_store(workspace, settings)
    days = [days for minutes in store.intervals() if (days := store.days(minutes))]
    if not days:
        raise StoreError(f"{store.url} holds no readings: bring them in with `negawatt ingest FILES`")
    return date(1970, 1, 1) + timedelta(days=max(last for _, last in days) - 1)


def clock_findings(plan: VeePlan, work: VeeWork) -> Findings:
    """Meters whose clock is off, over the days of a plan."""
    told = read_clock_comparisons(work.clocks) if work.clocks else ClockComparisons.none()
    seconds = 60 * plan.interval_minutes
    off = drifting_clocks(told, plan.first_slot * seconds, plan.last_slot * seconds, plan.rules.clock)
    n = len(off)
    return Findings(
        np.array(list(off), dtype=object),
        np.full(n, Check.CLOCK, np.int8),
        np.ones(n, np.int64),
        np.full(n, plan.first_slot, np.int64),
        np.array(list(off.values()), dtype=np.int64),
    )


def spans_near(spans: Spans, first: int, last: int, longest: int) -> Spans:
    """Spans that touch a window and are no longer than `longest` slots."""
    return spans.take((spans.first < last) & (spans.last > first) & (spans.last - spans.first <= longest))
