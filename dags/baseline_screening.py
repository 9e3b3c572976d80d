"""### Find out which baseline fits which home

Every week: for each programme of the workspace's events, days without an event stand for events, and each rule's
baseline is compared with what homes used (`negawatt screen`). Every home is in `WORKSPACE/screening`.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from airflow.sdk import Param, dag, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from dags.parts.assets import READINGS, SCREENINGS
from dags.parts.steps import OPTIONS, LoggedProgress, daily, local_now, opened, step, tell


@dag(
    schedule=daily(4, 0, weekday="MON"),
    doc_md=__doc__,
    tags=["weekly"],
    params={
        "programme": Param(None, type=["null", "string"], title="Programme; default: those of all events"),
        "last_day": Param(
            None, type=["null", "string"], format="date", title="Last day; default: the last that was over"
        ),
        "on_spark": Param(True, type="boolean", title="As a Spark job"),
    },
    **OPTIONS,
)
def baseline_screening() -> None:
    """Screen each programme."""

    @step()
    def programmes() -> list[str]:
        """Which programmes to screen."""
        given = get_current_context()["params"]["programme"]
        found = [given] if given else sorted({event.programme for event in opened()[0].events()})
        if not found:
            raise AirflowSkipException("the workspace has no events, and the form names no programme")
        return found

    @step(pool="spark", inlets=[READINGS], outlets=[SCREENINGS], doc_md="Compare the rules' baselines with usage.")
    def screen(programme: str) -> dict[str, Any]:
        """Compare the rules' baselines with what homes used."""
        from batch.session import NO_SPARK  # noqa: PLC0415
        from negawatt.screening import screen  # noqa: PLC0415  heavy imports wait until a task runs

        (workspace, settings), params = opened(), get_current_context()["params"]
        last = date.fromisoformat(params["last_day"]) if params["last_day"] else None
        found = screen(
            workspace,
            settings,
            programme,
            now=local_now(),
            last_day=last,
            spark=params["on_spark"] and settings.spark != NO_SPARK,
            progress=LoggedProgress(),
        )
        names = ("resources", "proxy_days", "limit_pct", "own_fits", "fits", "findings", "file")
        tell(found, *names)
        return {"programme": programme, **{name: found[name] for name in names}}

    screen.expand(programme=programmes())


baseline_screening()
