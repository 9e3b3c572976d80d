"""The log of edits: which reading was estimated, by which rule, from what to what, under which rules, by whom, when.

One Parquet file for the edits of a run, named by what is in it: the same edits logged again are the same file. It is
written before the edits go to the stores, so no edit is ever without its entry; an entry whose edit did not take
effect, because the source has confirmed or corrected the reading, is marked as such afterwards.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.errors import StoreError
from domain.estimation import METHODS_OF_ESTIMATION, Method
from domain.intervals import slot_start
from domain.readings import MISSING, Register
from domain.validation import CHECKS, BoolArray, Check
from domain.vee import Edits
from domain.vee_rules import VeeRules

SCHEMA = pa.schema(
    [
        ("meter", pa.string()),
        ("register", pa.string()),
        ("interval_minutes", pa.int16()),
        ("slot", pa.int64()),
        ("interval_start", pa.timestamp("s", tz="UTC")),
        ("reason", pa.string()),
        ("method", pa.string()),
        ("old_wh", pa.int32()),
        ("new_wh", pa.int32()),
        ("revision", pa.int16()),
        ("rules", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("s", tz="UTC")),
        ("in_force", pa.bool_()),
    ]
)
"""Columns of the log. ``reason`` is a code of `domain.validation.CHECKS`, ``old_wh`` null where no reading was."""


def edits_table(
    edits: Edits, interval_minutes: int, register: Register, rules: VeeRules, by: str, at: datetime
) -> pa.Table:
    """Edits as rows of the log."""
    n = len(edits)
    reasons = [CHECKS[Check(code)][0] if code else "" for code in range(len(Check))]
    methods = [METHODS_OF_ESTIMATION[Method(code)][0] if code else "" for code in range(len(Method))]
    columns = [
        pa.array(edits.meters, pa.string()),
        pa.array([str(register)] * n, pa.string()),
        pa.array(np.full(n, interval_minutes, np.int16)),
        pa.array(edits.slot),
        pa.array(edits.slot * 60 * interval_minutes, pa.int64()).cast(pa.timestamp("s", tz="UTC")),
        pa.array([reasons[code] for code in edits.check.tolist()], pa.string()),
        pa.array([methods[code] for code in edits.method.tolist()], pa.string()),
        pa.array(edits.old_wh, pa.int32(), mask=edits.old_wh == MISSING),
        pa.array(edits.wh, pa.int32()),
        pa.array(edits.revision, pa.int16()),
        pa.array([f"{rules.id} {rules.digest}"] * n, pa.string()),
        pa.array([by] * n, pa.string()),
        pa.array([at.astimezone(UTC)] * n, pa.timestamp("s", tz="UTC")),
        pa.array([True] * n, pa.bool_()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


class EditLog:
    """A folder of edits.

    Parameters
    ----------
    folder : Path
        Made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, table: pa.Table) -> Path:
        """Keep a run's edits; returns their file, which is left as it is where the same edits were kept before."""
        content = table.drop_columns(["by", "at", "in_force"]).combine_chunks()
        what = hashlib.sha256(b"".join(batch.serialize() for batch in content.to_batches()))
        first = slot_start(pc.min(table.column("slot")).as_py(), table.column("interval_minutes")[0].as_py())
        path = self.folder / f"{first:%Y-%m-%d}-{what.hexdigest()[:16]}.parquet"
        if not path.exists():
            _write_whole(path, table)
        return path

    def mark(self, path: Path, refused: BoolArray) -> None:
        """Mark entries whose edit is not in force."""
        table = pq.read_table(path)
        at = table.schema.get_field_index("in_force")
        _write_whole(path, table.set_column(at, "in_force", pa.array(~refused)))

    def read(
        self, first_slot: int, last_slot: int, interval_minutes: int, register: Register = Register.IMPORT
    ) -> pa.Table:
        """Entries for a half-open range of slots, each reading's latest one.

        Raises
        ------
        StoreError
            A file of the log is damaged.
        """
        parts = list(self._parts(first_slot, last_slot, interval_minutes, register))
        table = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
        table = table.sort_by([("meter", "ascending"), ("slot", "ascending"), ("at", "ascending")])
        if table.num_rows == 0:
            return table
        meter, slot = table.column("meter").to_numpy(), table.column("slot").to_numpy()
        last = np.append((meter[1:] != meter[:-1]) | (slot[1:] != slot[:-1]), True)
        return table.filter(pa.array(last))

    def confirmed(
        self, first_slot: int, last_slot: int, interval_minutes: int, register: Register = Register.IMPORT
    ) -> dict[str, frozenset[int]]:
        """Slots by meter whose reading was flagged once and then confirmed or corrected by its source."""
        table = self.read(first_slot, last_slot, interval_minutes, register)
        table = table.filter(pc.and_(pc.invert(table.column("in_force")), pc.equal(table.column("revision"), 1)))
        found: dict[str, set[int]] = {}
        for meter, slot in zip(table.column("meter").to_pylist(), table.column("slot").to_pylist(), strict=True):
            found.setdefault(meter, set()).add(slot)
        return {meter: frozenset(slots) for meter, slots in found.items()}

    def _parts(self, first_slot: int, last_slot: int, minutes: int, register: Register) -> Iterator[pa.Table]:
        wanted = (
            (pc.field("slot") >= first_slot)
            & (pc.field("slot") < last_slot)
            & (pc.field("interval_minutes") == minutes)
            & (pc.field("register") == str(register))
        )
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                yield pq.read_table(path, filters=wanted)
            except pa.ArrowInvalid as broken:
                raise StoreError(f"{path} is damaged: {broken}") from broken


def _write_whole(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        pq.write_table(table, draft, compression="zstd")
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
