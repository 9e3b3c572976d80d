"""A real server of HeavyDB's protocol for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.heavydb_server import HeavyDBServer


def given_heavydb() -> str:
    """Address of a HeavyDB that tests should use in the place of the stand-in, with user and password."""
    return os.environ.get("HEAVYDB_URL", "")


@contextmanager
def a_heavydb(folder: Path, *, port: int | None = None) -> Iterator[HeavyDBServer]:
    """A new stand-in that works, killed when the block ends."""
    server = HeavyDBServer.create(folder, port=port, memory_mib=512)
    try:
        server.up()
        yield server
    finally:
        server.kill()
