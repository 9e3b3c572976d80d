"""### Forecast loads and PV

What is trained and forecast is in `WORKSPACE/forecast.toml`. **forecasting_training** trains every night what has new
data; a model that doesn't beat the naive forecasts is not kept. **forecasting** makes tomorrow's forecasts, and
today's anew, every half-hour; what comes out the same leaves what is kept as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import dag, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from dags.parts.assets import FORECASTS, MODELS, READINGS
from dags.parts.steps import OPTIONS, LoggedProgress, a_day, daily, day_asked, every, opened, require_file, step, tell

PLAN = "forecast.toml"


@dag(
    schedule=daily(4, 30),
    doc_md=__doc__,
    tags=["forecast"],
    **OPTIONS,
)
def forecasting_training() -> None:
    """Train what has new data."""

    @step()
    def models() -> list[str]:
        """Models of the plan."""
        from negawatt.scheduled_forecasts import planned_models  # noqa: PLC0415  heavy imports wait

        workspace, _ = opened()
        require_file(workspace.folder / PLAN)
        if not (names := planned_models(workspace)):
            raise AirflowSkipException(f"{workspace.folder / PLAN} plans no model")
        return names

    @step(pool="spark", inlets=[READINGS], outlets=[MODELS], doc_md="Train a model, unless nothing is new.")
    def train(model: str) -> dict[str, Any]:
        """Train a model, unless nothing is new."""
        from negawatt.scheduled_forecasts import scheduled_train  # noqa: PLC0415

        found = scheduled_train(*opened(), now=datetime.now(UTC), name=model, progress=LoggedProgress())
        tell(found)
        return found

    train.expand(model=models())


@dag(
    schedule=every(30),
    doc_md=__doc__,
    tags=["forecast"],
    params={"day": a_day("Local day; default: tomorrow, and today anew")},
    **OPTIONS,
)
def forecasting() -> None:
    """Forecast today and tomorrow."""

    @step(inlets=[READINGS, MODELS], outlets=[FORECASTS])
    def predict(days_ahead: int) -> dict[str, Any]:
        """Forecast a day's loads and plants."""
        from negawatt.forecast_plan import read_plan  # noqa: PLC0415  heavy imports wait until a task runs
        from negawatt.scheduled_forecasts import scheduled_predict  # noqa: PLC0415

        workspace, settings = opened()
        require_file(workspace.folder / PLAN)
        if not days_ahead and get_current_context()["params"]["day"]:
            raise AirflowSkipException("the form names a day, and the other task forecasts it")
        day = day_asked(days_ahead, read_plan(workspace).zone)
        found = scheduled_predict(workspace, settings, day, now=datetime.now(UTC))
        tell(found)
        return found

    predict.override(task_id="today")(0)
    predict.override(task_id="tomorrow")(1)


forecasting_training()
forecasting()
