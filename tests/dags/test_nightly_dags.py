"""What runs every night or week: as its command does, for the day that is due, again without a change."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from builders import an_event, some_resources
from dag_desk import alerts, answer, kept, negawatt, run_dag, states
from stores import Row, a_batch, whole

from batch.stores import BatchStore
from domain.events import DREvent
from domain.intervals import slot_of
from negawatt import pipeline
from negawatt.ingesting import layers
from negawatt.settings import load_settings
from negawatt.vee_plan import edit_log
from negawatt.workspace import Workspace, write_whole

pytestmark = pytest.mark.stack

SEOUL = ZoneInfo("Asia/Seoul")
EVENT = an_event()  # on the 11th, from 17:00 to 18:00 in Seoul
FIRST, DAY = datetime(2025, 4, 1, tzinfo=UTC), date(2025, 6, 12)
HOMES = list(some_resources(4))
END = slot_of(datetime(2025, 6, 12, 15, tzinfo=UTC), 30)
"""Midnight after `DAY` in Seoul: readings end here."""
ALL_SLOTS = np.arange(slot_of(FIRST, 30), END)[None, :]
DUE = datetime(2025, 6, 13, 2, 30, tzinfo=SEOUL)


def usual(slot: int) -> int:
    """What a home uses in a half-hour: the same on all days, ever more from midnight to midnight (UTC). [Wh]"""
    return 300 + 10 * (slot % 48)


def at(hour: int, day: int = 12) -> int:
    """The half-hour that starts at an hour of June 2025. [UTC]"""
    return slot_of(datetime(2025, 6, day, hour, tzinfo=UTC), 30)


MISSING = {(HOMES[0], at(20, 11) + n) for n in range(2)} | {(HOMES[1], at(2) + n) for n in range(6)}
"""An hour and three hours of `DAY`."""
TOO_MUCH = HOMES[2], at(10)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Ten weeks of four homes in both layers, an event in which each used 600 Wh less, and a day with holes."""
    place = Workspace(tmp_path_factory.mktemp("nightly") / "workspace")
    place.add_resources(some_resources(4).values())
    place.add_event(EVENT)
    (place.folder / "negawatt.toml").write_text('zone = "Asia/Seoul"\nspark = "local[2]"\nbuckets = 2\n')
    of_event = range(slot_of(EVENT.start, 30), slot_of(EVENT.end, 30))
    rows = [
        Row(home, slot, 20_000 if (home, slot) == TOO_MUCH else usual(slot) - 300 * (slot in of_event))
        for home in HOMES
        for slot in range(slot_of(FIRST, 30), END)
        if (home, slot) not in MISSING
    ]
    with layers(place, load_settings(place.settings_file)) as (publish, _):
        publish(a_batch(rows, 30))
    return place.folder


@pytest.fixture
def place(prepared, tmp_path, monkeypatch, airflow_database):
    """That workspace, for one test."""
    folder = tmp_path / "workspace"
    shutil.copytree(prepared, folder)
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(folder))
    return folder


def twin(place: Path) -> Path:
    """A copy, to run commands in."""
    return Path(shutil.copytree(place, place.parent / "twin"))


def batch_store(place: Path) -> BatchStore:
    workspace = Workspace(place)
    return pipeline.batch_store(workspace, load_settings(workspace.settings_file))


def readings(place: Path) -> dict[str, Any]:
    """All that both layers hold: of the batch layer Wh and what is estimated, of the speed layer the rows."""
    block = whole(batch_store(place), ALL_SLOTS, 30)
    workspace = Workspace(place)
    with contextlib.closing(pipeline.speed_store(workspace, load_settings(workspace.settings_file))) as speed:
        rows = speed.query("SELECT * FROM import_30 ORDER BY meter, interval_start").to_pylist()
    assert block.estimated is None or block.estimated.shape == block.wh.shape
    estimated = [] if block.estimated is None else block.estimated.tolist()
    return {"meters": block.meters.tolist(), "wh": block.wh.tolist(), "estimated": estimated, "speed": rows}


def edits(place: Path) -> list[dict[str, Any]]:
    """The log of edits, without when they were made."""
    log = edit_log(Workspace(place)).read(slot_of(FIRST, 30), END, 30)
    return log.drop_columns(["at"]).to_pylist()


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    """What a step or a command says, but for how long it took and the folder it worked in."""
    return {name: value for name, value in document.items() if name not in ("seconds", "logs", "file", "store")}


# --- ingest_quality ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "by_form"), [(DAY, False), (DAY - timedelta(days=9), False), (DAY, True)])
def test_a_day_is_completed_and_counted_as_by_the_commands(place, day, by_form):
    here = twin(place)
    due = datetime(day.year, day.month, day.day, 2, 30, tzinfo=SEOUL) + timedelta(days=1)
    run = run_dag("ingest_quality", day=day.isoformat()) if by_form else run_dag("ingest_quality", due=due)
    assert states(run) == {"vee": "success", "completeness": "success"}
    vee = negawatt(here, "vee", "--day", day, "--zone", "Asia/Seoul", "--by", "airflow")
    counted = negawatt(here, "quality", day, "--zone", "Asia/Seoul")

    assert timeless(answer(run, "vee")) == timeless(vee)
    assert vee["first"] == datetime(day.year, day.month, day.day, tzinfo=SEOUL).astimezone(UTC).isoformat()
    found = answer(run, "completeness")
    assert {name: found[name] for name in counted["all"]} == counted["all"]
    assert kept(place, "quality") == kept(here, "quality")
    assert list(kept(place, "quality")) == [f"quality/{day}.parquet"]
    assert edits(place) == edits(here)
    assert readings(place) == readings(here)
    assert alerts(place) == []


def test_what_is_missing_or_wrong_becomes_what_the_home_usually_uses(place):
    run = run_dag("ingest_quality", due=DUE)
    found = answer(run, "vee")
    assert found["edits_by_reason"] == {"gap.missing": 8, "limit.exceeded": 1}
    assert found["edits_by_method"] == {"linear": 3, "like-days": 6}
    assert {(row["meter"], row["slot"]) for row in edits(place)} == MISSING | {TOO_MUCH}
    assert {row["by"] for row in edits(place)} == {"airflow"}
    day = range(END - 48, END)
    stored = whole(batch_store(place), np.array([day]), 30)
    assert stored.wh.tolist() == [[[usual(slot) for slot in day]]] * len(HOMES)
    counted = answer(run, "completeness")
    assert (counted["expected"], counted["actual"], counted["estimated"], counted["missing"]) == (192, 183, 9, 0)
    assert (counted["actual_pct"], counted["complete_pct"]) == (95.31, 100)  # 183 and 192 of 192


def test_a_day_that_is_checked_again_stays_as_it_is(place):
    run_dag("ingest_quality", due=DUE)
    files, stored = kept(place, "quality", "vee", "store", "rejects"), readings(place)
    again = run_dag("ingest_quality", due=DUE)
    assert (answer(again, "vee")["edits"], answer(again, "vee")["estimated_before"]) == (0, 9)
    assert kept(place, "quality", "vee", "store", "rejects") == files
    assert readings(place) == stored
    assert alerts(place) == []


def test_a_spark_job_completes_a_day_as_this_process_does(place, spark):
    here = twin(place)
    assert run_dag("ingest_quality", due=DUE, on_spark=True).state == "success"
    negawatt(here, "vee", "--day", DAY, "--zone", "Asia/Seoul", "--by", "airflow")
    assert edits(place) == edits(here)
    assert readings(place) == readings(here)


def test_low_completeness_is_told_with_the_meters_that_lack_most(place):
    run_dag("ingest_quality", due=DUE, complete_pct=95.31)
    assert alerts(place) == []
    run_dag("ingest_quality", due=DUE, complete_pct=95.32)
    (told,) = alerts(place)
    assert (told["kind"], told["dag"], told["task"]) == ("completeness_low", "ingest_quality", "completeness")
    assert told["text"] == "95.31 % of the readings of 2025-06-12 are in, 9 were estimated"
    assert told["facts"]["worst"] == [HOMES[1], HOMES[0], HOMES[2]]  # 6, 2 and 1 estimates
    assert Path(told["facts"]["file"]).exists()
    run_dag("ingest_quality", due=DUE, complete_pct=95.32)
    assert len(alerts(place)) == 1, "the same run tells it once"


def test_rejects_are_told_by_the_run_of_the_day_in_which_they_came_and_by_no_other(place, tmp_path):
    rows = [f"{HOMES[0]},2025-06-12T{clock}Z,{usual(at(1))}" for clock in ("01:00", "01:30")]
    rows += [f"{HOMES[0]},2025-06-12T{hour:02d}:00Z,-1" for hour in range(2, 5)]
    (tmp_path / "late.csv").write_text("\n".join(["meter,interval_start,import_wh", *rows]) + "\n")
    assert negawatt(place, "ingest", tmp_path / "late.csv", "--max-rejects", 100)["rejected"] == 3
    day = DAY.isoformat()
    assert answer(run_dag("ingest_quality", due=DUE), "completeness")["rejected"]["rows"] == 0
    run_dag("ingest_quality", day=day, rejects_pct=1.6)  # 3 of 192 are 1.5625 %
    assert alerts(place) == []
    run_dag("ingest_quality", day=day, rejects_pct=1.5)
    (told,) = alerts(place)
    assert (told["kind"], told["text"]) == ("rejects_high", "3 rows and 0 messages were refused in a day")
    assert told["facts"]["by_code"] == {"energy.negative": 3}
    assert told["facts"]["files"] == [str(place / "rejects" / "late.csv")]


def test_a_day_that_is_not_over_is_refused_at_once_with_the_reason(place):
    run = run_dag("ingest_quality", day="2999-01-01")
    assert states(run) == {"vee": "failed", "completeness": "upstream_failed"}
    (told,) = alerts(place)
    assert (told["kind"], told["task"]) == ("task_failed", "vee")
    assert "2999-01-01 is not over in Asia/Seoul" in told["text"]
    assert kept(place, "quality", "vee") == {}


def test_rules_that_cannot_be_fail_the_run_with_what_is_wrong_in_them(place):
    (place / "vee.toml").write_text('id = "mine"\n')
    before = readings(place)
    assert states(run_dag("ingest_quality", due=DUE)) == {"vee": "failed", "completeness": "upstream_failed"}
    (told,) = alerts(place)
    assert "VEE rules: clock: missing" in told["text"]
    assert readings(place) == before


# --- compaction --------------------------------------------------------------------------------------------


def data_files(place: Path) -> list[bytes]:
    return sorted(data for name, data in kept(place, "store").items() if name.endswith(".parquet"))


def test_what_came_in_pieces_is_packed_as_by_the_command_and_only_once(place):
    for slot in range(END, END + 3):
        batch_store(place).append([a_batch([Row(home, slot, usual(slot)) for home in HOMES], 30)])
    here, before = twin(place), readings(place)
    done = answer(run_dag("compaction", due=DUE), "compact")
    assert done["day"] == "2025-06-11", "the day before in UTC: in Seoul it is the 13th, and the 12th isn't over"
    assert done["folded"] == negawatt(here, "compact", "--day", "2025-06-11")["folded"] > 0
    assert data_files(place) == data_files(here)
    assert readings(place) == before
    files = kept(place, "store")
    assert answer(run_dag("compaction", day="2025-06-10"), "compact") == {"day": "2025-06-10", "folded": 0}
    assert kept(place, "store") == files


# --- reconciliation ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled(prepared, tmp_path_factory, spark):
    """The workspace once its event is settled, as far as files go: each home saved 600 Wh."""
    place = Workspace(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("settled") / "workspace")))
    done = pipeline.certify(place, load_settings(place.settings_file), EVENT, session=spark)
    assert done.certificates.total_reduction_wh == 4 * 600
    write_whole(place.committed(EVENT.id), done.certificates.tree.root.hex().encode())
    return place.folder


@pytest.fixture
def settled_place(settled, tmp_path, monkeypatch, airflow_database):
    """That workspace, for one test."""
    folder = tmp_path / "workspace"
    shutil.copytree(settled, folder)
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(folder))
    return folder


def late_reading(place: Path, wh_less: int, revision: int, event: DREvent = EVENT) -> None:
    """One home used less in an event's first half-hour than was known."""
    slot = slot_of(event.start, 30)
    batch_store(place).append([a_batch([Row(HOMES[1], slot, usual(slot) - 300 - wh_less, revision=revision)], 30)])


def test_late_readings_are_told_once_and_nothing_that_is_settled_changes(settled_place, spark):
    place, published = settled_place, kept(settled_place, "certificates", "settlements")
    calm = run_dag("reconciliation", due=DUE)
    assert answer(calm, "recheck/0")["unchanged"]
    assert alerts(place) == []

    late_reading(place, 50, revision=1)
    for night in range(1, 3):
        run = run_dag("reconciliation", due=DUE + timedelta(days=night))
        assert run.state == "success"
        assert (answer(run, "recheck/0")["event"], answer(run, "recheck/0")["homes_changed"]) == ("e1", 1)
    (told,) = alerts(place)
    assert told["kind"] == "readings_changed"
    assert told["text"] == "Event e1: readings since its settlement change 1 homes"
    # 50 Wh at 1,300.00 a kWh, and as much less short of 800 Wh at 300.00 a kWh: 65.00 and 15.00
    assert told["facts"]["change"] == {"certified": 0, "reduction_wh": 50, "net_wh": 50, "payment": 8_000}
    assert told["facts"]["payments_changed"] == 1

    by_dag = kept(place, "reconciliation")
    assert sorted(by_dag) == ["reconciliation/e1.csv", "reconciliation/e1.json"]
    shutil.rmtree(place / "reconciliation")
    negawatt(place, "reconcile", "e1", "--settled")
    assert kept(place, "reconciliation") == by_dag

    late_reading(place, 60, revision=2)
    run_dag("reconciliation", due=DUE + timedelta(days=3))
    assert [one["facts"]["change"]["reduction_wh"] for one in alerts(place)] == [50, 60]
    assert kept(place, "certificates", "settlements") == published


def test_only_events_of_the_last_weeks_are_worked_out_again(settled_place):
    weeks_later = datetime(2025, 7, 16, 18, tzinfo=SEOUL)  # 35 days after the end of the event
    assert states(run_dag("reconciliation", due=weeks_later + timedelta(seconds=1)))["events"] == "skipped"
    assert not (settled_place / "reconciliation").exists()
    assert answer(run_dag("reconciliation", due=weeks_later), "events") == ["e1"]
    assert states(run_dag("reconciliation", due=DUE, days=1))["events"] == "skipped"


def test_an_event_that_cannot_be_worked_out_fails_the_run_and_not_the_others(settled_place):
    place = Workspace(settled_place)
    place.add_event(an_event("damaged", EVENT.start - timedelta(days=7)))
    write_whole(place.committed("damaged"), b"00")
    late_reading(settled_place, 50, revision=1)
    run = run_dag("reconciliation", due=DUE)
    assert run.state == "failed"
    assert states(run) == {"events": "success", "recheck/0": "failed", "recheck/1": "success"}
    told = {alert["kind"]: alert["text"] for alert in alerts(settled_place)}
    assert set(told) == {"readings_changed", "task_failed"}
    assert "e1" in told["readings_changed"]
    assert "damaged" in told["task_failed"]


# --- baseline_screening ------------------------------------------------------------------------------------


def test_homes_are_screened_as_by_the_command_and_again_the_same(place, spark):
    here = twin(place)
    run = run_dag("baseline_screening", due=DUE)
    assert states(run) == {"programmes": "success", "screen/0": "success"}
    said = negawatt(here, "screen", EVENT.programme)
    found = answer(run, "screen/0")
    assert {**found, "file": None} == {name: said.get(name) for name in found} | {"file": None}
    assert (found["resources"], found["own_fits"], found["fits"]) == (4, 4, 4), "every day is like every other"
    files = kept(place, "screening")
    assert files == kept(here, "screening")
    assert list(files) == [f"screening/{EVENT.programme}/2025-06-12-weekday.parquet"]
    assert Path(found["file"]) == place / next(iter(files))
    run_dag("baseline_screening", due=DUE + timedelta(days=7), on_spark=False)
    assert kept(place, "screening") == files


def test_a_week_of_the_past_is_screened_as_of_its_monday(place):
    here = twin(place)
    run_dag("baseline_screening", due=datetime(2025, 6, 2, 4, tzinfo=SEOUL), on_spark=False)
    negawatt(here, "screen", EVENT.programme, "--day", "2025-06-01")
    assert list(kept(place, "screening")) == [f"screening/{EVENT.programme}/2025-06-01-weekday.parquet"]
    assert kept(place, "screening") == kept(here, "screening")


def test_the_form_names_a_programme_and_a_last_day(place):
    here = twin(place)
    run = run_dag("baseline_screening", programme="pjm-high-4-of-5", last_day="2025-06-08", on_spark=False)
    said = negawatt(here, "screen", "pjm-high-4-of-5", "--day", "2025-06-08")
    assert answer(run, "screen/0")["proxy_days"] == said["proxy_days"]
    assert kept(place, "screening") == kept(here, "screening")


def test_without_events_there_is_nothing_to_screen(place, capfd):
    shutil.rmtree(place / "events")
    run = run_dag("baseline_screening", due=DUE)
    assert run.state == "success"
    assert set(states(run).values()) == {"skipped"}
    assert "the workspace has no events, and the form names no programme" in "".join(capfd.readouterr())


def test_an_unknown_programme_fails_with_those_that_there_are(place):
    run = run_dag("baseline_screening", programme="nobody's", on_spark=False)
    assert states(run)["screen/0"] == "failed"
    (told,) = alerts(place)
    assert "nobody's" in told["text"]
    assert "kpx-max-4-of-5" in told["text"]
    assert told["facts"]["map index"] == 0


# --- housekeeping ------------------------------------------------------------------------------------------


def test_old_readings_are_rolled_up_and_dropped_as_by_the_command_and_drafts_go(place):
    here, long_ago = twin(place), DUE - timedelta(days=3)
    for name in ("certificates/.e1.jsonl.0a1b.tmp", "spool/rows.bin"):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        os.utime(path, (long_ago.timestamp(),) * 2)
    stored, files = readings(place)["wh"], kept(place, "store", "events")
    run = run_dag("housekeeping")
    assert states(run) == {"retention": "success", "tidy": "success", "logs": "success"}
    found = answer(run, "retention")
    assert found == negawatt(here, "retention")
    (imported,) = (row for row in found["registers"] if row["register"] == "import")
    days = (date(2025, 6, 12) - FIRST.date()).days + 1
    assert (imported["rolled_days"], imported["dropped_days"]) == (days, days)
    assert imported["dropped_readings"] == 4 * (END - slot_of(FIRST, 30)) - len(MISSING)
    assert (answer(run, "tidy")["drafts"], answer(run, "tidy")["spools"]) == (1, 1)
    assert not (place / "certificates" / ".e1.jsonl.0a1b.tmp").exists()

    again = run_dag("housekeeping")
    assert answer(again, "retention")["registers"] == [], "no readings are left in the speed store"
    assert (answer(again, "tidy")["drafts"], answer(again, "tidy")["spools"]) == (0, 0)
    assert kept(place, "store", "events") == files
    assert whole(batch_store(place), ALL_SLOTS, 30).wh.tolist() == stored


def test_logs_go_after_so_many_days_and_the_folders_that_are_empty_then(place, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    for name, days in (("dag_id=a/run_id=1/attempt=1.log", 8), ("dag_id=a/run_id=2/attempt=1.log", 6)):
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True)
        path.write_text("said")
        os.utime(path, (datetime.now(UTC).timestamp() - days * 86_400,) * 2)
    found = answer(run_dag("housekeeping", log_days=7), "logs")
    assert found == {"logs": 1, "bytes": 4}
    left = {str(path.relative_to(tmp_path / "logs")) for path in (tmp_path / "logs").rglob("*")}
    assert left >= {"dag_id=a/run_id=2/attempt=1.log"}
    assert "dag_id=a/run_id=1" not in left


def test_a_night_of_the_past_drops_what_was_old_by_then(place):
    here = twin(place)
    found = answer(run_dag("housekeeping", due=datetime(2025, 7, 10, 6, tzinfo=SEOUL)), "retention")
    assert found == negawatt(here, "retention", "--at", "2025-07-09T21:00Z")
    (imported,) = (row for row in found["registers"] if row["register"] == "import")
    # 92 days before 9 July is 8 April: of April the first 7 days are older
    assert (found["today"], imported["dropped_days"]) == ("2025-07-09", 7)


def test_baselines_keep_their_days_and_the_run_says_why_it_failed(place):
    with (place / "negawatt.toml").open("a") as settings:
        settings.write("retention_days = 10\n")
    before = readings(place)
    run = run_dag("housekeeping")
    assert states(run) == {"retention": "failed", "tidy": "success", "logs": "success"}
    (told,) = alerts(place)
    assert "retention_days is 10: baselines of this workspace's events look back" in told["text"]
    assert readings(place) == before
