"""An event's DAGs on the embedded stores and chain: certificates, one payment, and clear ends of what can't be."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
from dag_desk import EVENT, HOMES, an_ended_event, answer, negawatt, run_dag, states

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A workspace whose event is over, to copy."""
    folder = tmp_path_factory.mktemp("ended")
    an_ended_event(folder / "workspace", folder / "simulated")
    return folder / "workspace"


@pytest.fixture
def place(prepared, tmp_path, monkeypatch, airflow_database):
    """That workspace, for one test."""
    folder = tmp_path / "workspace"
    shutil.copytree(prepared, folder)
    (folder / "negawatt.toml").write_text('zone = "Asia/Seoul"\nspark = "local[2]"\nconfirmations = 2\n')
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(folder))
    return folder


def test_an_event_is_certified_and_handed_over_then_settled_and_reported(place, spark):
    certified = run_dag("certification", event=EVENT)
    assert certified.state == "success"
    assert states(certified) == dict.fromkeys(("readings", "roster", "certify", "hand_over"), "success")
    summary = answer(certified, "certify")
    assert summary["homes"] == HOMES
    assert answer(certified, "roster")["on_chain"]

    settled = run_dag("settlement", event=EVENT)
    assert settled.state == "success"
    assert answer(settled, "settle")["root"] == summary["root"]
    assert (place / "reports" / f"{EVENT}.html").exists()
    assert negawatt(place, "verify", EVENT)["holds"]


def test_a_repeat_gives_the_same_certificates_and_no_second_payment(place, spark):
    run_dag("certification", event=EVENT)
    run_dag("settlement", event=EVENT)
    certificates = (place / "certificates" / f"{EVENT}.jsonl").read_bytes()
    settlement = json.loads((place / "settlements" / f"{EVENT}.json").read_text())
    again = run_dag("certification", event=EVENT)
    assert again.state == "success"
    assert states(again)["hand_over"] == "skipped", "its settlement was started before"
    run_dag("settlement", event=EVENT)
    assert (place / "certificates" / f"{EVENT}.jsonl").read_bytes() == certificates
    assert json.loads((place / "settlements" / f"{EVENT}.json").read_text()) == settlement
    assert negawatt(place, "verify", EVENT)["holds"]


def test_a_run_cannot_be_made_to_read_a_file(place, tmp_path):
    (tmp_path / "evil.toml").write_text((place / "events" / f"{EVENT}.toml").read_text().replace(EVENT, "evil"))
    for name in (str(tmp_path / "evil.toml"), str(tmp_path / "evil"), f"../events/{EVENT}"):
        assert run_dag("certification", event=name).state == "failed"
    assert [path.stem for path in (place / "events").iterdir()] == [EVENT]


def test_an_unknown_event_fails_and_says_so(place):
    run = run_dag("certification", event="nowhere")
    assert run.state == "failed"
    assert states(run)["roster"] == "failed"
    (alert,) = [json.loads(line) for line in (place / "alerts.jsonl").read_text().splitlines()]
    assert "nowhere" in alert["text"]
    assert "unknown" in alert["text"]


@pytest.mark.parametrize(("dag_id", "first"), [("certification", "roster"), ("settlement", "turn")])
def test_the_run_of_an_event_long_past_has_tasks(place, dag_id, first):
    run = run_dag(dag_id, due=datetime(2012, 7, 15, 9, tzinfo=UTC), event="nowhere")
    assert run.state == "failed"
    assert states(run)[first] == "failed"


def test_an_event_that_is_not_over_fails_and_says_when_it_ends(place, tmp_path):
    (tmp_path / "later.toml").write_text(
        'id = "later"\nprogramme = "kpx-max-4-of-5"\n'
        "start = 2999-07-15T17:00:00+09:00\nend = 2999-07-15T18:00:00+09:00\n"
    )
    from negawatt.workspace import Workspace

    Workspace(place).event(str(tmp_path / "later.toml"))
    run = run_dag("certification", event="later")
    assert run.state == "failed"
    assert "2999-07-15T09:00:00+00:00" in (place / "alerts.jsonl").read_text()


def test_an_event_without_participants_is_skipped(place):
    shutil.rmtree(place / "chain")
    (place / "participants" / f"{EVENT}.csv").write_text("meter,contracted_w,wallet,feeder\n")
    run = run_dag("certification", event=EVENT)
    assert run.state == "success"
    assert set(states(run).values()) == {"skipped"}


def programme(place, **readings) -> None:
    """The event's programme with another rule for late readings."""
    from importlib.resources import files

    text = files("negawatt").joinpath("programmes/kpx-max-4-of-5.toml").read_text()
    head = text.partition("[terms.readings]")[0] if "[terms.readings]" in text else text
    rest = text.partition("[terms.readings]")[2]
    rest = rest[rest.index("[[terms.baselines]]") :] if rest else ""
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in readings.items())
    (place / "programmes").mkdir()
    (place / "programmes" / "kpx-max-4-of-5.toml").write_text(f"{head}[terms.readings]\n{lines}\n\n{rest}")


@pytest.fixture
def a_meter_more(place):
    """A home that never reports; without the chain, which doesn't know it."""
    shutil.rmtree(place / "chain")
    path = place / "participants" / f"{EVENT}.csv"
    path.write_text(path.read_text() + "zzz-silent,1000,0x" + "1" * 40 + ",\n")


def test_readings_that_never_come_are_certified_at_the_deadline_where_the_programme_says_so(
    place, a_meter_more, spark
):
    programme(place, complete_pct=100, deadline_hours=24, at_deadline="certify")
    run = run_dag("certification", event=EVENT)
    found = answer(run, "readings")
    assert found["decision"] == "certify_at_deadline"
    assert found["missing_meters"] >= 1
    assert states(run)["certify"] == "success"
    alerts = [json.loads(line) for line in (place / "alerts.jsonl").read_text().splitlines()]
    assert [one["kind"] for one in alerts] == ["completeness_low"]


def test_readings_that_never_come_fail_the_run_where_the_programme_says_so(place, a_meter_more):
    programme(place, complete_pct=100, deadline_hours=24, at_deadline="refuse")
    run = run_dag("certification", event=EVENT)
    assert run.state == "failed"
    assert states(run)["readings"] == "failed"
    assert not (place / "certificates" / f"{EVENT}.jsonl").exists()
    assert "refuses" in (place / "alerts.jsonl").read_text()
