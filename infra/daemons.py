"""Programs that outlive the command that started them: started, found again, stopped, one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from domain.errors import NegawattError

_POLL_SECONDS = 0.02
_PROC = Path("/proc/self/cmdline")
"""There on Linux; elsewhere we ask ps."""
_LARGE_LOG = 16 * 2**20
_PORTS = range(20_000, 32_000)
"""Where we look for ports: below those that systems lend to outgoing connections, so that a kept port stays ours."""


class ServiceError(NegawattError):
    """A program of the stack is missing, doesn't start, doesn't answer or doesn't stop; the sentence says which."""

    retry_may_help = True


def start_daemon(argv: Sequence[str], log: Path) -> int:
    """Start a program that lives on when we end, without our terminal and our environment.

    Its environment is PATH and HOME alone: servers take options from variables of their own, which must not reach
    them by accident.

    Parameters
    ----------
    argv : sequence of str
        The program's path and its arguments. Every user of the machine can read them: no secrets.
    log : Path
        What it says on both outputs is added here; a log of more than 16 MiB is put aside first, as one ``.1``.

    Returns
    -------
    int
        Its process id.
    """
    if log.exists() and log.stat().st_size > _LARGE_LOG:
        log.replace(log.with_name(log.name + ".1"))
    outputs = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return os.posix_spawn(argv[0], list(argv), environment, file_actions=outputs, setsid=True)


def has_ended(pid: int) -> bool:
    """Whether a program that this process started has ended.

    Right after the start `find_daemon` can miss it: the system shows no command line for an instant.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def find_daemon(words: Sequence[str]) -> int | None:
    """Process id of the program whose command line has these words in this order, None when none runs.

    Asking the system each time, instead of keeping process ids in files, never takes a stranger that got a reused
    id for ours.
    """
    wanted = f" {' '.join(words)} "
    return next((pid for pid, line in _command_lines() if wanted in f" {line} "), None)


def stop_daemon(words: Sequence[str], *, hard: bool = False, seconds: float = 30.0) -> bool:
    """Stop the program that `find_daemon` finds, and wait until it is gone.

    Parameters
    ----------
    hard : bool
        Kill it at once, as a crash would, instead of asking it to end first.
    seconds : float
        How long it may take to end before it is killed. [s]

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    ServiceError
        It belongs to another user, or survives being killed.
    """
    pid = find_daemon(words)
    if pid is None:
        return False
    for sign, patience in ((signal.SIGKILL, 10.0),) if hard else ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return True
        except PermissionError as refused:
            raise ServiceError(f"process {pid} belongs to another user: let that user stop it") from refused
        if wait_until(lambda: is_gone(pid), patience):
            return True
    raise ServiceError(f"process {pid} doesn't end, not even when killed: look at it with `ps -fp {pid}`")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is up. [s]"""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as text:
            text.seek(max(0, log.stat().st_size - max(16_384, 512 * lines)))
            last = text.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        last = []
    return "\n".join(last) or "(nothing)"


def free_ports(count: int) -> list[int]:
    """Ports that nobody on this machine listens on, all different."""
    found: list[int] = []
    for port in secrets.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        if port_is_free(port):
            found.append(port)
    raise ServiceError(f"no {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}: stop what holds them")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def alone(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file for the block, so that two processes don't do the same work at once.

    Parameters
    ----------
    waiting : callable
        Called once when another process holds it and we wait.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def lock_of(folder: Path) -> Path:
    """File that is locked while a server's folder or programs change; beside the folder, since that can be erased."""
    return folder.with_name(f".{folder.name}.lock")


def is_gone(pid: int) -> bool:
    """Whether a program has ended with all its threads: until then its ports and files are still held.

    One that has ended may be listed until its parent takes note of it.
    """
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    if not _PROC.exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
    states = []
    with contextlib.suppress(OSError):  # its folder may go while we look
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                states.append(Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0])
    return all(state in "ZX" for state in states)


def _command_lines() -> Iterator[tuple[int, str]]:
    """Process ids and command lines of all programs; one that has ended has no command line."""
    if _PROC.exists():
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    raw = Path(entry.path, "cmdline").read_bytes()
                    yield int(entry.name), raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        return
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)  # noqa: S607
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip()
