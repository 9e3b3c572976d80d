"""Views of many parts in HBase, with the face of `batch.views.ParquetViews`, for jobs whose tasks write themselves.

Each part is a set of rows of its own in `batch.hbase_views.HBaseViews`, and one more set names the parts; publishing
that one brings all of them into force.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from batch.arrow_streams import packed
from batch.hbase_views import HBaseViews
from domain.errors import StoreError

_CELL_BYTES = 1 << 20
_PARTS = "parts"


@dataclass(frozen=True)
class HBaseDraft:
    """A version of a view that is being made; it can be sent to tasks."""

    url: str
    name: str
    version: str

    def write(self, part: int, rows: pa.Table) -> None:
        """Write a part whole; of a task that is tried again the last one counts."""
        whole = packed(rows)
        pieces = range(0, len(whole), _CELL_BYTES)
        cells = [(f"{n:06d}", whole[at : at + _CELL_BYTES]) for n, at in enumerate(pieces)]
        HBaseViews(self.url).put_view(_part(self.name, part), self.version, cells)


class HBasePartViews:
    """Views in HBase.

    Parameters
    ----------
    url : str
        As for `batch.hbase_store.HBaseStore`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._views = HBaseViews(url)

    def draft(self, name: str) -> HBaseDraft:
        """Begin a version of a view; it is seen once it is published."""
        return HBaseDraft(self.url, name, f"{time.time_ns():020d}-{secrets.token_hex(4)}")

    def publish(self, draft: HBaseDraft, parts: Iterable[int]) -> None:
        """Bring a draft into force by one cell; the version before stays, those before that are deleted.

        Raises
        ------
        StoreError
            A part was never written; the version before stays in force.
        """
        numbers, before = sorted(set(parts)), self._views.published(draft.name)
        for part in numbers:
            if draft.version not in self._views.versions(_part(draft.name, part)):
                raise StoreError(f"view {draft.name!r}: part {part} was never written, so it isn't published")
        self._views.put_view(draft.name, draft.version, [(_PARTS, json.dumps(numbers).encode())])
        self._views.publish(draft.name, draft.version)
        for old in self._views.versions(draft.name):
            if old < (before or draft.version):
                for part in self._parts(draft.name, old):
                    self._views.drop(_part(draft.name, part), old)
                self._views.drop(draft.name, old)

    def read(self, name: str) -> pa.Table:
        """The version in force, its parts one after the other.

        Raises
        ------
        StoreError
            There is none, or a part of it is lost.
        """
        version = self._views.published(name)
        if version is None:
            raise StoreError(f"no view {name!r} was published in {self.url}")
        tables = []
        for part in self._parts(name, version):
            found = self._views.read(_part(name, part), version)
            rows = {} if found is None else found.rows
            tables.append(pa.ipc.open_stream(b"".join(rows[key] for key in sorted(rows))).read_all())
        return pa.concat_tables(tables) if tables else pa.table({})

    def _parts(self, name: str, version: str) -> list[int]:
        view = self._views.read(name, version)
        parts: list[int] = json.loads(view.rows[_PARTS]) if view else []
        return parts


def _part(name: str, part: int) -> str:
    return f"{name}#{part:05d}"
