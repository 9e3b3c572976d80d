"""What killed runs left behind goes after a day; what is kept, and what is at work, stays."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.rejects import RejectsFile
from negawatt.housekeeping import drop_old_logs, tidy
from negawatt.workspace import Workspace, write_whole

NOW = datetime(2025, 6, 12, 6, tzinfo=UTC)
A_DAY_AGO, JUST_YOUNGER = NOW - timedelta(days=1, seconds=1), NOW - timedelta(hours=23, minutes=59)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def a_file(path: Path, touched: datetime = A_DAY_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half of it")
    os.utime(path, (touched.timestamp(),) * 2)
    return path


def age(folder: Path, touched: datetime = A_DAY_AGO) -> Path:
    os.utime(folder, (touched.timestamp(),) * 2)
    return folder


def everything(workspace: Workspace) -> set[str]:
    return {str(path.relative_to(workspace.folder)) for path in workspace.folder.rglob("*") if path.is_file()}


def counts(workspace: Workspace) -> tuple[int, int]:
    done = tidy(workspace, NOW)
    assert json.loads(json.dumps(done)) == done
    assert done["disk_free_bytes"] == pytest.approx(shutil.disk_usage(workspace.folder).free, rel=0.05)
    return done["drafts"], done["spools"]


def test_old_drafts_go_wherever_they_lie(workspace):
    for name in (".salt.0a1b.tmp", "certificates/.e1.jsonl.0a1b.tmp", "market/2025-06-11/.matched.json.0a1b.tmp"):
        a_file(workspace.folder / name)
    assert counts(workspace) == (3, 0)
    assert everything(workspace) == set()


def test_a_draft_that_is_at_work_stays(workspace):
    draft = a_file(workspace.folder / "reports" / ".e1.html.0a1b.tmp", JUST_YOUNGER)
    assert counts(workspace) == (0, 0)
    assert draft.exists()


def test_what_is_kept_stays_however_old_it_is(workspace):
    kept = (
        "salt",
        "events/e1.toml",
        "settlements/e1.committed",
        "rejects/meters.csv",
        "notes.tmp",
        ".hidden",
        "a.part",
    )
    for name in kept:
        a_file(workspace.folder / name, NOW - timedelta(days=1000))
    assert counts(workspace) == (0, 0)
    assert everything(workspace) == set(kept)


def test_drafts_of_stores_and_servers_are_their_own_to_clear(workspace):
    for name in ("store/manifests/.0a1b.tmp", "stack/kafka/.0a1b.tmp"):
        a_file(workspace.folder / name)
    assert counts(workspace) == (0, 0)
    assert len(everything(workspace)) == 2


def test_the_draft_of_a_model_is_a_folder_and_goes_whole(workspace):
    draft = workspace.folder / "models" / "homes" / ".0a1b2c3d.tmp"
    a_file(draft / "group-00000.npz")
    a_file(workspace.folder / "models" / "homes" / "000001" / "model.json")
    age(draft)
    assert counts(workspace) == (1, 0)
    assert everything(workspace) == {"models/homes/000001/model.json"}


def test_a_folder_is_as_young_as_the_youngest_file_in_it(workspace):
    for name in ("models/homes/.0a1b2c3d.tmp/group-00000.npz", "spool/import-1/rows.bin"):
        a_file(workspace.folder / name, JUST_YOUNGER)
        age((workspace.folder / name).parent)
    assert counts(workspace) == (0, 0)
    assert len(everything(workspace)) == 2


def test_rows_of_imports_that_were_killed_go(workspace):
    a_file(workspace.spool / "import-1" / "rows.bin")
    age(workspace.spool / "import-1")
    a_file(workspace.spool / "rows.bin")
    a_file(workspace.spool / "import-2" / "rows.bin", JUST_YOUNGER)
    assert counts(workspace) == (0, 2)
    assert everything(workspace) == {"spool/import-2/rows.bin"}


def test_rejects_of_an_import_that_was_killed_go(workspace):
    killed = RejectsFile(workspace.rejects("meters"))
    killed.__enter__()  # and its process is gone
    (part,) = workspace.rejects("meters").parent.iterdir()
    age(part)
    assert counts(workspace) == (1, 0)
    assert not part.exists()


def test_a_link_goes_and_not_what_it_leads_to(workspace, tmp_path):
    outside = a_file(tmp_path / "elsewhere" / "readings.csv")
    workspace.spool.mkdir(parents=True)
    link = workspace.spool / "link"
    link.symlink_to(outside.parent)
    stamp = A_DAY_AGO.timestamp()
    os.utime(link, (stamp, stamp), follow_symlinks=False)
    assert counts(workspace) == (0, 1)
    assert outside.exists()
    assert not link.is_symlink()


def test_a_repeat_finds_nothing_and_a_whole_write_leaves_no_draft(workspace):
    a_file(workspace.folder / ".salt.0a1b.tmp")
    write_whole(workspace.folder / "salt", b"secret")
    assert [counts(workspace), counts(workspace)] == [(1, 0), (0, 0)]
    assert everything(workspace) == {"salt"}


def test_a_workspace_that_is_not_made_yet_has_nothing_to_clear(workspace):
    assert counts(workspace) == (0, 0)


# --- logs ----------------------------------------------------------------------------------------------------


def test_old_logs_go_with_the_folders_that_they_leave_empty(tmp_path):
    before, logs = NOW - timedelta(days=30), tmp_path / "logs"
    a_file(logs / "dag_id=a" / "run_id=1" / "attempt=1.log", before - timedelta(seconds=1))
    a_file(logs / "dag_id=b" / "run_id=1" / "attempt=1.log", before - timedelta(seconds=1))
    kept = a_file(logs / "dag_id=b" / "run_id=2" / "attempt=1.log", before + timedelta(seconds=1))
    (logs / "dag_id=c").mkdir()  # of a run that begins just now
    assert drop_old_logs(logs, before) == {"logs": 2, "bytes": 2 * len("half of it")}
    assert {path for path in logs.rglob("*") if path.is_file()} == {kept}
    assert {path.name for path in logs.rglob("*") if path.is_dir()} == {"dag_id=b", "run_id=2", "dag_id=c"}


def test_a_folder_of_logs_that_a_link_leads_to_is_left_alone(tmp_path):
    elsewhere = a_file(tmp_path / "elsewhere" / "a.log", NOW - timedelta(days=99))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "latest").symlink_to(elsewhere.parent)
    drop_old_logs(tmp_path / "logs", NOW - timedelta(days=30))
    assert elsewhere.exists()


def test_no_folder_of_logs_is_nothing_to_do(tmp_path):
    assert drop_old_logs(tmp_path / "none", NOW) == {"logs": 0, "bytes": 0}
