"""``negawatt events``: what became of each event, and what is done when one is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.markup import escape

from domain.errors import NegawattError
from negawatt.cli_base import CONTEXT, Context, Group, as_json, setting
from negawatt.cli_bus import BUS, bus_of, stopped
from negawatt.console import Screen
from negawatt.scheduler import open_scheduler

SCHEDULER = setting("--scheduler", "scheduler", "airflow://USER@HOST:PORT, or stack:// for the workspace's own.")


def plainly(screen: Screen) -> Callable[[str], None]:
    """Print sentences as they are: what they quote from a message or an answer may look like markup."""
    return lambda text: screen.say(escape(text))


@click.group(cls=Group, context_settings=CONTEXT, short_help="Follow events from their call to their settlement.")
def events() -> None:
    """The events of this workspace, and the runs at the scheduler that certify and settle them.

    \b
      negawatt stack up airflow          a scheduler of your own; scheduler = "stack://" in negawatt.toml
      negawatt events end EVENT          when it is over: certify it and settle it
      negawatt events follow             the same for every event that the bus tells of
    """


@events.command("list", short_help="List events and what became of them.")
@SCHEDULER
@as_json
@click.pass_obj
def list_events(ctx: Context) -> None:
    """List the workspace's events, the latest first: to come, running, over, certified or settled.

    With a scheduler, also the states of their runs there.
    """
    from negawatt.event_ends import standing  # noqa: PLC0415  heavy imports wait until they are needed

    scheduler = open_scheduler(ctx.workspace, ctx.settings) if ctx.settings.scheduler else None
    rows = standing(ctx.workspace, scheduler, datetime.now(UTC))
    ctx.screen.document({"events": rows})
    if not rows:
        ctx.screen.say("no events yet: `negawatt announce event.toml` adds one")
        return
    columns = list(rows[0])
    ctx.screen.table("Events", columns, [["–" if row[c] is None else row[c] for c in columns] for row in rows])


@events.command(short_help="An event is over: have it certified and settled.")
@click.argument("event")
@click.option("--again", is_flag=True, help="Go on with a run that failed, once its cause is gone.")
@SCHEDULER
@as_json
@click.pass_obj
def end(ctx: Context, event: str, again: bool) -> None:
    """Start the run that waits for EVENT's readings, certifies it, and settles it.

    EVENT is an id, or a TOML file with id, programme, start and end. The run's id is the event's: a repeat starts
    nothing, and says how far the run is. Follow it on the page that is named.
    """
    from negawatt.event_ends import end_event  # noqa: PLC0415

    called = ctx.workspace.event(event)
    scheduler = open_scheduler(ctx.workspace, ctx.settings)
    now = datetime.now(UTC)
    run = scheduler.again(called.id) if again else end_event(ctx.workspace, scheduler, called, now)
    ctx.screen.document(asdict(run))
    if again:
        ctx.screen.say(f"{run.dag} of {run.event} goes on")
    elif run.is_new:
        ctx.screen.say(f"{run.dag} of {run.event} started")
    else:
        ctx.screen.say(f"{run.dag} of {run.event} was started before, and is {run.state}; nothing was started now")
    ctx.screen.say(f"  {run.url}")


@events.command(short_help="Put an event on the bus.")
@click.argument("event")
@BUS
@as_json
@click.pass_obj
def publish(ctx: Context, event: str) -> None:
    """Put EVENT on the topic dr.events, where `negawatt events follow` and others see it. Best before it starts."""
    from ingest.kafka_bus import KafkaBus  # noqa: PLC0415

    called = ctx.workspace.event(event)
    bus = KafkaBus(bus_of(ctx))
    try:
        bus.publish_event(called)
        bus.flush()
    finally:
        bus.close()
    ctx.screen.document({"event": called.id, "topic": "dr.events"})
    ctx.screen.say(f"{called.id} is on dr.events")


@events.command(short_help="Certify and settle every event that the bus tells of.")
@click.option("--until-idle", is_flag=True, help="Stop when every event that is told of is started or to come.")
@BUS
@SCHEDULER
@as_json
@click.pass_obj
def follow(ctx: Context, until_idle: bool) -> None:
    """Read events from the topic dr.events and start each one's run when it is over, until stopped by Ctrl-C.

    Events are kept in the workspace. A message that is repeated starts nothing, nor does a restart of this command,
    which reads the topic from its beginning. While the scheduler is away, what is over waits. Messages that hold no
    event, or one that can't be scheduled, are kept with the reason in WORKSPACE/rejects/events.jsonl.
    """
    from ingest.kafka_notices import follow_events  # noqa: PLC0415
    from ingest.kafka_topics import Place, ensure_topics  # noqa: PLC0415
    from negawatt.event_ends import EventFollower  # noqa: PLC0415

    place = Place.of(bus_of(ctx))
    ensure_topics(place)
    follower = EventFollower(ctx.workspace, open_scheduler(ctx.workspace, ctx.settings), plainly(ctx.screen))
    with stopped() as stop:
        for said in follow_events(place, stop.is_set):
            if said is not None:
                follower.take(said)
                continue
            follower.start_what_is_over(datetime.now(UTC))
            if until_idle and follower.is_idle(datetime.now(UTC)):
                break
    ctx.screen.document({"started": follower.started, "known": follower.known, "refused": follower.refused})
    ctx.screen.say(f"{follower.started:,} runs started, {follower.known:,} were there, {follower.refused:,} refused")
    if follower.refused:
        raise NegawattError(f"refused messages are in {ctx.workspace.folder / 'rejects' / 'events.jsonl'}")
