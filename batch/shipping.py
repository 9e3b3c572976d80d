"""The project's code on its way to executors, which need not have it installed.

What is sent is the driver's own `domain` and `batch`, so both sides always run the same rules. What these import
from others (numpy, array-api-compat, pyarrow) is in the executors' Python, or in an environment that is sent along
as an archive.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import NegawattError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = ("batch", "domain")
"""What tasks import of ours."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def ship_code(session: SparkSession) -> Path:
    """Send the project's code to a session's executors, those that come later too.

    `open_session` does so where it is needed; call it for a session that someone else opened. Twice does no harm.

    Returns
    -------
    Path
        The archive that was sent.
    """
    from batch.session import is_connect  # noqa: PLC0415  which imports this module

    archive = code_archive()
    if is_connect(session):
        session.addArtifacts(str(archive), pyfile=True)
    else:
        session.sparkContext.addPyFile(str(archive))
    return archive


def code_archive(folder: Path | None = None) -> Path:
    """A zip of the packages that tasks need, named by its content; made when it isn't there.

    Parameters
    ----------
    folder : Path, optional
        Default: ``~/.cache/negawatt/shipped``, or where XDG_CACHE_HOME puts caches.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = folder or Path(caches) / "negawatt" / "shipped"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            root = _folder_of(package)
            files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
            for file in sorted(files):
                name = f"{package}/{file.relative_to(root).as_posix()}"
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes())  # no times: same code, same bytes
    path = folder / f"negawatt-{hashlib.sha256(content.getvalue()).hexdigest()[:16]}.zip"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f".{uuid.uuid4().hex}.tmp"
        draft.write_bytes(content.getvalue())
        draft.replace(path)
    return path


def _folder_of(package: str) -> Path:
    found = find_spec(package)
    places = [] if found is None else list(found.submodule_search_locations or [])
    if not places or not Path(places[0]).is_dir():
        raise NegawattError(f"{package!r} lies in no folder, so it can't be sent to executors: install negawatt")
    return Path(places[0])
