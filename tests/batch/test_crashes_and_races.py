"""Writers that are killed and writers that are many, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import store_processes
from store_processes import APPENDS, WRITERS, append_all, rows_of_append
from stores import DAY, FIRST, DictStore, assert_equal_blocks, whole

from batch.manifest import ManifestLog
from batch.parquet_store import ParquetStore
from domain.readings import MISSING

SLOTS = np.arange(FIRST, FIRST + 7 * DAY).reshape(7, DAY)
ROOT = Path(__file__).parents[2]


def run(task: str, folder: Path, *more: str) -> None:
    script = store_processes.__file__
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, script, task, str(folder), *more],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def states():
    """What a store must read as after 0, 1, 2 … appends."""
    reference = DictStore()
    found = [reference.read(SLOTS, None)]
    for number in range(APPENDS):
        reference.append(rows_of_append(number))
        found.append(reference.read(SLOTS, None))
    return found


def as_bytes(block):
    flags = b"" if block.estimated is None else block.estimated.tobytes()
    return repr(block.meters.tolist()).encode() + block.wh.tobytes() + flags


def test_a_writer_killed_at_any_step_leaves_whole_appends_and_the_next_one_finishes(tmp_path):
    run("every-step", tmp_path, "4")
    expected = [as_bytes(state) for state in states()]
    stores = sorted(tmp_path.iterdir())
    assert len(stores) > 10
    reached = set()
    for folder in stores:
        content = as_bytes(whole(ParquetStore(folder, buckets=2), SLOTS))
        assert content in expected
        reached.add(expected.index(content))
        append_all(folder, range(APPENDS))
        assert as_bytes(whole(ParquetStore(folder), SLOTS)) == expected[-1]
    assert len(reached) > APPENDS // 2  # the kills fell all over the run


def test_killing_writers_again_and_again_breaks_nothing(tmp_path):
    run("again", tmp_path / "store", "4")
    store = ParquetStore(tmp_path / "store")
    before = whole(store, SLOTS)
    assert len(before.meters) > 4
    assert (before.wh != MISSING).sum(axis=(1, 2)).tolist() == [48] * len(before.meters)  # whole appends
    append_all(store.folder, range(APPENDS))
    homes = sorted({row.meter for row in rows_of_append(0)})
    assert as_bytes(whole(store, SLOTS, meters=homes)) == as_bytes(states()[-1])
    assert_equal_blocks(whole(store, SLOTS, meters=before.meters), before)


def test_many_writers_and_a_compactor_lose_nothing_and_double_nothing(tmp_path):
    run("many", tmp_path / "store")
    store = ParquetStore(tmp_path / "store")
    reference = DictStore()
    for number in range(APPENDS):
        rows = rows_of_append(number)
        reference.append(rows)
        for writer in range(WRITERS):
            reference.append([row._replace(meter=f"{row.meter} of {writer}") for row in rows][:96])
    assert_equal_blocks(whole(store, SLOTS), reference.read(SLOTS))
    store.compact()
    assert_equal_blocks(whole(store, SLOTS), reference.read(SLOTS))
    files = ManifestLog(store.folder / "manifests").latest().files
    assert len(files) == store.buckets
    assert sum(file.rows for file in files) == len({(m, slot // DAY) for m, slot in reference.kept})
