"""The command line. Each command calls one function of the pipeline and shows what came of it."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from negawatt import __version__
from negawatt.cli_base import CONTEXT, EXISTING_FILE, Context, Group, as_json, chain_flags, setting, show_transactions
from negawatt.cli_bus import consume, rejected, replay
from negawatt.cli_compact import compact
from negawatt.cli_energy import energy
from negawatt.cli_events import events
from negawatt.cli_exchange import exchange
from negawatt.cli_forecast import correlate, forecast
from negawatt.cli_home import consent, home
from negawatt.cli_live import live, retention
from negawatt.cli_operator import deploy, dispute, reclaim, roster, treasury
from negawatt.cli_outbox import outbox
from negawatt.cli_reconcile import reconcile
from negawatt.cli_screen import screen
from negawatt.cli_sql import sql
from negawatt.cli_stack import stack
from negawatt.cli_trades import balance_day, match_trades, trade_report
from negawatt.cli_vee import quality, vee
from negawatt.console import Screen, kwh, money
from negawatt.settings import load_settings
from negawatt.workspace import Workspace, read_resources

if TYPE_CHECKING:
    from ingest.columns import Columns


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="negawatt")
@click.option(
    "-w",
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".negawatt"),
    envvar="NEGAWATT_WORKSPACE",
    show_default=True,
    help="Folder of this operator: resources, events, stores, certificates.",
)
@click.pass_context
def main(ctx: click.Context, workspace: Path) -> None:
    """Measure demand response, certify it, and pay it on an EVM chain.

    \b
    The life of an event, command by command:
      negawatt ingest --resources homes.csv readings.csv   readings into the stores
      negawatt announce event.toml                         resources and event on chain, before it starts
      negawatt certify EVENT                               baselines, reductions, certificates
      negawatt settle EVENT                                root and payments on chain
      negawatt verify EVENT                                recompute all of it independently
      negawatt report EVENT                                a page with charts
    See it all at once, on simulated homes and with no server: negawatt demo
    """
    logging.getLogger("py4j").setLevel(logging.ERROR)
    place = Workspace(workspace)
    ctx.obj = Context(place, load_settings(place.settings_file), Screen())


@main.command(short_help="Make readings of simulated homes.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--homes", default=100, show_default=True, help="Homes to simulate.")
@click.option("--days", default=60, show_default=True, help="Days of readings.")
@click.option("--interval", default=5, show_default=True, help="Metering interval in minutes: 5, 10, 15, 30 or 60.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same readings.")
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), default="2025-06-02", show_default=True)
@click.option("--programme", default="kpx-max-4-of-5", show_default=True, help="Programme of the event.")
@as_json
@click.pass_obj
def simulate(
    ctx: Context, folder: Path, homes: int, days: int, interval: int, seed: int, first_day: Any, programme: str
) -> None:
    """Simulate homes and write their readings into FOLDER.

    Appliances, air conditioning that follows the weather, solar panels, weekdays and weekends, an evening DR
    event near the end that most homes answer, outages, and readings that come late.

    \b
    Writes readings.parquet, late.parquet, homes.csv and event.toml. Then:
      negawatt ingest --resources FOLDER/homes.csv FOLDER/readings.parquet
      negawatt certify FOLDER/event.toml
    """
    from negawatt.demo import simulate_homes  # noqa: PLC0415  heavy imports wait until they are needed

    with ctx.screen.progress() as progress:
        made = simulate_homes(
            ctx.workspace.programme(programme), folder, homes, days, interval, seed, _day(first_day), progress
        )
    ctx.screen.document({name: str(path) for name, path in made.items()})
    ctx.screen.say(f"{homes:,} homes, {days} days every {interval} min, in {folder}:")
    for name, path in made.items():
        ctx.screen.say(f"  {name:<10} {path}")


@main.command(short_help="Read files of readings into the stores.")
@click.argument("files", nargs=-1, type=EXISTING_FILE, required=True)
@click.option(
    "--resources",
    type=EXISTING_FILE,
    help="CSV of the homes that take part: meter,contracted_w,wallet[,feeder]. Readings of others are rejected.",
)
@click.option(
    "--columns",
    type=EXISTING_FILE,
    help="TOML file that says what the columns mean: meter, start, import_energy, export_energy, unit, zone, …",
)
@click.option("--meter-column", "meter", help="Column of the meter's name.")
@click.option("--start-column", "start", help="Column of the interval's start.")
@click.option("--energy-column", "import_energy", help="Column of the imported energy.")
@click.option("--unit", type=click.Choice(["Wh", "kWh"]), help="Unit of the energy columns.")
@click.option("--zone", help="IANA zone of times without an offset, e.g. Europe/London.")
@click.option("--max-rejects", default=1.0, show_default=True, help="Percent of rows that may be rejected.")
@as_json
@click.pass_obj
def ingest(
    ctx: Context,
    /,
    files: tuple[Path, ...],
    resources: Path | None,
    columns: Path | None,
    max_rejects: float,
    **flags: Any,
) -> None:
    """Read FILES of meter readings (CSV, also compressed, or Parquet) into the stores.

    Layouts known by their header: tidy (meter, interval_start, import_wh, …), Low Carbon London (LCLid, tstp,
    energy(kWh/hh)), and hourly homes (meter, interval_start, load_kwh, pv_kwh). Describe others by --columns
    or by the flags.

    Rows that can't be read are kept, with file, line, value and reason, in the workspace's rejects folder. When
    they are more than --max-rejects percent, nothing is stored and the exit code is 3. Reading the same file
    again changes nothing.
    """
    from ingest.columns import Columns  # noqa: PLC0415
    from negawatt import ingesting  # noqa: PLC0415

    if resources:
        ctx.workspace.add_resources(read_resources(resources).values())
    given = {name: value for name, value in flags.items() if value is not None}
    layout = Columns.from_toml(columns) if columns else _layout(files[0]) if given else None
    with ctx.screen.progress() as progress:
        result = ingesting.ingest(
            ctx.workspace,
            ctx.settings,
            files,
            columns=replace(layout, **given) if layout else None,
            max_rejects_pct=max_rejects,
            progress=progress,
        )
    ctx.screen.document(asdict(result))
    ctx.screen.table(
        f"Readings of {result.meters:,} meters every {result.interval_minutes} min, {result.first} to {result.last}",
        ("rows", "accepted", "repeated", "rejected", "new", "replaced", "unchanged", "seconds"),
        [
            (
                result.rows,
                result.accepted,
                result.repeated,
                result.rejected,
                result.stored_new,
                result.stored_replaced,
                result.stored_unchanged,
                result.seconds,
            )
        ],
    )
    for code, count in result.rejected_by_code.items():
        ctx.screen.say(f"  rejected {count:,}: {code}")
    if result.rejected:
        ctx.screen.say(f"  each with its line and reason in {result.rejects_file}")
    if {"file.truncated", "file.unreadable"} & set(result.rejected_by_code):
        ctx.screen.say(
            "  [bold red]a file is cut off or unreadable: fetch it again and ingest it; repeats do no harm[/]"
        )


@main.command(short_help="Bring homes and event on chain, before it starts.")
@click.argument("event")
@chain_flags
@as_json
@click.pass_obj
def announce(ctx: Context, event: str) -> None:
    """Before EVENT starts: register its homes on chain, issue it, and opt them in.

    EVENT is an id, or a TOML file with id, programme, start and end. Its baselines, as far as the readings give them
    by now, are stored for `negawatt live`.
    """
    from negawatt import chains, settling  # noqa: PLC0415
    from negawatt.cli_live import prepared  # noqa: PLC0415

    called = ctx.workspace.event(event)
    with (
        chains.open_chain(ctx.workspace, ctx.settings, chains.before(called)) as chain,
        ctx.screen.progress() as progress,
    ):
        settling.announce(ctx.workspace, chain, called, progress)
        sent = [asdict(record) for record in chain.records]
    ctx.screen.document({"event_id": called.id, "transactions": sent, "baselines": prepared(ctx, called)})
    show_transactions(ctx.screen, f"Event {called.id} announced", sent)


@main.command(short_help="Work out baselines and reductions.")
@click.argument("event")
@click.option("--provisional", is_flag=True, help="At once, from the speed store; late readings may still change it.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="Where --provisional computes; the same numbers on both.",
)
@setting("--spark", "spark", "Spark master.")
@as_json
@click.pass_obj
def certify(ctx: Context, event: str, provisional: bool, device: str) -> None:
    """Certify EVENT: each home's baseline, usage and reduction, and what it earns.

    EVENT is an id of the workspace, or a TOML file with id, programme, start and end. The certificates are
    published as WORKSPACE/certificates/EVENT.jsonl, a line each.
    """
    from negawatt import pipeline  # noqa: PLC0415

    if device != "cpu" and not provisional:
        raise click.UsageError("--device is for --provisional: the batch layer's tasks compute where Spark runs them")
    called = ctx.workspace.event(event)
    with ctx.screen.progress() as progress:
        certified = pipeline.certify(
            ctx.workspace, ctx.settings, called, provisional=provisional, device=device, progress=progress
        )
    summary = pipeline.summarise(certified)
    path = ctx.workspace.certificates(called.id, provisional=provisional)
    ctx.screen.document({**summary, "provisional": provisional, "certificates_file": str(path)})
    currency = ctx.workspace.programme(called.programme).currency
    ctx.screen.table(
        f"Event {called.id}, {'provisional' if provisional else 'certified'} in {certified.seconds:.2f} s",
        ("homes", "certified", "reduction", "payment"),
        [
            (
                summary["homes"],
                summary["certified"],
                kwh(summary["reduction_wh"]),
                money(summary["payment"], currency.decimals, currency.code),
            )
        ],
    )
    for code, homes in summary["findings"].items():
        ctx.screen.say(f"  {code}: {homes:,} homes")
    if certified.job is not None:
        ctx.screen.say(f"  Spark: {certified.job}")
    ctx.screen.say(f"  certificates: {path}")
    if ctx.workspace.waiting_result(called.id, "provisional" if provisional else "batch").exists():
        ctx.screen.say(
            f"  the speed store can't be written now: `negawatt reconcile {called.id}` brings the result in"
        )


@main.command(short_help="Commit the certificates on chain and pay.")
@click.argument("event")
@chain_flags
@setting("--confirmations", "confirmations", "Blocks to wait for on top of the last payment.")
@click.option("--certify-only", is_flag=True, help="Commit the certificates and stop: homes can dispute them then.")
@as_json
@click.pass_obj
def settle(ctx: Context, event: str, certify_only: bool) -> None:
    """Settle EVENT on chain: commit to the certificates, pay every home, wait for confirmations.

    Run it again after a crash or a lost connection: it finishes what is missing and pays nobody twice.
    """
    from negawatt import chains, settling  # noqa: PLC0415

    called = ctx.workspace.event(event)
    with (
        chains.open_chain(ctx.workspace, ctx.settings, chains.before(called)) as chain,
        ctx.screen.progress() as progress,
    ):
        document = settling.settle(
            ctx.workspace, ctx.settings, chain, called, certify_only=certify_only, progress=progress
        )
    ctx.screen.document(document)
    done = "certified" if certify_only else "settled"
    show_transactions(
        ctx.screen, f"Event {called.id} {done} on chain {document['chain_id']}", document["transactions"]
    )
    if certify_only:
        ctx.screen.say(f"  homes may dispute it; it can be paid from {document['payable_from']} on")
        return
    ctx.screen.say(
        f"  contract {document['contract_seconds']:.2f} s, {document['confirmations']} confirmations "
        f"{document['confirmation_seconds']:.2f} s. Check it: negawatt verify {called.id}"
    )


@main.command(short_help="Recompute an event from file and chain alone.")
@click.argument("event")
@click.option(
    "--certificates",
    type=EXISTING_FILE,
    help="Published certificates; default: the workspace's.",
)
@click.option("--contract", help="Address of the DemandResponse contract; default: the workspace's address book.")
@click.option("--exchange", help="Address of the ReductionExchange, with --contract; to compare traded obligations.")
@setting("--chain", "chain", "anvil://, stack://, or the JSON-RPC address of a node.")
@as_json
@click.pass_obj
def verify(ctx: Context, event: str, certificates: Path | None, contract: str | None, exchange: str | None) -> None:
    """Recompute EVENT from its published certificates and the chain alone.

    Shares no arithmetic with what certified and paid. Exits with 4 when anything doesn't hold. Who isn't the
    operator names the published file, a node and the contract:

    \b
      negawatt verify EVENT --certificates FILE --chain http://NODE:8545 --contract 0x…
    """
    from negawatt import chains, settling  # noqa: PLC0415
    from serving.verifier import require  # noqa: PLC0415

    with chains.open_chain(ctx.workspace, ctx.settings, reader=True) as chain:
        checks = settling.verify_event(ctx.workspace, chain, event, certificates, contract, exchange)
    holds = all(check.holds for check in checks)
    ctx.screen.document({"event_id": event, "holds": holds, "checks": [asdict(check) for check in checks]})
    show_checks(ctx.screen, event, checks)
    require(checks, event)


@main.command(short_help="Write a page with charts.")
@click.argument("event")
@as_json
@click.pass_obj
def report(ctx: Context, event: str) -> None:
    """Write EVENT's page with charts: baseline against usage, reductions, payments, transactions, findings."""
    from negawatt import pipeline  # noqa: PLC0415

    path = pipeline.report(ctx.workspace, ctx.settings, ctx.workspace.event(event))
    ctx.screen.document({"report": str(path)})
    ctx.screen.say(f"report: {path}")


@main.command(short_help="Show the whole job at once.")
@click.option("--homes", default=100, show_default=True, help="Homes to simulate.")
@click.option("--days", default=60, show_default=True, help="Days of readings to simulate.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same homes.")
@click.option(
    "--readings",
    type=EXISTING_FILE,
    help="Real readings instead of simulated ones; events are called on their hottest weekdays.",
)
@click.option(
    "--weather",
    type=EXISTING_FILE,
    help="Weather for --readings (interval_start, temperature_c); default: NAME-weather-… beside the readings.",
)
@click.option("--events", type=click.IntRange(1, 20), help="Events to call with --readings.  [default: 3]")
@click.option("--programme", help="Programme.  [default: kpx-max-4-of-5; with --readings demo-pacific]")
@click.option("--stack", is_flag=True, help="Over a Kafka and an HBase, started for it and stopped at its end.")
@setting("--confirmations", "confirmations", "Blocks to wait for, one a second.")
@setting("--spark", "spark", "Spark master.")
@as_json
@click.pass_obj
def demo(ctx: Context, /, **options: Any) -> None:
    """Show the whole job: readings in, an event certified and settled on a chain, verified, reported.

    Needs no server: Parquet, DuckDB, Spark in this process and an anvil node of its own. With --stack readings
    go through Kafka into HBase, and the certificates are the same. Works in WORKSPACE/demo, which it empties
    first.
    """
    if options["readings"] is None and (given := [n for n in ("events", "weather") if options[n] is not None]):
        raise click.UsageError(
            f"--{given[0]} goes with --readings; simulated homes have one event and their own weather"
        )
    from negawatt.demo import run_demo  # noqa: PLC0415

    run_demo(ctx.workspace.folder / "demo", ctx.settings, ctx.screen, **options)


def show_checks(screen: Screen, event: str, checks: list[Any]) -> None:
    """Print what a verification found."""
    screen.table(
        f"Event {event}: {sum(check.holds for check in checks)} of {len(checks)} checks hold",
        ("check", "holds", "evidence"),
        [(check.name, "yes" if check.holds else "NO", check.evidence) for check in checks],
    )


def _layout(path: Path) -> Columns:
    """The layout that flags change: the one that the file's header shows, else the tidy one."""
    from ingest.columns import Columns, UnknownLayoutError, layout_of  # noqa: PLC0415

    try:
        return layout_of(path)
    except UnknownLayoutError:
        return Columns()


def _day(value: Any) -> date:
    return value.date()  # type: ignore[no-any-return]


for command in (deploy, consent, home, roster, dispute, treasury, reclaim, exchange, energy):
    main.add_command(command)
for command in (consume, replay, rejected):
    main.add_command(command)
main.add_command(events)
main.add_command(live)
main.add_command(retention)
main.add_command(compact)
main.add_command(outbox)
main.add_command(reconcile)
main.add_command(sql)
main.add_command(stack)
main.add_command(vee)
main.add_command(quality)
main.add_command(screen)
main.add_command(correlate)
main.add_command(forecast)
for command in (match_trades, balance_day, trade_report):
    main.add_command(command)
