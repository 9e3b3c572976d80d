"""Settings of one process: where each part of the stack is. Read once, at the entry point."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from domain.errors import NegawattError
from domain.zones import zone_named

PREFIX = "NEGAWATT_"
_SECRETS = {"speed_password", "scheduler_password"}


@dataclass(frozen=True)
class Settings:
    """Which adapter serves each part. The defaults need no server.

    Attributes
    ----------
    bus : str
        ``memory://`` within this process, ``kafka://host:port``, or ``stack://`` for the workspace's own Kafka.
    store : str
        The batch store: a folder, ``file:///folder``, ``hbase://host:port``, or ``stack://`` for the workspace's own
        HBase; empty for a folder in the workspace.
    speed : str
        The speed store: ``duckdb:///folder/file.duckdb``, ``heavydb://user@host:port/database``, or ``stack://`` for
        the workspace's own HeavyDB; empty for a DuckDB file in the workspace.
    speed_password, speed_password_file : str
        HeavyDB's password, from the environment alone, or a file whose first line it is.
    spark : str
        Spark master, e.g. ``local[*]`` or ``spark://host:7077``; ``none`` certifies in this process.
    chain : str
        ``anvil://`` for a node of our own, or the JSON-RPC addresses of another chain's nodes, separated by commas.
    keystore, password_file : str
        The operator's encrypted key file and the file that holds its password; for chains other than anvil.
    remote_signer, operator : str
        Address of a signer that keeps the operator's key to itself, and the account that it signs for.
    outbox : str
        Where transactions are written before they are sent: a file, or ``postgresql://…``; empty for a file in the
        workspace.
    stuck_seconds : int
        A transaction that was next in line for so long is sent again at a higher price. [s]
    max_gas : int
        Gas of a transaction at most.
    max_fee_gwei : int
        Price of a unit of gas at most. [gwei]
    confirmations : int
        Blocks on top of the last payment before it counts as settled.
    buckets : int
        Buckets of a new batch store.
    future_minutes : int
        A reading that a worker takes from the bus is kept apart when its interval ends later than so long from now.
        [min]
    retention_days : int
        Whole UTC days of readings that the speed store keeps when `negawatt retention` runs. [days]
    scheduler : str
        ``airflow://user@host:port`` (``airflow+https://…`` beyond this machine), or ``stack://`` for the workspace's
        own Airflow; empty for none.
    scheduler_password, scheduler_password_file : str
        That user's password, from the environment alone, or a file whose first line it is.
    zone : str
        IANA zone of the local days and times of scheduled work.
    """

    bus: str = "memory://"
    store: str = ""
    speed: str = ""
    speed_password: str = field(default="", repr=False)
    speed_password_file: str = ""
    spark: str = "local[*]"
    chain: str = "anvil://"
    keystore: str = ""
    password_file: str = ""
    remote_signer: str = ""
    operator: str = ""
    outbox: str = ""
    stuck_seconds: int = 60
    max_gas: int = 15_000_000
    max_fee_gwei: int = 500
    confirmations: int = 12
    buckets: int = 16
    future_minutes: int = 10
    retention_days: int = 92
    scheduler: str = ""
    scheduler_password: str = field(default="", repr=False)
    scheduler_password_file: str = ""
    zone: str = "UTC"


def load_settings(file: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from a TOML file, if there is one, then from ``NEGAWATT_…`` variables, which win.

    Raises
    ------
    NegawattError
        An unknown key, a value of the wrong kind, or an unknown zone.
    """
    given: dict[str, Any] = {}
    if file.exists():
        try:
            given.update(tomllib.loads(file.read_text()))
        except tomllib.TOMLDecodeError as broken:
            raise NegawattError(f"{file}: {broken}") from broken
    for secret in _SECRETS & given.keys():
        raise NegawattError(
            f"{file}: a password doesn't belong into this file: set {PREFIX}{secret.upper()}, or name a file that is "
            f"readable by you alone as {secret}_file"
        )
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
    if "zone" in given:
        zone_named(given["zone"])
    return replace(Settings(), **given)
