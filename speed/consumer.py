"""Takes readings from a bus to the speed store, and says how fresh they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.readings import Readings, Register
from speed.quarantine import Quarantine
from speed.stores import SpeedStore

BUFFER = 1_000_000
"""Readings that are held before they are loaded, whether or not a flush comes: some 40 MB."""


def system_clock() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Standing:
    """How far a consumer of the speed store is.

    Attributes
    ----------
    newest_reading_age_s : float or None
        How far the end of the newest interval that was stored is behind the clock; None before the first. [s]
    quarantined, released : int
        Readings that were kept apart since it began, and those that were let in later.
    """

    newest_reading_age_s: float | None
    quarantined: int
    released: int

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


class SpeedConsumer:
    """Takes readings from the bus to the speed store: held, then loaded in one append of each kind at a flush.

    Parameters
    ----------
    store : SpeedStore
    quarantine : Quarantine, optional
        Where readings of the future wait. For meters that report now; files and simulations have none, since their
        time is not ours.
    clock : callable
        Gives the present time; aware.
    """

    def __init__(
        self,
        store: SpeedStore,
        quarantine: Quarantine | None = None,
        clock: Callable[[], datetime] = system_clock,
    ) -> None:
        self._store, self._quarantine, self._clock = store, quarantine, clock
        self._held: list[Readings] = []
        self._size = 0
        self._newest_end: int | None = None

    def consume(self, readings: Readings) -> None:
        """Hold a batch; load when much is held."""
        if len(readings):
            self._held.append(readings)
            self._size += len(readings)
        if self._size >= BUFFER:
            self.flush()

    def flush(self) -> None:
        """Load what is held and what has become due; when it fails, what is held is loaded by the next."""
        kinds: dict[tuple[Register, int], list[Readings]] = {}
        for readings in self._held:
            kinds.setdefault((readings.register, readings.interval_minutes), []).append(readings)
        batches = [joined(some) for some in kinds.values()]
        if self._quarantine is None:
            for batch in batches:
                self._append(batch)
        else:
            now = self._clock()
            parts = [self._quarantine.split(batch, now) for batch in batches]
            self._quarantine.keep([future for _, future in parts], now)
            due = self._quarantine.due(now)
            for batch in [*(present for present, _ in parts), *due]:
                self._append(batch)
            self._quarantine.forget(due, now)
        self._held, self._size = [], 0

    def standing(self) -> Standing:
        """How fresh what was stored is, by the clock of now."""
        age = None if self._newest_end is None else round(self._clock().timestamp() - self._newest_end, 3)
        apart = self._quarantine
        return Standing(age, apart.kept if apart else 0, apart.released if apart else 0)

    def _append(self, batch: Readings) -> None:
        if len(batch) == 0:
            return
        self._store.append(batch)
        end = (int(batch.slot.max()) + 1) * 60 * batch.interval_minutes
        self._newest_end = end if self._newest_end is None else max(self._newest_end, end)


def joined(batches: Sequence[Readings]) -> Readings:
    """Batches of one register and interval as one; a meter that several name stands in it once.

    >>> from domain.readings import make_readings
    >>> some = joined([make_readings(["a", "b"], [0, 0], [1, 2]), make_readings(["b", "c"], [1, 1], [3, 4])])
    >>> some.meters[some.meter].tolist(), some.slot.tolist()
    (['a', 'b', 'b', 'c'], [0, 0, 1, 1])
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    place: dict[str, int] = {}
    of_names: dict[int, NDArray[np.int32]] = {}  # messages of one sender share their array of names
    for batch in batches:
        if id(batch.meters) not in of_names:
            codes = [place.setdefault(name, len(place)) for name in batch.meters.tolist()]
            of_names[id(batch.meters)] = np.array(codes, dtype=np.int32)
    names = np.empty(len(place), dtype=object)
    names[:] = list(place)
    return Readings(
        first.interval_minutes,
        first.register,
        names,
        np.concatenate([of_names[id(batch.meters)][batch.meter] for batch in batches]),
        *(np.concatenate([getattr(b, column) for b in batches]) for column in ("slot", "wh", "quality", "revision")),
    )
