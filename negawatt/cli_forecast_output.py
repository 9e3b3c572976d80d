"""What the forecast commands print alike: errors, the kind of weather, findings."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from negawatt.cli_base import Context


def show_errors(ctx: Context, title: str, parts: dict[str, Any]) -> None:
    """A table of errors beside those of the naive forecasts."""
    from negawatt.forecast_pages import ERROR_COLUMNS, error_rows  # noqa: PLC0415  heavy imports wait

    ctx.screen.table(f"{title} (%; MAE and RMSE kWh)", ERROR_COLUMNS, error_rows(parts))


def say_kind(ctx: Context, kind: str) -> None:
    """What the weather of the targets was."""
    from negawatt.forecasting import KIND_WORDS  # noqa: PLC0415

    ctx.screen.say(f"  weather: {KIND_WORDS[kind]}")  # type: ignore[index]


def say_findings(ctx: Context, findings: list[str]) -> None:
    """The first findings, and how many more there are."""
    for text in findings[:10]:
        ctx.screen.say(f"  {escape(text)}")
    if len(findings) > 10:
        ctx.screen.say(f"  and {len(findings) - 10:,} more: all are in the output of --json")
