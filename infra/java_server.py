"""A server made of Java programs. `infra.kafka_server` and `infra.hbase_server` say what is particular to each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from infra.jars import jars
from infra.java import find_java, require_memory
from infra.java_program import BESIDE_HEAP_MIB, Program, run_java
from infra.local_server import SERVER_FILE, LocalServer, Progress, Say

__all__ = ["JavaServer", "Program"]


@dataclass(frozen=True)
class JavaServer(LocalServer[Program]):
    """A server of Java programs on this machine, for this machine alone.

    A subclass adds ports and heaps as fields.
    """

    changeable: ClassVar[str] = "ports and heaps"

    @property
    def url(self) -> str:
        """Address for settings."""
        return f"{self.service}://{self.address}"

    @abstractmethod
    def _configure(self) -> None:
        """Write the files that its programs read."""

    def _prepare(self, java: Path, classpath: str) -> None:
        """What has to be done before the first start."""

    def _classpath(self, folder: Path) -> str:
        return f"{folder}/*"

    @property
    def memory_to_start_mib(self) -> int:
        """Memory that the programs which don't run take at most. [MiB]"""
        return sum(program.heap_mib + BESIDE_HEAP_MIB for program in self.stopped_programs)

    def _launcher(self, progress: Progress, say: Say) -> Callable[[Program], int]:
        java = find_java()
        require_memory(self.memory_to_start_mib, f"{self.service} (heaps: {self.folder / SERVER_FILE})")
        classpath = self._classpath(jars(self.service, progress, say))
        self._configure()
        self._prepare(java, classpath)
        return lambda program: program.start(java, classpath)

    def run(self, main: str, arguments: Sequence[str], *, seconds: float = 120.0) -> str:
        """Run a tool of the server's own, in a Java with its jars and settings.

        Parameters
        ----------
        main : str
            Class to run, e.g. ``org.apache.hadoop.hbase.util.RegionSplitter``.
        seconds : float
            How long it may take. [s]

        Returns
        -------
        str
            What it printed.

        Raises
        ------
        ServiceError
            It failed, or took too long.
        """
        return run_java(find_java(), self._classpath(jars(self.service)), main, arguments, seconds=seconds)
