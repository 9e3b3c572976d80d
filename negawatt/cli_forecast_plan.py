"""``negawatt forecast train`` and ``predict`` without NAME: what the workspace's forecast.toml asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from negawatt.cli_base import Context
from negawatt.cli_forecast_output import say_findings, say_kind, show_errors


def need_flags(flags: dict[str, Any], *names: str) -> None:
    """See that the flags are given without which NAME is of no use."""
    for name in names:
        if flags[name] is None:
            raise click.UsageError(f"Missing option '--{name.replace('_', '-')}', which NAME needs.")


def refuse_flags(*but: str) -> None:
    """See that no flag is given that forecast.toml has a say in."""
    here = click.get_current_context()
    for option in here.command.params:
        given = here.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and option.name not in ("json", "spark", *but):
            raise click.UsageError(f"{option.opts[0]} needs NAME; without it WORKSPACE/forecast.toml says all of it.")


def train_by_plan(ctx: Context) -> None:
    """Train the plan's models, and show how each did."""
    from negawatt.scheduled_forecasts import scheduled_train  # noqa: PLC0415  heavy imports wait

    refuse_flags()
    with ctx.screen.progress() as progress:
        done = scheduled_train(ctx.workspace, ctx.settings, now=datetime.now(UTC), progress=progress)
    ctx.screen.document(done)
    for one in done["models"]:
        title = f"Model {one['name']}, version {one['version']}: {one['sites']:,} sites"
        show_errors(ctx, title if one["new"] else f"{title}, as it was: its data are the same", one["validation"])
        say_kind(ctx, one["weather_kind"])
        say_findings(ctx, one["findings"])
    if not done["models"]:
        ctx.screen.say("forecast.toml names no load: nothing to train")


def predict_by_plan(ctx: Context, day: Any) -> None:
    """Forecast the plan's loads and PV plants, and show what is kept."""
    from negawatt.scheduled_forecasts import scheduled_predict  # noqa: PLC0415  heavy imports wait

    refuse_flags("day")
    done = scheduled_predict(ctx.workspace, ctx.settings, day.date() if day else None, now=datetime.now(UTC))
    ctx.screen.document(done)
    ctx.screen.table(
        f"Forecasts of {done['day']} ({done['zone']})",
        ("forecast", "issued", "intervals", "not forecast", "weather", "file"),
        [
            tuple(one[key] for key in ("name", "issued", "intervals", "not_forecast", "weather_kind", "file"))
            for one in done["forecasts"]
        ],
    )
    for one in done["forecasts"]:
        say_findings(ctx, one["findings"])
