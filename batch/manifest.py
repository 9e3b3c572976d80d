"""Which files a store consists of: numbered manifests, each complete, the highest number in force.

A commit writes the next manifest under a name that must not exist yet. Of two writers that race for a number
one wins; the other reads what has changed and tries the next. A file that no manifest names does not exist to
readers, so a writer that dies leaves nothing half-visible.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from domain.errors import StoreError

_DIGITS = 10
_KEEP = 20


@dataclass(frozen=True)
class DataFile:
    """One immutable Parquet file of wide meter-days.

    ``groups`` holds the first and last UTC day (days since 1970) of each row group; ``edited`` says that some
    reading in it is not an actual one of revision 0.
    """

    path: str
    table: str
    bucket: int
    rows: int
    groups: tuple[tuple[int, int], ...]
    edited: bool

    @property
    def first_day(self) -> int:
        """First UTC day in the file."""
        return self.groups[0][0]

    @property
    def last_day(self) -> int:
        """Last UTC day in the file."""
        return self.groups[-1][1]


@dataclass(frozen=True)
class Manifest:
    """The state of a store after ``version`` commits."""

    version: int
    buckets: int
    files: tuple[DataFile, ...]

    def of(self, table: str, bucket: int | None = None) -> list[DataFile]:
        """Live files of a table, or of one bucket of it, oldest first."""
        return [f for f in self.files if f.table == table and bucket in (None, f.bucket)]


class ManifestLog:
    """The folder of manifests. Safe for many processes on one file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, buckets: int) -> None:
        """Begin a log, unless one exists."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._versions():
            self._write(Manifest(1, buckets, ()))

    def latest(self) -> Manifest:
        """The manifest in force.

        Raises
        ------
        StoreError
            There is none: this folder is no store.
        """
        for _ in range(5):  # a prune may remove a manifest between listing and reading; then a newer one exists
            versions = self._versions()
            if not versions:
                break
            try:
                data = json.loads(self._path(versions[-1]).read_text())
            except FileNotFoundError:
                continue
            files = tuple(DataFile(**f | {"groups": tuple(map(tuple, f["groups"]))}) for f in data["files"])
            return Manifest(data["version"], data["buckets"], files)
        raise StoreError(f"{self._folder.parent} is no store of readings: it has no manifest")

    def commit(self, add: list[DataFile], remove: list[DataFile] = []) -> Manifest | None:  # noqa: B006
        """Add and remove files in one step.

        Returns
        -------
        Manifest or None
            None when a file to remove is already gone: another writer has compacted it.
        """
        gone = {f.path for f in remove}
        while True:
            now = self.latest()
            kept = tuple(f for f in now.files if f.path not in gone)
            if len(kept) != len(now.files) - len(gone):
                return None
            new = replace(now, version=now.version + 1, files=(*kept, *add))
            # A writer that slept through so many commits that its number was pruned takes that number in vain.
            if self._write(new) and self._versions()[-1] < new.version + _KEEP:
                self._prune(new.version)
                return new

    def _versions(self) -> list[int]:
        return sorted(int(p.stem) for p in self._folder.glob("[0-9]*.json"))

    def _path(self, version: int) -> Path:
        return self._folder / f"{version:0{_DIGITS}d}.json"

    def _write(self, manifest: Manifest) -> bool:
        draft = self._folder / f".{uuid.uuid4().hex}.tmp"
        with draft.open("w") as out:
            json.dump(asdict(manifest), out)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, self._path(manifest.version))  # unlike a rename, fails where the name is taken
            return True
        except FileExistsError:
            return False
        finally:
            draft.unlink()

    def _prune(self, version: int) -> None:
        for old in self._versions():
            if old <= version - _KEEP:
                self._path(old).unlink(missing_ok=True)


class PinnedLog(ManifestLog):
    """A log that ends at a manifest, whatever was committed since.

    The manifest is handed in, not read: twenty commits later its file is gone, while the files that it names stay for
    an hour.

    Raises
    ------
    StoreError
        The folder of manifests isn't there, so this machine doesn't see the store.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if not folder.is_dir():
            raise StoreError(
                f"a task finds no store at {folder.parent}: it must be on a path that every executor sees"
            )
        super().__init__(folder)
        self._manifest = manifest

    def latest(self) -> Manifest:
        """The manifest that it ends at."""
        return self._manifest

    def commit(self, add: list[DataFile], remove: list[DataFile] = []) -> Manifest | None:  # noqa: B006
        """Refuse.

        Raises
        ------
        StoreError
            Always.
        """
        raise StoreError(f"this view of {self._folder.parent} shows a moment and takes no readings: open the store")
