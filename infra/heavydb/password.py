"""The password of the stand-in's one user, in a file of its own in the server's folder."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from infra.daemons import ServiceError

PASSWORD_FILE = "password"  # noqa: S105  a file's name


def password_of(folder: Path) -> str:
    """The password that a folder keeps, readable by its owner alone; made at first use.

    Raises
    ------
    ServiceError
        Its file is empty, or others can read it.
    """
    path = folder / PASSWORD_FILE
    with suppress(FileExistsError), open(path, "x", opener=_private) as made:
        made.write(secrets.token_urlsafe(24) + "\n")
    if path.stat().st_mode & 0o077:
        raise ServiceError(f"others can read {path}: `chmod 600 {path}`, and change the password if they did")
    password = path.read_text().partition("\n")[0]
    if not password:
        raise ServiceError(f"{path} is empty: write a password into its first line, or remove it to have one made")
    return password


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
