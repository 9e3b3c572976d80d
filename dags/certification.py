"""### Certify a DR event

Started when an event is over, by `negawatt events end EVENT` or `negawatt events follow`. The run's id is that
of the event.

1. **roster** reads who takes part, where the event was announced on the chain.
2. **readings** waits until their readings of the event and its adjustment window are as complete as the programme
   asks, at most until the programme's deadline. Then the programme says whether to certify with what there is.
3. **certify** works out baselines, reductions and payments, and publishes the certificates.
4. **hand_over** starts `settlement` of the event.

Every task may be repeated: the same readings give the same certificates.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.parts.alerts import alert, late
from dags.parts.assets import CERTIFICATES, READINGS
from dags.parts.steps import (
    EVENT_OPTIONS,
    LOG,
    LoggedProgress,
    event_asked,
    longest,
    opened,
    step,
    tell,
)
from negawatt.waiting import Waiting

EVENT = "{{ params.event or dag_run.run_id }}"


@dag(
    doc_md=__doc__,
    deadline=late(hours=6 + longest("readings", "deadline_hours", 24), kind="deadline_missed"),
    **EVENT_OPTIONS,
)
def certification() -> None:
    """Wait for readings, certify, hand over."""

    @step(inlets=[READINGS])
    def readings() -> dict[str, Any] | Waiting:
        """Wait for the readings, as the programme says."""
        from negawatt.event_readings import readiness  # noqa: PLC0415  heavy imports wait until a task runs

        (workspace, settings), now = opened(), datetime.now(UTC)
        event = event_asked(workspace)
        found = readiness(workspace, settings, event, now)
        lacking = f"{found['pct']} % of the readings are in, {found['missing_meters']} meters lack some"
        if found["decision"] == "wait":
            so_far = now - (get_current_context()["dag_run"].start_date or now)
            patience = min(max(so_far / 2, timedelta(seconds=10)), timedelta(minutes=5))
            return Waiting(lacking, min(now + patience, datetime.fromisoformat(found["deadline"])))
        tell(found)
        if found["decision"] != "certify":
            text = f"Event {event.id}: {lacking} at the deadline {found['deadline']}"
            alert("completeness_low", text, found, get_current_context())
            if found["decision"] == "refuse":
                raise AirflowFailException(f"{text}; its programme refuses to certify then")
        return found

    @step(pool="chain")
    def roster() -> dict[str, Any]:
        """Who takes part, by the chain."""
        from domain.errors import NoParticipantsError  # noqa: PLC0415
        from negawatt import chains, settling  # noqa: PLC0415
        from negawatt.event_readings import check_ended  # noqa: PLC0415

        workspace, settings = opened()
        event = event_asked(workspace)
        check_ended(event, datetime.now(UTC))
        try:
            if chains.has_chain(workspace, settings):
                with chains.open_chain(workspace, settings, chains.before(event)) as chain:
                    found = settling.roster_step(workspace, chain, event)
            else:
                people = workspace.participants(event)
                found = {"event_id": event.id, "participants": len(people), "on_chain": False}
        except NoParticipantsError as nobody:
            raise AirflowSkipException(str(nobody)) from nobody
        tell(found, "participants", "on_chain")
        if not found["participants"]:
            raise AirflowSkipException(f"event {event.id!r}: nobody takes part")
        return {name: found[name] for name in ("event_id", "participants", "on_chain")}

    @step(pool="spark", outlets=[CERTIFICATES])
    def certify() -> dict[str, Any]:
        """Baselines, reductions, payments; the certificates are published."""
        from negawatt import pipeline  # noqa: PLC0415

        workspace, settings = opened()
        event = event_asked(workspace)
        if workspace.committed(event.id).exists() and workspace.certificates(event.id).exists():
            LOG.info("settled already: its certificates stay as they are")
            return {"event_id": event.id, "settled_already": True}
        done = pipeline.certify(workspace, settings, event, progress=LoggedProgress())
        summary = pipeline.summarise(done)
        tell(summary)
        return summary

    hand_over = TriggerDagRunOperator(
        task_id="hand_over",
        doc_md="Start `settlement` of the event, unless there is one.",
        trigger_dag_id="settlement",
        trigger_run_id=EVENT,
        logical_date="{{ dag_run.logical_date or dag_run.run_after }}",
        conf={"event": EVENT},
        skip_when_already_exists=True,
    )
    roster() >> readings() >> certify() >> hand_over


certification()
