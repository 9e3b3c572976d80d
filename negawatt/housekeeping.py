"""What killed runs left behind, and logs that nobody reads any more, cleared away."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from negawatt.workspace import Workspace

LEFT_BEHIND = timedelta(days=1)
"""Nothing that is at work leaves a draft untouched for so long."""
DRAFTS = (".*.tmp", "*.csv.*.part")
"""What files and folders are called until they are whole: `negawatt.workspace.write_whole`, models, rejects."""
CLEAR_UP_THEMSELVES = frozenset(("spool", "stack", "store"))


def tidy(workspace: Workspace, now: datetime) -> dict[str, Any]:
    """Delete drafts and spooled rows that nobody has touched for a day; what is kept is never touched.

    Returns
    -------
    dict
        ``drafts`` and ``spools`` deleted, and ``disk_free_bytes``; plain JSON values.
    """
    workspace.folder.mkdir(parents=True, exist_ok=True)
    before = now - LEFT_BEHIND
    drafts = [path for path in _drafts(workspace.folder) if _touched(path) < before]
    spools = [path for path in workspace.spool.glob("*") if _touched(path) < before]
    for path in (*drafts, *spools):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return {
        "drafts": len(drafts),
        "spools": len(spools),
        "disk_free_bytes": shutil.disk_usage(workspace.folder).free,
    }


def drop_old_logs(folder: Path, before: datetime) -> dict[str, int]:
    """Delete files of logs that were last written before a moment, and the folders that this empties.

    Returns
    -------
    dict
        ``logs`` deleted and their ``bytes``.
    """
    count = size = 0
    for here, _, names in os.walk(folder, topdown=False):
        for path in (Path(here, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if datetime.fromtimestamp((found := path.lstat()).st_mtime, UTC) < before:
                    path.unlink()
                    count, size = count + 1, size + found.st_size
        if names and Path(here) != folder:
            _drop_empty(Path(here), folder)
    return {"logs": count, "bytes": size}


def _drop_empty(folder: Path, top: Path) -> None:
    """Delete a folder, and those above it, as far as nothing is in them."""
    while folder != top:
        try:
            folder.rmdir()
        except OSError:  # something is in it, or just came
            return
        folder = folder.parent


def _drafts(folder: Path) -> Iterator[Path]:
    """Drafts in a workspace; not those of stores and servers, which clear up after themselves."""
    for here, folders, files in os.walk(folder):
        if Path(here) == folder:
            folders[:] = [name for name in folders if name not in CLEAR_UP_THEMSELVES]
        yield from (Path(here, name) for name in (*folders, *files) if _is_draft(name))
        folders[:] = [name for name in folders if not _is_draft(name)]


def _is_draft(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in DRAFTS)


def _touched(path: Path) -> datetime:
    """When a file was last written, or the last one in a folder."""
    inside = (Path(here, name) for here, _, files in os.walk(path) for name in files)
    return max(_written(one) for one in (path, *inside))


def _written(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except FileNotFoundError:  # its writer is just done with it
        return datetime.max.replace(tzinfo=UTC)
