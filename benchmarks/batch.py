"""The benchmark ``batch``: readings through Kafka, into HBase and back, and certification from HBase by Spark.

Each server is started for it, on this machine, which client and server share: their CPU times are told apart. Every
number of readings that went in is counted and summed when it comes out.
"""

from __future__ import annotations

import shutil

from benchmarks import batch_hbase, batch_kafka, batch_spark
from benchmarks.homes import Fleet
from benchmarks.options import Options
from benchmarks.results import Row
from infra.hbase_server import HBaseServer

SIZES = (1_000, 10_000, 100_000)


def run(options: Options) -> list[Row]:
    """Measure bus and store, then certify fleets of growing size from both kinds of store."""
    folder = options.folder / "batch"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        options.say("Kafka, in and out")
        rows = batch_kafka.rows(batch_kafka.measure(folder / "kafka", repeats=options.repeats))
        options.say("HBase, in and out")
        rows += batch_hbase.rows(batch_hbase.measure(folder / "bus"))
        runs = []
        for homes in sorted(options.homes):
            options.say(f"homes={homes}: certification from Parquet and HBase")
            server = HBaseServer.create(folder / f"hbase-{homes}")
            try:
                server.up()
                fleet, parquet = Fleet.of(homes), str(folder / f"parquet-{homes}")
                for url in (parquet, server.url):
                    batch_spark.copy_fleet(url, fleet)
                answer = folder / f"answer-{homes}.npz"
                of_parquet, of_hbase = batch_spark.compare(parquet, server.url, homes, options.repeats, answer)
            finally:
                server.down(erase=True)
            shutil.rmtree(parquet, ignore_errors=True)
            rows += batch_spark.rows_of(of_parquet, of_hbase)
            runs.append(of_hbase)
        if len(runs) > 2:
            rows += batch_spark.growth_rows(runs)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return rows
