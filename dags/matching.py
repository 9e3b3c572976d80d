"""### Match the market between microgrids

The market is `WORKSPACE/market.toml`. **matching** matches the next day at two in the afternoon, by the forecasts
that there are; **matching_intraday** matches what is still ahead of today again, every half-hour. Intervals whose
gate has closed stay as they were matched.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import dag
from airflow.sdk.exceptions import AirflowSkipException

from dags.parts.assets import FORECASTS, MATCHES
from dags.parts.steps import OPTIONS, a_day, daily, day_asked, every, opened, require_file, step, tell


@step(inlets=[FORECASTS], outlets=[MATCHES])
def match(days_ahead: int) -> dict[str, Any]:
    """Match a day's intervals that are still ahead."""
    from negawatt.market_days import folder_of  # noqa: PLC0415  heavy imports wait until a task runs
    from negawatt.trading import market_of, match_market  # noqa: PLC0415

    workspace, settings = opened()
    require_file(workspace.folder / "market.toml")
    day = day_asked(days_ahead, market_of(workspace).zone)
    if days_ahead == 0 and not (folder_of(workspace, day) / "matched.json").exists():
        raise AirflowSkipException(f"{day} was not matched a day ahead")
    found = match_market(workspace, settings, day, now=datetime.now(UTC))
    tell(found, "day", "first_ahead", "intervals", "totals", "findings_total", "folder")
    return found


@dag(
    schedule=daily(14, 0),
    doc_md=__doc__,
    tags=["market"],
    params={"day": a_day("Local day; default: tomorrow")},
    **OPTIONS,
)
def matching() -> None:
    """Match the next day."""
    match(1)


@dag(
    schedule=every(30), doc_md=__doc__, tags=["market"], params={"day": a_day("Local day; default: today")}, **OPTIONS
)
def matching_intraday() -> None:
    """Match again what is ahead of today."""
    match(0)


matching()
matching_intraday()
