"""Airflow for tests within this process: a home of its own, and connections from the environment."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from alert_desk import a_mail_server, a_webhook

# Airflow reads these when it is first imported, and would write into the home of whoever runs the tests.
_HOME = tempfile.TemporaryDirectory(prefix="negawatt-airflow-")
os.environ.setdefault("AIRFLOW_HOME", _HOME.name)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault(
    "AIRFLOW__API_AUTH__JWT_SECRET", "a secret for the tokens of these tests, " + "long enough " * 4
)
os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(Path(__file__).resolve().parents[2] / "dags"))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The folder that Airflow's processes work in; no connection is declared."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(folder))
    for name in ("AIRFLOW_CONN_NEGAWATT_WEBHOOK", "AIRFLOW_CONN_NEGAWATT_SMTP", "AIRFLOW_VAR_NEGAWATT_ALERT_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def webhook(workspace, monkeypatch):
    """A webhook's server that is declared to Airflow."""
    with a_webhook() as desk:
        connection = desk.connection(password="a-token", extra={"path": "/hook", "headers": {"X-From": "negawatt"}})
        monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_WEBHOOK", json.dumps(connection))
        yield desk


@pytest.fixture
def mail_server(workspace, monkeypatch):
    """A mail server that is declared to Airflow, with two recipients."""
    with a_mail_server() as desk:
        monkeypatch.setenv("AIRFLOW_CONN_NEGAWATT_SMTP", json.dumps(desk.connection()))
        monkeypatch.setenv("AIRFLOW_VAR_NEGAWATT_ALERT_EMAIL", "ops@example.org, boss@example.org")
        yield desk


@pytest.fixture(scope="session")
def airflow_database():
    """Airflow's own database, with our pools."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    initdb()
    for name in ("spark", "chain"):
        Pool.create_or_update_pool(name, slots=1, description="", include_deferred=False)
