"""Provisional certificates: the batch layer's own kernel over what the speed store has by now."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from domain.certification import Reductions
from domain.errors import StoreError
from domain.intervals import INTERVAL_MINUTES
from domain.plans import EventPlan
from domain.readings import Register
from speed.devices import Device, certify_on, open_device
from speed.stores import SpeedStore
from speed.tables import readings_table


def certify_provisionally(
    store: SpeedStore,
    plan: EventPlan,
    meters: Iterable[str] | None = None,
    *,
    device: Device | None = None,
) -> Reductions:
    """Certify an event at once from the speed store.

    Over the same readings the result equals the batch layer's bit for bit; late readings are what may still
    change it.

    Parameters
    ----------
    store : SpeedStore
    plan : EventPlan
    meters : iterable of str, optional
        The participants; default: every meter with readings at the plan's slots.
    device : Device, optional
        Where the kernel runs; the result is the same everywhere. Default: this machine's processor.
    """
    wanted = None if meters is None else np.array(list(meters), dtype=object)
    return certify_on(device or open_device("cpu"), plan, store.read_plan(plan, wanted))


def reading_intervals(store: SpeedStore) -> list[int]:
    """Intervals of which a speed store has readings of energy taken from the grid. [min]"""
    found = []
    for minutes in INTERVAL_MINUTES:
        try:
            rows = store.query(f"SELECT meter FROM {readings_table(Register.IMPORT, minutes)} LIMIT 1")  # noqa: S608
        except StoreError:  # no reading of this interval ever came
            continue
        if len(rows):
            found.append(minutes)
    return found
