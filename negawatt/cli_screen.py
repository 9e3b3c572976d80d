"""``negawatt screen``: which baseline fits which home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from domain.calendars import DayType
from negawatt.cli_base import Context, as_json, setting

CLOCK = click.DateTime(["%H:%M"])


@click.command(short_help="Find out which baseline fits which home.")
@click.argument("programme")
@click.option("--from-time", "start", type=CLOCK, help="Local time at which the window starts, such as 17:00.")
@click.option("--to-time", "end", type=CLOCK, help="Local time at which it ends.")
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), help="Last day.  [default: the last whole one in the store]"
)
@click.option(
    "--days", type=click.IntRange(1, 366), help="Days to look for.  [default: 30, or as screening.toml says]"
)
@click.option(
    "--day-type",
    "kind",
    type=click.Choice([str(kind) for kind in DayType]),
    help="Whose rule is screened.  [default: that of the last event, or of the programme's first rule]",
)
@click.option("--with", "others", multiple=True, metavar="PROGRAMME", help="Compare this programme's rule too.")
@click.option("--worst", type=click.IntRange(0, 1000), default=10, show_default=True, help="Homes to list.")
@click.option("--on-spark", is_flag=True, help="Run as a Spark job, on the master that --spark names.")
@setting("--spark", "spark", "Spark master, with --on-spark.")
@as_json
@click.pass_obj
def screen(
    ctx: Context,
    /,
    programme: str,
    start: datetime | None,
    end: datetime | None,
    day: datetime | None,
    on_spark: bool,
    **options: Any,
) -> None:
    """Find out which baseline fits which home, before PROGRAMME pays by one that doesn't.

    Past days without an event stand for events at the same local time of day: there the usage is known. Every rule
    of programmes with the same zone and holidays, with and without its adjustment, works out its baseline for each
    of them as for an event. "RRMSE" is the root mean square of the errors over the mean usage, hour by hour; a
    baseline fits up to 20 %. "bias" is the mean error: above zero it pays for reductions that never were.

    The window is that of most of the programme's events, else 17:00 to 18:00. Limits and numbers of days are in
    WORKSPACE/screening.toml, if there is one, else those that come with negawatt. Every home with every rule is in
    WORKSPACE/screening/PROGRAMME. Changes no reading; run it once a week.

    \b
      negawatt screen kpx-max-4-of-5
      negawatt screen kpx-max-4-of-5 --from-time 18:00 --to-time 21:00 --with pjm-high-4-of-5
    """
    from domain.screening_plan import Window  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt import screening  # noqa: PLC0415

    if (start is None) != (end is None):
        raise click.UsageError("--from-time and --to-time go together")
    window = Window.between(start.time(), end.time()) if start and end else None
    with ctx.screen.progress() as progress:
        document = screening.screen(
            ctx.workspace,
            ctx.settings,
            programme,
            now=datetime.now(UTC),
            last_day=day.date() if day else None,
            window=window,
            spark=on_spark,
            progress=progress,
            **options,
        )
    ctx.screen.document(document)
    _show(ctx, document)


def _show(ctx: Context, document: dict[str, Any]) -> None:
    from domain.screening import SCREENING_FINDINGS  # noqa: PLC0415

    homes, first, last = document["resources"], document["first_day"], document["last_day"]
    ctx.screen.table(
        f"{homes:,} homes, {document['window']} ({document['zone']}) on {document['proxy_days']} days, "
        f"{first} to {last}, in {document['seconds']:.2f} s",
        ("baseline", "programme", "homes", "best for", "fits", "median RRMSE, %", "bias, %"),
        [
            (
                one["baseline"],
                one["programme"],
                one["compared"],
                one["best"],
                one["fits"],
                *(_or_dash(one[name]) for name in ("median_rrmse_pct", "bias_pct")),
            )
            for one in document["baselines"]
        ],
    )
    ctx.screen.say(
        f"  RRMSE up to {document['limit_pct']} %: {document['own_fits']:,} of {homes:,} homes by the programme's "
        f"own rule, {document['fits']:,} by the best for each"
    )
    for code, sentence in SCREENING_FINDINGS.values():
        if code in document["findings"]:
            ctx.screen.say(f"  {code}: {document['findings'][code]:,} homes: {sentence}")
    if document["worst"]:
        ctx.screen.table(
            "Homes that fit worst",
            ("home", "days", "best", "RRMSE, %", "bias, %", "own RRMSE, %", "own bias, %", "findings"),
            [
                (
                    row["meter"],
                    row["days"],
                    row["best"] or "–",
                    *(_or_dash(row[n]) for n in ("rrmse_pct", "bias_pct", "own_rrmse_pct", "own_bias_pct")),
                    ", ".join(code.removeprefix("baseline.") for code in row["findings"]),
                )
                for row in document["worst"]
            ],
        )
    ctx.screen.say(f"  every home: {document['file']}")


def _or_dash(value: float | None) -> float | str:
    return "–" if value is None else value
