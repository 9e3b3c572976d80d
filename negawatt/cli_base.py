"""What the modules of the command line share: the context of a command, its flags, and how errors are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError
from negawatt.console import Screen
from negawatt.settings import Settings
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from serving.chain import TransactionRecord


@dataclass(frozen=True)
class Context:
    """What every command needs: where it works, with what, and how it speaks."""

    workspace: Workspace
    settings: Settings
    screen: Screen


class Group(click.Group):
    """Lists commands in order of use, and turns our own errors into one sentence and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands in the order of an event's life, as they stand in this file."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except NegawattError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            sys.exit(error.exit_code)


EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def as_json(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--json``."""

    def switch(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.obj = replace(ctx.obj, screen=Screen(as_json=True))

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=switch, help="Print one JSON document, and no tables."
    )(command)


def setting(flag: str, name: str, help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag that overrides one setting."""

    def override(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.obj = replace(ctx.obj, settings=replace(ctx.obj.settings, **{name: value}))

    kind = type(getattr(Settings(), name))
    default = getattr(Settings(), name)
    return click.option(
        flag, type=kind, expose_value=False, callback=override, help=f"{help_text}  [default: {default}]"
    )


def chain_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags that name a chain and the account that sends."""
    for flag in (
        setting("--password-file", "password_file", "File with the key file's password, readable by you alone."),
        setting("--keystore", "keystore", "Encrypted key file of the account that sends; not needed for anvil."),
        setting("--chain", "chain", "anvil://, stack://, or the JSON-RPC address of a node."),
    ):
        command = flag(command)
    return command


def show_transactions(screen: Screen, title: str, sent: list[dict[str, Any]]) -> None:
    """Print the transactions that a command sent."""
    rows = [(t["purpose"], t["block"], t["gas"], t["hash"][:18] + "…", t["seconds"]) for t in sent]
    screen.table(title, ("transaction", "block", "gas", "hash", "seconds"), rows)


def show_records(ctx: Context, title: str, sent: Iterable[TransactionRecord], **more: Any) -> None:
    """Print the transactions that a command sent, and what else it has to say in JSON."""
    rows = [asdict(record) for record in sent]
    ctx.screen.document({"transactions": rows, **more})
    show_transactions(ctx.screen, title, rows)
