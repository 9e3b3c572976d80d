"""Someone at a terminal: commands of one workspace, in this process, so that Spark starts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from negawatt.cli import main
from negawatt.workspace import Workspace


class Terminal:
    """Runs commands in one workspace.

    Parameters
    ----------
    place : Path
        Folder of the workspace.
    folder : Path, optional
        Where files for the commands are written; by default the folder that ``place`` lies in.
    """

    def __init__(self, place: Path, folder: Path | None = None) -> None:
        self.workspace, self.folder = Workspace(place), folder or place.parent

    def write(self, name: str, *lines: str) -> Path:
        """Write a file of lines; what ends in a line's end gets no other."""
        text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
        (path := self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def invoke(self, *words: object, **rest: Any) -> Result:
        """Run a command, however it ends; an error that it doesn't report itself is raised here."""
        said = ["-w", str(self.workspace.folder), *map(str, words)]
        return CliRunner().invoke(main, said, catch_exceptions=False, **rest)

    def run(self, *words: object, exit_code: int = 0, **rest: Any) -> str:
        """What a command prints: its results, and with them its errors where it is to fail."""
        done = self.invoke(*words, **rest)
        assert done.exit_code == exit_code, done.output
        return done.output if exit_code else done.stdout

    def json(self, *words: object, **rest: Any) -> Any:
        """What a command answers to programs. NaN is no JSON."""
        return json.loads(self.run(*words, "--json", **rest), parse_constant=_refuse)


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
