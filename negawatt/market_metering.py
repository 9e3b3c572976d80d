"""Metered energy of a matched day's participants, from the batch store: what balances the day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.buckets import by_bucket
from batch.stores import BatchStore
from domain.errors import NegawattError
from domain.imbalance import MeteringError
from domain.intervals import slot_of
from domain.readings import MISSING, Register
from negawatt.market_days import as_csv, folder_of, read_matched, read_positions
from negawatt.market_files import MarketFile
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole

_WORDS = {Register.IMPORT: "imported", Register.EXPORT: "exported"}


def metered_of_store(workspace: Workspace, settings: Settings, file: MarketFile, day: date) -> Path:
    """Write what the meters say of every interval in which a participant traded, as ``market/DAY/metered.csv``.

    Readings of shorter intervals are added up, where all of them are there. A register of which the store has no
    reading at all doesn't exist, and counts as 0; but who sold needs the export register, who bought the import one.

    Returns
    -------
    Path
        CSV: participant, interval_start, export_wh, import_wh.

    Raises
    ------
    MeteringError
        A reading is missing, or a meter's intervals don't make up the market's: naming participant and interval.
    NegawattError
        The day was not matched.
    """
    minutes = file.interval_minutes
    if (matched := read_matched(workspace, day)["interval_minutes"]) != minutes:
        raise NegawattError(f"{day} was matched at {matched} min, the market file says {minutes} min: match again")
    rows = read_positions(workspace, day)
    if not rows:
        raise NegawattError(f"{day}: nobody traded, so there is nothing to settle")
    if strangers := sorted({row["participant"] for row in rows} - set(file.sources)):
        raise NegawattError(f"{day}: {strangers[0]} has traded and is not in the market file any more")
    slots = {row["interval_start"]: slot_of(datetime.fromisoformat(row["interval_start"]), minutes) for row in rows}
    span = range(min(slots.values()), max(slots.values()) + 1)
    meters = {row["participant"]: file.sources[row["participant"]].meter for row in rows}
    store = batch_store(workspace, settings)
    read = {register: _Register(store, register, sorted(set(meters.values())), span, minutes) for register in _WORDS}
    lines = []
    for row in rows:
        name, start = row["participant"], row["interval_start"]
        needed = {Register.IMPORT: row["bought_wh"] > 0, Register.EXPORT: row["sold_wh"] > 0}
        energy = {
            register: read[register].wh(meters[name], slots[start], needed=needed[register]) for register in _WORDS
        }
        for register, wh in energy.items():
            if wh is None:
                raise MeteringError(
                    f"{store.url}: no reading of what {name} ({_named(name, meters[name])}) {_WORDS[register]} at "
                    f"{start}, when it traded{read[register].hint(meters[name])}; bring it, or an estimate by "
                    "`negawatt vee`"
                )
        lines.append((name, start, energy[Register.EXPORT], energy[Register.IMPORT]))
    path = folder_of(workspace, day) / "metered.csv"
    write_whole(path, as_csv(("participant", "interval_start", "export_wh", "import_wh"), lines))
    return path


def _named(name: str, meter: str) -> str:
    return "its meter" if meter == name else f"meter {meter}"


class _Register:
    """One register of some meters over a run of the market's intervals."""

    def __init__(self, store: BatchStore, register: Register, meters: list[str], span: range, minutes: int) -> None:
        self._span, self._minutes = span, minutes
        self._place = {meter: n for n, meter in enumerate(meters)}
        self._wh = np.full((len(meters), len(span)), MISSING, dtype=np.int64)
        self._lengths: dict[str, list[int]] = {}
        for length in sorted(store.intervals(register), reverse=True):
            there = sorted(set(store.meters(length, register)) & set(meters))
            for meter in there:
                self._lengths.setdefault(meter, []).append(length)
            if there and minutes % length == 0:
                self._take(_summed(store, register, there, span, length, minutes // length))

    def _take(self, found: Mapping[str, NDArray[np.int64]]) -> None:
        """Fill in what longer intervals lack."""
        for meter, wh in found.items():
            row = self._wh[self._place[meter]]
            np.copyto(row, wh, where=row == MISSING)

    def wh(self, meter: str, slot: int, *, needed: bool) -> int | None:
        """Energy of an interval; None where it is missing. [Wh]"""
        if meter not in self._lengths and not needed:
            return 0
        wh = int(self._wh[self._place[meter], slot - self._span.start])
        return None if wh == MISSING else wh

    def hint(self, meter: str) -> str:
        """What the store has of the meter instead, where none of it can serve."""
        lengths = self._lengths.get(meter, [])
        if lengths and all(self._minutes % length for length in lengths):
            return f" (it reports every {lengths[-1]} min, which doesn't make up the market's {self._minutes} min)"
        return "" if lengths else " (the store has no such readings of it at all)"


def _summed(
    store: BatchStore, register: Register, meters: Iterable[str], span: range, length: int, parts: int
) -> dict[str, NDArray[np.int64]]:
    """Energy by the market's interval of each meter; missing where one of its parts is. [Wh]"""
    slots = np.arange(span.start * parts, span.stop * parts, dtype=np.int64)[None]
    found: dict[str, NDArray[np.int64]] = {}
    for bucket, names in by_bucket(meters, store.buckets).items():
        block = store.read_slots(slots, length, bucket, names, register)
        wh = block.wh[:, 0].astype(np.int64).reshape(len(block.meters), len(span), parts)
        whole = (wh != MISSING).all(axis=2)
        sums = np.where(whole, wh.sum(axis=2), MISSING)
        found |= {str(meter): row for meter, row in zip(block.meters, sums, strict=True)}
    return found
