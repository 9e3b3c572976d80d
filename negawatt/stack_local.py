"""What the stack does alike with all servers that are programs in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.java_status import ServerStatus
    from infra.local_server import LocalServer
    from infra.server_status import Condition

ServerT = TypeVar("ServerT", bound="LocalServer[Any]")


class LocalService(ABC, Generic[ServerT]):
    """A server of a workspace; a subclass says of which kind, and shows it."""

    name: str
    about: str
    options: ClassVar[Mapping[str, str]]
    """Field of the server to the end of the option that gives it: ``memory_mib`` to ``memory``."""

    @property
    @abstractmethod
    def kind(self) -> type[ServerT]:
        """Class of the server."""

    @abstractmethod
    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""

    @abstractmethod
    def status(self, ctx: Context) -> dict[str, Any]:
        """Show it to people; returns what it is doing, ``state`` first."""

    def folder(self, workspace: Workspace) -> Path:
        """Where its files are."""
        return workspace.stack / self.name

    def load(self, workspace: Workspace) -> ServerT:
        """The workspace's server."""
        return self.kind.load(self.folder(workspace))

    def wanted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the server that the options of a command give."""
        given = {field: options[f"{self.name}_{option}"] for field, option in self.options.items()}
        return {field: value for field, value in given.items() if value is not None}

    def memory_to_start_mib(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Memory that starting it takes, as far as we know. [MiB]"""
        folder = self.folder(workspace)
        server = self.kind.load(folder) if folder.exists() else self.kind.without_ports(folder)
        return replace(server, **self.wanted(options)).memory_to_start_mib

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make it if there is none and start what doesn't run; returns ``made`` and ``started``."""
        folder, wanted = self.folder(ctx.workspace), self.wanted(options)
        made = not folder.exists()
        server = self.kind.create(folder, **wanted) if made else self.kind.load(folder).changed(**wanted)
        return {"made": made, "started": server.up(progress, ctx.screen.say)}

    def down(self, workspace: Workspace, *, erase: bool) -> list[str]:
        """Stop it; returns the names of the programs that ran."""
        return self.load(workspace).down(erase=erase)

    def logs(self, workspace: Workspace) -> dict[str, Path]:
        """Log of each of its programs."""
        return {program.name: program.log for program in self.load(workspace).programs}

    def say_what_to_do(self, ctx: Context, condition: Condition | ServerStatus) -> None:
        """Name the command that helps where it doesn't run or doesn't answer."""
        if condition.state in ("stopped", "partly"):
            ctx.screen.say(f"  start it with `negawatt stack up {self.name}`")
        if condition.problem:
            ctx.screen.say(f"  it doesn't answer ({condition.problem}); look at `negawatt stack logs {self.name}`")
