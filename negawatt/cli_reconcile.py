"""``negawatt reconcile``: what the batch result changed of the provisional one, or later readings of the settled."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from negawatt.cli_base import Context, as_json, setting
from negawatt.console import kwh, money

if TYPE_CHECKING:
    from domain.events import DREvent
    from domain.programmes import Currency
    from speed.reconciliation import Change, Reconciliation

SHOWN_INTERVALS = 3


@click.command(short_help="Compare provisional, final and settled certificates.")
@click.argument("event")
@click.option("--settled", is_flag=True, help="Work a settled EVENT out again, and compare with what was settled.")
@click.option("--largest", type=click.IntRange(0), default=10, show_default=True, help="Homes to show one by one.")
@setting("--spark", "spark", "Spark master; for --settled.")
@as_json
@click.pass_obj
def reconcile(ctx: Context, event: str, settled: bool, largest: int) -> None:
    """Show what the batch result of EVENT changed of the provisional one: totals, reasons, the largest changes.

    Certify the event both ways before: `negawatt certify --provisional EVENT` when it has ended, `negawatt certify
    EVENT` when late readings are in.

    With --settled, what readings that came after settlement would change: nothing is published, paid or sent. The
    result is kept as WORKSPACE/reconciliation/EVENT.json, all changed homes as EVENT.csv beside it.
    """
    from negawatt import reconciling  # noqa: PLC0415  heavy imports wait until they are needed

    called = ctx.workspace.event(event)
    if settled:
        _recheck(ctx, called, largest)
        return
    found = reconciling.reconcile_event(ctx.workspace, ctx.settings, called, largest=largest)
    ctx.screen.document(asdict(found))
    currency = ctx.workspace.programme(called.programme).currency
    _show_totals(ctx, found, currency)
    missing = [name for name in ("provisional", "batch") if getattr(found, name) is None]
    if missing:
        flag = "--provisional " if missing == ["provisional"] else ""
        ctx.screen.say(f"  no {missing[0]} result to compare with: `negawatt certify {flag}{called.id}` makes one")
        return
    _show_reasons(ctx, found, currency)
    if found.largest:
        ctx.screen.table(
            "Largest changes",
            ("home", "reason", "provisional", "final", "payment", "where"),
            [_row(change, currency) for change in found.largest],
        )


def _show_totals(ctx: Context, found: Reconciliation, currency: Currency) -> None:
    rows = [
        (
            name,
            totals.homes,
            totals.certified,
            kwh(totals.counted_wh),
            kwh(totals.reduction_wh),
            money(totals.payment, currency.decimals, currency.code),
        )
        for name, totals in (("provisional", found.provisional), ("batch", found.batch))
        if totals is not None
    ]
    ctx.screen.table(f"Event {found.event}", ("result", "homes", "certified", "reduction", "net", "payment"), rows)


def _show_reasons(ctx: Context, found: Reconciliation, currency: Currency) -> None:
    from speed.reconciliation_sql import REASONS  # noqa: PLC0415

    ctx.screen.table(
        "Why homes changed",
        ("reason", "homes", "reduction", "late", "lost", "revised", "history", "status", "payment"),
        [
            (
                reason,
                facts["homes"],
                kwh(facts["change_wh"]),
                *(kwh(part) for part in facts["parts_wh"].values()),
                money(facts["change_payment"], currency.decimals, currency.code),
            )
            for reason, facts in found.reasons.items()
        ],
    )
    for reason in found.reasons:
        ctx.screen.say(f"  {reason}: {REASONS[reason]}")


def _row(change: Change, currency: Currency) -> tuple[str, ...]:
    before, after = change.payment
    times = [str(interval["interval_start"])[:16].replace("T", " ") for interval in change.intervals]
    more = f" and {len(times) - SHOWN_INTERVALS} more" if len(times) > SHOWN_INTERVALS else ""
    return (
        change.meter,
        change.reason,
        *(kwh(wh) for wh in change.reduction_wh),
        money(after - before, currency.decimals, currency.code),
        ", ".join(times[:SHOWN_INTERVALS]) + more,
    )


def _recheck(ctx: Context, event: DREvent, largest: int) -> None:
    from negawatt import reconciling  # noqa: PLC0415

    with ctx.screen.progress() as progress:
        found = reconciling.recheck(ctx.workspace, ctx.settings, event, largest=largest, progress=progress)
    ctx.screen.document(found)
    currency = ctx.workspace.programme(event.programme).currency
    ctx.screen.table(
        f"Event {event.id}",
        ("result", "certified", "reduction", "net", "payment"),
        [_sums(name, found[name], currency) for name in ("settled", "recomputed", "change")],
    )
    if found["unchanged"]:
        ctx.screen.say("  unchanged: the readings of now give the certificates that were settled")
        return
    if not found["same_programme"]:
        ctx.screen.say("  the programme or its terms are others than those that were settled")
    ctx.screen.say(
        f"  {found['homes_changed']:,} homes changed, {found['payments_changed']:,} of them by their payment; "
        f"all are in {found['changes_file']}. Nothing was paid or taken back"
    )
    if found["largest"]:
        ctx.screen.table(
            "Largest changes",
            ("home", "settled", "now", "reduction", "payment", "what differs"),
            [_changed(row, currency) for row in found["largest"]],
        )


def _sums(name: str, sums: dict[str, Any], currency: Currency) -> tuple[object, ...]:
    paid = money(sums["payment"], currency.decimals, currency.code)
    return name, sums["certified"], kwh(sums["reduction_wh"]), kwh(sums["net_wh"]), paid


def _changed(row: dict[str, Any], currency: Currency) -> tuple[str, ...]:
    return (
        row["meter"],
        *(kwh(row[f"{side}_reduction_wh"]) for side in ("settled", "recomputed")),
        kwh(row["change_wh"]),
        money(row["change_payment"], currency.decimals, currency.code),
        ", ".join(row["differs"]),
    )
