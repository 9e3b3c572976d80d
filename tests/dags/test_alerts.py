"""Alerts reach a real mail server and a real webhook, once, and never fail what raises them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest

from dags.parts import alert_channels, alert_log, alerts
from dags.parts.alert_log import open_alert_log

pytest.importorskip("airflow")


def a_task(task="certify", *, run="e1", attempt=1, map_index=-1):
    """What Airflow tells a task about itself, as far as alerts read it."""
    ti = SimpleNamespace(dag_id="certification", run_id=run, task_id=task, try_number=attempt, map_index=map_index)
    ti.log_url = f"http://airflow.example/dags/certification/runs/{run}/tasks/{task}"
    return {"ti": ti}


def lines(workspace):
    return [json.loads(line) for line in (workspace / "alerts.jsonl").read_text().splitlines()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_alert_is_posted_mailed_and_written_down(workspace, webhook, mail_server):
    alerts.alert("rejects_high", "7 of 10 rows were rejected", {"rows": 10, "rejected": 7}, a_task("load"))

    (post,) = webhook.posts
    assert (post.path, post.headers["Authorization"]) == ("/hook", "Bearer a-token")
    assert post.headers["X-From"] == "negawatt"
    assert post.said["kind"] == "rejects_high"
    assert post.said["facts"] == {"rows": 10, "rejected": 7}
    assert post.said["text"].endswith("7 of 10 rows were rejected")

    ((recipients, mail),) = mail_server.mails
    assert recipients == ["ops@example.org", "boss@example.org"]
    assert mail["Subject"] == "negawatt: rejects high (certification, e1, load)"
    assert mail["From"] == "negawatt@example.org"
    assert "7 of 10 rows were rejected" in mail.get_payload()[0].get_payload(decode=True).decode()

    (line,) = lines(workspace)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "kind": "rejects_high",
        "dag": "certification",
        "run": "e1",
        "task": "load",
        "text": "7 of 10 rows were rejected",
        "facts": {"rows": 10, "rejected": 7},
        "once": "certification/e1/load",
        "sent": ["webhook", "mail"],
        "failed": {},
    }


def test_where_nothing_is_declared_it_is_written_down_and_logged(workspace, caplog):
    alerts.alert("completeness_low", "97.5 % of the readings are in", {"pct": 97.5}, a_task())
    assert [(line["sent"], line["failed"]) for line in lines(workspace)] == [([], {})]
    assert "97.5 % of the readings are in" in caplog.text


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"host": "http://127.0.0.1:PORT/services/T0/B0"}, "/services/T0/B0"),
        ({"host": "http://127.0.0.1/services/", "port": "PORT", "extra": {"path": "/T0"}}, "/services/T0"),
        ({"host": "127.0.0.1", "schema": "http", "port": "PORT"}, "/"),
        ({"host": "http://127.0.0.1:PORT/in?key=7"}, "/in?key=7"),
    ],
)
def test_a_webhook_is_an_address_or_its_parts(workspace, webhook, monkeypatch, parts, path):
    declared = json.dumps({"conn_type": "http", **parts})
    declared = declared.replace('"PORT"', str(webhook.port)).replace("PORT", str(webhook.port))
    monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_WEBHOOK", declared)
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert [post.path for post in webhook.posts] == [path]
    assert "Authorization" not in webhook.posts[0].headers


def test_a_webhook_without_a_host_is_said(workspace, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_WEBHOOK", json.dumps({"conn_type": "http"}))
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert lines(workspace)[0]["failed"] == {"webhook": "negawatt_webhook: the connection names no host"}


def test_a_netrc_file_does_not_replace_the_token(workspace, webhook, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login thief password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert webhook.posts[0].headers["Authorization"] == "Bearer a-token"


def test_a_retry_says_nothing_again_and_another_run_does(workspace, webhook):
    for run in ("e1", "e1", "e2"):
        alerts.alert("completeness_low", "too few readings", {}, a_task(run=run))
    assert [post.said["run"] for post in webhook.posts] == ["e1", "e2"]
    assert len(lines(workspace)) == 2


def test_an_occasion_is_said_once_whichever_run_finds_it(workspace, webhook):
    for run in ("monday", "tuesday"):
        alerts.alert("readings_changed", "event e1 would pay less", {}, a_task(run=run), once="e1 0xabc")
    alerts.alert("readings_changed", "event e1 would pay less", {}, a_task(run="friday"), once="e1 0xdef")
    assert [post.said["run"] for post in webhook.posts] == ["monday", "friday"]


def test_without_a_context_nothing_is_taken_for_a_repeat(workspace, webhook):
    alerts.alert("rejects_high", "one")
    alerts.alert("rejects_high", "two")
    assert len(webhook.posts) == 2


def test_many_at_once_say_it_once(workspace, webhook):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: alerts.alert("settlement_late", "late", {}, a_task()), range(8)))
    assert len(webhook.posts) == 1
    assert len(lines(workspace)) == 1


def test_a_webhook_that_refuses_keeps_no_mail_back_and_is_tried_again(workspace, webhook, mail_server):
    webhook.status = 503
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert len(mail_server.mails) == 1
    assert lines(workspace)[0]["failed"] == {"webhook": "negawatt_webhook: 127.0.0.1 answered 503"}

    webhook.status = 200
    for _ in range(2):
        alerts.alert("rejects_high", "too many", {}, a_task(attempt=2))
    assert (len(webhook.posts), len(mail_server.mails)) == (2, 1)
    assert [line["sent"] for line in lines(workspace)] == [["mail"], ["webhook"]]


def test_a_redirect_is_a_failure_because_it_would_carry_the_token_away(workspace, webhook):
    webhook.status = 307
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert [post.path for post in webhook.posts] == ["/hook"]
    assert lines(workspace)[0]["failed"] == {"webhook": "negawatt_webhook: 127.0.0.1 answered 307"}


def test_a_mail_server_that_refuses_keeps_no_webhook_back(workspace, webhook, mail_server):
    mail_server.refuses = True
    alerts.alert("rejects_high", "too many", {}, a_task())
    (line,) = lines(workspace)
    assert line["sent"] == ["webhook"]
    assert "SMTPSenderRefused" in line["failed"]["mail"]
    assert "not from you" in line["failed"]["mail"]


@pytest.fixture
def silent_mail_server(mail_server, monkeypatch):
    """A port that takes connections and never says a word, declared without limits of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        declared = mail_server.connection(port=server.getsockname()[1])
        del declared["extra"]["retry_limit"]
        monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_SMTP", json.dumps(declared))
        monkeypatch.setattr(alert_channels, "_TIMEOUT_S", 0.2)
        server.setblocking(False)
        yield server


def test_a_mail_server_that_hangs_is_given_up_soon_and_keeps_no_webhook_back(workspace, webhook, silent_mail_server):
    began = time.monotonic()
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert time.monotonic() - began < 5
    (line,) = lines(workspace)
    assert line["sent"] == ["webhook"]
    assert "Unable to connect" in line["failed"]["mail"]
    silent_mail_server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent_mail_server.accept()  # it was asked once


def test_a_mail_server_without_recipients_is_said(workspace, mail_server, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_NEGAWATT_ALERT_EMAIL", " ")
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert "set the variable negawatt_alert_email" in lines(workspace)[0]["failed"]["mail"]


def test_no_secret_is_logged_or_kept(workspace, monkeypatch, caplog):
    connection = {
        "conn_type": "http",
        "host": "127.0.0.1",
        "schema": "http",
        "port": free_port(),
        "password": "s3cret-token",
        "extra": {"path": "/services/s3cret-path", "headers": {"X-Key": "s3cret-header"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_WEBHOOK", json.dumps(connection))
    alerts.alert("rejects_high", "too many", {}, a_task())
    (line,) = lines(workspace)
    assert line["failed"] == {"webhook": "negawatt_webhook: ConnectionError at 127.0.0.1"}
    assert "s3cret" not in caplog.text + json.dumps(line)


def test_a_password_that_airflow_has_read_is_masked_in_what_is_said(workspace, webhook, monkeypatch):
    from airflow.sdk import BaseHook

    monkeypatch.setenv("AIRFLOW_CONN_METERS", json.dumps({"conn_type": "http", "password": "opensesame"}))
    BaseHook.get_connection("meters")
    alerts.alert("rejects_high", "meters refused opensesame", {"url": "https://u:opensesame@meters"}, a_task())
    assert "opensesame" not in json.dumps([webhook.posts[0].said, *lines(workspace)])


def test_facts_and_text_cannot_write_html_into_the_mail(workspace, mail_server):
    alerts.alert("rejects_high", "<b>bold</b>", {"<i>file": "<a href=x>"}, a_task("x\nBcc: thief@example.org"))
    ((recipients, mail),) = mail_server.mails
    assert recipients == ["ops@example.org", "boss@example.org"]
    assert mail["Bcc"] is None
    page = mail.get_payload()[0].get_payload(decode=True).decode()
    assert not {"<b>", "<i>", "<a "} & {page[i : i + 3] for i in range(len(page))}


def test_a_failed_task_is_told_with_its_error_and_again_when_it_was_cleared(workspace, webhook):
    error = RuntimeError("no node answers\nand much more")
    for attempt in (4, 4, 5):
        alerts.on_failure({**a_task(attempt=attempt, map_index=2), "exception": error})
    assert [post.said["facts"]["try"] for post in webhook.posts] == [4, 5]
    said = webhook.posts[0].said
    assert said["text"].split("\n") == [
        "negawatt: task failed (certification, e1, certify)",
        "certify of certification failed: RuntimeError: no node answers",
    ]
    assert said["facts"] == {
        "try": 4,
        "map index": 2,
        "log": "http://airflow.example/dags/certification/runs/e1/tasks/certify",
    }


def test_of_several_tasks_that_one_was_multiplied_into_each_is_told(workspace, webhook):
    for map_index in (0, 1, 1):
        alerts.on_failure({**a_task(map_index=map_index), "exception": RuntimeError(f"home {map_index} is gone")})
    assert [post.said["facts"]["map index"] for post in webhook.posts] == [0, 1]
    assert len(lines(workspace)) == 2


def test_a_failed_run_tells_of_a_task_that_was_killed_and_not_of_one_that_told_itself(workspace, webhook):
    alerts.on_failure({**a_task("told"), "exception": RuntimeError("gone")})
    for task in ("told", "killed"):
        alerts.on_failure({**a_task(task), "reason": "task_failure"})
    assert [post.said["task"] for post in webhook.posts] == ["told", "killed"]
    assert "it may have been killed" in webhook.posts[1].said["text"]


def test_a_run_that_fails_without_a_task_is_told(workspace, webhook):
    dag = SimpleNamespace(dag_id="settlement")
    alerts.on_failure({"dag": dag, "run_id": "e7", "reason": "all_tasks_deadlocked"})
    (post,) = webhook.posts
    assert (post.said["dag"], post.said["run"]) == ("settlement", "e7")
    assert "all_tasks_deadlocked" in post.said["text"]


def test_a_missed_deadline_is_told_by_what_the_scheduler_hands_over(workspace, webhook):
    from airflow.sdk.definitions.callback import AsyncCallback

    deadline = alerts.late(1.5)
    assert deadline.interval == timedelta(hours=1, minutes=30)
    assert isinstance(deadline.callback, AsyncCallback)
    assert deadline.callback.path == "dags.parts.alerts.deadline_missed"

    run = {"dag_id": "settlement", "dag_run_id": "e1", "queued_at": "2025-07-30T12:00:00Z", "state": "running"}
    for missed in (deadline, deadline, alerts.late(48)):
        asyncio.run(alerts.deadline_missed(**missed.callback.kwargs, context={"dag_run": run}))
    first, second = (post.said for post in webhook.posts)
    assert (first["kind"], first["run"]) == ("settlement_late", "e1")
    assert "isn't done 1.5 h after it was queued" in first["text"]
    assert "isn't done 48 h after it was queued" in second["text"]


def test_a_file_that_cannot_be_written_stops_no_alert(webhook, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(tmp_path / "file" / "workspace"))
    alerts.alert("rejects_high", "too many", {}, a_task())
    monkeypatch.delenv("NEGAWATT_WORKSPACE")
    alerts.alert("rejects_high", "too many", {}, a_task())
    assert len(webhook.posts) == 2
    assert "may be repeated" in caplog.text
    assert "NEGAWATT_WORKSPACE" in caplog.text


def test_a_line_that_a_crash_cut_off_hides_no_other(workspace, webhook):
    alerts.alert("rejects_high", "one", {}, a_task())
    with (workspace / "alerts.jsonl").open("a") as file:
        file.write('{"kind": "rejects_high", "on')
    alerts.alert("rejects_high", "one", {}, a_task())
    alerts.alert("rejects_high", "two", {}, a_task(run="e2"))
    assert [post.said["run"] for post in webhook.posts] == ["e1", "e2"]
    assert json.loads((workspace / "alerts.jsonl").read_text().splitlines()[-1])["text"] == "two"


def test_who_waits_too_long_for_the_file_tells_all_the_same(workspace, webhook, monkeypatch, caplog):
    monkeypatch.setattr(alert_log, "_LOCK_S", 0.1)
    with open_alert_log(workspace):
        alerts.alert("rejects_high", "too many", {}, a_task())
    assert len(webhook.posts) == 1
    assert "was in use" in caplog.text


def test_facts_that_are_not_json_are_told_as_text(workspace, webhook):
    alerts.alert("rejects_high", "too many", {"wait": timedelta(hours=1)}, a_task())
    assert webhook.posts[0].said["facts"] == {"wait": "1:00:00"}


def test_text_in_any_script_is_kept_and_bytes_of_a_file_name_too(workspace):
    alerts.alert("rejects_high", "측정값 \udc80", {}, a_task())
    assert lines(workspace)[0]["text"] == "측정값 \udc80"
    assert "측정값" in (workspace / "alerts.jsonl").read_text()


def test_an_alert_that_is_itself_broken_fails_nobody(workspace, caplog):
    assert alerts.alert("rejects_high", "too many", {}, {"ti": object()}) == {}
    assert "the alert rejects_high failed" in caplog.text


def test_importing_alerts_imports_neither_airflow_nor_requests():
    program = "import sys, dags.parts.alerts; sys.exit({'airflow', 'requests', 'numpy'} & set(sys.modules) != set())"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
