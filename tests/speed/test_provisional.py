"""Provisional certificates, which of an event's certificates count, and how a workspace compares its two results."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders import a_plan, an_event, some_certificates, some_resources
from domain_builders import assert_equal_reductions
from terminal import Terminal

from domain.certificates import issue_certificates
from domain.certification import LoadBlock, certify
from domain.errors import InvalidEventError
from domain.readings import Readings, Register, make_readings
from negawatt import ingesting, pipeline
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole
from serving.published import published_certificates
from speed.provisional import certify_provisionally, reading_intervals
from speed.reconciliation import Source, keep, result_of
from speed.stores import open_speed_store

NEGAWATT = Path(sys.executable).with_name("negawatt")
EVENT, PLAN = an_event(), a_plan()


def readings_of(wh: int, in_event: int, homes: int = 3, revision: int = 0) -> Readings:
    """Readings of the first homes of `some_resources` at every slot of the plan."""
    meters = list(some_resources(homes))
    slots = np.unique(PLAN.slots)
    used = np.where(np.isin(slots, PLAN.slots[0, : PLAN.event_intervals]), in_event, wh)
    return make_readings(
        [meter for meter in meters for _ in slots],
        np.tile(slots, homes),
        np.tile(used, homes),
        interval_minutes=30,
        revision=revision,
    )


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Three homes that take part in an event; no readings."""
    place = Workspace(tmp_path)
    place.add_resources(some_resources(3).values())
    place.add_event(EVENT)
    return place


@pytest.fixture
def terminal(workspace) -> Terminal:
    return Terminal(workspace.folder)


def load_speed(workspace: Workspace, readings: Readings) -> None:
    with ingesting.live_consumer(workspace, Settings()) as consumer:
        consumer.consume(readings)
        consumer.flush()


def keep_batch(workspace: Workspace, in_event: int) -> None:
    """What `negawatt certify` leaves behind when the history shows this usage."""
    wh = np.full((3, *PLAN.slots.shape), 500, dtype=np.int32)
    wh[:, 0, : PLAN.event_intervals] = in_event
    resources = workspace.participants(EVENT)
    reductions = certify(PLAN, LoadBlock(np.array(sorted(resources), dtype=object), wh, None))
    certificates = issue_certificates(PLAN, reductions, resources, workspace.salt())
    write_whole(workspace.certificates("e1"), certificates.published())
    store = pipeline.speed_store(workspace, Settings())
    keep(store, result_of(PLAN, reductions, certificates, Source.BATCH, datetime.now(UTC)))
    store.close()


# --- from the store to certificates -------------------------------------------------------------------


def test_a_workspace_that_only_took_live_readings_certifies_provisionally(workspace):
    load_speed(workspace, readings_of(500, 200))
    certificates, reductions, _, job = pipeline.certify(workspace, Settings(), EVENT, provisional=True)
    assert reductions.reduction_wh.tolist() == [[300, 300]] * 3
    assert job is None
    path = workspace.certificates("e1", provisional=True)
    assert path.read_bytes() == certificates.published()


def test_without_any_readings_it_says_so(terminal):
    assert "holds: none" in terminal.run("certify", "--provisional", "e1", exit_code=1)


def test_the_intervals_of_a_speed_store_are_those_with_energy_from_the_grid():
    store = open_speed_store("duckdb://")
    assert reading_intervals(store) == []
    store.append(make_readings(["a"], [1], [1], interval_minutes=15))
    store.append(make_readings(["a"], [1], [1], interval_minutes=60))
    store.append(make_readings(["a"], [1], [1], interval_minutes=5, register=Register.EXPORT))
    store.read_slots(np.array([[7]]), 30)  # looked for, and not there
    assert reading_intervals(store) == [15, 60]
    store.close()


def test_participants_that_never_reported_are_certified_for_nothing():
    store = open_speed_store("duckdb://")
    store.append(readings_of(500, 200, homes=2))
    found = certify_provisionally(store, PLAN, some_resources(3))
    assert found.certified.tolist() == [True, True, False]
    assert_equal_reductions(found.take(found.certified), certify_provisionally(store, PLAN))
    store.close()


# --- which certificates count ---------------------------------------------------------------------------


def test_the_batch_certificates_count_as_soon_as_there_are_any(tmp_path):
    batch, provisional = tmp_path / "e1.jsonl", tmp_path / "provisional.jsonl"
    early, final = some_certificates(3, used_wh=400), some_certificates(3, used_wh=300)
    with pytest.raises(InvalidEventError, match=r"no published certificates .* run `negawatt certify e1` first"):
        published_certificates("e1", batch, provisional)
    provisional.write_bytes(early.published())
    found = published_certificates("e1", batch, provisional)
    assert (found.provisional, found.path, found.certificates) == (True, provisional, early)
    with pytest.raises(InvalidEventError, match="only provisional certificates"):
        published_certificates("e1", batch, provisional, final_only=True)
    batch.write_bytes(final.published())
    for final_only in (False, True):
        found = published_certificates("e1", batch, provisional, final_only=final_only)
        assert (found.provisional, found.path, found.certificates) == (False, batch, final)


def test_a_report_says_that_it_is_provisional_until_the_batch_layer_has_certified(workspace, terminal):
    load_speed(workspace, readings_of(500, 200))
    terminal.run("certify", "--provisional", "e1")
    page = Path(terminal.json("report", "e1")["report"])
    assert 'role="alert">Provisional:' in page.read_text()
    keep_batch(workspace, in_event=250)
    terminal.run("report", "e1")
    assert "Provisional:" not in page.read_text()


def test_provisional_certificates_settle_nothing(workspace, terminal):
    load_speed(workspace, readings_of(500, 200))
    terminal.run("certify", "--provisional", "e1")
    from negawatt.settling import read_certificates

    with pytest.raises(InvalidEventError, match="only provisional certificates"):
        read_certificates(workspace, EVENT)


# --- the comparison -------------------------------------------------------------------------------------


def test_a_workspace_compares_its_two_results(workspace, terminal):
    load_speed(workspace, readings_of(500, 200))
    terminal.run("certify", "--provisional", "e1")
    keep_batch(workspace, in_event=150)
    found = terminal.json("reconcile", "e1")
    assert (found["provisional"]["reduction_wh"], found["batch"]["reduction_wh"]) == (1800, 2100)
    assert found["reasons"]["revised"]["homes"] == 3
    assert found["reasons"]["revised"]["parts_wh"]["revised_wh"] == 300
    assert [len(change["intervals"]) for change in found["largest"]] == [2, 2, 2]
    said = terminal.run("reconcile", "e1", "--largest", "1")
    assert "revised: the same intervals were measured, with other energy" in said
    assert said.count("home-") == 1


def test_one_result_alone_is_shown_and_the_other_asked_for(workspace, terminal):
    load_speed(workspace, readings_of(500, 200))
    assert "no result to compare" in terminal.run("reconcile", "e1", exit_code=1)
    terminal.run("certify", "--provisional", "e1")
    said = terminal.run("reconcile", "e1")
    assert "no batch result to compare with: `negawatt certify e1` makes one" in said


# --- for real -------------------------------------------------------------------------------------------


def negawatt(folder: Path, *words: object) -> dict:
    done = subprocess.run(
        [NEGAWATT, "-w", "workspace", *map(str, words), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.stack
def test_what_late_readings_changed_is_told_and_a_busy_speed_store_only_delays_it(tmp_path):
    made = negawatt(tmp_path, "simulate", "in", "--homes", 40, "--days", 32, "--interval", 30)
    negawatt(tmp_path, "ingest", "--resources", made["homes"], made["readings"])
    early = negawatt(tmp_path, "certify", "--provisional", made["event"])
    event = early["event"]
    negawatt(tmp_path, "ingest", made["late"])
    # A worker that has the DuckDB file open.
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    busy = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "workspace" / "speed.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        busy.stdout.readline()
        final = negawatt(tmp_path, "certify", event)
        waiting = tmp_path / "workspace" / "certificates" / "waiting" / f"{event}.batch.arrows"
        assert waiting.exists()
    finally:
        busy.communicate(timeout=30)
    found = negawatt(tmp_path, "reconcile", event, "--largest", 40)
    assert not waiting.exists()
    for name, summary in (("provisional", early), ("batch", final)):
        assert found[name]["counted_wh"] == summary["reduction_wh"]
        assert found[name]["payment"] == summary["payment"]
        assert (found[name]["homes"], found[name]["certified"]) == (40, summary["certified"])
    change = sum(facts["change_wh"] for facts in found["reasons"].values())
    assert change == found["batch"]["reduction_wh"] - found["provisional"]["reduction_wh"]
    changed = set(found["reasons"]) - {"unchanged"}
    assert changed, "late readings are meant to change something"
    assert changed <= {"late", "history", "findings", "payment"}  # they came late, to the event or to days before it
    published = [
        json.loads(line) for line in Path(tmp_path / final["certificates_file"]).read_text().splitlines()[1:]
    ]
    assert sum(c["total_reduction_wh"] for c in published) == found["batch"]["reduction_wh"]
