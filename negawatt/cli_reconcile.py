"""``negawatt reconcile``: what the batch result changed of the provisional one, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from negawatt.cli_base import Context, as_json
from negawatt.console import kwh, money

if TYPE_CHECKING:
    from domain.programmes import Currency
    from speed.reconciliation import Change, Reconciliation

SHOWN_INTERVALS = 3


@click.command(short_help="Compare provisional with final certificates.")
@click.argument("event")
@click.option("--largest", type=click.IntRange(0), default=10, show_default=True, help="Homes to show one by one.")
@as_json
@click.pass_obj
def reconcile(ctx: Context, event: str, largest: int) -> None:
    """Show what the batch result of EVENT changed of the provisional one: totals, reasons, the largest changes.

    Certify the event both ways before: `negawatt certify --provisional EVENT` when it has ended, `negawatt certify
    EVENT` when late readings are in.
    """
    from negawatt import pipeline  # noqa: PLC0415  heavy imports wait until they are needed

    called = ctx.workspace.event(event)
    found = pipeline.reconcile_event(ctx.workspace, ctx.settings, called, largest=largest)
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
