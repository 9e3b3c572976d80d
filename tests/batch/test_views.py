from __future__ import annotations

import os
import pickle
import time

import pyarrow as pa
import pytest

from batch.views import ParquetViews
from domain.errors import StoreError


@pytest.fixture
def views(tmp_path):
    return ParquetViews(tmp_path / "views")


def publish(views, name, *values):
    draft = views.draft(name)
    for part, value in enumerate(values):
        draft.write(part, pa.table({"value": [value]}))
    views.publish(draft, range(len(values)))
    return draft


def values(views, name):
    return views.read(name).column("value").to_pylist()


def test_a_view_is_seen_once_it_is_published_in_the_order_of_its_parts(views):
    draft = views.draft("quality")
    draft.write(1, pa.table({"value": [11]}))
    draft.write(0, pa.table({"value": [10]}))
    assert views.names() == []
    views.publish(draft, [1, 0])
    assert views.names() == ["quality"]
    assert values(views, "quality") == [10, 11]


def test_a_draft_that_is_never_published_changes_nothing(views):
    publish(views, "quality", 1, 2)
    views.draft("quality").write(0, pa.table({"value": [9]}))
    assert values(views, "quality") == [1, 2]


def test_the_version_published_last_counts_whole(views):
    publish(views, "quality", 1, 2, 3)
    publish(views, "quality", 4)
    assert values(views, "quality") == [4]


def test_parts_that_nobody_vouches_for_do_not_count(views):
    draft = views.draft("quality")
    for part in range(3):
        draft.write(part, pa.table({"value": [part]}))
    views.publish(draft, [0, 2])
    assert values(views, "quality") == [0, 2]


def test_a_part_that_is_written_again_is_there_once(views):
    draft = views.draft("quality")
    for value in (5, 6):
        pickle.loads(pickle.dumps(draft)).write(0, pa.table({"value": [value]}))
    views.publish(draft, [0])
    assert values(views, "quality") == [6]


def test_without_all_its_parts_a_draft_is_not_published(views):
    publish(views, "quality", 1)
    draft = views.draft("quality")
    draft.write(0, pa.table({"value": [2]}))
    with pytest.raises(StoreError, match=r"view 'quality': .*part-00001.parquet was never written"):
        views.publish(draft, [0, 1])
    assert values(views, "quality") == [1]


def test_the_version_before_stays_an_hour_for_who_reads_it(views):
    first, second = publish(views, "quality", 1), publish(views, "quality", 2)
    assert first.path(0).exists()
    old = time.time() - 3700
    os.utime(first.place, (old, old))
    publish(views, "quality", 3)
    assert not first.place.exists()
    assert second.path(0).exists()


def test_a_view_that_is_not_there_is_named_with_those_that_are(views):
    publish(views, "quality", 1)
    with pytest.raises(StoreError, match=r"no view 'load' was published in .*; there are: quality"):
        views.read("load")


def test_a_lost_part_is_named(views):
    publish(views, "quality", 1).path(0).unlink()
    with pytest.raises(StoreError, match=r"view 'quality': .* is lost; make the view again"):
        views.read("quality")


@pytest.mark.parametrize("name", ["", "../quality", "Quality", "a/b", ".hidden", "x" * 101])
def test_a_name_that_would_leave_the_folder_is_refused(views, name):
    with pytest.raises(StoreError, match="a view can't be called"):
        views.draft(name)


def test_a_folder_that_is_gone_is_an_error_of_the_view(views):
    draft = views.draft("quality")
    draft.place.rmdir()
    with pytest.raises(StoreError, match=r"view 'quality': .* can't be written: No such file or directory"):
        draft.write(0, pa.table({"value": [1]}))
