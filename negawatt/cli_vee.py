"""``negawatt vee`` and ``negawatt quality``: check and complete days of readings, and see how complete they are."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from negawatt.cli_base import EXISTING_FILE, Context, as_json, setting

DAY = click.DateTime(["%Y-%m-%d"])
ZONE = click.option("--zone", default="UTC", show_default=True, help="IANA zone whose local days are meant.")
REGISTERS = click.option(
    "--registers",
    type=EXISTING_FILE,
    help="CSV of register reads: meter,read_at,import_wh (or import_kwh). Estimates then add up to them.",
)
CLOCKS = click.option(
    "--clocks",
    type=EXISTING_FILE,
    help="CSV of meters' clocks: meter,meter_time,concentrator_time. Drifting ones are reported.",
)


@click.command(short_help="Check readings, and estimate what is missing or wrong.")
@click.option("--day", type=DAY, help="A day.  [default: the last whole UTC day in the store]")
@click.option("--from", "first", type=DAY, help="First day of several.")
@click.option("--to", "last", type=DAY, help="Last day of several, inclusive.")
@ZONE
@REGISTERS
@CLOCKS
@click.option("--dry-run", is_flag=True, help="Say what would be done, and store nothing.")
@click.option("--on-spark", is_flag=True, help="Run as a Spark job, on the master that --spark names.")
@click.option("--by", help="Who runs it, for the log.  [default: the user's name]")
@setting("--spark", "spark", "Spark master, with --on-spark.")
@as_json
@click.pass_obj
def vee(
    ctx: Context,
    /,
    day: Any,
    first: Any,
    last: Any,
    zone: str,
    registers: Path | None,
    clocks: Path | None,
    dry_run: bool,
    on_spark: bool,
    by: str | None,
) -> None:
    """Validation, estimation, editing: check days of readings, and estimate what is missing or wrong.

    Looks for gaps, readings beyond what a connection carries, spikes, stuck registers, registers that run backwards,
    intervals that do not add up to the register, and drifting clocks. Gaps up to two hours become a straight line,
    longer ones the mean of the same weekday's earlier weeks.

    Nothing is overwritten: an estimate is a reading of quality "estimated", an actual reading that comes late wins
    over it, and WORKSPACE/vee/edits says what was edited and why. Running it again changes nothing. The thresholds
    are in WORKSPACE/vee.toml, if there is one, else those that come with negawatt.

    \b
      negawatt vee --dry-run                               what the last whole day needs
      negawatt vee --from 2025-06-01 --to 2025-06-30 --zone Asia/Seoul --registers reads.csv
      negawatt quality 2025-06-30                          how complete it is now
    """
    from negawatt import vee as job  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt.vee_plan import VeeWork, last_whole_day  # noqa: PLC0415

    if day and (first or last):
        raise click.UsageError("--day names one day, --from and --to several: give one or the other")
    if bool(first) != bool(last):
        raise click.UsageError("--from and --to go together")
    begin = _date(day or first) or last_whole_day(ctx.workspace, ctx.settings)
    work = VeeWork(begin, _date(last) or begin, zone, registers, clocks, on_spark, dry_run, by or _user())
    with ctx.screen.progress() as progress:
        done = job.vee(ctx.workspace, ctx.settings, work, now=datetime.now(UTC), progress=progress)
    document = job.summary(done, dry_run=dry_run)
    ctx.screen.document(document)
    _show(ctx, work, document)


def _show(ctx: Context, work: Any, document: dict[str, Any]) -> None:
    from domain.validation import CHECKS  # noqa: PLC0415

    days = f"{work.first}" if work.first == work.last else f"{work.first} to {work.last}"
    edited = document["edits_by_reason"]
    ctx.screen.table(
        f"{document['meters']:,} meters, {days} ({work.zone}), {document['intervals']:,} intervals "
        f"in {document['seconds']:.2f} s",
        ("finding", "meters", "intervals", "would be estimated" if work.dry_run else "estimated", "meaning"),
        [
            (
                code,
                document["findings"].get(code, {}).get("meters", 0),
                _intervals(document, code),
                edited.get(code, 0),
                words,
            )
            for code, words in CHECKS.values()
            if code in document["findings"]
        ],
    )
    methods = ", ".join(f"{n:,} {name}" for name, n in document["edits_by_method"].items())
    if not document["findings"]:
        ctx.screen.say("  nothing was found")
    if work.dry_run:
        ctx.screen.say(
            f"  a dry run: nothing was stored. It would estimate {document['edits']:,}: {methods or 'none'}"
        )
        return
    ctx.screen.say(f"  estimated {document['edits']:,}: {methods or 'none'}")
    if document["refused"]:
        ctx.screen.say(
            f"  {document['refused']:,} more were left alone: their source has confirmed or corrected them"
        )
    for path in document["logs"]:
        ctx.screen.say(f"  log: {path}")


def _intervals(document: dict[str, Any], code: str) -> int:
    return int(document["findings"].get(code, {}).get("intervals", 0))


@click.command(short_help="How complete a day's readings are, by feeder and meter.")
@click.argument("day", type=DAY)
@ZONE
@REGISTERS
@CLOCKS
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Meters to list.")
@as_json
@click.pass_obj
def quality(ctx: Context, /, day: Any, zone: str, registers: Path | None, clocks: Path | None, worst: int) -> None:
    """Show how complete the readings of DAY (YYYY-MM-DD) are, for each feeder and for the worst meters.

    "actual" is the share of intervals with an actual reading, "complete" that with an actual or an estimated one.
    Findings count intervals, also those that were estimated since. Feeders are those of the list of resources; a
    meter of that list without any reading counts as missing.

    Changes no reading. The whole view, a row a meter, is in WORKSPACE/quality/DAY.parquet.
    """
    from negawatt.quality import column, shares  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt.quality import quality as view_of  # noqa: PLC0415
    from negawatt.vee_plan import VeeWork  # noqa: PLC0415

    work = VeeWork(day.date(), day.date(), zone, registers, clocks)
    with ctx.screen.progress() as progress:
        view = view_of(ctx.workspace, ctx.settings, work, progress=progress)
    feeders, whole, meters = view.feeders(), view.whole(), view.worst(worst)
    ctx.screen.document(
        {
            "day": work.first.isoformat(),
            "zone": zone,
            "interval_minutes": view.interval_minutes,
            "all": whole,
            "feeders": feeders,
            "worst_meters": [{**row, "day": row["day"].isoformat(), **shares(row)} for row in meters],
            "file": str(view.path),
        }
    )
    names = ("meters", "actual_pct", "complete_pct", "estimated", "missing")
    ctx.screen.table(
        f"Readings of {work.first} ({zone}), every {view.interval_minutes} min",
        ("feeder", "meters", "actual, %", "complete, %", "estimated", "missing", "findings"),
        [(row["feeder"], *(row[n] for n in names), _found(row["findings"])) for row in [*feeders, whole]],
    )
    if meters:
        ctx.screen.table(
            "Meters with most missing or estimated",
            ("meter", "feeder", "actual, %", "complete, %", "estimated", "missing", "findings"),
            [
                (
                    row["meter"],
                    row["feeder"] or "–",
                    *shares(row).values(),
                    row["estimated"],
                    row["missing"],
                    _found({code: row[column(code)] for code in whole["findings"] if row[column(code)]}),
                )
                for row in meters
            ],
        )
    ctx.screen.say(f"  every meter: {view.path}")


def _found(findings: dict[str, int]) -> str:
    return ", ".join(f"{code} {n:,}" for code, n in findings.items()) or "–"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return f"user {os.getuid()}"


def _date(value: Any) -> date | None:
    return value.date() if value else None
