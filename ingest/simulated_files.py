"""A simulation as files in the tidy layout, for demonstrations and load tests."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from domain.readings import MISSING, Quality
from ingest.simulator import SimulatedRows, Simulation, meter_name

TIDY_SCHEMA = pa.schema(
    [
        pa.field("meter", pa.string(), nullable=False),
        pa.field("interval_start", pa.timestamp("s", "UTC"), nullable=False),
        pa.field("import_wh", pa.int32(), nullable=False),
        pa.field("export_wh", pa.int32()),
        pa.field("quality", pa.string(), nullable=False),
        pa.field("revision", pa.int16(), nullable=False),
    ]
)
"""The columns of the tidy layout; ``export_wh`` is null for meters without that register."""


def write_files(simulation: Simulation, folder: Path) -> dict[str, Path]:
    """Write a simulation's readings and homes.

    Parameters
    ----------
    simulation : Simulation
    folder : Path
        Made if need be; files of these names in it are replaced.

    Returns
    -------
    dict of str to Path
        ``readings`` (readings.parquet, what came on time), ``late`` (late.parquet, what came later) and
        ``homes`` (homes.csv: meter, contracted_w, feeder, pv_wp).
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.parquet" for name in ("readings", "late")}
    with (
        pa.parquet.ParquetWriter(paths["readings"], TIDY_SCHEMA, compression="zstd") as readings,
        pa.parquet.ParquetWriter(paths["late"], TIDY_SCHEMA, compression="zstd") as late,
    ):
        for on_time, afterwards in simulation.row_groups():
            readings.write_table(_tidy(on_time, simulation.plan.interval_minutes))
            late.write_table(_tidy(afterwards, simulation.plan.interval_minutes))
    paths["homes"] = folder / "homes.csv"
    with paths["homes"].open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("meter", "contracted_w", "feeder", "pv_wp"))
        writer.writerows((home.meter, home.contracted_w, home.feeder, home.pv_wp) for home in simulation.homes)
    return paths


def _tidy(rows: SimulatedRows, interval_minutes: int) -> pa.Table:
    numbers, at = np.unique(rows.home, return_inverse=True)
    meters = pa.array([meter_name(number) for number in numbers.tolist()], pa.string())
    qualities = pa.array([quality.name.lower() for quality in Quality])
    columns = [
        meters.take(pa.array(at)),
        pa.array(rows.slot * (interval_minutes * 60)).cast(TIDY_SCHEMA.field("interval_start").type),
        pa.array(rows.import_wh),
        pa.array(rows.export_wh, mask=rows.export_wh == MISSING),
        qualities.take(pa.array(rows.quality)),
        pa.array(rows.revision),
    ]
    return pa.Table.from_arrays(columns, schema=TIDY_SCHEMA)
