"""Settings of one process: where each part of the stack is. Read once, at the entry point."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from domain.errors import NegawattError

PREFIX = "NEGAWATT_"


@dataclass(frozen=True)
class Settings:
    """Which adapter serves each part. The defaults need no server.

    Attributes
    ----------
    bus : str
        ``memory://``.
    spark : str
        Spark master, e.g. ``local[*]`` or ``spark://host:7077``.
    chain : str
        ``anvil://`` for a node of our own, or the JSON-RPC address of another.
    keystore, password_file : str
        The operator's encrypted key file and the file that holds its password; for chains other than anvil.
    confirmations : int
        Blocks on top of the last payment before it counts as settled.
    buckets : int
        Buckets of a new batch store.
    """

    bus: str = "memory://"
    spark: str = "local[*]"
    chain: str = "anvil://"
    keystore: str = ""
    password_file: str = ""
    confirmations: int = 12
    buckets: int = 16


def load_settings(file: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from a TOML file, if there is one, then from ``NEGAWATT_…`` variables, which win.

    Raises
    ------
    NegawattError
        An unknown key, or a value of the wrong kind.
    """
    given: dict[str, Any] = {}
    if file.exists():
        try:
            given.update(tomllib.loads(file.read_text()))
        except tomllib.TOMLDecodeError as broken:
            raise NegawattError(f"{file}: {broken}") from broken
    kinds = {field.name: type(field.default) for field in fields(Settings)}
    # NEGAWATT_WORKSPACE is the command line's own and names no part of the stack.
    variables = {k: v for k, v in environment.items() if k.startswith(PREFIX) and k != PREFIX + "WORKSPACE"}
    for variable, text in variables.items():
        name = variable.removeprefix(PREFIX).lower()
        given[name] = int(text) if kinds.get(name) is int and text.isdigit() else text
    for name, value in given.items():
        if name not in kinds:
            raise NegawattError(f"unknown setting {name!r}; known: {', '.join(sorted(kinds))}")
        if type(value) is not kinds[name]:
            raise NegawattError(f"setting {name}: expected {kinds[name].__name__}, got {value!r}")
    return replace(Settings(), **given)
