"""Spark sessions: the embedded one by default, any other by its master URL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from domain.errors import NegawattError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_NEEDED = 17


def open_session(master: str = "local[*]", *, driver_memory: str = "1g", log: Path | None = None) -> SparkSession:
    """Start a Spark session, or return the one that runs.

    Parameters
    ----------
    master : str
        ``local[*]``, ``spark://host:7077`` or another master; executors need this project installed.
    driver_memory : str
        Java heap of the driver, which in local mode runs the tasks' JVM side too. Readings never pass
        through it.
    log : Path, optional
        File that takes what the JVM writes; default: standard error.

    Raises
    ------
    NegawattError
        No Java of version 17 or later was found.
    """
    check_java()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # The import alone takes a second, which commands without Spark need not spend.
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": driver_memory,
        "spark.driver.maxResultSize": "0",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    conf = SparkConf().setMaster(master).setAppName("negawatt").setAll(list(settings.items()))
    if log is not None and SparkContext._active_spark_context is None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            gateway = launch_gateway(conf, {"stdout": sink, "stderr": sink})  # type: ignore[no-untyped-call]
        SparkContext(conf=conf, gateway=gateway)
    return SparkSession.builder.config(conf=conf).getOrCreate()


def warm_up(session: SparkSession) -> None:
    """Run a job of nothing, so that Python workers and compiled plans exist before the first event ends."""

    def nothing(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from batch import certify  # noqa: F401, PLC0415  the imports are what takes time

        return (pa.record_batch({"certified": pa.array([b""] * batch.num_rows, pa.binary())}) for batch in batches)

    cores = session.sparkContext.defaultParallelism
    session.range(0, cores, 1, cores).mapInArrow(nothing, "certified binary").toArrow()


def check_java() -> None:
    """Raise unless ``JAVA_HOME`` or the path leads to a Java that can run Spark.

    Raises
    ------
    NegawattError
        In one sentence, with what to do.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    advice = f"install it (Debian, Ubuntu: apt-get install openjdk-{JAVA_NEEDED}-jre-headless) or set JAVA_HOME"
    if java is None or not Path(java).exists():
        raise NegawattError(f"Spark needs Java {JAVA_NEEDED} or later and none was found: {advice}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_NEEDED:
        first = said.splitlines()[0] if said else "an unknown version"
        raise NegawattError(f"Spark needs Java {JAVA_NEEDED} or later, {java} is {first}: {advice}")
