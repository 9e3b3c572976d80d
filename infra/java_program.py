"""One Java program of a server: its command line and heap, and tools that run to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra import local_program
from infra.daemons import ServiceError, start_daemon

BESIDE_HEAP_MIB = 160
"""What a Java program takes beside its heap: classes, threads, buffers. Measured: 110 to 150 MiB."""
JAVA_OPTIONS = (
    "-XX:+UseSerialGC",  # least memory, fastest start; a GiB is collected in well under a second
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",  # a server that ran out of memory answers some and not others
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
)


@dataclass(frozen=True, kw_only=True)
class Program(local_program.Program):
    """One Java program of a server.

    Attributes
    ----------
    main : str
        Class to run.
    heap_mib : int
        [MiB]
    options, arguments : tuple of str
        Of Java, and of the class.
    """

    main: str
    heap_mib: int
    options: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """Part of its command line that no other program has."""
        return [f"-Dnegawatt.program={self.folder / self.name}"]

    def start(self, java: Path, classpath: str) -> int:
        """Start it; returns its process id."""
        (spare := self.folder / "tmp").mkdir(
            exist_ok=True
        )  # native libraries are unpacked there, and a kill leaves them
        memory = [f"-Xms{self.heap_mib // 4}m", f"-Xmx{self.heap_mib}m", f"-Djava.io.tmpdir={spare}"]
        command = [str(java), *self.words, *memory, *JAVA_OPTIONS, *self.options, "-cp", classpath]
        return start_daemon([*command, self.main, *self.arguments], self.log)


def run_java(java: Path, classpath: str, main: str, arguments: Sequence[str], *, seconds: float = 120.0) -> str:
    """Run a class to its end; returns what it printed. Raises ServiceError when it fails."""
    command = [str(java), "-Xmx256m", *JAVA_OPTIONS, "-cp", classpath, main, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as late:
        raise ServiceError(f"{main} takes more than {seconds:g} s") from late
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise ServiceError(f"{main} failed (status {done.returncode}); the end of what it said:\n{said}")
    return done.stdout
