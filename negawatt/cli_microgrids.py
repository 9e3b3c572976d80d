"""The commands of ``negawatt energy`` for trades between microgrids: deposits, limits, and a day's settlement."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from domain.errors import InvalidTradesError, VerificationError
from domain.trades import TradeDay, parse_day
from negawatt.cli_base import EXISTING_FILE, Context, as_json, chain_flags
from negawatt.cli_energy_base import acting, open_desk, show_sent
from negawatt.console import kwh

DAY = click.DateTime(["%Y-%m-%d"])


@click.command(short_help="Pay tokens in.")
@click.argument("tokens")
@acting
def deposit(ctx: Context, tokens: str, account: int | None) -> None:
    """Deposit TOKENS, out of which days are settled."""
    with open_desk(ctx, account) as desk:
        desk.grids.deposit(desk.units(tokens))
        held = desk.grids.account(desk.chain.operator)
        show_sent(ctx, desk, f"{desk.shown(held.free)} deposited", free=held.free)


@click.command(short_help="Take tokens out.")
@click.argument("tokens")
@acting
def withdraw(ctx: Context, tokens: str, account: int | None) -> None:
    """Withdraw TOKENS that are free. Nothing stops this; a day that would need them can't be executed then."""
    with open_desk(ctx, account) as desk:
        desk.grids.withdraw(desk.units(tokens))
        held = desk.grids.account(desk.chain.operator)
        show_sent(ctx, desk, f"{desk.shown(held.free)} left", free=held.free)


@click.command(short_help="Say what a day may take.")
@click.argument("tokens")
@acting
def limit(ctx: Context, tokens: str, account: int | None) -> None:
    """Allow settling one day to take TOKENS from the account at most; without a limit it takes nothing."""
    with open_desk(ctx, account) as desk:
        amount = desk.units(tokens)
        desk.grids.set_limit(amount)
        show_sent(ctx, desk, f"A day may take {desk.shown(amount)}", daily_limit=amount)


@click.command("settle-day", short_help="Settle a day's trades.")
@click.argument("trades", type=EXISTING_FILE)
@click.option(
    "--day", type=DAY, required=True, help="The day that was traded, e.g. 2025-06-11; it ends at 24:00 UTC."
)
@acting
def settle_day(ctx: Context, trades: Path, day: Any, account: int | None) -> None:
    """Propose the day's TRADES, and execute them when the dispute window has passed.

    TRADES is a CSV file with the columns seller, buyer (addresses), wh and value (smallest units of the token), in
    the order in which the trades are numbered. The published file goes to WORKSPACE/trades/DAY.jsonl: hand it to the
    participants, who check it by `negawatt energy verify-day`.

    Run it again to go on: what was done is not done twice. The built-in chain's clock is moved past the window.
    """
    from negawatt.market_settlement import propose_and_execute  # noqa: PLC0415  heavy imports wait until needed
    from serving.microgrids import read_trades  # noqa: PLC0415

    held = read_trades(trades, day.date())
    with open_desk(ctx, account) as desk:
        done = propose_and_execute(ctx.workspace, desk.grids, held)
        title = f"{held.day}: {len(held.trades)} trades, {kwh(held.total_wh)}, {desk.shown(held.total_value)}"
        show_sent(ctx, desk, title, **done)
        _show_net(ctx, held, desk.shown)
    if done["state"] == "proposed" and done["executable_from"]:
        opens = datetime.fromisoformat(done["executable_from"])
        ctx.screen.say(f"  proposed; run it again from {opens:%Y-%m-%d %H:%M:%SZ} on to execute it")
    ctx.screen.say(f"  published: {done['published']}")


@click.command("retract-day", short_help="Take a proposed day back.")
@click.argument("day", type=DAY)
@acting
def retract_day(ctx: Context, day: Any, account: int | None) -> None:
    """Take back what was proposed for DAY: in its dispute window, or if it is unexecuted 3 days after that."""
    with open_desk(ctx, account) as desk:
        desk.grids.retract_day(day.date())
        show_sent(ctx, desk, f"{day.date()} retracted", day=day.date().isoformat(), state="none")


@click.command("verify-day", short_help="Check a published day.")
@click.argument("published", type=EXISTING_FILE)
@chain_flags
@as_json
@click.pass_obj
def verify_day(ctx: Context, published: Path) -> None:
    """Recompute a day from its PUBLISHED file and compare it with the chain. Exits with 4 when anything doesn't hold.

    A participant does this in the dispute window, and looks whether its own trades are in the file as it knows them.
    """
    try:
        held = parse_day(published.read_bytes())
    except InvalidTradesError as broken:
        raise VerificationError(f"{published}: {broken}") from broken
    with open_desk(ctx, reader=True) as desk:
        checks = desk.grids.verify_day(held)
        holds = all(check.holds for check in checks)
        ctx.screen.document(
            {"day": held.day.isoformat(), "holds": holds, "checks": [asdict(check) for check in checks]}
        )
        ctx.screen.table(
            f"{held.day}: {sum(check.holds for check in checks)} of {len(checks)} checks hold",
            ("check", "holds", "evidence"),
            [(check.name, "yes" if check.holds else "NO", check.evidence) for check in checks],
        )
        _show_net(ctx, held, desk.shown)
    if not holds:
        failed = "; ".join(f"{check.name} ({check.evidence})" for check in checks if not check.holds)
        raise VerificationError(f"{held.day} does not verify: {failed}")


def _show_net(ctx: Context, held: TradeDay, shown: Any) -> None:
    rows = [(address, shown(amount)) for address, amount in held.net]
    ctx.screen.table("Net amounts; a minus is owed", ("participant", "amount"), rows)
