"""What tests of the speed layer share."""

from __future__ import annotations

import pytest

from speed.stores import open_speed_store


@pytest.fixture(params=["duckdb", pytest.param("heavydb", marks=pytest.mark.stack)])
def store(request):
    """An empty speed store of each kind."""
    if request.param == "duckdb":
        opened = open_speed_store("duckdb://")
    else:
        from heavydb_layer import an_empty_store

        opened = an_empty_store(request.getfixturevalue("heavydb"))
    yield opened
    opened.close()
