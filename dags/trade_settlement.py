"""### Settle a day's trades between microgrids

Every morning the day before is settled against the meters, written to a page, and brought on the chain as the market
file says. Missing readings are waited for, at most two days.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from dags.parts.alerts import alert
from dags.parts.assets import MATCHES, READINGS, TRADES
from dags.parts.steps import OPTIONS, a_day, daily, day_asked, opened, require_file, step, tell
from negawatt.waiting import Waiting

PATIENCE = timedelta(days=2)
LOOK_AGAIN = timedelta(minutes=15)
DAYS_AT_ONCE = 100
"""A day waits for readings and its dispute window while others begin; one at a time, days would be left out."""


@dag(
    schedule=daily(7, 0),
    doc_md=__doc__,
    tags=["market"],
    params={"day": a_day("Local day; default: the day before")},
    **(OPTIONS | {"max_active_runs": DAYS_AT_ONCE}),
)
def trade_settlement() -> None:
    """Balance, settle, report."""

    @step(inlets=[MATCHES, READINGS])
    def balance() -> dict[str, Any] | Waiting:
        """Settle what was matched against the meters, once they are in."""
        from domain.imbalance import MeteringError  # noqa: PLC0415  heavy imports wait until a task runs
        from negawatt.market_days import folder_of  # noqa: PLC0415
        from negawatt.trading import balance_market, market_of  # noqa: PLC0415

        (workspace, settings), now = opened(), datetime.now(UTC)
        require_file(workspace.folder / "market.toml")
        day = day_asked(-1, market_of(workspace).zone)
        if not (folder_of(workspace, day) / "matched.json").exists():
            raise AirflowSkipException(f"{day} was not matched")
        try:
            found = balance_market(workspace, settings, day)
        except MeteringError as missing:
            run = get_current_context()["dag_run"]
            if now >= run.run_after + PATIENCE:
                alert("deadline_missed", f"Trades of {day} can't be settled: {missing}", {}, get_current_context())
                raise
            return Waiting(str(missing), now + LOOK_AGAIN)
        tell(found)
        return found

    @step(pool="chain", outlets=[TRADES])
    def settle(balanced: dict[str, Any]) -> dict[str, Any] | Waiting:
        """Bring the day's net amounts on the chain; they can be executed when their window has passed."""
        from negawatt.market_settlement import settle_balanced_day  # noqa: PLC0415

        day, now = date.fromisoformat(balanced["day"]), datetime.now(UTC)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        if now < midnight and balanced["trades"]:
            return Waiting("the chain takes a day when it is over in UTC", midnight)
        found = settle_balanced_day(*opened(), day)
        if found["state"] == "proposed":
            opens = datetime.fromisoformat(found["executable_from"])
            # The chain's clock may lag behind ours: not every second anew then.
            look_again = max(opens, now + timedelta(seconds=15))
            return Waiting("the day is proposed, and participants may object", look_again)
        tell(found, "day", "state")
        return {name: found.get(name) for name in ("day", "state", "root", "net")}

    @step()
    def report(settled: dict[str, Any]) -> str:
        """Write the day's page."""
        from negawatt.trading import write_report  # noqa: PLC0415

        return str(write_report(opened()[0], date.fromisoformat(settled["day"])))

    report(settle(balance()))


trade_settlement()
