"""Which events' ids Airflow takes as those of runs: our rule is the one that it applies."""

from __future__ import annotations

import pytest
from builders import an_event

from domain.errors import InvalidEventError
from negawatt.scheduler import check_run_id

IDS = (
    *("heat-2025-06-11", "x" * 64, ".a", "-a", "a.b", "manual__x", "scheduled_x", "Scheduled__x", "x..", "a..b"),
    *("scheduled__", "scheduled__x", "xscheduled__x"),
)


def taken_by_airflow(event_id):
    """Whether Airflow has a run of this id that somebody asks for; by the two checks of its route."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType

    try:
        DagRun(dag_id="certification", run_id=event_id)
    except ValueError:
        return False
    return DagRunType.from_run_id(event_id) is DagRunType.MANUAL


def taken_by_us(event_id):
    try:
        check_run_id(event_id)
    except InvalidEventError:
        return False
    return True


def test_an_event_can_be_scheduled_when_airflow_takes_its_id():
    from airflow.utils.types import DagRunType

    ids = {*IDS, *(f"{kind.value}__x" for kind in DagRunType), *(f"{kind.value}_x" for kind in DagRunType)}
    for event_id in ids:
        assert an_event(event_id).id == event_id
    assert {each for each in ids if taken_by_us(each)} == {each for each in ids if taken_by_airflow(each)}
    assert not taken_by_airflow("a..b")
    assert not taken_by_airflow("scheduled__x")


@pytest.mark.parametrize("event_id", ["a..b", "operator_triggered__x"])
def test_an_id_that_airflow_refuses_is_refused_in_words_that_say_what_to_do(event_id):
    with pytest.raises(InvalidEventError, match=f"event '{event_id}': Airflow takes no run of this id"):
        check_run_id(event_id)
