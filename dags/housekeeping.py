"""### Keep the stores small

Every night old readings of the speed store are rolled up and dropped (`negawatt retention`), drafts that killed runs
left behind are cleared away, and so are old logs of tasks. The batch store keeps every reading.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, get_current_context

from dags.parts.steps import OPTIONS, daily, local_now, opened, step, tell


@dag(
    schedule=daily(6, 0),
    doc_md=__doc__,
    tags=["daily"],
    params={"log_days": Param(30, type="integer", minimum=1, title="Keep logs of tasks for so many days")},
    **OPTIONS,
)
def housekeeping() -> None:
    """Roll up, drop, clear away."""

    @step()
    def retention() -> dict[str, Any]:
        """Half-hours and days of old readings stay, the readings themselves go."""
        from negawatt import live  # noqa: PLC0415  heavy imports wait until a task runs

        found = live.retention(*opened(), local_now("UTC").date())
        tell(found)
        return found

    @step()
    def tidy() -> dict[str, Any]:
        """What killed runs left behind."""
        from negawatt.housekeeping import tidy  # noqa: PLC0415

        found = tidy(opened()[0], datetime.now(UTC))
        tell(found)
        return found

    @step()
    def logs() -> dict[str, int]:
        """What tasks said, where Airflow keeps it in files."""
        from airflow.configuration import conf  # noqa: PLC0415

        from negawatt.housekeeping import drop_old_logs  # noqa: PLC0415

        before = datetime.now(UTC) - timedelta(days=get_current_context()["params"]["log_days"])
        found = drop_old_logs(Path(conf.get_mandatory_value("logging", "base_log_folder")), before)
        tell(found)
        return found

    retention()
    tidy()
    logs()


housekeeping()
