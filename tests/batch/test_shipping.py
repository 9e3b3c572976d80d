from __future__ import annotations

import subprocess
import sys
import zipfile

from batch.shipping import code_archive

PROBE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import batch.certify, batch.spark_source, domain.certification;"
    "print(batch.certify.__file__, domain.certification.__file__)"
)


def test_the_archive_holds_what_tasks_import_and_nothing_else_of_ours(tmp_path):
    archive = code_archive(tmp_path)
    said = subprocess.run(
        [sys.executable, "-I", "-c", PROBE, archive], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [f"{archive}/batch/certify.py", f"{archive}/domain/certification.py"]
    names = zipfile.ZipFile(archive).namelist()
    assert {name.partition("/")[0] for name in names} == {"batch", "domain"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_code_is_the_same_archive(tmp_path):
    first = code_archive(tmp_path)
    before = first.stat().st_mtime_ns
    assert code_archive(tmp_path) == first
    assert first.stat().st_mtime_ns == before
    assert code_archive(tmp_path / "elsewhere").read_bytes() == first.read_bytes()


def test_it_is_kept_where_caches_are(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert code_archive().parent == tmp_path / "negawatt" / "shipped"
