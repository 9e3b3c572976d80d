"""### Settle a certified DR event

Started by `certification`; the run's id is the event's.

1. **settle** commits to the certificates on the chain, waits for the dispute window and for confirmations, pays every
   home, and closes the event. Events that share homes are settled in the order in which they ended.
2. **report** writes the event's page.

What the chain shows to be done is not done again, so a task that was killed and retried pays nobody twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, dag, get_current_context

from dags.parts.alerts import late, on_failure
from dags.parts.assets import CERTIFICATES, SETTLEMENTS
from dags.parts.steps import DEFAULTS, EVENTS_AT_ONCE, START, LoggedProgress, event_asked, opened, step, tell
from negawatt.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=EVENTS_AT_ONCE,
    default_args=DEFAULTS,
    doc_md=__doc__,
    on_failure_callback=on_failure,
    tags=["event"],
    deadline=late(hours=24),
    params={"event": Param(None, type=["null", "string"], title="Event", description="Default: the run's id.")},
)
def settlement() -> None:
    """Settle, report."""

    @step(pool="chain", inlets=[CERTIFICATES], outlets=[SETTLEMENTS])
    def settle() -> dict[str, Any] | Waiting:
        """Commit, wait, pay, confirm, close."""
        from negawatt import chains, settling  # noqa: PLC0415  heavy imports wait until a task runs

        workspace, settings = opened()
        event = event_asked(workspace)
        if earlier := under_way(settling.before_in_turn(workspace, event)):
            return Waiting(f"{earlier[0]} ended earlier and shares homes", datetime.now(UTC) + timedelta(seconds=5))
        with chains.open_chain(workspace, settings, chains.before(event)) as chain:
            done = settling.settle_step(workspace, settings, chain, event, progress=LoggedProgress())
        if isinstance(done, Waiting):
            return done
        tell(done, "chain_id", "root", "delivery", "confirmations")
        return {**done, "transactions": [sent["hash"] for sent in done["transactions"]]}

    @step()
    def report() -> str:
        """Write the event's page."""
        from negawatt import pipeline  # noqa: PLC0415

        workspace, settings = opened()
        return str(pipeline.report(workspace, settings, event_asked(workspace)))

    settle() >> report()


def under_way(event_ids: Sequence[str]) -> list[str]:
    """Those of the events that a run certifies or settles now."""
    ti = get_current_context()["ti"]

    def runs(ids: Sequence[str]) -> int:
        states = ["queued", "running"]
        return sum(ti.get_dr_count(dag, run_ids=list(ids), states=states) for dag in ("certification", "settlement"))

    return [one for one in event_ids if runs([one])] if event_ids and runs(event_ids) else []


settlement()
