from __future__ import annotations

import pytest

from batch.manifest import DataFile, Manifest, ManifestLog
from domain.errors import StoreError


def a_file(path: str, *, rows: int = 1, bucket: int = 0, table: str = "import-60") -> DataFile:
    return DataFile(path, table, bucket, rows, ((1, 2), (3, 5)), False)


@pytest.fixture
def log(tmp_path):
    log = ManifestLog(tmp_path / "store" / "manifests")
    log.create(4)
    return log


def paths(log):
    return [f.path for f in log.latest().files]


def hold_before_link(monkeypatch, meanwhile):
    """Let ``meanwhile`` happen once, between a writer's look at the log and its attempt to take a number."""
    write = ManifestLog._write
    pending = [meanwhile]

    def late(self, manifest):
        if pending:
            pending.pop()()
        return write(self, manifest)

    monkeypatch.setattr(ManifestLog, "_write", late)


def test_a_new_log_is_empty_and_creating_it_again_changes_nothing(log):
    assert log.latest() == Manifest(1, 4, ())
    log.commit([a_file("a")])
    log.create(16)
    assert log.latest() == Manifest(2, 4, (a_file("a"),))


def test_what_is_committed_is_read_back_by_another_process_as_it_was(log, tmp_path):
    file = DataFile("import-5/b003/x.parquet", "import-5", 3, 7, ((19_000, 19_001), (19_002, 19_002)), True)
    log.commit([file])
    assert ManifestLog(tmp_path / "store" / "manifests").latest().files == (file,)
    assert (file.first_day, file.last_day) == (19_000, 19_002)


def test_files_are_listed_by_table_and_bucket_oldest_first(log):
    for path, bucket, table in [
        ("z", 1, "import-5"),
        ("y", 0, "import-5"),
        ("x", 1, "import-5"),
        ("w", 1, "export-5"),
    ]:
        log.commit([a_file(path, bucket=bucket, table=table)])
    manifest = log.latest()
    assert [f.path for f in manifest.of("import-5", 1)] == ["z", "x"]
    assert [f.path for f in manifest.of("import-5")] == ["z", "y", "x"]
    assert manifest.of("import-15") == []


def test_adding_and_removing_is_one_step(log):
    log.commit([a_file("a"), a_file("b"), a_file("c")])
    log.commit([a_file("ab")], [a_file("a"), a_file("b")])
    assert paths(log) == ["c", "ab"]


def test_removing_a_file_that_is_gone_commits_nothing(log):
    log.commit([a_file("a"), a_file("b")])
    log.commit([a_file("ab")], [a_file("a"), a_file("b")])
    assert log.commit([a_file("other")], [a_file("a")]) is None
    assert paths(log) == ["ab"]


def test_of_two_writers_that_race_for_a_number_neither_is_lost(log, monkeypatch):
    hold_before_link(monkeypatch, lambda: log.commit([a_file("first")]))
    log.commit([a_file("second")])
    assert paths(log) == ["first", "second"]
    assert log.latest().version == 3


def test_a_compaction_that_loses_the_race_for_its_files_gives_up(log, monkeypatch):
    log.commit([a_file("a"), a_file("b")])
    hold_before_link(monkeypatch, lambda: log.commit([a_file("quick")], [a_file("a"), a_file("b")]))
    assert log.commit([a_file("slow")], [a_file("a"), a_file("b")]) is None
    assert paths(log) == ["quick"]


@pytest.mark.parametrize("others", [1, 18, 19, 20, 21, 50])
def test_a_writer_that_slept_through_many_commits_loses_nothing(log, monkeypatch, others):
    # After 20 more commits its number is free again, because old manifests are pruned.
    def meanwhile():
        for n in range(others):
            log.commit([a_file(f"other {n}")])

    hold_before_link(monkeypatch, meanwhile)
    log.commit([a_file("sleeper")])
    assert paths(log) == [f"other {n}" for n in range(others)] + ["sleeper"]
    log.commit([a_file("next")])
    assert paths(log)[-2:] == ["sleeper", "next"]


def test_old_manifests_are_pruned_and_the_newest_stays(log, tmp_path):
    for n in range(60):
        log.commit([a_file(f"{n}")])
    assert log.latest().version == 61
    assert len(log.latest().files) == 60
    assert len(list((tmp_path / "store" / "manifests").iterdir())) == 20


def test_a_draft_that_a_crash_left_is_no_manifest(log, tmp_path):
    (tmp_path / "store" / "manifests" / ".0123abcd.tmp").write_text('{"version": 99, "buck')
    assert log.latest().version == 1
    log.commit([a_file("a")])
    assert paths(log) == ["a"]


def test_a_manifest_pruned_between_listing_and_reading_is_not_the_end(log, monkeypatch):
    log.commit([a_file("a")])
    versions = ManifestLog._versions
    stale = [[2, 999]]  # the listing still shows a manifest that is gone
    monkeypatch.setattr(ManifestLog, "_versions", lambda self: stale.pop() if stale else versions(self))
    assert paths(log) == ["a"]


def test_a_folder_without_manifests_is_no_store(tmp_path):
    (tmp_path / "manifests").mkdir()
    with pytest.raises(StoreError, match="is no store of readings"):
        ManifestLog(tmp_path / "manifests").latest()
