"""What the tests of the batch layer share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory):
    """A Spark cluster whose executors' Python lacks this project; who kills a part of it brings it up again."""
    from spark_desk import a_cluster

    with a_cluster(tmp_path_factory.mktemp("spark_cluster")) as cluster:
        yield cluster
