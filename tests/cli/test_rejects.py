"""What was refused in a time is counted where it is kept: in files of rejects, and on the bus."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from terminal import Terminal

from domain.readings import make_readings
from ingest.bus import BusError
from ingest.messages import encode
from ingest.rejects import Code, Reject, RejectsFile
from negawatt.rejects import rejected_between
from negawatt.settings import Settings
from negawatt.workspace import Workspace

UNTIL = datetime(2025, 6, 12, 2, 30, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=1)
NUMBERS = count()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def rejects(workspace: Workspace, name: str, *codes: Code, written: datetime = SINCE) -> Path:
    """A file of rejects, as an import leaves it."""
    path = workspace.rejects(name)
    with RejectsFile(path) as file:
        file.add(
            Reject(f"{name}.csv", line, "home-1", "yesterday,\nlate", "x", code, "why")
            for line, code in enumerate(codes)
        )
    os.utime(path, (written.timestamp(),) * 2)
    return path


def of_the_day(workspace: Workspace, **settings: str) -> dict:
    found = rejected_between(workspace, Settings(**settings), SINCE, UNTIL)
    assert json.loads(json.dumps(found)) == found
    return found


def test_a_workspace_without_imports_has_no_rejects(workspace):
    assert of_the_day(workspace) == {
        "since": "2025-06-11T02:30:00+00:00",
        "until": "2025-06-12T02:30:00+00:00",
        "rows": 0,
        "messages": 0,
        "by_code": {},
        "files": [],
    }


def test_rows_are_counted_by_their_reason_over_all_files(workspace):
    first = rejects(workspace, "meters", Code.TIME_NAIVE, Code.ENERGY_NEGATIVE, Code.TIME_NAIVE)
    second = rejects(workspace, "more", Code.TIME_NAIVE, written=UNTIL - timedelta(seconds=1))
    rejects(workspace, "fine")
    found = of_the_day(workspace)
    assert (found["rows"], found["messages"]) == (4, 0)
    assert found["by_code"] == {"energy.negative": 1, "time.naive": 3}
    assert found["files"] == [str(first), str(second)]


def test_a_file_belongs_to_the_time_in_which_it_was_written_and_to_no_other(workspace):
    rejects(workspace, "before", Code.TIME_NAIVE, written=SINCE - timedelta(seconds=1))
    rejects(workspace, "within", Code.ENERGY_ABSURD, written=SINCE)
    rejects(workspace, "after", Code.TIME_FUTURE, written=UNTIL)
    days = [
        rejected_between(workspace, Settings(), SINCE + n * timedelta(days=1), UNTIL + n * timedelta(days=1))
        for n in (-1, 0, 1)
    ]
    assert [day["by_code"] for day in days] == [{"time.naive": 1}, {"energy.absurd": 1}, {"time.future": 1}]


def test_rejects_of_an_import_under_way_do_not_count_yet(workspace):
    with RejectsFile(workspace.rejects("meters")) as file:
        file.add([Reject("meters.csv", 2, "home-1", "", "", Code.TIME_NAIVE, "why")])
        assert rejected_between(workspace, Settings(), SINCE, datetime.max.replace(tzinfo=UTC))["rows"] == 0


def test_what_an_import_says_that_it_refused_is_what_is_counted(workspace, tmp_path):
    lines = ["meter,interval_start,import_wh", "a,2025-06-11T08:00Z,1", "a,2025-06-11T08:30Z,-1", "a,yesterday,1"]
    (tmp_path / "meters.csv").write_text("\n".join(lines) + "\n")
    began = datetime.now(UTC) - timedelta(seconds=1)
    said = Terminal(workspace.folder).json("ingest", tmp_path / "meters.csv", "--max-rejects", 100)
    found = rejected_between(workspace, Settings(), began, datetime.now(UTC) + timedelta(seconds=1))
    assert (found["rows"], found["by_code"]) == (said["rejected"], said["rejected_by_code"])
    assert found["rows"] == 2
    assert found["files"] == [said["rejects_file"]]


def test_a_bus_that_is_no_address_is_said(workspace):
    with pytest.raises(BusError, match="expected kafka://HOST:PORT"):
        of_the_day(workspace, bus="kafka://nowhere")


@pytest.mark.stack
def test_a_message_that_workers_put_aside_counts_once_in_its_time(workspace, kafka):
    from ingest.kafka_delivery import read_rejected
    from ingest.kafka_producer import Sender
    from ingest.kafka_topics import READINGS, Place, ensure_topics
    from ingest.kafka_worker import consume

    class Nobody:
        def consume(self, readings) -> None: ...

        def flush(self) -> None: ...

    url = f"{kafka.url}/rejects-{next(NUMBERS)}"
    place = Place.of(url)
    began = datetime.now(UTC) - timedelta(seconds=1)
    assert rejected_between(workspace, Settings(bus=url), began, began + timedelta(hours=1))["messages"] == 0
    ensure_topics(place)
    with contextlib.closing(Sender(place.address)) as sender:
        for value in (b"no readings", encode(make_readings(["m"], [1], [1]))):
            sender.send(place.topic(READINGS), value)
        sender.flush()
    for group in ("batch", "speed"):  # each worker puts it aside
        consume(url, group, Nobody(), lambda: False, until_idle=True)
    (put_aside,) = read_rejected(place)
    now = datetime.now(UTC) + timedelta(seconds=1)
    found = rejected_between(workspace, Settings(bus=url), began, now)
    assert (found["rows"], found["messages"], found["by_code"]) == (0, 1, {put_aside.fault: 1})
    assert rejected_between(workspace, Settings(bus=url), now, now + timedelta(days=1))["messages"] == 0
