"""Airflow's programs, each under a small parent of ours: ``python -m infra.airflow --folder FOLDER PROGRAM``.

The parent keeps its command line, by which it is found again; Airflow's programs change theirs. It gives them their
environment, passes on that they should stop, and when one ends, ends all that it left behind.

``python -m infra.airflow --folder FOLDER airflow ARGUMENT...`` runs any command of Airflow's with the same settings.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.airflow.files import environment_of
from infra.airflow.postgres import Postgres, who_runs_it
from infra.airflow.processes import MARK, end_all
from infra.daemons import ServiceError

PATIENCE_SECONDS = 20
"""How long a program may take to stop: tasks that run longer are killed, and run again after the next start."""
_PR_SET_PDEATHSIG = 1
COMMANDS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],  # its log server would listen on all interfaces
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


def main() -> None:
    """Run a program until it ends or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="python -m infra.airflow", description="Airflow's programs.")
    parser.add_argument("--folder", type=Path, required=True, help="Airflow's folder")
    parser.add_argument("program", choices=[*COMMANDS, "postgres", "airflow"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of airflow")
    given = parser.parse_args()
    folder = given.folder.resolve()
    try:
        environment = child_environment(folder, given.program)
        if given.program == "airflow":
            os.execve(sys.executable, [*_AIRFLOW, *given.arguments], environment)  # noqa: S606
        os.chdir(folder)
        if given.program == "postgres":
            kept = json.loads((folder / "server.json").read_text())
            server = Postgres(Path(kept["database_folder"]), folder)
            command, more, stop = server.command(kept["database_port"]), who_runs_it(), signal.SIGINT
            more |= {"cwd": server.data} if not more else {"cwd": "/"}
        else:
            airflow = _PRELOADED if given.program == "scheduler" else _AIRFLOW
            command, more, stop = [*airflow, *COMMANDS[given.program]], dict[str, Any](), signal.SIGTERM
    except ServiceError as unusable:
        raise SystemExit(str(unusable)) from unusable
    sys.exit(supervise(command, environment, stop, more))


def child_environment(folder: Path, program: str) -> dict[str, str]:
    """Environment of a program, and so of tasks; our own but for PATH and HOME doesn't matter."""
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }
    ours = {
        "AIRFLOW_HOME": str(folder),
        "NEGAWATT_WORKSPACE": str(workspace_of(folder)),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # else a program that changes its command line would overwrite the mark
        MARK: f"{folder}/{program}",
    }
    return own | environment_of(folder) | ours


def workspace_of(folder: Path) -> Path:
    """The workspace whose Airflow is in a folder: WORKSPACE/stack/airflow."""
    return folder.parent.parent


def supervise(command: list[str], environment: dict[str, str], stop: signal.Signals, more: dict[str, Any]) -> int:
    """Run a program to its end, then end what it left; returns its exit status."""
    child = subprocess.Popen(command, env=environment, preexec_fn=_ends_with_us(os.getpid()), **more)  # noqa: S603, PLW1509

    def ask(*_: object) -> None:
        child.send_signal(stop)
        signal.alarm(PATIENCE_SECONDS)

    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, ask)
    status = child.wait()
    signal.alarm(0)
    end_all(environment[MARK])
    return max(status, 0)


def _ends_with_us(parent: int) -> Callable[[], None]:
    """What a new process does first: the system kills it when we are killed."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def ask_for_it() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return ask_for_it


_AIRFLOW = [sys.executable, "-P", "-m", "airflow"]
_PRELOADED = [sys.executable, "-P", "-m", "infra.airflow.preloaded"]


if __name__ == "__main__":
    main()
