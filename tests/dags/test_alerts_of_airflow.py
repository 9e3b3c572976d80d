"""A real Airflow calls what it is given: deadlines, failures and kills arrive at a webhook; reports are served."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from alert_desk import a_webhook

from infra.airflow_server import AirflowServer
from infra.daemons import wait_until

pytest.importorskip("airflow")
pytestmark = pytest.mark.stack

DAG = """
import os, signal, time
from datetime import datetime
from airflow.sdk import dag, task
from dags.parts.alerts import late, on_failure

@dag(
    schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, on_failure_callback=on_failure,
    deadline=late(hours=3 / 3600), default_args={"on_failure_callback": on_failure, "retries": 0},
    params={"way": "fail"},
)
def settlement():
    @task
    def settle(params):
        match params["way"]:
            case "fail":
                raise RuntimeError("the node is gone")
            case "be killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "be slow":
                while not os.path.exists(os.environ["NEGAWATT_WORKSPACE"] + "/go on"):
                    time.sleep(0.1)
    settle()

settlement()
"""


@pytest.fixture(scope="module")
def webhook():
    with a_webhook() as desk:
        yield desk


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alerts") / "workspace"
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "e4.html").write_text("<title>e4</title>")
    return folder


@pytest.fixture(scope="module")
def airflow(workspace, webhook, tmp_path_factory):
    """Airflow over a DAG that goes wrong in the way that it is asked to; its alerts go to the webhook."""
    dags = tmp_path_factory.mktemp("dags_of_alerts")
    (dags / "settlement.py").write_text(DAG)
    server = AirflowServer.create(workspace / "stack" / "airflow", database="sqlite", dags=str(dags))
    declared = {"negawatt_webhook": webhook.connection(password="a-token")}
    # JSON is YAML.
    (server.folder / "connections.yaml").write_text(json.dumps(declared))
    try:
        server.up()
        yield server
    finally:
        server.down(erase=True)


def a_run(airflow, run_id, way):
    body = {"dag_run_id": run_id, "logical_date": None, "conf": {"way": way}}
    return airflow.api().call("POST", "/api/v2/dags/settlement/dagRuns", body)


def told(webhook, run_id, kind):
    """The alerts of a kind about a run, waited for."""

    def found():
        return [post.said for post in webhook.posts if (post.said["run"], post.said["kind"]) == (run_id, kind)]

    assert wait_until(found, 90), [post.said for post in webhook.posts]
    return found()


def test_a_task_that_fails_tells_why(airflow, webhook):
    a_run(airflow, "e1", "fail")
    (said,) = told(webhook, "e1", "task_failed")
    assert said["text"].endswith("settle of settlement failed: RuntimeError: the node is gone")
    assert said["facts"]["log"].startswith(airflow.url)


def test_a_task_whose_process_is_killed_is_told_by_its_run(airflow, webhook):
    a_run(airflow, "e2", "be killed")
    (said,) = told(webhook, "e2", "task_failed")
    assert (said["task"], said["facts"]["try"]) == ("settle", 1)
    assert "it may have been killed" in said["text"]


def test_a_run_that_is_late_is_told_while_it_runs(airflow, webhook, workspace):
    a_run(airflow, "e3", "be slow")
    try:
        (said,) = told(webhook, "e3", "settlement_late")
        assert said["facts"]["state"] == "running"
    finally:
        (workspace / "go on").touch()
    assert webhook.posts[-1].headers["Authorization"] == "Bearer a-token"


def test_each_alert_was_told_once_and_is_kept(airflow, webhook, workspace):
    a_run(airflow, "e5", "fail")
    told(webhook, "e5", "settlement_late")  # by then all callbacks of its failure have run

    def kept():
        return [json.loads(line) for line in (workspace / "alerts.jsonl").read_text().splitlines()]

    assert wait_until(lambda: len(kept()) == len(webhook.posts), 30)
    said = [(line["kind"], line["run"], line["task"]) for line in kept()]
    assert ("task_failed", "e5", "settle") in said
    assert len(said) == len(set(said))
    assert all(line["sent"] == ["webhook"] for line in kept())


def test_reports_are_served_to_who_is_logged_in_and_linked_from_their_tasks(airflow, webhook):
    a_run(airflow, "e4", "fail")
    told(webhook, "e4", "task_failed")
    api = airflow.api()
    links = api.call("GET", "/api/v2/dags/settlement/dagRuns/e4/taskInstances/settle/links")
    assert links["extra_links"] == {"Report": "/negawatt/reports/e4"}
    assert links["total_entries"] == 1
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{airflow.url}/negawatt/reports/e4", timeout=30)
    assert refused.value.code == 401
    asked = urllib.request.Request(
        f"{airflow.url}/negawatt/reports/e4", headers={"Cookie": f"_token={api._token}", "Accept": "text/html"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.read() == b"<title>e4</title>"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
