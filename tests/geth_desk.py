"""A private network of two geth nodes for tests, and programs that stand in for geth and Go where none is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from infra.geth_create import create_network
from infra.geth_install import find_geth
from infra.geth_network import Network

FIRST_BLOCK = datetime(2025, 6, 2, tzinfo=UTC)


@contextmanager
def a_network(folder: Path, *, period: int = 1) -> Iterator[Network]:
    """A new network that works, stopped when the block ends. Builds geth when there is none, which takes minutes."""
    network = create_network(folder, geth=find_geth(), now=datetime.now(UTC), period=period)
    try:
        network.up()
        yield network
    finally:
        network.down()


def a_program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def a_geth(path: Path, version: str = "1.13.15-stable") -> Path:
    """A program that states a version of geth, and does nothing."""
    return a_program(path, f'[ "$1" != version ] || printf "Geth\\nVersion: {version}\\nArchitecture: amd64\\n"')


def a_stopped_network(folder: Path, **options: int) -> Network:
    """A network's files, made without geth."""
    return create_network(folder, geth=a_geth(folder.parent / "geth"), now=FIRST_BLOCK, **options)
