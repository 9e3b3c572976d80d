"""One program of a server on this machine, and the files that such servers read."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from infra.daemons import find_daemon, start_daemon, stop_daemon


@dataclass(frozen=True, kw_only=True)
class Program(ABC):
    """One program of a server.

    Attributes
    ----------
    name : str
    folder : Path
        The server's, absolute.
    ports : tuple of int
        What it listens on, all on loopback.
    """

    name: str
    folder: Path
    ports: tuple[int, ...]

    @property
    @abstractmethod
    def words(self) -> list[str]:
        """Part of its command line that no other program has."""

    @property
    def pid(self) -> int | None:
        """Process id, None when it doesn't run."""
        return find_daemon(self.words)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.name}.log"

    def stop(self, *, hard: bool = False) -> bool:
        """Stop it and wait until it is gone; returns whether it ran.

        Parameters
        ----------
        hard : bool
            Kill it, as a crash would.
        """
        return stop_daemon(self.words, hard=hard)


@dataclass(frozen=True, kw_only=True)
class CommandProgram(Program):
    """A program with a command line that is known before the server starts.

    Attributes
    ----------
    before, after : tuple of str
        Command line around the words by which it is found again; ``before`` begins with the program's path.
    own_words : tuple of str
        Those words.
    """

    before: tuple[str, ...]
    own_words: tuple[str, ...]
    after: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """Part of its command line that no other program has."""
        return list(self.own_words)

    def start(self) -> int:
        """Start it; returns its process id."""
        return start_daemon([*self.before, *self.own_words, *self.after], self.log)


def write_file(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a settings file whole.

    Parameters
    ----------
    mode : int, optional
        What is allowed to whom, from its first byte on; default: as the system makes files.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    if mode is not None:
        draft.unlink(missing_ok=True)  # one that is left over keeps its own mode
    with open(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o666 if mode is None else mode)) as new:
        new.write(text)
    draft.replace(path)
