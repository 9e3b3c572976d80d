"""The report of an event: one HTML page that shows what was certified, paid and written on chain.

The page is made of the published certificates, so it shows exactly what anyone else can check; the settlement,
the readings around the event and timings come beside it. It loads nothing from anywhere: its style, script and
data are inside it, and its content security policy forbids the rest. The same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from domain.certificates import FORMAT
from domain.errors import NegawattError
from domain.readings import MISSING
from serving.pages import TEMPLATES, page_templates
from serving.report_charts import MONTHS, TimeAxis, decimal, histogram, load_chart, short_decimal

LISTED_HOMES = 2000
"""Homes that the page lists one by one; of a larger event, those not certified come first. Totals cover all."""

PAPER_TIMINGS = (
    {"homes": 10, "certification_s": 12, "contract_s": 14, "confirmation_s": 180, "total_s": 206},
    {"homes": 100, "certification_s": 113, "contract_s": 28, "confirmation_s": 180, "total_s": 321},
)
"""Table 1 of Kim et al. (2018), "A Study on the Accounts Balancing Time of Small Distributed Power Trading
Platform Using Block Chain Network". [s]"""


@dataclass(frozen=True)
class UsageAround:
    """Readings before, during and after an event, shown beside the certificates for context.

    Attributes
    ----------
    starts : tuple of datetime
        Interval starts, UTC, on the event's metering grid.
    meters : tuple of str
        Names as in ``meter_of`` of `render_report`.
    wh : ndarray of int32, shape (meters, intervals)
        -1 where there is no reading. [Wh]
    """

    starts: tuple[datetime, ...]
    meters: tuple[str, ...]
    wh: NDArray[np.int32]


@dataclass(frozen=True)
class _Home:
    """A certificate with the name people know its meter by."""

    meter: str
    body: Mapping[str, Any]

    @property
    def certified(self) -> bool:
        return bool(self.body["status"] == "certified")

    @property
    def measured_baseline_wh(self) -> int:
        """Baseline over the intervals that have a reading, so that baseline less usage is the reduction."""
        pairs = zip(self.body["baseline_wh"], self.body["actual_wh"], strict=True)
        return sum(baseline for baseline, actual in pairs if actual is not None)

    @property
    def usage_wh(self) -> int:
        return sum(wh for wh in self.body["actual_wh"] if wh is not None)


def render_report(
    published: bytes,
    *,
    settlement: Mapping[str, Any] | None,
    meter_of: Mapping[str, str],
    around: UsageAround | None = None,
    timings: Sequence[Mapping[str, Any]] = (),
    provisional: Mapping[str, int] | None = None,
    final: bool = True,
) -> str:
    """Write an event's report as one self-contained HTML page.

    Parameters
    ----------
    published : bytes
        The published certificate file.
    settlement : mapping or None
        What `serving.settlement.settlement_document` leaves behind; None before the event is settled.
    meter_of : mapping of str to str
        The meter behind a resource key ("0x…"). A key that isn't in it is shown shortened.
    around : UsageAround or None
        Readings around the event; certificates hold the event alone.
    timings : sequence of mapping
        ``homes`` and the seconds ``certification_s``, ``contract_s``, ``confirmation_s``, ``total_s``.
    provisional : mapping or None
        ``certificates``: how many were made at the end of the event; ``changed``: how many of them the final
        ones differ from.
    final : bool
        False for provisional certificates: the page says so at its head.

    Returns
    -------
    str
        The page. It names meters, so it is the operator's to keep, unlike the published file.

    Raises
    ------
    NegawattError
        The file is no certificate file, its totals aren't the sums of its certificates, or the settlement
        is another event's.
    """
    header, homes = _read(published, meter_of)
    if settlement is not None and settlement["event_id"] != header["event"]["id"]:
        raise NegawattError(
            f"the settlement is of event {settlement['event_id']!r}, the certificates of {header['event']['id']!r}"
        )
    currency = header["programme"]["currency"]
    zone = ZoneInfo(header["programme"]["zone"])
    axis = _axis(header, around, zone)
    usage = _usage_of_homes(homes, axis, around)
    listed = _listed(homes)
    days = sorted({day for n in listed for day in homes[n].body["baseline_days"]})
    findings = _findings(homes)
    whole = _whole_event(homes, axis, usage)
    script = (TEMPLATES / "report.js").read_text("utf-8")
    data = {
        "minutes": axis.minutes,
        "offsets": axis.offsets,
        "length": axis.length,
        "first": axis.event.start,
        "spans": axis.spans(),
        "days": days,
        "findings": [[finding["code"], finding["sentence"]] for finding in findings],
        "whole": [whole["usage_w"], whole["baseline_w"], whole["unadjusted_w"]],
        "homes": [_home_data(homes[n], usage[n], days, findings) for n in listed],
    }
    decimals = currency["decimals"]
    certified = [home for home in homes if home.certified]
    return _environment().get_template("report.html.j2").render(
        style=(TEMPLATES / "report.css").read_text("utf-8"),
        script=script,
        script_hash="sha256-" + b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=data,
        event=header["event"],
        programme=header["programme"],
        currency=currency,
        baseline=header["baseline"],
        interval_minutes=axis.minutes,
        window=_window(header, zone),
        figures=_figures(header, homes),
        terms=_terms(header["programme"]),
        whole=whole,
        chart=load_chart(axis, whole["usage_w"], whole["baseline_w"], whole["unadjusted_w"]),
        reductions=histogram([home.body["total_reduction_wh"] for home in certified], 3),
        payments=histogram([home.body["payment"] for home in certified], decimals),
        unpaid=sum(home.body["payment"] == 0 for home in certified),
        homes=[_row(homes[n], header) for n in listed],
        homes_left_out=len(homes) - len(listed),
        findings=findings,
        settlement=None if settlement is None else _settlement(settlement, published),
        published_hash="0x" + hashlib.sha256(published).hexdigest(),
        timings=_timings(timings),
        provisional=provisional,
        final=final,
    )  # fmt: skip


def _environment() -> Environment:
    environment = page_templates(
        {
            "kwh": lambda wh: decimal(wh, 3),
            "money": decimal,
            "brief": short_hash,
            "seconds": seconds,
            "count": lambda number: f"{number:,}",
            "homes": lambda number: "1 home" if number == 1 else f"{number:,} homes",
        }
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment


def _read(published: bytes, meter_of: Mapping[str, str]) -> tuple[dict[str, Any], list[_Home]]:
    """The header and the certificates, after the header's totals have been checked against them."""
    try:
        first, *lines = published.removesuffix(b"\n").split(b"\n")
        header = json.loads(first)
        if header["format"] != FORMAT:
            raise NegawattError(f"published file has format {header['format']!r}, expected {FORMAT!r}")
        bodies = [json.loads(line) for line in lines]
        homes = [_Home(meter_of.get(body["resource"], short_hash(body["resource"])), body) for body in bodies]
        sums = {
            "certificates": len(homes),
            "reduction_wh": sum(max(home.body["total_reduction_wh"], 0) for home in homes),
            "payment": sum(home.body["payment"] for home in homes),
        }
        totals = header["totals"]
    except (ValueError, KeyError, TypeError) as unreadable:
        raise NegawattError(f"published file can't be read as certificates: {unreadable!r}") from unreadable
    if sums != totals:
        raise NegawattError(f"published file: its header says {totals}, its certificates sum to {sums}")
    return header, homes


def _axis(header: Mapping[str, Any], around: UsageAround | None, zone: ZoneInfo) -> TimeAxis:
    minutes = header["interval_minutes"]
    start = datetime.fromisoformat(header["event"]["start"])
    count = header["event"]["minutes"] // minutes
    event = [start + n * timedelta(minutes=minutes) for n in range(count)]
    starts = sorted({*event, *(around.starts if around else ())})
    first = starts.index(start)
    return TimeAxis(tuple(starts), minutes, range(first, first + count), zone)


def _usage_of_homes(homes: Sequence[_Home], axis: TimeAxis, around: UsageAround | None) -> NDArray[np.int64]:
    """Usage of each home over the axis, shape (homes, intervals), MISSING where unknown. [Wh]

    Within the event a certificate's own readings count; one without shows what the context has.
    """
    usage = np.full((len(homes), len(axis.starts)), MISSING, dtype=np.int64)
    if around is not None:
        if around.wh.shape != (len(around.meters), len(around.starts)):
            raise ValueError(f"usage around the event has shape {around.wh.shape}, not meters by starts")
        row_of = {meter: row for row, meter in enumerate(around.meters)}
        position = {start: n for n, start in enumerate(axis.starts)}
        columns = [position[start] for start in around.starts]
        for n, home in enumerate(homes):
            if (row := row_of.get(home.meter)) is not None:
                usage[n, columns] = around.wh[row]
    event = slice(axis.event.start, axis.event.stop)
    for n, home in enumerate(homes):
        if home.certified:
            usage[n, event] = [MISSING if wh is None else wh for wh in home.body["actual_wh"]]
    return usage


def _whole_event(homes: Sequence[_Home], axis: TimeAxis, usage: NDArray[np.int64]) -> dict[str, Any]:
    """Average power of all certified homes together [W], and how many of their readings are missing.

    In the event the baseline stands in for a missing reading, as it does in the certificate: no reading, no
    reduction. Outside it the mean of the homes that have one does, as long as at least half have.
    """
    certified = [n for n, home in enumerate(homes) if home.certified]
    per_hour = 60 // axis.minutes
    rows = usage[certified]
    usage_w: list[int | None] = [None] * len(axis.starts)
    baseline_w, unadjusted_w = list(usage_w), list(usage_w)
    missing = filled = 0
    if certified:
        bodies = [homes[n].body for n in certified]
        baseline = np.array([body["baseline_wh"] for body in bodies], dtype=np.int64)
        unadjusted = np.array([body["unadjusted_baseline_wh"] for body in bodies], dtype=np.int64)
        present = rows != MISSING
        counts = present.sum(axis=0).tolist()
        sums = np.where(present, rows, 0).sum(axis=0).tolist()
        for n, (count, total) in enumerate(zip(counts, sums, strict=True)):
            if n in axis.event:
                column = n - axis.event.start
                stand_in = int(baseline[~present[:, n], column].sum())
                missing += len(certified) - count
                usage_w[n] = (total + stand_in) * per_hour
                baseline_w[n] = int(baseline[:, column].sum()) * per_hour
                unadjusted_w[n] = int(unadjusted[:, column].sum()) * per_hour
            elif 2 * count >= len(certified):
                filled += count < len(certified)
                usage_w[n] = round(Fraction(total * per_hour * len(certified), count))
    return {
        "certified": len(certified),
        "usage_w": usage_w,
        "baseline_w": baseline_w,
        "unadjusted_w": unadjusted_w,
        "missing_readings": missing,
        "filled_intervals": filled,
        "table": [
            {
                "span": axis.spans()[n],
                "baseline": decimal(baseline_w[n] or 0, 3),
                "unadjusted": decimal(unadjusted_w[n] or 0, 3),
                "usage": decimal(usage_w[n] or 0, 3),
                "reduction": decimal(((baseline_w[n] or 0) - (usage_w[n] or 0)) // per_hour, 3),
            }
            for n in (axis.event if certified else ())
        ],
    }


def _listed(homes: Sequence[_Home]) -> list[int]:
    """Positions of the homes that the page lists, in the certificates' order."""
    by_need = sorted(range(len(homes)), key=lambda n: homes[n].certified)
    return sorted(by_need[:LISTED_HOMES])


def _findings(homes: Sequence[_Home]) -> list[dict[str, Any]]:
    """Each finding with the homes that have it, the most frequent first."""
    found: dict[str, dict[str, Any]] = {}
    for home in homes:
        for finding in home.body["findings"]:
            entry = found.setdefault(
                finding["code"],
                {"code": finding["code"], "sentence": finding["sentence"], "homes": [], "count": 0, "refused": 0},
            )
            entry["count"] += 1
            entry["refused"] += not home.certified
            if entry["count"] <= LISTED_HOMES:
                entry["homes"].append({"meter": home.meter, "values": _values(finding)})
    return sorted(found.values(), key=lambda entry: (-entry["count"], entry["code"]))


def _values(finding: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in sorted(finding["values"].items()))


def _home_data(
    home: _Home, usage: NDArray[np.int64], days: Sequence[str], findings: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the page's script needs to draw and sort a home; amounts are text, for they may exceed 2**53."""
    body = home.body
    code_at = {finding["code"]: n for n, finding in enumerate(findings)}
    day_at = {day: n for n, day in enumerate(days)}
    known = usage != MISSING
    same = body["unadjusted_baseline_wh"] == body["baseline_wh"]
    return {
        "index": body["index"],
        "name": home.meter,
        "key": body["resource"],
        "wallet": body["wallet"],
        "certified": home.certified,
        "contracted": body["contracted_w"],
        "usage": [wh if ok else None for wh, ok in zip(usage.tolist(), known.tolist(), strict=True)],
        "baseline": body["baseline_wh"],
        "unadjusted": None if same else body["unadjusted_baseline_wh"],
        "sums": [home.measured_baseline_wh, home.usage_wh, body["total_reduction_wh"]] if home.certified else None,
        "payment": str(body["payment"]),
        "findings": [code_at[finding["code"]] for finding in body["findings"]],
        "days": [day_at[day] for day in body["baseline_days"]],
    }


def _row(home: _Home, header: Mapping[str, Any]) -> dict[str, Any]:
    """A home's line in the table, as text."""
    body = home.body
    row = {
        "meter": home.meter,
        "certified": home.certified,
        "contracted": decimal(body["contracted_w"], 3),
        "payment": decimal(body["payment"], header["programme"]["currency"]["decimals"]),
        "findings": [
            {"code": finding["code"], "sentence": finding["sentence"], "values": _values(finding)}
            for finding in body["findings"]
        ],
    }
    if home.certified:
        reduced = body["total_reduction_wh"]
        row |= {
            "baseline": decimal(home.measured_baseline_wh, 3),
            "usage": decimal(home.usage_wh, 3),
            "reduction": decimal(reduced, 3),
            "delivered": _share(reduced, body["contracted_w"], header["event"]["minutes"]),
        }
    return row


def _share(reduction_wh: int, contracted_w: int, minutes: int) -> str:
    """Reduction as a share of what was undertaken over the event, in percent; a dash where nothing was."""
    if contracted_w == 0:
        return "–"
    return decimal(round(Fraction(reduction_wh * 60 * 100 * 10, contracted_w * minutes)), 1)


def _window(header: Mapping[str, Any], zone: ZoneInfo) -> dict[str, str]:
    """The event's window in words, on the programme's clocks and in UTC."""
    start = datetime.fromisoformat(header["event"]["start"])
    end = datetime.fromisoformat(header["event"]["end"])
    local, until = start.astimezone(zone), end.astimezone(zone)
    return {
        "day": f"{WEEKDAYS[local.weekday()]} {local.day} {MONTHS[local.month - 1]} {local.year}",
        "clock": f"{local:%H:%M}–{until:%H:%M}" + ("" if local.date() == until.date() else " the next day"),
        "zone": f"{zone.key} ({local:%Z})",
        "utc": f"{start:%Y-%m-%d %H:%M}–{end:%H:%M} UTC",
    }


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _figures(header: Mapping[str, Any], homes: Sequence[_Home]) -> dict[str, Any]:
    """The headline's numbers, exact or rounded once to the last digit shown."""
    certified = [home for home in homes if home.certified]
    decimals = header["programme"]["currency"]["decimals"]
    totals = header["totals"]
    contracted_w = sum(home.body["contracted_w"] for home in homes)
    return {
        "homes": len(homes),
        "certified": len(certified),
        "refused": len(homes) - len(certified),
        "reduction": decimal(totals["reduction_wh"], 3),
        "payment": decimal(totals["payment"], decimals),
        "mean_reduction": _mean(totals["reduction_wh"], len(certified), 3),
        "mean_payment": _mean(totals["payment"], len(certified), decimals),
        "contracted": short_decimal(contracted_w, 3),
        "delivered": _share(totals["reduction_wh"], contracted_w, header["event"]["minutes"]),
        "used_more": sum(home.body["total_reduction_wh"] < 0 for home in certified),
    }


def _mean(total: int, count: int, decimals: int) -> str:
    return decimal(round(Fraction(total, count)), decimals) if count else "–"


def _terms(programme: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The payment rule in force, in words."""
    terms, currency = programme["terms"], programme["currency"]
    pay = terms["payment"]
    rows = [
        ("Terms valid from", terms["valid_from"]),
        ("Paid for reduction", f"{_price(pay['rate_per_kwh'], currency)} per kWh"),
        ("Paid up to", f"{pay['paid_share_max_pct']} % of the contracted reduction"),
    ]
    if Fraction(pay["shortfall_penalty_per_kwh"]):
        charged = f"{_price(pay['shortfall_penalty_per_kwh'], currency)} per kWh short"
        rows.append(("Charged for shortfall", f"{charged}, beyond {pay['shortfall_tolerance_pct']} % of tolerance"))
    rows.append(("Readings needed", f"{terms['min_event_completeness_pct']} % of the event's intervals"))
    rows.append(("Estimated readings", "accepted" if terms["accept_estimated"] else "not accepted"))
    return rows


def _price(minor_units: str, currency: Mapping[str, Any]) -> str:
    """An exact price; one that is no whole number of minor units is left as the fraction that it is."""
    exact = Fraction(minor_units)
    if exact.denominator == 1:
        return f"{decimal(exact.numerator, currency['decimals'])} {currency['code']}"
    return f"{exact} of {decimal(1, currency['decimals'])} {currency['code']}"


def _settlement(settlement: Mapping[str, Any], published: bytes) -> dict[str, Any]:
    transactions = list(settlement["transactions"])
    return {
        **settlement,
        "contracts": sorted(settlement["contracts"].items()),
        "transactions": transactions,
        "gas": sum(transaction["gas"] for transaction in transactions),
        "same_file": settlement["published_hash"] == "0x" + hashlib.sha256(published).hexdigest(),
    }


def _timings(timings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the timings table by number of homes, the paper's before ours; none without ours."""
    ours = [{"paper": False, **row} for row in timings]
    if not ours:
        return []
    return sorted([{"paper": True, **row} for row in PAPER_TIMINGS] + ours, key=lambda row: int(str(row["homes"])))


def short_hash(text: str) -> str:
    """The ends of a hash, enough to tell it from others on a page.

    >>> short_hash("0x" + "ab" * 32)
    '0xababab…ababab'
    """
    return text if len(text) <= 18 else f"{text[:8]}…{text[-6:]}"


def seconds(value: float) -> str:
    """A duration to the digits that matter.

    >>> [seconds(value) for value in (180, 0.0421, 3.14159, 12.345)]
    ['180', '0.042', '3.14', '12.3']
    """
    if isinstance(value, int):
        return f"{value:,}"
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"
