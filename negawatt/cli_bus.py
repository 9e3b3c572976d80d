"""``negawatt consume``, ``negawatt replay``, ``negawatt rejected``: readings on a Kafka bus, to the stores."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError
from domain.readings import Readings
from ingest.bus import ReadingsConsumer
from negawatt.cli_base import Context, as_json, setting

if TYPE_CHECKING:
    from ingest.kafka_worker import Consumed

FLUSH_SECONDS = {"batch": 5.0, "speed": 0.5, "both": 5.0}
"""How long a store's readings are held at most. Live views want them at once, files want many. [s]"""
LAYERS = tuple(FLUSH_SECONDS)
Standing = Callable[[], dict[str, Any]]
BUS = setting("--bus", "bus", "kafka://HOST:PORT, or stack:// for the workspace's own.")
TO = click.option(
    "--to",
    "layer",
    type=click.Choice(LAYERS),
    default="batch",
    show_default=True,
    help="Store that takes the readings.",
)


@click.command(short_help="Take readings from Kafka to the stores, until stopped.")
@TO
@click.option("--group", help="Workers of a group share the work.  [default: the name of the store]")
@click.option("--instance", help="Name of this worker, unique in its group: after a crash it goes on at once.")
@click.option("--until-idle", is_flag=True, help="Stop when nothing is left to take.")
@click.option(
    "--flush-seconds",
    type=click.FloatRange(0.1, 600),
    help=f"See below.  [default: {FLUSH_SECONDS['speed']:g} to speed alone, else {FLUSH_SECONDS['batch']:g}]",
)
@click.option("--flush-readings", type=click.IntRange(1_000, 20_000_000), default=2_000_000, show_default=True)
@BUS
@as_json
@click.pass_obj
def consume(
    ctx: Context,
    /,
    layer: str,
    group: str | None,
    instance: str | None,
    until_idle: bool,
    flush_seconds: float | None,
    flush_readings: int,
) -> None:
    """Take readings from Kafka to a store of the workspace, until stopped by Ctrl-C or SIGTERM.

    A new group begins with the oldest message; later ones go on where the group stopped. What was taken is made
    durable after --flush-seconds or --flush-readings, and only then committed: a crash at any moment loses nothing.

    A message that can't be read is put aside (negawatt rejected). When the store can't be written the worker stops,
    with exit code 1, and the next one goes on from there.

    The speed store keeps readings of the future apart until their time has come; the setting future_minutes says
    from when on. Run one worker for it.
    """
    from ingest.kafka_worker import consume as work  # noqa: PLC0415  heavy imports wait until they are needed

    options = {"group_instance_id": instance} if instance else {}
    with _consumer(ctx, layer) as (consumer, standing), stopped() as stop:
        done = work(
            bus_of(ctx),
            group or layer,
            consumer,
            stop.is_set,
            until_idle=until_idle,
            flush_seconds=flush_seconds or FLUSH_SECONDS[layer],
            flush_readings=flush_readings,
            report=_Ticker(ctx, standing),
            **options,
        )
        ctx.screen.document(done.document() | standing())


@click.command(short_help="Read again what Kafka still has.")
@TO
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="Published at this time or after it.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="Published before this time.")
@click.option("--offset", "offsets", multiple=True, metavar="PARTITION:OFFSET", help="From here on; may be repeated.")
@BUS
@as_json
@click.pass_obj
def replay(
    ctx: Context, /, layer: str, since: datetime | None, until: datetime | None, offsets: tuple[str, ...]
) -> None:
    """Take readings that Kafka still has to a store again, whatever its workers took; theirs goes on undisturbed.

    Times have a UTC offset: 2025-06-11T17:00:00+09:00. Without a range everything is read. A repeat changes nothing.
    """
    from ingest.kafka_replay import replay as read_again  # noqa: PLC0415

    with _consumer(ctx, layer) as (consumer, standing), ctx.screen.progress() as progress:
        done = read_again(
            bus_of(ctx),
            consumer,
            since=since,
            until=until,
            offsets=_offsets(offsets) if offsets else None,
            progress=lambda passed, total: progress("replay", passed, total),
        )
        ctx.screen.document(done.document() | standing())
    ctx.screen.say(f"{done.readings:,} readings of {done.messages:,} messages; {done.rejected:,} messages rejected")


@click.command(short_help="List messages that could not be read.")
@BUS
@as_json
@click.pass_obj
def rejected(ctx: Context) -> None:
    """List the messages that were put aside because they could not be read, with the reason of each."""
    from ingest.kafka_delivery import read_rejected  # noqa: PLC0415
    from ingest.kafka_topics import Place  # noqa: PLC0415

    found = list(read_rejected(Place.of(bus_of(ctx))))
    columns = ("topic", "partition", "offset", "size", "fault", "reason", "reader")
    rows = [[getattr(message, column) for column in columns] for message in found]
    ctx.screen.document({"rejected": [dict(zip(columns, row, strict=True)) for row in rows]})
    if rows:
        ctx.screen.table("Rejected messages", columns, rows)
    else:
        ctx.screen.say("no message was rejected")


class _Both:
    """Hands everything to several consumers, in order."""

    def __init__(self, consumers: Sequence[ReadingsConsumer]) -> None:
        self._consumers = consumers

    def consume(self, readings: Readings) -> None:
        for consumer in self._consumers:
            consumer.consume(readings)

    def flush(self) -> None:
        for consumer in self._consumers:
            consumer.flush()


class _Ticker:
    """Says how far a worker is whenever that has changed."""

    def __init__(self, ctx: Context, standing: Standing) -> None:
        self._say, self._said = ctx.screen.say, ""
        self._standing = standing
        self._before = (0.0, 0)

    def __call__(self, state: Consumed) -> None:
        seconds, readings = self._before
        rate = (state.readings - readings) / max(state.seconds - seconds, 1e-3)
        self._before = (state.seconds, state.readings)
        lag = "unknown" if state.lag is None else f"{state.lag:,} messages"
        line = (
            f"{state.readings:,} readings, {state.rejected:,} messages rejected, lag {lag}, "
            f"{state.partitions} partitions"
        )
        found = self._standing()
        if found.get("quarantined"):
            line += f"; {found['quarantined']:,} of the future kept apart, {found['released']:,} let in later"
        if state.problem:
            line += f"; {state.problem}"
        if line != self._said:
            self._said = line
            ages = f"newest message {_age(state.newest_message_age_s)} old"
            if "newest_reading_age_s" in found:
                ages += f", newest reading {_age(found['newest_reading_age_s'])} behind the clock"
            self._say(f"{line}; {rate:,.0f} readings/s; {ages}")


def _age(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:,.1f} s"


@contextlib.contextmanager
def _consumer(ctx: Context, layer: str) -> Iterator[tuple[ReadingsConsumer, Standing]]:
    """The consumers of a workspace's stores, and how fresh the speed store is, as JSON values."""
    from negawatt import ingesting, pipeline  # noqa: PLC0415

    consumers: list[ReadingsConsumer] = []
    standing: Standing = dict
    with contextlib.ExitStack() as opened:
        if layer in ("batch", "both"):
            consumers.append(ingesting.BatchConsumer(pipeline.batch_store(ctx.workspace, ctx.settings)))
        if layer in ("speed", "both"):
            live = opened.enter_context(ingesting.live_consumer(ctx.workspace, ctx.settings))
            consumers.append(live)
            standing = lambda: live.standing().document()  # noqa: E731  a name for it would say no more
        yield _Both(consumers), standing


@contextlib.contextmanager
def stopped() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C or SIGTERM, which stop nothing else within the block."""
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bus_of(ctx: Context) -> str:
    """Address of the Kafka that the settings name."""
    if ctx.settings.bus == "stack://":
        from negawatt.stack_services import bus_address  # noqa: PLC0415

        return bus_address(ctx.workspace)
    if not ctx.settings.bus.startswith("kafka://"):
        raise NegawattError(
            f"bus {ctx.settings.bus!r} keeps nothing that could be read: name a Kafka by --bus kafka://HOST:PORT or "
            "as `bus` in negawatt.toml"
        )
    return ctx.settings.bus


def _offsets(given: tuple[str, ...]) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in given:
        partition, colon, offset = one.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()):
            raise click.UsageError(f"--offset {one}: expected PARTITION:OFFSET, such as 3:1200")
        found[int(partition)] = int(offset)
    return found


COMMANDS: tuple[Any, ...] = (consume, replay, rejected)
