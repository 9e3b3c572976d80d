"""### Pack a day's readings

Every night the readings of the day before, which came one interval at a time, are packed into whole days, which read
many times faster (`negawatt compact`). It may be stopped and repeated at any time.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from airflow.sdk import dag

from dags.parts.assets import READINGS
from dags.parts.steps import OPTIONS, a_day, daily, day_asked, opened, step, tell


@dag(
    schedule=daily(3, 30),
    doc_md=__doc__,
    tags=["daily"],
    params={"day": a_day("UTC day; default: the day before")},
    **OPTIONS,
)
def compaction() -> None:
    """Pack a day."""

    @step(inlets=[READINGS])
    def compact() -> dict[str, Any]:
        """Pack the day."""
        from negawatt.pipeline import batch_store  # noqa: PLC0415  heavy imports wait until a task runs

        store, day = batch_store(*opened()), day_asked(-1, "UTC")
        found = {"day": day.isoformat(), "folded": store.compact((day - date(1970, 1, 1)).days)}
        tell(found)
        return found

    compact()


compaction()
