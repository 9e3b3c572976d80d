"""Provisional certificates: the batch layer's own kernel over what the speed store has by now."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from domain.certification import Reductions, certify
from domain.plans import EventPlan
from speed.duckdb_store import DuckDBStore


def certify_provisionally(store: DuckDBStore, plan: EventPlan, meters: Iterable[str] | None = None) -> Reductions:
    """Certify an event at once from the speed store.

    Over the same readings the result equals the batch layer's bit for bit; late readings are what may still
    change it.

    Parameters
    ----------
    store : DuckDBStore
    plan : EventPlan
    meters : iterable of str, optional
        The participants; default: every meter with readings at the plan's slots.
    """
    wanted = None if meters is None else np.array(list(meters), dtype=object)
    return certify(plan, store.read_plan(plan, wanted))
