"""``negawatt stack``: the servers of a workspace, started, watched and stopped."""

from __future__ import annotations

import threading
from typing import Any

import click
from rich.markup import escape

from domain.errors import NegawattError
from negawatt.cli_base import CONTEXT, Context, Group, as_json
from negawatt.console import Progress
from negawatt.stack_services import SERVICES, Service

_CHOICE = click.Choice(list(SERVICES))
NAMES = click.argument("names", nargs=-1, type=_CHOICE, metavar="[NAME]...")
PORT = click.IntRange(1024, 65_535)
HEAP = click.IntRange(128, 65_536)

_MEMORY_OPTIONS = {"kafka": "--kafka-heap", "hbase": "--hbase-heap", "heavydb": "--heavydb-memory"}
_PREFIXES = ("kafka_", "hbase_", "heavydb_", "airflow_")


@click.group(cls=Group, context_settings=CONTEXT, short_help="Start, watch and stop servers of your own.")
def stack() -> None:
    """Servers of this workspace, on this machine, for this machine alone.

    \b
    NAME is one of
      chain    a private Ethereum network: two geth nodes, one of which seals a block every period
      kafka    the bus: one Kafka broker
      hbase    the batch store: HBase with its Thrift server
      spark    batch jobs: a Spark master, two workers and a Connect server
      heavydb  the speed store: a stand-in for HeavyDB, for development and tests
      airflow  the scheduler: Airflow, which runs the DAGs

    Their files are in WORKSPACE/stack/NAME. Without a NAME a command is about all that the workspace has.
    """


@stack.command(short_help="Start servers, and wait until they work.")
@NAMES
@click.option("--kafka-port", type=PORT, help="kafka: port of clients.  [a free one, kept]")
@click.option("--kafka-heap", type=HEAP, help="kafka: Java heap, in MiB.  [512]")
@click.option("--hbase-port", type=PORT, help="hbase: port of its Thrift server.  [a free one, kept]")
@click.option("--hbase-heap", type=HEAP, help="hbase: Java heap of HBase itself, in MiB.  [1024]")
@click.option("--heavydb-port", type=PORT, help="heavydb: port of its Thrift server.  [a free one, kept]")
@click.option("--heavydb-memory", type=HEAP, help="heavydb: memory of its queries, in MiB.  [1024]")
@click.option("--airflow-port", type=PORT, help="airflow: port of its pages and API.  [a free one, kept]")
@click.option(
    "--airflow-database",
    type=click.Choice(["postgresql", "sqlite"]),
    help="airflow: where a new one keeps its runs.  [postgresql where its programs are, else sqlite]",
)
@click.option(
    "--airflow-parallelism",
    type=click.IntRange(1, 256),
    help="airflow: tasks at once.  [processors of the machine, at least 2]",
)
@click.option("--period", type=click.IntRange(1, 60), help="chain: seconds between blocks of a new network.  [1]")
@click.option("--chain-id", type=click.IntRange(1, 2**31), help="chain: chain id of a new network.  [7239540]")
@as_json
@click.pass_obj
def up(ctx: Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Start what isn't running of the servers NAME..., all at once, and wait until they work.

    They go on when this command has ended, until `negawatt stack down`. What they keep survives that, and a crash.

    Kafka and HBase need Java 17 and, the first time, Maven, which fetches their jars once for all workspaces. They
    work when what was written was read back. Use them by `bus = "stack://"` and `store = "stack://"` in
    negawatt.toml. HeavyDB's stand-in needs neither, and is used by `speed = "stack://"`.

    Airflow needs `pip install 'negawatt[airflow]'`, and has a PostgreSQL of its own where that is installed. It works
    when all its parts report themselves well and the DAGs have been read. Use it by `scheduler = "stack://"`.

    The chain's first start makes the network: chain id, keys, accounts, first block. It finds geth 1.13.15, or builds
    it with Go, which takes some minutes. Use it with --chain stack:// or `chain = "stack://"` in negawatt.toml.
    """
    services = _chosen(ctx, names)
    if not services:
        raise click.UsageError(f"this workspace has no servers yet: name those to start, of {', '.join(SERVICES)}")
    for option, value in options.items():
        of = option.partition("_")[0] if option.startswith(_PREFIXES) else "chain"
        if value is not None and of not in [service.name for service in services]:
            raise click.UsageError(f"--{option.replace('_', '-')} is for {of}, which isn't to be started")
    _refuse_without_memory(ctx, services, options)
    done = _start_together(ctx, services, options)
    document = {service.name: service.status(ctx) | done[service.name] for service in services}
    for service in services:
        made, started = done[service.name]["made"], done[service.name]["started"]
        what = f"started {' and '.join(started)}{', made new' if made else ''}" if started else "was running already"
        ctx.screen.say(f"  {service.name}: {what}; use it by {service.how_to_use(ctx.workspace)}")
    ctx.screen.document(document)


@stack.command(short_help="Show what the servers are doing.")
@NAMES
@as_json
@click.pass_obj
def status(ctx: Context, names: tuple[str, ...]) -> None:
    """Show the servers of this workspace, program by program."""
    document = dict[str, Any]()
    for service in [SERVICES[name] for name in names or SERVICES]:
        if service.folder(ctx.workspace).exists():
            document[service.name] = service.status(ctx)
        else:
            ctx.screen.say(
                f"{service.name}: none in this workspace; start one with `negawatt stack up {service.name}`"
            )
            document[service.name] = {"state": "none"}
    ctx.screen.document(document)


@stack.command(short_help="Show the end of the servers' logs.")
@NAMES
@click.option(
    "-n", "--lines", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Lines of each log."
)
@as_json
@click.pass_obj
def logs(ctx: Context, names: tuple[str, ...], lines: int) -> None:
    """Show the last lines of what the servers NAME... say."""
    from infra.daemons import tail  # noqa: PLC0415

    document = dict[str, Any]()
    for service in _chosen(ctx, names):
        document[service.name] = shown = {
            program: {"log": str(log), "lines": tail(log, lines).splitlines()}
            for program, log in service.logs(ctx.workspace).items()
        }
        for entry in shown.values():
            ctx.screen.say(f"==> {entry['log']} <==")
            for line in entry["lines"]:
                ctx.screen.say(escape(line))
    ctx.screen.document(document)


@stack.command(short_help="Stop servers.")
@NAMES
@click.option("--erase", is_flag=True, help="Delete what they keep, too, without asking, as `reset --yes` does.")
@as_json
@click.pass_obj
def down(ctx: Context, names: tuple[str, ...], erase: bool) -> None:
    """Stop the servers NAME...; what they keep stays, unless --erase is given."""
    ctx.screen.document({service.name: _stop(ctx, service, erase) for service in _chosen(ctx, names)})


@stack.command(short_help="Stop servers and delete what they keep.")
@click.argument("names", nargs=-1, required=True, type=_CHOICE, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Don't ask.")
@as_json
@click.pass_obj
def reset(ctx: Context, names: tuple[str, ...], yes: bool) -> None:
    """Stop the servers NAME... and delete all that they keep: data, keys, settings. There is no way back."""
    services = _chosen(ctx, names)
    folders = [str(folder) for service in services if (folder := service.folder(ctx.workspace)).exists()]
    if folders and not yes:
        click.confirm(f"Delete {' and '.join(folders)} with all data?", abort=True, err=True)
    ctx.screen.document({service.name: _stop(ctx, service, True) for service in services})


def _chosen(ctx: Context, names: tuple[str, ...]) -> list[Service]:
    """The named services, each once; without names those that the workspace has."""
    if names:
        return [SERVICES[name] for name in dict.fromkeys(names)]
    return [service for service in SERVICES.values() if service.folder(ctx.workspace).exists()]


def _stop(ctx: Context, service: Service, erase: bool) -> dict[str, Any]:
    folder = service.folder(ctx.workspace)
    if not folder.exists():
        ctx.screen.say(f"{service.name}: none in this workspace; nothing to stop")
        return {"stopped": [], "erased": False}
    stopped = service.down(ctx.workspace, erase=erase)
    what = f"stopped {' and '.join(stopped)}" if stopped else "was not running"
    ctx.screen.say(f"{service.name}: {what}; its data are {'erased' if erase else f'kept in {folder}'}")
    return {"stopped": stopped, "erased": erase}


def _refuse_without_memory(ctx: Context, services: list[Service], options: dict[str, Any]) -> None:
    """Each asks for itself, but would not see what the others are about to take."""
    from infra.java import require_memory  # noqa: PLC0415

    needed = sum(service.memory_to_start_mib(ctx.workspace, options) for service in services)
    if needed:
        names = " and ".join(service.name for service in services)
        options_of = [_MEMORY_OPTIONS[service.name] for service in services if service.name in _MEMORY_OPTIONS]
        require_memory(needed, f"{names} (see {' and '.join(options_of)})" if options_of else names)


def _start_together(ctx: Context, services: list[Service], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Start services at the same time under one progress display; what each of them did, by name.

    Threads are daemons, so that Ctrl-C ends us at once; programs that were started by then go on.
    """
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, Exception] = {}

    def start(service: Service, progress: Progress) -> None:
        try:
            done[service.name] = service.up(ctx, progress, options)
        except Exception as error:  # raised below, in the thread that people see
            failed[service.name] = error

    with ctx.screen.progress() as progress:
        threads = [threading.Thread(target=start, args=(service, progress), daemon=True) for service in services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in failed.values():
        if not isinstance(error, NegawattError):
            raise error
    if len(failed) > 1:
        raise NegawattError("\n".join(f"{name}: {error}" for name, error in failed.items()))
    for error in failed.values():
        raise error
    return done
