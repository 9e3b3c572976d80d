"""### Settle a certified DR event

Started by `certification`; the run's id is the event's.

1. **turn** waits for events that ended earlier and share homes, until their settlement has begun.
2. **settle** commits to the certificates on the chain, waits for the dispute window and for confirmations, pays every
   home, and closes the event.
3. **report** writes the event's page.

What the chain shows to be done is not done again, so a task that was killed and retried pays nobody twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, get_current_context

from dags.parts.alerts import late
from dags.parts.assets import CERTIFICATES, SETTLEMENTS
from dags.parts.steps import (
    EVENT_DEFAULTS,
    EVENT_OPTIONS,
    LoggedProgress,
    event_asked,
    longest,
    opened,
    step,
    tell,
)
from negawatt.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


@dag(
    doc_md=__doc__,
    deadline=late(hours=24 + longest("", "dispute_window_minutes", 0) / 60),
    **(EVENT_OPTIONS | {"default_args": EVENT_DEFAULTS | {"priority_weight": 50}}),
)
def settlement() -> None:
    """Settle, report."""

    @step()
    def turn() -> Waiting | None:
        """Wait for earlier events; outside of the pool, since many may look at once."""
        from negawatt import settling  # noqa: PLC0415  heavy imports wait until a task runs

        event, now = event_asked(workspace := opened()[0]), datetime.now(UTC)
        if not (earlier := under_way(settling.before_in_turn(workspace, event))):
            return None
        so_far = now - (get_current_context()["dag_run"].start_date or now)
        patience = max(so_far / 100, timedelta(seconds=3 * len(earlier)))
        reason = f"{earlier[0]} ended earlier and shares homes"
        return Waiting(reason, now + min(patience, timedelta(minutes=5)))

    @step(pool="chain", inlets=[CERTIFICATES], outlets=[SETTLEMENTS])
    def settle() -> dict[str, Any] | Waiting:
        """Commit, wait, pay, confirm, close."""
        from negawatt import chains, settling  # noqa: PLC0415  heavy imports wait until a task runs

        workspace, settings = opened()
        event = event_asked(workspace)
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

    turn() >> settle() >> report()


def under_way(event_ids: Sequence[str]) -> list[str]:
    """The first of the events that runs certify or settle now; none when there are none."""
    ti = get_current_context()["ti"]

    def runs(ids: Sequence[str]) -> int:
        states = ["queued", "running"]
        return sum(ti.get_dr_count(dag, run_ids=list(ids), states=states) for dag in ("certification", "settlement"))

    for first in range(0, len(event_ids), 50):  # they go into an address
        some = event_ids[first : first + 50]
        if runs(some) and (found := [one for one in some if runs([one])]):
            return found
    return []


settlement()
