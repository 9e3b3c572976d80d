"""### Keep the stores small

Every night old readings of the speed store are rolled up and dropped (`negawatt retention`), and drafts that killed
runs left behind are cleared away. The batch store keeps every reading.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import dag

from dags.parts.steps import OPTIONS, daily, local_now, opened, step, tell


@dag(
    schedule=daily(6, 0),
    doc_md=__doc__,
    tags=["daily"],
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

    retention()
    tidy()


housekeeping()
