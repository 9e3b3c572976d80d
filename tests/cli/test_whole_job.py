"""The whole job with Spark and anvil, command by command and as the demonstration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack

NEGAWATT = Path(sys.executable).with_name("negawatt")
REAL_HOMES = Path(__file__).parents[2].parent / "shared" / "data" / "homes-hourly.csv.gz"


def negawatt(folder: Path, *words: object, exit_code: int = 0, **settings: str) -> dict:
    done = subprocess.run(
        [NEGAWATT, "-w", "workspace", *map(str, words), "--json"],
        cwd=folder,
        env=os.environ | {f"NEGAWATT_{name.upper()}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def test_the_job_command_by_command(tmp_path):
    made = negawatt(tmp_path, "simulate", "in", "--homes", 12, "--days", 32, "--interval", 15)
    negawatt(tmp_path, "ingest", "--resources", made["homes"], made["readings"])
    provisional = negawatt(tmp_path, "certify", "--provisional", made["event"])
    event = provisional["event"]
    negawatt(tmp_path, "ingest", made["late"])
    late = negawatt(tmp_path, "certify", "--provisional", event)
    certified = negawatt(tmp_path, "certify", event)
    assert {k: certified[k] for k in ("root", "payment", "reduction_wh")} == {
        k: late[k] for k in ("root", "payment", "reduction_wh")
    }, "batch and speed agree over the same readings"
    assert (late["job"], certified["job"]["rows"]) == (None, 12)
    announced = negawatt(tmp_path, "announce", event)
    assert [t["purpose"] for t in announced["transactions"]][-3:] == [
        "register 12 resources",
        f"issue event {event}",
        "opt in 12 resources",
    ]
    settled = negawatt(tmp_path, "settle", event, "--confirmations", 2)
    assert settled["transactions"][: len(announced["transactions"])] == announced["transactions"]
    assert [t["purpose"] for t in settled["transactions"][len(announced["transactions"]) :]] == [
        "certify 12 resources",
        f"finalise event {event}",
        "pay 12 resources",
        f"close event {event}",
    ]
    again = negawatt(tmp_path, "settle", event, "--confirmations", 0)
    assert again["transactions"] == settled["transactions"]
    checked = negawatt(tmp_path, "verify", event)
    assert checked["holds"] is True
    page = (tmp_path / negawatt(tmp_path, "report", event)["report"]).read_text()
    assert all(t["hash"] in page for t in settled["transactions"])

    published = tmp_path / certified["certificates_file"]
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(re.sub(rb'"payment":(\d)', rb'"payment":1\1', published.read_bytes()))
    assert negawatt(tmp_path, "verify", event, "--certificates", forged, exit_code=4)["holds"] is False


def test_a_settled_event_keeps_its_certificates_when_readings_change(tmp_path):
    made = negawatt(tmp_path, "simulate", "in", "--homes", 12, "--days", 32, "--interval", 30)
    negawatt(tmp_path, "ingest", "--resources", made["homes"], made["readings"])
    event = negawatt(tmp_path, "certify", made["event"], spark="none")["event"]
    negawatt(tmp_path, "settle", event, "--confirmations", 0)
    negawatt(tmp_path, "ingest", made["late"])
    assert "settled already" in negawatt(tmp_path, "certify", event, exit_code=1)["error"]
    rechecked = negawatt(tmp_path, "reconcile", "--settled", event, spark="none")
    assert (rechecked["unchanged"], rechecked["same_programme"]) == (False, True)
    assert rechecked["homes_changed"] > 0
    assert negawatt(tmp_path, "verify", event)["holds"] is True


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A folder in which the demonstration ran, and its one event."""
    folder = tmp_path_factory.mktemp("embedded")
    shown = negawatt(folder, "demo", "--homes", 10, "--days", 40, "--confirmations", 2)
    (event,) = shown["events"]
    return folder, event


def certificates(folder: Path, event: dict) -> bytes:
    return ((folder / event["report"]).parents[1] / "certificates" / f"{event['event']}.jsonl").read_bytes()


def test_the_demonstration_on_simulated_homes(embedded):
    folder, event = embedded
    assert event["homes"] == 10
    assert event["certified"] == 9  # one home has hardly any history
    assert event["findings"]["history.insufficient"] == 1
    assert event["payment"] > 0
    timing = event["timing"]
    assert timing["total_s"] == pytest.approx(
        timing["certification_s"] + timing["contract_s"] + timing["confirmation_s"], abs=0.02
    )
    assert "<svg" in (folder / event["report"]).read_text()


def test_over_kafka_and_hbase_the_demonstration_certifies_the_same(tmp_path, embedded):
    shown = negawatt(tmp_path, "demo", "--homes", 10, "--days", 40, "--confirmations", 1, "--stack")
    (event,) = shown["events"]
    assert certificates(tmp_path, event) == certificates(*embedded)
    assert certificates(tmp_path, event).count(b"\n") == 11


@pytest.mark.skipif(not REAL_HOMES.exists(), reason="the real homes' data is not beside this checkout")
def test_the_demonstration_on_real_homes(tmp_path):
    shown = negawatt(tmp_path, "demo", "--readings", REAL_HOMES, "--events", 2, "--confirmations", 1)
    assert (shown["ingest"]["rows"], shown["ingest"]["rejected"], shown["ingest"]["meters"]) == (87_600, 0, 10)
    assert [event["certified"] for event in shown["events"]] == [10, 10]
