"""Airflow on this machine: API and pages, scheduler, DAG processor, triggerer, and a database of its own."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Self

from infra.airflow import files, postgres
from infra.airflow.processes import end_all, memory_of_tree_mib, started_at
from infra.airflow.rest import Api
from infra.daemons import ServiceError, has_ended, port_is_free, start_daemon, stop_daemon, tail, wait_until
from infra.local_program import Program, write_file
from infra.local_server import LocalServer, Progress, Say

POSTGRESQL, SQLITE = "postgresql", "sqlite"
_POSTGRES = "postgres"
_API = "api-server"
MEMORY_MIB = {_POSTGRES: 100, _API: 350, "scheduler": 380, "dag-processor": 220, "triggerer": 230}
"""What the programs take, measured with two idle workers and rounded up; what tasks take comes on top. [MiB]"""
_DATABASE_SECONDS = 60.0
_MIGRATE_SECONDS = 300.0
_DAGS_SECONDS = 60.0
_PREPARED = "prepared.json"
_PASSED_ON = ("JAVA_HOME", "XDG_CACHE_HOME")
"""Variables of who makes the folder that tasks need to find Java and its jars."""


@dataclass(frozen=True, kw_only=True)
class AirflowProgram(Program):
    """One program under its small parent, `infra.airflow.__main__`."""

    @property
    def words(self) -> list[str]:
        """Part of its command line that no other program has."""
        return ["infra.airflow", "--folder", str(self.folder), self.name]

    @property
    def mark(self) -> str:
        """What all that it has started bear in their environment."""
        return f"{self.folder}/{self.name}"

    def start(self) -> int:
        """Start it, once nothing is left of an earlier one; returns its process id."""
        end_all(self.mark)
        return start_daemon([sys.executable, "-P", "-m", *self.words], self.log)

    def stop(self, *, hard: bool = False) -> bool:
        """Stop it with all that it has started, and wait until that is gone; returns whether it ran."""
        ran = self.pid is not None
        if hard:
            end_all(self.mark)  # first, so that the parent takes note of their end, and ends itself
        stop_daemon(self.words, hard=hard)
        end_all(self.mark)
        return ran


@dataclass(frozen=True)
class AirflowServer(LocalServer[AirflowProgram]):
    """Airflow and its database.

    Attributes
    ----------
    port : int
        Of the API and the pages.
    database_port : int
        Of PostgreSQL.
    database : str
        ``postgresql`` or ``sqlite``; a new one decides, then it stays.
    database_folder : str
        Absolute path of PostgreSQL's files; see `infra.airflow.postgres` for why it may be elsewhere.
    parallelism : int
        Tasks at once, over all DAGs.
    dags : str
        Absolute path of the folder of DAGs; empty: that of the installed package ``dags``.
    """

    database_port: int
    database: str = ""
    database_folder: str = ""
    parallelism: int = 0
    dags: str = ""
    service: ClassVar[str] = "airflow"
    ready_seconds: ClassVar[float] = 240.0
    changeable: ClassVar[str] = "port and parallelism"

    @classmethod
    def create(cls, folder: Path, *, port: int | None = None, **values: Any) -> Self:
        """Make a server's folder, keys and passwords; `up` starts it.

        Parameters
        ----------
        port : int, optional
            Of the API; default: a free one, kept from then on.
        values
            ``database`` (default: PostgreSQL where its programs are, else SQLite), ``parallelism`` (default: the
            machine's processors, at least 2), ``dags``.

        Raises
        ------
        ServiceError
            The folder exists, or the database can't be run here.
        """
        folder, missing = folder.resolve(), postgres.missing()
        values["database"] = values.get("database") or (SQLITE if missing else POSTGRESQL)
        values["parallelism"] = values.get("parallelism") or default_parallelism()
        if values["database"] == POSTGRESQL:
            if missing:
                raise ServiceError(f"{missing}: install it, or take --airflow-database sqlite")
            values["database_folder"] = str(postgres.new_folder(folder))
        return super().create(folder, port=port, **values)

    @property
    def programs(self) -> tuple[AirflowProgram, ...]:
        """The database, if it is a program, then Airflow's own."""
        ports = {_POSTGRES: (self.database_port,), _API: (self.port,)}
        names = [name for name in MEMORY_MIB if name != _POSTGRES or self.database == POSTGRESQL]
        return tuple(AirflowProgram(name=name, folder=self.folder, ports=ports.get(name, ())) for name in names)

    @property
    def url(self) -> str:
        """Address of the pages, and of the REST interface below ``/api/v2``."""
        return f"http://{self.address}"

    @property
    def user(self) -> str:
        """Its one user."""
        return files.USER

    @property
    def password(self) -> str:
        """That user's password."""
        return files.password_of(self.folder)

    @property
    def password_file(self) -> Path:
        """Where it is, readable by its owner alone: JSON, a password a user."""
        return self.folder / files.PASSWORDS

    @property
    def why_this_database(self) -> str:
        """Why a new server has the database that it has, when nobody asked for one."""
        return postgres.missing() or "PostgreSQL's programs are on this machine"

    @property
    def dags_folder(self) -> Path:
        """Folder of DAGs.

        Raises
        ------
        ServiceError
            The package isn't installed.
        """
        if self.dags:
            return Path(self.dags)
        found = importlib.util.find_spec("dags")
        if found is None or found.origin is None:
            raise ServiceError("the package dags is not installed: install negawatt anew")
        return Path(found.origin).parent

    @property
    def memory_to_start_mib(self) -> int:
        """Memory that the programs which don't run take at most. [MiB]"""
        return sum(MEMORY_MIB[program.name] for program in self.stopped_programs)

    def memory_mib(self) -> dict[str, int | None]:
        """What each program takes now, with all that it has started. [MiB]"""
        return {program.name: memory_of_tree_mib(program.pid) for program in self.programs}

    def api(self) -> Api:
        """The REST interface, logged in to."""
        return Api(self.url, self.user, self.password)

    def probe(self) -> None:
        """Log in, and hear from all parts that they are well."""
        if port_is_free(self.port):
            raise ServiceError(f"nothing listens at {self.address}")
        since = dict[str, float]()
        for program in self.programs:
            if (pid := program.pid) is not None and (began := started_at(pid)) is not None:
                since[program.name.replace("-", "_")] = began
        self.api().require_health(since)

    def unread_files(self, api: Api) -> list[str]:
        """Files of DAGs that Airflow hasn't read yet, neither well nor badly."""
        read = {Path(path).name for path in (*api.dag_files(), *api.import_errors())}
        there = (path for path in self.dags_folder.glob("[!_]*.py") if path.name not in read)
        return sorted(path.name for path in there if _airflow_reads(path))

    def changed(self, **values: Any) -> Self:
        """The same server with another port or parallelism, which it keeps.

        Raises
        ------
        ServiceError
            It runs, and something would change; or another database is asked for.
        """
        if values.get("database", self.database) != self.database:
            raise ServiceError(
                f"airflow in {self.folder} keeps its runs in {self.database}, which can't change: leave the option "
                "out, or begin anew after `negawatt stack reset airflow`"
            )
        return super().changed(**values)

    def up(self, progress: Progress = lambda *_: None, say: Say = lambda _: None) -> list[str]:
        """Start the programs that don't run, and wait until they are well and all DAGs have been read.

        Returns
        -------
        list of str
            Names of the programs that were started.

        Raises
        ------
        ServiceError
            Airflow isn't installed, a port is taken, or a program doesn't work in time; the sentence ends with the
            tail of its log.
        """
        started = super().up(progress, say)
        api = self.api()
        self._set_pools(api)
        if "dag-processor" in started and not wait_until(lambda: not self._unread_slowly(api), _DAGS_SECONDS):
            say(f"airflow has not read these files of DAGs yet: {', '.join(self.unread_files(api))}")
        return started

    def require_packages(self) -> None:
        """Look for Airflow without importing it, which is slow and writes files.

        Raises
        ------
        ServiceError
            Something isn't installed.
        """
        packages = ["apache-airflow", *(["psycopg"] if self.database == POSTGRESQL else [])]
        for package in packages:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError as absent:
                raise ServiceError(
                    f"the Python package {package} is missing, which airflow needs: pip install 'negawatt[airflow]'"
                ) from absent

    def _stop_what_cannot_go_on(self) -> None:
        """Without their database Airflow's programs give up, each after seconds of its own."""
        if any(program.name == _POSTGRES for program in self.stopped_programs):
            self.kill()

    def _furnish(self) -> None:
        files.furnish(self.folder, {name: os.environ[name] for name in _PASSED_ON if name in os.environ})

    def _launcher(self, progress: Progress, say: Say) -> Callable[[AirflowProgram], int]:
        self._furnish()
        files.environment_of(self.folder)
        database_password = files.secrets_of(self.folder)["database_password"]
        address = f"sqlite:///{self.folder / 'airflow.db'}"
        if self.database == POSTGRESQL:
            address = postgres.address(database_password, self.database_port)
            postgres.Postgres(Path(self.database_folder), self.folder).make(database_password)
        files.write_settings(
            self.folder, port=self.port, parallelism=self.parallelism, dags=self.dags_folder, database=address
        )

        def launch(program: AirflowProgram) -> int:
            if program.name == _POSTGRES:
                pid = program.start()
                self._wait_for_database(program, pid)
                return pid
            self._migrate()
            return program.start()

        return launch

    def _wait_for_database(self, program: AirflowProgram, pid: int) -> None:
        password, refused = files.secrets_of(self.folder)["database_password"], ""

        def settled() -> bool:
            nonlocal refused
            refused = postgres.refusal(password, self.database_port)
            return not refused or has_ended(pid)

        if not wait_until(settled, _DATABASE_SECONDS) or refused:
            raise ServiceError(f"postgres doesn't work ({refused}); the end of {program.log}:\n{tail(program.log)}")

    def _migrate(self) -> None:
        """Bring the database's tables to Airflow's version, if they aren't."""
        wanted = {"version": importlib.metadata.version("apache-airflow"), "database": self.database}
        if self._prepared.get("tables") == wanted:
            return
        log = self.folder / "migrate.log"
        words = ["infra.airflow", "--folder", str(self.folder), "airflow", "db", "migrate"]
        with open(log, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as said:
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-P", "-m", *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, timeout=_MIGRATE_SECONDS,
            )  # fmt: skip
        if done.returncode:
            raise ServiceError(f"airflow can't make its tables; the end of {log}:\n{tail(log)}")
        self._note(tables=wanted)

    def _set_pools(self, api: Api) -> None:
        """Give Airflow the pools of the package, if they have changed."""
        text = resources.files("infra.airflow").joinpath("pools.json").read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self._prepared.get("pools") != digest:
            api.set_pools(json.loads(text))
            self._note(pools=digest)

    def _unread_slowly(self, api: Api) -> list[str]:
        if unread := self.unread_files(api):
            time.sleep(0.5)
        return unread

    @property
    def _prepared(self) -> dict[str, Any]:
        path = self.folder / _PREPARED
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _note(self, **done: Any) -> None:
        write_file(self.folder / _PREPARED, json.dumps(self._prepared | done, indent=2) + "\n")

    def _erase(self) -> None:
        if self.database == POSTGRESQL:
            postgres.Postgres(Path(self.database_folder), self.folder).erase()
        super()._erase()


def default_parallelism() -> int:
    """Tasks at once: a processor each, and two at least, so that one that waits doesn't stop all."""
    return max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)


def _airflow_reads(path: Path) -> bool:
    """Whether Airflow takes a file for one of DAGs: it looks for both words before it runs a file."""
    text = path.read_bytes().lower()
    return b"dag" in text and b"airflow" in text
