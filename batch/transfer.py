"""Certified reductions as one Arrow message: what a batch task sends back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.arrow_streams import packed
from domain.certification import EVIDENCE, Reductions


def to_message(reductions: Reductions) -> bytes:
    """Pack reductions into an Arrow IPC stream.

    Energies go as 32 bits, which halves what the driver holds: no baseline exceeds twice `MAX_WH`.
    """
    arrays = {"meters": pa.array(reductions.meters, pa.string()), "findings": pa.array(reductions.findings)}
    for name in ("unadjusted_wh", "baseline_wh", "actual_wh", "evidence"):
        arrays[name] = _rows(getattr(reductions, name).astype(np.int32))
    if reductions.kept_days.shape[1]:  # Arrow has no lists of length 0
        arrays["kept_days"] = _rows(reductions.kept_days.astype(np.int8))
    return packed(pa.table(arrays))


def from_message(message: bytes | memoryview) -> Reductions:
    """Unpack what `to_message` made."""
    table = pa.ipc.open_stream(message).read_all().combine_chunks()

    def rows(name: str) -> NDArray[Any]:
        if name not in table.column_names:
            return np.empty((table.num_rows, 0))
        column = table.column(name).combine_chunks()
        width = table.schema.field(name).type.list_size
        return np.asarray(column.values).reshape(len(column), width)

    return Reductions(
        np.asarray(table.column("meters").to_pylist(), dtype=object),
        table.column("findings").to_numpy(),
        rows("unadjusted_wh").astype(np.int64),
        rows("baseline_wh").astype(np.int64),
        rows("actual_wh").astype(np.int64),
        rows("kept_days").astype(bool),
        rows("evidence").reshape(-1, len(EVIDENCE)),
    )


def _rows(values: NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
