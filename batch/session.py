"""Spark sessions: the embedded one by default, any other by its master's address, Spark Connect by its server's."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from batch.shipping import ship_code
from domain.errors import NegawattError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_NEEDED = 17
CONNECT_PORT = 15002
FILTERS = "spark.sql.python.filterPushdown.enabled"
"""Lets `batch.spark_source` read only what a query asks for; off in Spark itself."""

LOST_EXECUTOR = {
    "spark.executor.heartbeatInterval": "5s",
    "spark.network.timeout": "40s",
    "spark.network.timeoutInterval": "5s",
}
"""On a cluster: an executor whose loss no closed connection tells is given up after 40 s, not after minutes."""


NO_SPARK = "none"
"""Setting of who certifies without Spark."""


class SparkConnectError(NegawattError):
    """A Spark Connect server isn't there or fails; one that is started anew is back soon."""

    retry_may_help = True


def open_session(
    master: str = "local[*]",
    *,
    driver_memory: str = "1g",
    log: Path | None = None,
    options: Mapping[str, str] | None = None,
    python: str | None = None,
) -> SparkSession:
    """Start a Spark session, or return the one that runs.

    Executors elsewhere are sent this project's code (`batch.shipping`); what it imports from others must be in the
    Python that they start.

    Parameters
    ----------
    master : str
        ``local[*]``; ``spark://host:7077`` or another master; ``sc://host:15002``, a Spark Connect server, which
        needs no Java here.
    driver_memory : str
        Java heap of the driver, which in local mode runs the tasks' JVM side too. Readings never pass
        through it.
    log : Path, optional
        File that takes what the JVM writes; default: standard error.
    options : mapping, optional
        Further settings of Spark, such as ``spark.executor.memory``; they win over our own.
    python : str, optional
        Python that executors start; default: this one's path, or with Spark Connect the server's choice.

    Raises
    ------
    SparkConnectError
        The server doesn't answer, or not as it should.
    NegawattError
        No Java of version 17 or later was found, or ``master`` is `NO_SPARK`.
    """
    if master == NO_SPARK:
        raise NegawattError(
            "this job needs Spark, and the setting spark is none: name a master, e.g. --spark 'local[*]'"
        )
    if master.startswith("sc://"):
        remote: SparkSession = _connect(master, options or {}, python)
        return remote
    check_java()
    os.environ["PYSPARK_PYTHON"], os.environ["PYSPARK_DRIVER_PYTHON"] = python or sys.executable, sys.executable
    here = _is_here(master)
    if here:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # The import alone takes a second, which commands without Spark need not spend.
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    settings = {
        "spark.ui.enabled": "false",
        **({"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"} if here else {}),
        "spark.driver.memory": driver_memory,
        "spark.driver.maxResultSize": "0",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        FILTERS: "true",
        **({} if master.startswith("local") else LOST_EXECUTOR),
    } | dict(options or {})
    conf = SparkConf().setMaster(master).setAppName("negawatt").setAll(list(settings.items()))
    if log is not None and SparkContext._active_spark_context is None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            gateway = launch_gateway(conf, {"stdout": sink, "stderr": sink})  # type: ignore[no-untyped-call]
        SparkContext(conf=conf, gateway=gateway)
    session = SparkSession.builder.config(conf=conf).getOrCreate()
    if not master.startswith("local"):
        ship_code(session)
    return session


def is_connect(session: SparkSession) -> bool:
    """Whether a session speaks to a Spark Connect server, so that it has no ``sparkContext``."""
    return type(session).__module__.startswith("pyspark.sql.connect.")


def _connect(url: str, options: Mapping[str, str], python: str | None) -> Any:
    """A session of a Connect server, with our code sent to it."""
    place = urlsplit(url)
    named = f"sc://{place.hostname}:{place.port or CONNECT_PORT}"  # without parameters: a token may be among them
    try:  # Spark itself would go on trying for ten minutes
        socket.create_connection((place.hostname or "localhost", place.port or CONNECT_PORT), timeout=10).close()
    except OSError as nobody:
        raise SparkConnectError(f"{named}: no Spark Connect server answers ({nobody}): start one there") from nobody
    try:
        from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415
    except ImportError as absent:
        advice = "install pyspark[connect]"
        raise NegawattError(f"{named}: Spark Connect needs more packages ({absent}): {advice}") from absent
    session: Any = SparkSession.builder.remote(url).create()
    try:
        for name, value in ({FILTERS: "true"} | dict(options)).items():
            session.conf.set(name, value)
        if python is not None:
            session.conf.set("spark.sql.execution.pyspark.python", python)
        ship_code(session)
    except Exception as failed:
        session.stop()
        if type(failed).__module__.startswith(("pyspark.errors", "grpc")):
            said = "the Spark Connect server doesn't do what was asked: " + str(failed).partition("\n")[0]
            raise SparkConnectError(f"{named}: {said}") from failed
        raise
    return session


def _is_here(master: str) -> bool:
    """Whether executors run on this machine, so that they find the driver at its loopback address."""
    hosts = [part.rpartition(":")[0] for part in master.removeprefix("spark://").split(",")]
    return master.startswith("local") or all(host in ("127.0.0.1", "localhost", "[::1]") for host in hosts)


def warm_up(session: SparkSession) -> None:
    """Run a job of nothing, so that Python workers and compiled plans exist before the first event ends."""

    def nothing(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from batch import certify  # noqa: F401, PLC0415  the imports are what takes time

        return (pa.record_batch({"certified": pa.array([b""] * batch.num_rows, pa.binary())}) for batch in batches)

    cores = 4 if is_connect(session) else session.sparkContext.defaultParallelism
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
