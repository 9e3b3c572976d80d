"""A settled event worked out again: what late and corrected readings would change, and that nothing is."""

from __future__ import annotations

import csv
import json
from datetime import timedelta

import numpy as np
import pytest
from builders import PROGRAMMES, a_plan, an_event, some_certificates, some_resources
from stores import ESTIMATED, Row, a_batch
from terminal import Terminal

from domain.errors import InvalidEventError, NotSettledError, VerificationError
from negawatt import pipeline
from negawatt.reconciling import COLUMNS, recheck, settled_events
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole

EVENT, PLAN = an_event(), a_plan()  # an hour in two intervals
OF_EVENT = PLAN.slots[0, : PLAN.event_intervals].tolist()
SETTINGS = Settings()
HOMES = list(some_resources(4))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Four homes that used 500 Wh an interval always, but 200 Wh in the event, one of them by an estimate."""
    place = Workspace(tmp_path)
    place.add_resources(some_resources(4).values())
    place.add_event(EVENT)
    rows = [
        Row(home, slot, 200 if slot in OF_EVENT else 500)
        for home in HOMES
        for slot in np.unique(PLAN.slots).tolist()
        if (home, slot) != (HOMES[3], OF_EVENT[0])
    ]
    store(place, *rows, Row(HOMES[3], OF_EVENT[0], 200, ESTIMATED))
    return place


def store(workspace: Workspace, *rows: Row) -> None:
    pipeline.batch_store(workspace, SETTINGS).append([a_batch(rows, 30)])


def settle(workspace: Workspace, root: bytes) -> None:
    """What settlement leaves behind before it sends anything: from then on certificates are fixed."""
    write_whole(workspace.committed("e1"), root.hex().encode())


@pytest.fixture
def settled(workspace, spark) -> Workspace:
    certified = pipeline.certify(workspace, SETTINGS, EVENT, session=spark)
    settle(workspace, certified.certificates.tree.root)
    return workspace


def correct(workspace: Workspace) -> None:
    """One home used 50 Wh less in each interval of the event, another 100 Wh more; an estimate was right."""
    store(
        workspace,
        *(Row(HOMES[1], slot, 150, revision=1) for slot in OF_EVENT),
        *(Row(HOMES[2], slot, 300, revision=1) for slot in OF_EVENT),
        Row(HOMES[3], OF_EVENT[0], 200),
    )


def rows_of(workspace: Workspace) -> list[dict[str, str]]:
    with workspace.recheck("e1").with_suffix(".csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.stack
def test_the_same_readings_are_said_to_change_nothing(settled, spark):
    found = recheck(settled, SETTINGS, EVENT, session=spark)
    assert (found["unchanged"], found["same_programme"], found["homes_changed"]) == (True, True, 0)
    assert found["settled"] == found["recomputed"]
    # 4 x 600 Wh at 1,300.00 a kWh, each 200 Wh short of 80 % of 1 kWh at 300.00 a kWh: 4 x 720.00
    assert (found["settled"]["reduction_wh"], found["settled"]["payment"]) == (2400, 288_000)
    assert json.loads(settled.recheck("e1").read_text()) == found
    assert rows_of(settled) == []


@pytest.mark.stack
def test_corrected_readings_are_told_home_by_home_and_nothing_is_published(settled, spark):
    published = settled.certificates("e1").read_bytes()
    kept = results(settled)
    correct(settled)
    found = recheck(settled, SETTINGS, EVENT, session=spark)
    assert (found["unchanged"], found["homes_changed"], found["payments_changed"]) == (False, 3, 2)
    assert found["settled"]["root"] != found["recomputed"]["root"]
    # 700 Wh: 910.00 less 100 Wh at 300.00, 880.00 instead of 720.00. 400 Wh: 520.00 less 120.00, 400.00.
    assert found["change"] == {"certified": 0, "reduction_wh": -100, "net_wh": -100, "payment": -16_000}
    assert [
        (row["meter"], row["settled_reduction_wh"], row["change_wh"], row["settled_payment"], row["change_payment"])
        for row in found["largest"]
    ] == [
        (HOMES[2], 600, -200, 72_000, -32_000),
        (HOMES[1], 600, 100, 72_000, 16_000),
        (HOMES[3], 600, 0, 72_000, 0),
    ]
    assert found["largest"][2]["differs"] == ["findings"]
    rows = rows_of(settled)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["meter"], row["recomputed_payment"], row["change_payment"]) for row in rows] == [
        (HOMES[2], "40000", "-32000"),
        (HOMES[1], "88000", "16000"),
        (HOMES[3], "72000", "0"),
    ]
    assert settled.certificates("e1").read_bytes() == published
    assert results(settled) == kept, "the results that are compared in the speed store stay as they were"
    with pytest.raises(InvalidEventError, match="settled already"):
        pipeline.certify(settled, SETTINGS, EVENT, session=spark)


def results(workspace: Workspace) -> list[dict]:
    speed = pipeline.speed_store(workspace, SETTINGS)
    try:
        return speed.query("SELECT * FROM certified ORDER BY meter, source").to_pylist()
    finally:
        speed.close()


@pytest.mark.stack
def test_doing_it_again_writes_the_same_bytes_and_a_taken_back_correction_leaves_nothing_behind(settled, spark):
    correct(settled)
    files = settled.recheck("e1"), settled.recheck("e1").with_suffix(".csv")
    recheck(settled, SETTINGS, EVENT, session=spark)
    first = [file.read_bytes() for file in files]
    recheck(settled, SETTINGS, EVENT, session=spark)
    assert [file.read_bytes() for file in files] == first
    back = [Row(home, slot, 200, revision=2) for home in HOMES[1:3] for slot in OF_EVENT]
    store(settled, *back, Row(HOMES[3], OF_EVENT[0], 200, ESTIMATED, revision=1))
    assert recheck(settled, SETTINGS, EVENT, session=spark)["unchanged"] is True
    assert rows_of(settled) == []


@pytest.mark.stack
def test_a_home_that_loses_its_certificate_changes_by_all_of_it(settled, spark):
    # Another event on days of the history would leave too few of them; that is no reading, and counts as well.
    for day in range(1, 31):
        settled.add_event(an_event(f"day-{day}", EVENT.start - timedelta(days=day)))
    found = recheck(settled, SETTINGS, EVENT, largest=1, session=spark)
    assert (found["homes_changed"], len(found["largest"])) == (4, 1)
    assert found["change"] == {"certified": -4, "reduction_wh": -2400, "net_wh": -2400, "payment": -288_000}
    row = found["largest"][0]
    assert (row["settled_status"], row["recomputed_status"]) == ("certified", "not-certified")


@pytest.mark.stack
def test_other_rules_are_told_apart_from_other_readings(settled, spark):
    text = (PROGRAMMES / "kpx-max-4-of-5.toml").read_text().replace('"1300"', '"1400"')
    write_whole(settled.folder / "programmes" / "kpx-max-4-of-5.toml", text.encode())
    found = recheck(settled, SETTINGS, EVENT, session=spark)
    # 600 Wh at 100.00 a kWh more
    assert (found["same_programme"], found["change"]["payment"]) == (False, 4 * 6_000)


@pytest.mark.stack
def test_the_command_shows_it(settled, spark):
    correct(settled)
    terminal, words = Terminal(settled.folder), ("reconcile", "e1", "--settled")
    shown = terminal.run(*words)
    assert "3 homes changed, 2 of them by their payment" in shown
    assert "-160.00 DRC" in shown
    said = terminal.json(*words, "--largest", 1)
    assert [row["meter"] for row in said["largest"]] == [HOMES[2]]
    assert json.loads(settled.recheck("e1").read_text()) == said


def test_an_event_that_is_not_settled_is_refused(workspace):
    with pytest.raises(NotSettledError, match="run `negawatt settle e1` first"):
        recheck(workspace, SETTINGS, EVENT)
    assert "not settled" in Terminal(workspace.folder).run("reconcile", "e1", "--settled", exit_code=1)


def test_a_file_that_is_not_the_settled_one_is_refused(workspace):
    write_whole(workspace.certificates("e1"), some_certificates(4).published())
    settle(workspace, bytes(32))
    with pytest.raises(VerificationError, match=f"settled is 0x{'00' * 32}"):
        recheck(workspace, SETTINGS, EVENT)
    assert not workspace.recheck("e1").exists()


def test_settled_events_are_those_with_fixed_certificates_that_ended_since(workspace):
    for name, days in (("early", 8), ("late", 2), ("open", 1)):
        event = an_event(name, EVENT.start - timedelta(days=days))
        workspace.add_event(event)
        if name != "open":
            write_whole(workspace.committed(name), b"00")
    settle(workspace, bytes(32))
    two_days_ago = EVENT.end - timedelta(days=2)
    assert [e.id for e in settled_events(workspace, two_days_ago)] == ["late", "e1"]
    assert [e.id for e in settled_events(workspace, two_days_ago + timedelta(seconds=1))] == ["e1"]
    assert [e.id for e in settled_events(workspace, EVENT.end - timedelta(days=30))] == ["early", "late", "e1"]
    workspace.committed("e1").unlink()  # the certification was taken back
    assert [e.id for e in settled_events(workspace, two_days_ago)] == ["late"]
