"""Builders: an import of some text, in a folder of its own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingest.importers import ImportSummary, import_files

HEADER = "meter,interval_start,import_wh\n"


@dataclass
class Desk:
    """Writes files and imports them."""

    folder: Path

    @property
    def rejects_path(self) -> Path:
        return self.folder / "rejects.csv"

    def write(self, content: str | bytes, name: str = "in.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *paths: Path, **options: Any) -> ImportSummary:
        options.setdefault("max_rejects_pct", 100)
        spool_dir = self.folder / "spool"
        return import_files(paths, spool_dir=spool_dir, rejects_path=self.rejects_path, **options)

    def rejects(self) -> list[dict[str, str]]:
        with self.rejects_path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def readings_of() -> Callable[[ImportSummary], set[tuple[Any, ...]]]:
    """The accepted readings as a set of tuples: register, meter, slot, Wh, quality, revision."""

    def collect(summary: ImportSummary) -> set[tuple[Any, ...]]:
        with summary:
            return {
                (batch.register.value, batch.meters[meter], *values)
                for batch in summary.batches()
                for meter, *values in zip(
                    batch.meter.tolist(),
                    batch.slot.tolist(),
                    batch.wh.tolist(),
                    batch.quality.tolist(),
                    batch.revision.tolist(),
                    strict=True,
                )
            }

    return collect
