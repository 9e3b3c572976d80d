"""A store's readings once more, as most meter data are kept: a row a reading.

One Parquet file in order of time, so that engines can skip what an event doesn't need by its statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_GROUP_ROWS = 1 << 20
_DAYS_READ = 8
_SECONDS_PER_DAY = 86_400


def write_rows(wide_files: Sequence[Path], target: Path, days: range, per_day: int) -> None:
    """Write the readings of wide files as rows of meter, interval_start and wh.

    Parameters
    ----------
    days : range
        UTC days since 1970, a few of which are held in memory at a time.
    per_day : int
        Intervals in a day.
    """
    schema = pa.schema([("meter", pa.string()), ("interval_start", pa.timestamp("us", "UTC")), ("wh", pa.int32())])
    draft = target.with_suffix(".tmp")
    with pq.ParquetWriter(draft, schema, compression="zstd", use_dictionary=["meter", "interval_start"]) as writer:
        for first in days[::_DAYS_READ]:
            bounds = [pa.scalar(day, pa.date32()) for day in (first, first + _DAYS_READ)]
            some = pq.read_table(
                [str(file) for file in wide_files], filters=[("day", ">=", bounds[0]), ("day", "<", bounds[1])]
            )
            for day in range(first, first + _DAYS_READ):
                one = some.filter(pc.equal(some.column("day"), pa.scalar(day, pa.date32()))).combine_chunks()
                if len(one):
                    writer.write_table(_rows_of(one, day, per_day).cast(schema), row_group_size=_GROUP_ROWS)
    draft.rename(target)


def _rows_of(wide: pa.Table, day: int, per_day: int) -> pa.Table:
    """One day's readings in order of time."""
    meters = wide.column("meter").combine_chunks().dictionary_encode()
    wh = pa.concat_arrays([wide.column(f"s{slot:03d}").combine_chunks() for slot in range(per_day)])
    starts = (day * _SECONDS_PER_DAY + np.arange(per_day) * (_SECONDS_PER_DAY // per_day)) * 1_000_000
    rows = pa.table(
        {
            "meter": pa.DictionaryArray.from_arrays(np.tile(meters.indices, per_day), meters.dictionary),
            "interval_start": pa.array(np.repeat(starts, len(wide)), pa.timestamp("us", "UTC")),
            "wh": wh,
        }
    )
    return rows.filter(wh.is_valid())
