"""``negawatt compact``: keep the batch store fast."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

import click

from negawatt.cli_base import Context, as_json, setting


@click.command(short_help="Pack a day's readings in the batch store.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="UTC day to pack.  [default: yesterday]")
@click.option("--all", "everything", is_flag=True, help="Every day that is stored.")
@setting("--store", "store", "Batch store: a folder, hbase://host:port or stack://.")
@as_json
@click.pass_obj
def compact(ctx: Context, day: datetime | None, everything: bool) -> None:
    """Pack readings that arrived one interval at a time into whole days, which read many times faster.

    Run it once a day. It may run beside everything else, and be stopped at any moment: nothing is lost, and the
    next run goes on. A store in files is packed as a whole, whatever the day.
    """
    from negawatt.pipeline import batch_store  # noqa: PLC0415  heavy imports wait

    if day and everything:
        raise click.UsageError("--day and --all exclude each other")
    wanted = day.date() if day else datetime.now(UTC).date() - timedelta(days=1)
    store, began = batch_store(ctx.workspace, ctx.settings), time.perf_counter()
    folded = store.compact(None if everything else (wanted - date(1970, 1, 1)).days)
    seconds = round(time.perf_counter() - began, 3)
    ctx.screen.document({"store": store.url, "folded": folded, "seconds": seconds})
    ctx.screen.say(f"{folded:,} pieces of {store.url} were folded, in {seconds:.1f} s")
