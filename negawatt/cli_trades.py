"""``negawatt match``, ``balance-day`` and ``trade-report``: a day's trades between microgrids, before and after."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from negawatt.cli_base import EXISTING_FILE, Context, as_json
from negawatt.console import kwh, money

if TYPE_CHECKING:
    from negawatt.market_files import MarketFile

DAY = click.DateTime(["%Y-%m-%d"])
LISTED = 30
"""Participants that a table shows; ``--json`` and the files have all."""


@click.command("match", short_help="Match sellers and buyers of a day.")
@click.argument("market", type=EXISTING_FILE)
@click.argument("capacities", type=EXISTING_FILE, required=False)
@click.option("--day", type=DAY, help="Local day of the market's zone.  [default: the only one in CAPACITIES]")
@click.option(
    "--from",
    "now",
    metavar="TIME",
    help="Match only what lies gate_minutes ahead of TIME, or of `now`; the rest stays.  [default: the whole day]",
)
@click.option("--leave-out", is_flag=True, help="Without CAPACITIES: leave out who has no forecast, and say so.")
@click.option(
    "--method",
    type=click.Choice(["groups", "lp"]),
    default="groups",
    show_default=True,
    help="groups: by site and tariff, exact, of any size; lp: participant by participant, in PuLP.",
)
@click.option(
    "--solver",
    type=click.Choice(["auto", "highs", "cbc"]),
    default="auto",
    show_default=True,
    help="With --method lp.",
)
@click.option(
    "--time-limit", type=click.FloatRange(0.01), default=60.0, show_default=True, help="Of an interval's LP, seconds."
)
@as_json
@click.pass_obj
def match_trades(
    ctx: Context,
    market: Path,
    capacities: Path | None,
    day: Any,
    now: str | None,
    leave_out: bool,
    method: str,
    solver: str,
    time_limit: float,
) -> None:
    """Match what participants have over with what others lack, interval by interval.

    MARKET is a TOML file that names participants, distances, the price rule and the objective; CAPACITIES is CSV:
    participant, interval_start, surplus_wh, deficit_wh. Tariffs come from WORKSPACE/tariffs or with negawatt.
    Without CAPACITIES those of --day are worked out from the forecasts that WORKSPACE/forecasts keeps, and written to
    WORKSPACE/market/DAY/capacities.csv.

    Every matching is proved to be the best there is, and nobody is worse off than with the grid alone. An interval
    whose solver gives no proven answer is left to the grid, with a finding. The result is in WORKSPACE/market/DAY.

    \b
      negawatt match market.toml capacities.csv
      negawatt match market.toml --day 2021-02-01            by forecasts
      negawatt match market.toml --day 2021-02-01 --from now
      negawatt trade-report 2021-02-01                       a page with charts
      negawatt balance-day market.toml 2021-02-01 metered.csv
      negawatt energy settle-day .negawatt/market/2021-02-01/trades.csv --day 2021-02-01
    """
    from negawatt import market as job  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt.market_days import folder_of  # noqa: PLC0415
    from negawatt.market_files import read_market  # noqa: PLC0415

    file = read_market(market)
    at = _time(now) if now else None
    found = None
    if capacities is None:
        from negawatt.market_capacities import capacities_of_forecasts  # noqa: PLC0415

        if day is None:
            raise click.UsageError("--day is needed where CAPACITIES are worked out from forecasts")
        found = capacities_of_forecasts(ctx.workspace, file, day.date(), leave_out=leave_out)
        capacities = Path(found["file"])
    elif leave_out:
        raise click.UsageError("--leave-out says what to do without CAPACITIES; a file says itself who takes part")
    with ctx.screen.progress() as progress:
        document = job.match_day(
            ctx.workspace,
            file,
            capacities,
            day=day.date() if day else None,
            now=at,
            method=method,
            engine=solver,
            time_limit_s=time_limit,
            progress=progress,
        )
    folder = folder_of(ctx.workspace, datetime.fromisoformat(document["day"]).date())
    ctx.screen.document(document)
    totals = document["totals"]
    ctx.screen.table(
        f"{document['day']} ({document['zone']}): {kwh(totals['traded_wh'])} traded, price {document['price']}",
        ("from", "over", "lacking", "traded", "value", "sellers gain", "buyers gain"),
        [
            (
                datetime.fromisoformat(row["start"]).strftime("%H:%M"),
                *(kwh(row[name]) for name in ("surplus_wh", "deficit_wh", "traded_wh")),
                *(_amount(row[name], document) for name in ("value", "seller_gain", "buyer_gain")),
            )
            for row in document["intervals"]
        ],
    )
    people = sorted(document["participants"], key=lambda row: -(row["seller_gain"] + row["buyer_gain"]))
    ctx.screen.table(
        f"{len(people):,} participants" + (f", the {LISTED} who gain most" if len(people) > LISTED else ""),
        ("participant", "site", "sold", "bought", "gain as seller", "gain as buyer"),
        [
            (
                row["participant"],
                row["site"],
                *(kwh(row[name]) for name in ("sold_wh", "bought_wh")),
                *(_amount(row[name], document) for name in ("seller_gain", "buyer_gain")),
            )
            for row in people[:LISTED]
        ],
    )
    _say_source(ctx, file, document, found, at)
    for row in document["intervals"]:
        for finding in row["findings"]:
            ctx.screen.say(f"  {row['start']}: {finding['code']}: {escape(finding['values']['problem'])}")
    ctx.screen.say(
        f"  sellers gain {_amount(totals['seller_gain'], document)}, buyers {_amount(totals['buyer_gain'], document)}"
        f", together {_amount(totals['seller_gain'] + totals['buyer_gain'], document)}"
    )
    ctx.screen.say(f"  kept in {folder}")


@click.command("balance-day", short_help="Settle a matched day against the meters.")
@click.argument("market", type=EXISTING_FILE)
@click.argument("day", type=DAY, metavar="DAY")
@click.argument("metered", type=EXISTING_FILE, required=False)
@as_json
@click.pass_obj
def balance_day(ctx: Context, market: Path, day: Any, metered: Path | None) -> None:
    """After DAY's delivery: compare what was matched with what was METERED, and settle the difference by tariff.

    METERED is CSV: participant, interval_start, export_wh, import_wh, for every interval in which a participant
    traded. Trades stand as they were matched; what is over is sold to the grid, what lacks is bought from it.
    Without METERED it is made of the batch store's readings, and written to WORKSPACE/market/DAY/metered.csv.

    Writes WORKSPACE/market/DAY/statement.json and, if every participant who traded has a wallet, trades.csv, which
    `negawatt energy settle-day` takes.
    """
    from negawatt import market_delivery as job  # noqa: PLC0415
    from negawatt.market_files import read_market  # noqa: PLC0415

    file = read_market(market)
    if metered is None:
        from negawatt.market_metering import metered_of_store  # noqa: PLC0415

        metered = metered_of_store(ctx.workspace, ctx.settings, file, day.date())
    document = job.balance_day(ctx.workspace, file, day.date(), metered)
    ctx.screen.document(document)
    rows = sorted(document["participants"], key=lambda row: -abs(row["net"]))
    ctx.screen.table(
        f"{document['day']}: {len(rows):,} participants traded; a minus is owed",
        ("participant", "sold", "bought", "to the grid", "from the grid", "net", "against the grid alone"),
        [
            (
                row["participant"],
                *(kwh(row[name]) for name in ("sold_wh", "bought_wh", "to_grid_wh", "from_grid_wh")),
                *(_amount(row[name], document) for name in ("net", "gain")),
            )
            for row in rows[:LISTED]
        ],
    )
    for finding in document["findings"]:
        worse = _amount(-finding["values"]["gain"], document)
        ctx.screen.say(f"  {finding['code']}: {finding['values']['participant']} by {worse}")
    if document["trades_file"]:
        ctx.screen.say(f"  {document['trades']} trades to settle: {document['trades_file']}")
    else:
        ctx.screen.say("  no trades to settle on chain: participants have no wallets")


@click.command("trade-report", short_help="Write a page of a day's trades.")
@click.argument("day", type=DAY, metavar="DAY")
@as_json
@click.pass_obj
def trade_report(ctx: Context, day: Any) -> None:
    """Write DAY's page with charts: trade by interval, prices between sites, gains of each side, and tables."""
    from negawatt.trading import write_report  # noqa: PLC0415

    path = write_report(ctx.workspace, day.date())
    ctx.screen.document({"report": str(path)})
    ctx.screen.say(f"report: {path}")


def _time(text: str) -> datetime:
    from negawatt.cli_energy_base import parse_time  # noqa: PLC0415

    return datetime.now(UTC) if text == "now" else parse_time(text)


def _say_source(
    ctx: Context, file: MarketFile, document: dict[str, Any], capacities: dict[str, Any] | None, now: datetime | None
) -> None:
    """Which forecasts a day was matched by, who was left out, and from when on it was matched again."""
    from negawatt.market_intraday import first_open  # noqa: PLC0415

    if capacities:
        names = [one["file"] for one in capacities["forecasts"]]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        ctx.screen.say(f"  by forecasts: {shown}")
        for finding in capacities["findings"][:LISTED]:
            values = finding["values"]
            ctx.screen.say(
                f"  {finding['code']}: {values['participant']}, {values['intervals']} intervals: "
                f"{escape(values['problem'])}"
            )
    if now:
        opens = first_open(document, file.gate_minutes, now)
        ctx.screen.say(f"  matched from {opens} on; what is before stays" if opens else "  every gate is closed")


def _amount(fine: int, document: dict[str, Any]) -> str:
    """Fine units as money, to a hundredth of a minor unit."""
    currency = document["currency"]
    hundredths = round(Fraction(fine * 100, document["fine_units_per_minor_unit"]))
    return money(hundredths, currency["decimals"] + 2, currency["code"])
