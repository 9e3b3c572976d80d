"""What tests of the stores share: readings as rows, a store made of a dict, and one face for every adapter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from hypothesis import strategies as st

from batch.parquet_store import ParquetStore, bucket_of
from batch.stores import BatchStore
from domain.certification import LoadBlock
from domain.readings import MISSING, Quality, Readings, Register, make_readings
from speed.duckdb_store import DuckDBStore
from speed.stores import SpeedStore

ACTUAL, ESTIMATED = Quality.ACTUAL, Quality.ESTIMATED


class Row(NamedTuple):
    """One reading."""

    meter: str
    slot: int
    wh: int
    quality: int = ACTUAL
    revision: int = 0


class Counts(NamedTuple):
    """What a store says that an append did."""

    new: int
    replaced: int
    unchanged: int


def a_batch(rows: Iterable[Row], minutes: int = 60, register: Register = Register.IMPORT) -> Readings:
    meters, slot, wh, quality, revision = list(zip(*rows, strict=True)) or [()] * 5
    return make_readings(
        meters, slot, wh, interval_minutes=minutes, register=register, quality=list(quality), revision=list(revision)
    )


class DictStore:
    """What a store of one register at one interval has to do, with nothing to go wrong."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], tuple[int, int, int]] = {}

    def append(self, rows: Sequence[Row]) -> Counts:
        before = dict(self.kept)
        for row in rows:
            key, stamp = (row.meter, row.slot), (row.revision, row.quality, row.wh)
            self.kept[key] = max(self.kept.get(key, stamp), stamp)
        new = len(self.kept) - len(before)
        replaced = sum(self.kept[key] != stamp for key, stamp in before.items())
        return Counts(new, replaced, len(rows) - new - replaced)

    def read(self, slots: np.ndarray, meters: Iterable[str] | None = None) -> LoadBlock:
        wanted = set(slots.reshape(-1).tolist())
        names = sorted({meter for meter, slot in self.kept if slot in wanted} if meters is None else meters)
        wh = np.full((len(names), *slots.shape), MISSING, dtype=np.int32)
        estimated = np.zeros(wh.shape, dtype=bool)
        for at in np.ndindex(wh.shape):
            found = self.kept.get((names[at[0]], int(slots[at[1:]])))
            if found is not None:
                wh[at], estimated[at] = found[2], found[1] == ESTIMATED
        return LoadBlock(np.array(names, dtype=object), wh, estimated if estimated.any() else None)


class Store(Protocol):
    """Every store, as the contract sees it; its times go on for ``far_days`` after `FIRST`."""

    far_days: int

    def append(self, *batches: Readings) -> Counts: ...

    def read(
        self,
        slots: np.ndarray,
        minutes: int = 60,
        meters: Iterable[str] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class BatchLayer:
    """The batch store; it may compact after every append."""

    far_days = 2_900_000  # near the end of the year 9999

    def __init__(self, folder: Path, *, compacting: bool = False, buckets: int = 3) -> None:
        self.folder, self.compacting = folder / "store", compacting
        self.store = ParquetStore(self.folder, buckets=buckets)

    def append(self, *batches: Readings) -> Counts:
        done = self.store.append(batches)
        if self.compacting:
            self.store.compact()
        return Counts(done.new, done.replaced, done.unchanged)

    def read(
        self,
        slots: np.ndarray,
        minutes: int = 60,
        meters: Iterable[str] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        return whole(self.store, slots, minutes, meters, register)

    def reopen(self) -> None:
        self.store = ParquetStore(self.folder)

    def close(self) -> None:
        pass


class SpeedLayer:
    """The speed store, in a file."""

    far_days = 2_900_000

    def __init__(self, folder: Path) -> None:
        self.path = folder / "speed.duckdb"
        self.store: SpeedStore = DuckDBStore(self.path)

    def append(self, *batches: Readings) -> Counts:
        done = [self.store.append(batch) for batch in batches]
        return Counts(sum(d.new for d in done), sum(d.replaced for d in done), sum(d.unchanged for d in done))

    def read(
        self,
        slots: np.ndarray,
        minutes: int = 60,
        meters: Iterable[str] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        wanted = None if meters is None else np.array(list(meters), dtype=object)
        return self.store.read_slots(slots, minutes, wanted, register)

    def reopen(self) -> None:
        self.store.close()
        self.store = DuckDBStore(self.path)

    def close(self) -> None:
        self.store.close()


ADAPTERS = {
    "batch": BatchLayer,
    "batch, compacting": lambda folder: BatchLayer(folder, compacting=True),
    "speed": SpeedLayer,
}


def whole(
    store: BatchStore,
    slots: np.ndarray,
    minutes: int = 60,
    meters: Iterable[str] | None = None,
    register: Register = Register.IMPORT,
) -> LoadBlock:
    """All buckets of a batch store as one block."""
    blocks = []
    for bucket in range(store.buckets):
        mine = None if meters is None else [m for m in meters if bucket_of(m, store.buckets) == bucket]
        wanted = None if mine is None else np.array(mine, dtype=object)
        blocks.append(store.read_slots(slots, minutes, bucket, wanted, register))
    names = np.concatenate([block.meters for block in blocks])
    order = np.array(sorted(range(len(names)), key=lambda n: names[n]), dtype=np.int64)
    wh = np.concatenate([block.wh for block in blocks])
    flags = np.concatenate(
        [np.zeros(block.wh.shape, dtype=bool) if block.estimated is None else block.estimated for block in blocks]
    )
    return LoadBlock(names[order], wh[order], flags[order] if flags.any() else None)


def assert_equal_blocks(have: LoadBlock, want: LoadBlock) -> None:
    assert have.meters.tolist() == want.meters.tolist()
    assert have.wh.shape == want.wh.shape
    assert have.wh.dtype == want.wh.dtype
    assert have.wh.tolist() == want.wh.tolist()
    assert (have.estimated is None) == (want.estimated is None)
    if have.estimated is not None and want.estimated is not None:
        assert have.estimated.tolist() == want.estimated.tolist()


METERS = ("a", "A", "zähler-7", "home 2")
DAY = 24
FIRST = 20_000 * DAY
"""Slot of a midnight, at 60 minutes."""

rows = st.builds(
    Row,
    st.sampled_from(METERS),
    # Few slots, so that readings meet; on three days, one of them far from the others.
    st.sampled_from([FIRST, FIRST + 1, FIRST + 23, FIRST + 24, FIRST + 25, FIRST + 900 * DAY]),
    st.one_of(st.integers(0, 3), st.just(10**8)),
    st.sampled_from([int(ACTUAL), int(ESTIMATED)]),
    st.one_of(st.integers(0, 2), st.just(32_767)),
)
ALL_SLOTS = np.array([[FIRST, FIRST + 1, FIRST + 23], [FIRST + 24, FIRST + 25, FIRST + 900 * DAY]])
