"""### See what late readings change of settled events

Every night each event that was settled and ended within the last weeks is worked out again from the readings that
there are by now, and compared with what was settled (`negawatt reconcile EVENT --settled`). Nothing is paid or taken
back: people are told, and what to do is the programme's business.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from dags.parts.alerts import alert
from dags.parts.assets import CHANGES, READINGS, SETTLEMENTS
from dags.parts.steps import OPTIONS, daily, local_now, opened, step, tell


@dag(
    schedule=daily(5, 30),
    doc_md=__doc__,
    tags=["daily"],
    params={"days": Param(35, type="integer", minimum=1, maximum=400, title="Events of so many days")},
    **OPTIONS,
)
def reconciliation() -> None:
    """Compare what was settled with the readings of now."""

    @step()
    def events() -> list[str]:
        """Which events to work out again."""
        from negawatt.reconciling import settled_events  # noqa: PLC0415  heavy imports wait

        since = local_now() - timedelta(days=get_current_context()["params"]["days"])
        found = [event.id for event in settled_events(opened()[0], since)]
        if not found:
            raise AirflowSkipException(f"no event that ended since {since:%Y-%m-%d} is settled")
        return found

    @step(pool="spark", inlets=[READINGS, SETTLEMENTS], outlets=[CHANGES], doc_md="Work a settled event out again.")
    def recheck(event_id: str) -> dict[str, Any]:
        """Work a settled event out again."""
        from negawatt import reconciling  # noqa: PLC0415

        workspace, settings = opened()
        found = reconciling.recheck(workspace, settings, workspace.event(event_id))
        tell(found, "homes_changed", "payments_changed", "change")
        if not found["unchanged"]:
            text = f"Event {event_id}: readings since its settlement change {found['homes_changed']} homes"
            once = f"{event_id}/{found['recomputed']['root']}"
            facts = {name: found[name] for name in ("change", "payments_changed", "changes_file")}
            alert("readings_changed", text, facts, get_current_context(), once=once)
        return {name: found[name] for name in ("event", "unchanged", "homes_changed", "changes_file")}

    recheck.expand(event_id=events())


reconciliation()
