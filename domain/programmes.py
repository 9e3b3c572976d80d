"""Programmes: the rules of a DR programme as dated data, checked when they are read.

A programme is a mapping (read from TOML by the front door) of facts that never change and a list of
``terms``, each valid from a date. What a rule *does* is code elsewhere in this package; what its numbers
are, and who says so, is here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from domain.baselines import METHODS
from domain.calendars import DayType
from domain.errors import InvalidEventError, InvalidProgrammeError
from domain.events import DREvent
from domain.zones import UnknownZoneError, zone_named


class LowUsageShortage(StrEnum):
    """What happens when excluding low-usage days leaves too few days."""

    READMIT = "readmit"
    REFUSE = "refuse"


class Funding(StrEnum):
    """Where the coins of an event come from."""

    MINT = "mint"
    TREASURY = "treasury"


class Delivery(StrEnum):
    """How payments reach wallets."""

    TRANSFER = "transfer"
    CREDIT = "credit"
    CLAIM = "claim"


@dataclass(frozen=True)
class Adjustment:
    """Symmetric additive adjustment (SAA): shift the baseline by what the same day shows before the event.

    The mean difference between usage and unadjusted baseline over ``[start - from, start - to)`` is
    added to every interval, up or down, at most ``cap_pct`` percent of the unadjusted baseline's mean
    over the event (None: no cap).
    """

    from_minutes_before: int
    to_minutes_before: int
    cap_pct: int | None


@dataclass(frozen=True)
class BaselineRule:
    """One baseline method with its parameters, for events on days of the given types.

    Attributes
    ----------
    label : str
        The method's name as the programme's people say it, e.g. ``KPX Max(4/5)``.
    method : str
        Name in `domain.baselines.METHODS`.
    day_types : tuple of DayType
        Event days it serves; history is taken from days of the same types.
    days : int
        Days to look for (the y of "x of y"). [days]
    min_days : int
        Fewest days that still make a baseline. [days]
    drop_lowest, drop_highest : int
        Days left out of the mean at either end, ranked by energy in the event window. [days]
    search_days : int
        Eligible days to search back through for ``days`` good ones. [days]
    look_back_days : int
        Calendar days to look back at most. [days]
    low_usage_pct : int
        A day below this share of the average of the most recent ``days`` is a low-usage day; 0: no such rule. [%]
    low_usage_shortage : LowUsageShortage
        Whether low-usage days come back when too few others are found.
    adjustment : Adjustment or None
    """

    label: str
    method: str
    day_types: tuple[DayType, ...]
    days: int
    min_days: int
    drop_lowest: int
    drop_highest: int
    search_days: int
    look_back_days: int
    low_usage_pct: int
    low_usage_shortage: LowUsageShortage
    adjustment: Adjustment | None


@dataclass(frozen=True)
class PaymentRule:
    """What a certified reduction earns.

    Attributes
    ----------
    rate_per_kwh : Fraction
        Paid for each kWh of reduction. [minor units of the currency / kWh]
    paid_share_max_pct : int
        Reduction beyond this share of the obligation earns nothing more. [%]
    shortfall_tolerance_pct : int
        A shortfall up to this share of the obligation is not penalised. [%]
    shortfall_penalty_per_kwh : Fraction
        Charged for each kWh of shortfall beyond the tolerance; a home's penalty is at most its payment,
        so an event never costs a home money. [minor units / kWh]
    """

    rate_per_kwh: Fraction
    paid_share_max_pct: int
    shortfall_tolerance_pct: int
    shortfall_penalty_per_kwh: Fraction


class AtDeadline(StrEnum):
    """What becomes of an event whose readings are not complete when their deadline comes."""

    CERTIFY = "certify"
    REFUSE = "refuse"


@dataclass(frozen=True)
class ReadingsRule:
    """How long an event waits for its participants' readings before it is certified by schedule.

    Attributes
    ----------
    complete_pct : int
        Share of the participants' intervals of event and adjustment window that need a reading for the event to be
        certified without waiting any longer. [%]
    deadline_hours : int
        After the event's end. [h]
    at_deadline : AtDeadline
        ``certify``: homes without enough readings get the findings that certification gives them.
    """

    complete_pct: int = 100
    deadline_hours: int = 24
    at_deadline: AtDeadline = AtDeadline.CERTIFY


@dataclass(frozen=True)
class Terms:
    """The rules in force from ``valid_from`` until the next terms begin.

    Attributes
    ----------
    valid_from : date
    dispute_window_minutes : int
        Time between certification and payment in which homes may challenge. [min]
    claim_window_days : int
        Time after which payments that nobody claimed go back. [days]
    funding : Funding
    delivery : Delivery
    accept_estimated : bool
    min_event_completeness_pct : int
        [%]
    payment : PaymentRule
    baselines : tuple of BaselineRule
    readings : ReadingsRule
        Says when to certify and not what is paid for given readings: no part of the digest.
    """

    valid_from: date
    dispute_window_minutes: int
    claim_window_days: int
    funding: Funding
    delivery: Delivery
    accept_estimated: bool
    min_event_completeness_pct: int
    payment: PaymentRule
    baselines: tuple[BaselineRule, ...]
    readings: ReadingsRule = ReadingsRule()

    def baseline_for(self, day_type: DayType) -> BaselineRule | None:
        """The rule for events on days of this type, None if the programme has none."""
        return next((rule for rule in self.baselines if day_type in rule.day_types), None)


@dataclass(frozen=True)
class Currency:
    """Unit of payment: ``decimals`` digits stand after the point, so 10**decimals minor units make one."""

    code: str
    decimals: int


@dataclass(frozen=True)
class Programme:
    """A DR programme: whose days, whose money, and which terms when."""

    id: str
    title: str
    source: str
    zone: str
    holidays: str
    currency: Currency
    terms: tuple[Terms, ...]

    @property
    def zoneinfo(self) -> ZoneInfo:
        """The zone whose days and clocks the programme means."""
        return ZoneInfo(self.zone)

    def terms_on(self, day: date) -> Terms:
        """The terms in force on a local date.

        Raises
        ------
        InvalidEventError
            The programme had not begun.
        """
        in_force = [terms for terms in self.terms if terms.valid_from <= day]
        if not in_force:
            first = min(terms.valid_from for terms in self.terms)
            raise InvalidEventError(self.id, f"the programme has no terms for {day}: its first begin {first}")
        return max(in_force, key=lambda terms: terms.valid_from)

    def terms_of(self, event: DREvent) -> Terms:
        """The terms of an event: those in force on the local date on which it starts.

        Raises
        ------
        InvalidEventError
            The programme had not begun.
        """
        try:
            return self.terms_on(event.local_dates(self.zoneinfo)[0])
        except InvalidEventError as none:
            raise InvalidEventError(event.id, none.problem) from none

    def facts(self, terms: Terms) -> dict[str, Any]:
        """What decides an event's payments, as plain JSON values, fractions as text.

        The programme and the terms of the event, but for `Terms.readings`: how long to wait may be changed while an
        event waits, and leaves the digest of what was issued before there was such a rule as it is.
        """
        paying = {key: value for key, value in asdict(terms).items() if key != "readings"}
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"terms": paying}, default=str))
        return facts

    def digest(self, terms: Terms) -> bytes:
        """SHA-256 over the canonical JSON of `facts`: what an event is issued under. 32 bytes."""
        text = json.dumps(self.facts(terms), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


_ABSENT = object()


class _Reader:
    """Takes keys out of a mapping, checks each, and refuses what is left over."""

    def __init__(self, programme: str, path: str, data: object) -> None:
        self._programme, self._path = programme, path
        if not isinstance(data, Mapping):
            raise self.error("", f"expected a table, got {data!r}")
        self._left = dict(data)

    def error(self, key: str, problem: str) -> InvalidProgrammeError:
        path = ".".join(part for part in (self._path, key) if part)
        return InvalidProgrammeError(self._programme, path or "file", problem)

    def take(self, key: str, default: object = _ABSENT) -> Any:
        value = self._left.pop(key, default)
        if value is _ABSENT:
            raise self.error(key, "missing")
        return value

    def text(self, key: str, default: object = _ABSENT) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"expected text, got {value!r}")
        return value

    def whole(self, key: str, low: int, high: int, default: object = _ABSENT) -> int:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, f"expected a whole number from {low} to {high}, got {value!r}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"expected true or false, got {value!r}")
        return value

    def amount(self, key: str, decimals: int, default: object = _ABSENT) -> Fraction:
        """A non-negative amount of money in decimal text, as an exact number of minor units."""
        value = self.take(key, default)
        try:
            amount = Decimal(value) if isinstance(value, str) else None
        except InvalidOperation:
            amount = None
        if amount is None or not amount.is_finite() or amount < 0:
            raise self.error(key, f'expected an amount in quotes such as "1300" or "0.25", got {value!r}')
        return Fraction(amount) * Fraction(10**decimals)

    def day(self, key: str) -> date:
        value = self.take(key)
        if isinstance(value, datetime) or not isinstance(value, date):
            raise self.error(key, f"expected a date such as 2025-01-01, got {value!r}")
        return value

    def table(self, key: str) -> _Reader:
        return _Reader(self._programme, f"{self._path}.{key}".lstrip("."), self.take(key))

    def optional_table(self, key: str) -> _Reader | None:
        return self.table(key) if key in self._left else None

    def tables(self, key: str) -> list[_Reader]:
        value = self.take(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, "expected at least one table")
        return [
            _Reader(self._programme, f"{self._path}.{key}[{n}]".lstrip("."), item) for n, item in enumerate(value)
        ]

    def finish(self) -> None:
        if self._left:
            unknown = ", ".join(sorted(self._left))
            raise self.error("", f"unknown key: {unknown}")


def parse_programme(data: Mapping[str, object]) -> Programme:
    """Check a programme's data and build it.

    Parameters
    ----------
    data : mapping
        As `tomllib` reads it; see ``docs/programmes.md`` for every key.

    Raises
    ------
    InvalidProgrammeError
        Naming the key's path, the value and what was expected. Unknown keys are refused.
    """
    top = _Reader(str(data.get("id", "?")), "", data)
    zone = top.text("zone")
    try:
        zone_named(zone)
    except UnknownZoneError as unknown:
        raise top.error("zone", str(unknown)) from unknown
    money = top.table("currency")
    currency = Currency(money.text("code"), money.whole("decimals", 0, 18))
    money.finish()
    programme = Programme(
        id=top.text("id"),
        title=top.text("title"),
        source=top.text("source"),
        zone=zone,
        holidays=top.text("holidays"),
        currency=currency,
        terms=tuple(_terms(reader, currency) for reader in top.tables("terms")),
    )
    top.finish()
    begins = [terms.valid_from for terms in programme.terms]
    if len(set(begins)) != len(begins):
        raise top.error("terms", "two terms are valid from the same date")
    return programme


def _terms(reader: _Reader, currency: Currency) -> Terms:
    pay = reader.table("payment")
    payment = PaymentRule(
        rate_per_kwh=pay.amount("rate_per_kwh", currency.decimals),
        paid_share_max_pct=pay.whole("paid_share_max_pct", 0, 1000),
        shortfall_tolerance_pct=pay.whole("shortfall_tolerance_pct", 0, 100),
        shortfall_penalty_per_kwh=pay.amount("shortfall_penalty_per_kwh", currency.decimals, "0"),
    )
    pay.finish()
    terms = Terms(
        valid_from=reader.day("valid_from"),
        dispute_window_minutes=reader.whole("dispute_window_minutes", 0, 60 * 24 * 90),
        claim_window_days=reader.whole("claim_window_days", 1, 3650, 365),
        funding=Funding(_one_of(reader, "funding", Funding, "mint")),
        delivery=Delivery(_one_of(reader, "delivery", Delivery, "transfer")),
        accept_estimated=reader.flag("accept_estimated", True),
        min_event_completeness_pct=reader.whole("min_event_completeness_pct", 1, 100, 100),
        payment=payment,
        baselines=tuple(_baseline(rule) for rule in reader.tables("baselines")),
        readings=_readings(reader.optional_table("readings")),
    )
    reader.finish()
    served = [kind for rule in terms.baselines for kind in rule.day_types]
    if len(set(served)) != len(served):
        raise reader.error("baselines", "two baselines serve the same day type")
    return terms


def _readings(reader: _Reader | None) -> ReadingsRule:
    default = ReadingsRule()
    if reader is None:
        return default
    rule = ReadingsRule(
        complete_pct=reader.whole("complete_pct", 1, 100, default.complete_pct),
        deadline_hours=reader.whole("deadline_hours", 0, 24 * 90, default.deadline_hours),
        at_deadline=AtDeadline(_one_of(reader, "at_deadline", AtDeadline, default.at_deadline)),
    )
    reader.finish()
    return rule


def _baseline(reader: _Reader) -> BaselineRule:
    kinds = reader.take("day_types")
    try:
        day_types = tuple(DayType(kind) for kind in kinds)
    except (ValueError, TypeError) as unknown:
        expected = ", ".join(DayType)
        raise reader.error("day_types", f"expected some of {expected}, got {kinds!r}") from unknown
    if not day_types:
        raise reader.error("day_types", "expected at least one kind of day")
    method = reader.text("method")
    if method not in METHODS:
        raise reader.error("method", f"unknown method {method!r}; known: {', '.join(sorted(METHODS))}")
    days = reader.whole("days", 1, 60)
    drop_lowest = reader.whole("drop_lowest", 0, days - 1, 0)
    drop_highest = reader.whole("drop_highest", 0, days - 1 - drop_lowest, 0)
    # A short history may leave out fewer of the lowest days, but a one-sided trim of the highest would bias.
    least = days if drop_highest else days - drop_lowest
    rule = BaselineRule(
        label=reader.text("label"),
        method=method,
        day_types=day_types,
        days=days,
        min_days=reader.whole("min_days", least, days, days),
        drop_lowest=drop_lowest,
        drop_highest=drop_highest,
        search_days=reader.whole("search_days", days, 120, days),
        look_back_days=reader.whole("look_back_days", days, 400),
        low_usage_pct=reader.whole("low_usage_pct", 0, 100, 0),
        low_usage_shortage=LowUsageShortage(_one_of(reader, "low_usage_shortage", LowUsageShortage, "refuse")),
        adjustment=_adjustment(reader),
    )
    reader.finish()
    return rule


def _one_of(reader: _Reader, key: str, kinds: type[StrEnum], default: str) -> str:
    value = reader.text(key, default)
    if value not in list(kinds):
        raise reader.error(key, f"expected one of {', '.join(kinds)}, got {value!r}")
    return value


def _adjustment(reader: _Reader) -> Adjustment | None:
    window = reader.optional_table("adjustment")
    if window is None:
        return None
    kind = window.text("kind")
    if kind != "symmetric-additive":
        raise window.error("kind", f"expected symmetric-additive, got {kind!r}")
    first = window.whole("from_minutes_before", 5, 1440)
    last = window.whole("to_minutes_before", 0, first - 5)
    cap = window.take("cap_pct", None)
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or not 0 <= cap <= 1000):
        raise window.error("cap_pct", f"expected a whole number from 0 to 1000, got {cap!r}")
    window.finish()
    return Adjustment(first, last, cap)
