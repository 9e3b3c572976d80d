"""The operator's folder: resources, events, stores, certificates and what the chain answered.

Everything that a command needs to know between runs lies here, as files that people can read.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, tzinfo
from importlib import resources as package_files
from pathlib import Path
from typing import Any

from domain.certificates import Resource
from domain.errors import (
    InvalidEventError,
    InvalidProgrammeError,
    NegawattError,
    NoParticipantsError,
    UnknownEventError,
)
from domain.events import DREvent
from domain.programmes import Programme, parse_programme
from serving.published import Published, published_certificates

_RESOURCE_COLUMNS = ("meter", "contracted_w", "wallet", "feeder")
_SALT_BYTES = 32
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_PROGRAMME_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Workspace:
    """Paths and small files of one operator.

    Parameters
    ----------
    folder : Path
        Made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings_file = folder / "negawatt.toml"
        self.store = folder / "store"
        self.speed = folder / "speed.duckdb"
        self.chain_state = folder / "chain" / "anvil.json"
        self.address_book = folder / "chain" / "addresses.json"
        self.consents = folder / "consents"
        self.outbox = folder / "outbox.sqlite"
        self.spool = folder / "spool"
        self.spark_log = folder / "spark.log"
        self.stack = folder / "stack"

    def certificates(self, event_id: str, *, provisional: bool = False) -> Path:
        """The published certificates of an event."""
        folder = self.folder / "certificates"
        return (folder / "provisional" if provisional else folder) / f"{event_id}.jsonl"

    def published(self, event_id: str, *, final_only: bool = False) -> Published:
        """The certificates that count: the batch layer's where they exist, else the provisional ones, marked so.

        Raises
        ------
        InvalidEventError
            There are none, or only provisional ones and ``final_only``.
        """
        batch, provisional = self.certificates(event_id), self.certificates(event_id, provisional=True)
        return published_certificates(event_id, batch, provisional, final_only=final_only)

    def waiting_result(self, event_id: str, source: str) -> Path:
        """A result that the speed store could not take yet; ``source`` is ``provisional`` or ``batch``."""
        return self.folder / "certificates" / "waiting" / f"{event_id}.{source}.arrows"

    def settlement(self, event_id: str) -> Path:
        """What settling the event left behind."""
        return self.folder / "settlements" / f"{event_id}.json"

    def committed(self, event_id: str) -> Path:
        """Written just before an event's root is sent: from then on its certificates must not change."""
        return self.folder / "settlements" / f"{event_id}.committed"

    def transactions(self, event_id: str) -> Path:
        """Every transaction sent for the event, a line each, kept as soon as it was mined."""
        return self.folder / "settlements" / f"{event_id}.transactions.jsonl"

    def recheck(self, event_id: str) -> Path:
        """What working a settled event out again found; the changed homes lie beside it as CSV."""
        return self.folder / "reconciliation" / f"{event_id}.json"

    def report(self, event_id: str) -> Path:
        """The event's HTML report."""
        return self.folder / "reports" / f"{event_id}.html"

    def rejects(self, name: str) -> Path:
        """Where an import keeps the rows that it refused."""
        return self.folder / "rejects" / f"{name}.csv"

    # --- resources --------------------------------------------------------------------------------

    def resources(self) -> dict[str, Resource]:
        """The registered resources by meter; none before any were added."""
        path = self.folder / "resources.csv"
        return read_resources(path) if path.exists() else {}

    def participants(self, event: DREvent, *, keep: bool = True) -> dict[str, Resource]:
        """Who takes part in an event, by meter: the resources as they were when it was first announced or certified.

        Parameters
        ----------
        keep : bool
            Fix them where they are not yet fixed; false for those who only look.

        Raises
        ------
        NoParticipantsError
            There are no resources.
        """
        path = self.folder / "participants" / f"{event.id}.csv"
        if not path.exists():
            resources = self.resources()
            if not resources:
                raise NoParticipantsError(
                    event.id, "nobody takes part: add resources with `negawatt ingest --resources FILE`"
                )
            if not keep:
                return resources
            write_resources(path, resources.values())
        return read_resources(path)

    def set_participants(self, event: DREvent, taking_part: Iterable[Resource], traded_wh: Mapping[str, int]) -> None:
        """Keep who takes part in an event by the chain, and by how much trades moved their obligations. [Wh]"""
        write_json(self.folder / "participants" / f"{event.id}.trades.json", traded_wh)
        write_resources(self.folder / "participants" / f"{event.id}.csv", taking_part)

    def traded(self, event: DREvent) -> dict[str, int]:
        """By how much trades before an event moved obligations, by meter; none before the chain was asked. [Wh]"""
        path = self.folder / "participants" / f"{event.id}.trades.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def add_resources(self, new: Iterable[Resource]) -> None:
        """Add resources, or replace those of the same meter."""
        merged = self.resources() | {resource.meter: resource for resource in new}
        write_resources(self.folder / "resources.csv", merged.values())

    def salt(self) -> bytes:
        """The secret that turns meters into public pseudonyms; made at first use, readable by the owner alone."""
        path = self.folder / "salt"
        if not path.exists():
            write_once(path, secrets.token_bytes(_SALT_BYTES), mode=0o600)
        return path.read_bytes()

    # --- programmes and events --------------------------------------------------------------------

    def programme(self, name: str) -> Programme:
        """A programme of the workspace's ``programmes`` folder, or one that comes with negawatt.

        Raises
        ------
        InvalidProgrammeError
            There is none of that name, or it breaks a rule.
        """
        built_in = package_files.files("negawatt").joinpath("programmes")
        names = sorted(entry.name.removesuffix(".toml") for entry in built_in.iterdir())
        if not isinstance(name, str) or not _PROGRAMME_NAME.fullmatch(name):  # messages of others name it
            expected = "a name has 1 to 64 characters of a-z A-Z 0-9 . _ -, a letter or digit first"
            raise InvalidProgrammeError(f"{name}"[:100], "file", f"{expected}; built in: {', '.join(names)}")
        own = self.folder / "programmes" / f"{name}.toml"
        if own.exists():
            text = own.read_text()
        elif name in names:
            text = built_in.joinpath(f"{name}.toml").read_text()
        else:
            raise InvalidProgrammeError(name, "file", f"not found in {own.parent}; built in: {', '.join(names)}")
        try:
            return parse_programme(tomllib.loads(text))
        except tomllib.TOMLDecodeError as broken:
            raise InvalidProgrammeError(name, "file", str(broken)) from broken

    def event(self, name_or_path: str) -> DREvent:
        """An event of the workspace by its id, or one from a TOML file, which is then kept.

        Raises
        ------
        UnknownEventError
            There is no such event.
        InvalidEventError
            The file doesn't describe one, or another of its id is kept already.
        """
        path = Path(name_or_path)
        if path.suffix != ".toml":
            kept = self.folder / "events" / f"{name_or_path}.toml"
            if not kept.exists():
                known = ", ".join(sorted(e.id for e in self.events())) or "none yet"
                raise UnknownEventError(name_or_path, f"unknown; known: {known}. A path to a TOML file adds one")
            return read_event(kept)
        event = read_event(path)
        self.add_event(event)
        return event

    def add_event(self, event: DREvent) -> None:
        """Keep an event.

        Raises
        ------
        InvalidEventError
            Another event of this id is kept: events are never changed.
        """
        kept = self.folder / "events" / f"{event.id}.toml"
        if kept.exists() and read_event(kept) != event:
            raise InvalidEventError(event.id, f"{kept} already describes another event of this id")
        write_event(kept, event)

    def events(self) -> list[DREvent]:
        """All events of the workspace."""
        return [read_event(path) for path in sorted((self.folder / "events").glob("*.toml"))]

    def other_event_days(self, event: DREvent, programme: Programme) -> set[date]:
        """Local days on which the programme had other events than this one."""
        others = [e for e in self.events() if e.programme == event.programme and e.id != event.id]
        return {day for other in others for day in other.local_dates(programme.zoneinfo)}


def read_event(path: Path) -> DREvent:
    """Read an event's TOML file: id, programme, start and end with their UTC offsets.

    Raises
    ------
    InvalidEventError
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as failed:
        raise InvalidEventError(str(path), str(failed)) from failed
    needed = {"id": str, "programme": str, "start": datetime, "end": datetime}
    for key, kind in needed.items():
        if not isinstance(data.get(key), kind):
            raise InvalidEventError(str(path), f"{key}: expected {kind.__name__}, got {data.get(key)!r}")
    if unknown := sorted(set(data) - set(needed)):
        raise InvalidEventError(str(path), f"unknown key: {', '.join(unknown)}")
    return DREvent(**data)


def write_event(path: Path, event: DREvent, zone: tzinfo = UTC) -> None:
    """Write what `read_event` reads; times with the offset that they have in ``zone``."""
    lines = [
        f"id = {json.dumps(event.id)}",
        f"programme = {json.dumps(event.programme)}",
        f"start = {event.start.astimezone(zone).isoformat()}",
        f"end = {event.end.astimezone(zone).isoformat()}",
    ]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def read_resources(path: Path) -> dict[str, Resource]:
    """Read resources from CSV with the columns meter, contracted_w, wallet and, if wanted, feeder.

    Raises
    ------
    NegawattError
        Naming file, line, value and what was expected.
    """
    found: dict[str, Resource] = {}
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in _RESOURCE_COLUMNS[:3] if name not in (rows.fieldnames or ())]
        if missing:
            raise NegawattError(f"{path}, line 1: no column {', '.join(missing)}; found: {rows.fieldnames}")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            meter, watt, wallet = row["meter"], row["contracted_w"], row["wallet"]
            if not meter or meter in found or any(c in meter for c in ',"\n'):
                raise NegawattError(f"{where}: meter {meter!r}: expected a name without commas, each once")
            if not (watt or "").isdigit() or not 0 <= int(watt) < 2**63:
                raise NegawattError(f"{where}: contracted_w {watt!r} of {meter}: expected whole watts")
            if not _ADDRESS.fullmatch(wallet or ""):
                raise NegawattError(f"{where}: wallet {wallet!r} of {meter}: expected an address of 0x and 40 digits")
            found[meter] = Resource(meter, int(watt), wallet.lower(), row.get("feeder") or "")
    return found


def write_resources(path: Path, resources: Iterable[Resource]) -> None:
    """Write what `read_resources` reads, in order of meter."""
    in_order = sorted(resources, key=lambda resource: resource.meter)
    rows = [f"{r.meter},{r.contracted_w},{r.wallet},{r.feeder}" for r in in_order]
    write_whole(path, ("\n".join([",".join(_RESOURCE_COLUMNS), *rows]) + "\n").encode())


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that readers see the old one or the new one, never half of it."""
    with _draft_of(path, data, mode) as draft:
        draft.replace(path)


def write_once(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole unless there is one: of several who do at once, the first counts."""
    with _draft_of(path, data, mode) as draft, contextlib.suppress(FileExistsError):
        os.link(draft, path)  # unlike a rename, fails where the name is taken


@contextlib.contextmanager
def _draft_of(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
            out.write(data)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON document whole."""
    write_whole(path, (json.dumps(data, indent=2) + "\n").encode())
