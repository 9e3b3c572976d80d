"""A PostgreSQL of Airflow's own: found, made, started. It listens on loopback and knows one user with a password.

PostgreSQL refuses to run as root. Started by root it runs as the system's user `postgres`, who can't reach a folder
below one that is root's alone, as workspaces are. So its files are then in that user's home folder, which no other
user's permissions need to be loosened for; `workspace` beside them says whose they are.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.airflow.processes import has_died
from infra.daemons import ServiceError, wait_until

USER = DATABASE = "airflow"
_SYSTEM_USER = "postgres"
_INSTALLED = Path("/usr/lib/postgresql")
_PAUSE_SECONDS = 0.1
_GONE_SECONDS = 10.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "logging_collector": "off",
    "log_checkpoints": "off",
}
_ACCESS = f"""\
# Written by negawatt: one user, one database, by password, from this machine.
host {DATABASE} {USER} 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Postgres:
    """A server's files.

    Attributes
    ----------
    folder : Path
        Holds ``data`` and ``workspace``.
    owner : Path
        Airflow's folder, whose database this is.
    """

    folder: Path
    owner: Path

    @property
    def data(self) -> Path:
        """What PostgreSQL calls its data directory."""
        return self.folder / "data"

    def make(self, password: str) -> None:
        """Make the database and its user, if there are none yet.

        Raises
        ------
        ServiceError
            PostgreSQL isn't there or refuses, or the folder belongs to another workspace.
        """
        mark = self.folder / "workspace"
        if self.data.exists():
            whose = _as_owner(["cat", mark]).strip()
            if whose != str(self.owner):
                raise ServiceError(
                    f"the database in {self.folder} is that of {whose}: if {self.owner} is that folder, moved, write "
                    f"its new path into {mark}; if it is a copy, run `negawatt stack reset airflow` in its workspace"
                )
            return
        programs, draft = find_programs(), self.folder / "data.new"
        _as_owner(["mkdir", "-p", "-m", "700", self.folder])
        _as_owner(["rm", "-rf", draft])
        _as_owner(["tee", mark], f"{self.owner}\n")
        local = ["--encoding=UTF8", "--no-locale", "--auth=reject", "--username=postgres"]
        _as_owner([programs / "initdb", "--pgdata", draft, *local])
        _as_owner(["tee", draft / "pg_hba.conf"], _ACCESS)
        orders = f"CREATE ROLE {USER} LOGIN PASSWORD '{password}'\nCREATE DATABASE {DATABASE} OWNER {USER}\n"
        said = _as_owner([programs / "postgres", "--single", "-D", draft, "postgres"], orders, errors=True)
        if refused := re.search(r"(ERROR|FATAL):.*", said):
            raise ServiceError(f"PostgreSQL refuses to make Airflow's database: {refused[0]}")
        _as_owner(["mv", draft, self.data])

    def command(self, port: int) -> list[str]:
        """Command line of the server; waits until an earlier one that was killed is gone."""
        self._pass_over_the_dead()
        version = _as_owner(["cat", self.data / "PG_VERSION"]).strip()
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [str(find_programs(version) / "postgres"), "-D", str(self.data), "-p", str(port), *options]

    def _pass_over_the_dead(self) -> None:
        """Take away the lock of a server that was killed but is still listed, as its parent takes no note of it.

        PostgreSQL takes one that is listed for one that runs, and would not start.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        pid = int(_as_owner(["cat", lock]).split()[0])
        if not wait_until(lambda: not has_died(pid), _GONE_SECONDS):
            _as_owner(["rm", "-f", lock])

    def erase(self) -> None:
        """Delete all of it; nothing happens where there is none."""
        if self.folder.exists() and _as_owner(["cat", self.folder / "workspace"]).strip() == str(self.owner):
            _as_owner(["rm", "-rf", self.folder])


def address(password: str, port: int) -> str:
    """Address of the database for SQLAlchemy, with the password: not to be shown."""
    return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"


def refusal(password: str, port: int) -> str:
    """Why the database can't be used just now; empty when it can."""
    import psycopg  # noqa: PLC0415  from an extra

    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, user=USER, dbname=DATABASE, password=password, connect_timeout=5
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as refused:
        time.sleep(_PAUSE_SECONDS)
        return str(refused).strip()
    return ""


def new_folder(owner: Path) -> Path:
    """Where the database of an Airflow will be: within its folder, or with the user who has to read it."""
    user = _system_user()
    if user is None:
        return owner / "postgres"
    return Path(user.pw_dir) / "negawatt" / f"airflow-{secrets.token_hex(8)}"


def missing() -> str:
    """What is missing to run PostgreSQL here, as a sentence; empty when nothing is."""
    if _programs() is None:
        return "PostgreSQL's programs are not on this machine (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and _system_user() is None:
        return f"PostgreSQL doesn't run as root, and there is no user {_SYSTEM_USER}"
    return ""


def find_programs(version: str = "") -> Path:
    """Folder of PostgreSQL's programs, of a major version if one is named, else of the newest.

    Raises
    ------
    ServiceError
        There are none.
    """
    found = _programs(version)
    if found is None:
        what = f"PostgreSQL {version}, which made the database, is" if version else "PostgreSQL is"
        raise ServiceError(f"{what} not on this machine: install it (Debian: apt-get install postgresql)")
    return found


def who_runs_it() -> dict[str, Any]:
    """Arguments for `subprocess` that make a program run as the user who owns the files: ours, unless we are root."""
    user = _system_user()
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _programs(version: str = "") -> Path | None:
    found = [path.parent for path in _INSTALLED.glob(f"{version or '*'}/bin/postgres")]
    if found:
        return max(found, key=lambda path: int(path.parts[-2]) if path.parts[-2].isdigit() else 0)
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def _system_user() -> pwd.struct_passwd | None:
    """The user whom root lends itself to; None when we are not root, or there is none."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return None


def _as_owner(argv: Sequence[str | Path], text: str | None = None, *, errors: bool = False) -> str:
    """Run a program as the files' owner; returns what it said.

    Parameters
    ----------
    text : str, optional
        What it reads: the way for secrets.
    errors : bool
        Return what it said on standard error, whatever its exit status.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603
        [str(word) for word in argv], input=text if text is not None else "", capture_output=True, text=True,
        check=False, cwd="/", env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, umask=0o077,
        **who_runs_it(),
    )  # fmt: skip
    if errors:
        return done.stderr
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise ServiceError(
            f"{Path(argv[0]).name} failed (status {done.returncode}); the end of what it said:\n{said}"
        )
    return done.stdout
