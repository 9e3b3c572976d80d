"""``negawatt live`` and ``negawatt retention``: an event while it happens, and what becomes of old readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError, StoreError
from negawatt.cli_base import Context, as_json, setting
from negawatt.console import kwh

if TYPE_CHECKING:
    from domain.events import DREvent
    from negawatt.live import LiveEvent


def instant(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """Read a time in ISO 8601; UTC where it has no offset."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError as wrong:
        example = "2026-07-01T08:30 or 2026-07-01T17:30+09:00"
        raise click.BadParameter(f"{value!r}: expected a time such as {example}") from wrong
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@click.command(short_help="Follow an event while it happens.")
@click.argument("event")
@click.option("--feeder", help="This feeder alone.")
@click.option(
    "--at", callback=instant, metavar="TIME", help="As of this time; UTC unless it has an offset.  [default: now]"
)
@click.option("--watch", is_flag=True, help="Show it again and again, until stopped.")
@click.option(
    "--every", type=click.FloatRange(0.5, 3600), default=5.0, show_default=True, help="Seconds between, with --watch."
)
@click.option("--homes", type=click.IntRange(0, 1000), default=10, show_default=True, help="Homes to list.")
@as_json
@click.pass_obj
def live(
    ctx: Context, /, event: str, feeder: str | None, at: datetime | None, watch: bool, every: float, homes: int
) -> None:
    """Show what EVENT's homes use less than their baselines, from the readings that are in by now.

    Sums are over reported intervals alone: what is missing counts neither as usage nor as reduction. The forecast
    takes the intervals that are still to come as those reported so far, with a range by their spread. The ten homes
    that reduce least for what they contracted are listed.

    Baselines are worked out once, stored in the speed store, and worked out again only when readings behind them come
    or change: the adjusted baseline is shown as soon as the adjustment window is in. The views for SQL (live_event
    and so on) are made for the same time.
    """
    from negawatt.live import LiveEvent  # noqa: PLC0415  heavy imports wait until they are needed

    if at and watch:
        raise click.UsageError("--at shows one time, --watch the present one: give one or the other")
    called = ctx.workspace.event(event)

    def show() -> None:  # opens the store anew, so that others can have it in between
        with LiveEvent.open(ctx.workspace, ctx.settings, called) as following:
            seen = look(following, at or datetime.now(UTC), feeder, homes)
        if watch and not ctx.screen.as_json:
            click.clear()
        ctx.screen.document(seen)
        _print(ctx, seen)

    def show_when_free() -> None:
        try:
            show()
        except StoreError as busy:
            ctx.screen.say(f"  {busy}")

    if not watch:
        show()
        return
    try:
        watched(show_when_free, every)
    except KeyboardInterrupt:
        ctx.screen.say("stopped")


def prepared(ctx: Context, event: DREvent) -> int | None:
    """Store the baselines of an event that was just issued; returns how many homes have one.

    None where that isn't possible now, for want of readings or because the speed store is in use: the event is issued
    all the same, and `negawatt live` stores what is missing.
    """
    from negawatt.live import prepare  # noqa: PLC0415  heavy imports wait until they are needed

    try:
        found = prepare(ctx.workspace, ctx.settings, event)
    except NegawattError as failed:
        ctx.screen.say(f"  baselines are not stored yet: {failed}")
        return None
    ctx.screen.say(f"  {found.with_baseline:,} of {found.resources:,} homes have a baseline by now")
    return found.with_baseline


def watched(show: Callable[[], None], every: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Call ``show`` every so many seconds, counted from start to start, until interrupted. [s]"""
    while True:
        began = time.monotonic()
        show()
        pause(max(every - (time.monotonic() - began), 0.1))


def look(following: LiveEvent, now: datetime, feeder: str | None, homes: int) -> dict[str, Any]:
    """Bring an event's baselines and views up to date, and look at it."""
    changed = following.refresh().changed
    following.views(now)
    return following.look(now, feeder=feeder, least=homes) | {"baselines_changed": changed}


def _print(ctx: Context, seen: dict[str, Any]) -> None:
    total, screen = seen["total"], ctx.screen
    whose = f", feeder {total['feeder']}" if "feeder" in total else ""
    when = datetime.fromisoformat(seen["as_of"])
    screen.table(
        f"Event {seen['event']}{whose} at {when:%Y-%m-%d %H:%M:%S} UTC, in kWh",
        ("homes", "reported, %", "baseline", "adjusted", "usage", "reduction", "of contract, %"),
        [(total["homes"], _share(total, "completeness_pct"), _kwh(total, "unadjusted_wh"), *_energies(total))],
    )
    if total["forecast_low_wh"] is not None:
        low, high = kwh(total["forecast_low_wh"]), kwh(total["forecast_high_wh"])
        screen.say(f"  forecast of the event: {kwh(total['forecast_wh'])}, {low} to {high}")
    statuses = ", ".join(f"{homes:,} {status}" for status, homes in seen["statuses"].items())
    screen.say(f"  baselines: {statuses}")
    late, unknown = seen["lateness"], seen["unknown_meters"]
    delay = (
        "no reading came; " if late["newest_ts"] is None else f"the newest ended {late['delay_minutes']} min ago; "
    )
    behind = f"{late['behind']:,} of {late['homes']:,} homes are behind, {late['missing']:,} intervals are missing"
    screen.say(f"  readings of the last hours: {delay}{behind}")
    if unknown["meters"]:
        found = f"{unknown['meters']:,}, with {unknown['readings']:,} readings, {kwh(unknown['energy_wh'])}"
        screen.say(f"  unknown meters: {found}; they are in no sum")
    if seen["quarantined"]:
        screen.say(f"  quarantined readings: {seen['quarantined']:,}; they are in no sum")
    columns = ("reported, %", "baseline", "usage", "reduction", "of contract, %")
    if not whose:
        screen.table(
            "Feeders, in kWh",
            ("feeder", "homes", *columns, "forecast"),
            [(row["feeder"] or "–", row["homes"], *_shown(row), _kwh(row, "forecast_wh")) for row in seen["feeders"]],
        )
    if seen["least"]:
        screen.table(
            "Homes that reduce least for their contract, in kWh",
            ("home", "feeder", "contract, W", *columns),
            [(row["meter"], row["feeder"] or "–", row["capacity_w"], *_shown(row)) for row in seen["least"]],
        )


def _shown(row: dict[str, Any]) -> tuple[object, ...]:
    return (_share(row, "completeness_pct"), *_energies(row))


def _energies(row: dict[str, Any]) -> tuple[object, ...]:
    return (*(_kwh(row, name) for name in ("baseline_wh", "usage_wh", "reduction_wh")), _share(row, "share_pct"))


def _kwh(row: dict[str, Any], name: str) -> object:
    return "–" if row[name] is None else row[name] / 1000


def _share(row: dict[str, Any], name: str) -> object:
    return "–" if row[name] is None else float(row[name])


@click.command(short_help="Roll up readings, and drop old ones from the speed store.")
@click.option("--at", callback=instant, metavar="TIME", help="As if it were this time.  [default: now]")
@setting("--days", "retention_days", "Whole UTC days of readings to keep.")
@as_json
@click.pass_obj
def retention(ctx: Context, at: datetime | None) -> None:
    """Make half-hours and days of the speed store's readings, then drop readings older than --days. Run it daily.

    Days whose readings changed since, for late or corrected ones, are rolled up again. Roll-ups are never dropped,
    and the batch store keeps every reading.
    """
    from negawatt.live import retention as retain  # noqa: PLC0415  heavy imports wait until they are needed

    done = retain(ctx.workspace, ctx.settings, (at or datetime.now(UTC)).astimezone(UTC).date())
    ctx.screen.document(done)
    ctx.screen.table(
        f"Readings of {done['retention_days']} days before {done['today']} stay in the speed store",
        ("register", "interval, min", "days rolled up", "days dropped", "readings dropped", "came too late"),
        [
            (
                row["register"],
                row["interval_minutes"],
                row["rolled_days"],
                row["dropped_days"],
                row["dropped_readings"],
                row["too_late"],
            )
            for row in done["registers"]
        ],
    )
