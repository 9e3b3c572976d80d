"""### Check and complete a day's readings

Every night: the day that has ended is validated, and what is missing or wrong is estimated (`negawatt vee`); then its
completeness is counted by feeder and meter (`negawatt quality`), and people are told when it is low, or when much was
refused on the way in.

Days of the past: `airflow backfill create --dag-id ingest_quality --from-date 2025-06-02 --to-date 2025-07-01`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context

from dags.parts.alerts import alert
from dags.parts.assets import READINGS
from dags.parts.steps import OPTIONS, LoggedProgress, a_day, daily, day_asked, local_now, opened, step, tell


@dag(
    schedule=daily(2, 30),
    doc_md=__doc__,
    tags=["daily"],
    params={
        "day": a_day("Local day; default: the day before"),
        "on_spark": Param(False, type="boolean", title="As a Spark job"),
        "complete_pct": Param(95.0, type="number", minimum=0, maximum=100, title="Alert below this completeness, %"),
        "rejects_pct": Param(
            1.0, type="number", minimum=0, maximum=100, title="Alert above this share of rejects, %"
        ),
    },
    **OPTIONS,
)
def ingest_quality() -> None:
    """Validate, estimate, count."""

    @step(pool="spark")
    def vee() -> dict[str, Any]:
        """Find what is missing or wrong, and estimate it."""
        from negawatt import vee as job  # noqa: PLC0415  heavy imports wait until a task runs
        from negawatt.vee_plan import VeeWork  # noqa: PLC0415

        (workspace, settings), day = opened(), day_asked(-1)
        on_spark = get_current_context()["params"]["on_spark"]
        work = VeeWork(day, day, settings.zone, spark=on_spark, by="airflow")
        done = job.vee(workspace, settings, work, now=datetime.now(UTC), progress=LoggedProgress())
        found = job.summary(done, dry_run=False)
        tell(found)
        return found

    @step(outlets=[READINGS])
    def completeness() -> dict[str, Any]:
        """Count what is there, by feeder and meter."""
        from negawatt.quality import quality  # noqa: PLC0415
        from negawatt.rejects import rejected_between  # noqa: PLC0415
        from negawatt.vee_plan import VeeWork  # noqa: PLC0415

        (workspace, settings), day, context = opened(), day_asked(-1), get_current_context()
        view = quality(workspace, settings, VeeWork(day, day, settings.zone))
        whole = view.whole()
        tell(whole)
        if whole["actual_pct"] < context["params"]["complete_pct"]:
            worst = [row["meter"] for row in view.worst(5)]
            text = f"{whole['actual_pct']} % of the readings of {day} are in, {whole['estimated']:,} were estimated"
            alert("completeness_low", text, {**whole, "worst": worst, "file": str(view.path)}, context)
        rejected = rejected_between(workspace, settings, local_now() - timedelta(days=1), local_now())
        tell(rejected)
        share = 100 * rejected["rows"] / max(whole["expected"], 1)
        if share > context["params"]["rejects_pct"] or rejected["messages"]:
            text = f"{rejected['rows']:,} rows and {rejected['messages']:,} messages were refused in a day"
            alert("rejects_high", text, rejected, context)
        return {"day": day.isoformat(), **whole, "rejected": rejected}

    vee() >> completeness()


ingest_quality()
