"""Command lines of Spark's own programs, as they come with the Python package pyspark."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.daemons import ServiceError

HOST = "127.0.0.1"
_CLASSES = {
    "master": "org.apache.spark.deploy.master.Master",
    "worker": "org.apache.spark.deploy.worker.Worker",
    "connect": "org.apache.spark.sql.connect.service.SparkConnectServer",
}
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For programs that do little: they start in half the time and take a third less memory."""


def main_class(part: str) -> str:
    """Java class of a part such as ``worker-1``."""
    return _CLASSES[part.partition("-")[0]]


def master_command(own: Path, words: Sequence[str], *, page: int) -> list[str]:
    """The master's command line; ``page`` is the port of its page about itself."""
    return [*_program(own, "spark-class", "192m"), *words, "--webui-port", str(page)]


def worker_command(own: Path, words: Sequence[str], master: str, cores: int, memory_mb: int) -> list[str]:
    """A worker's command line; executors work in folders of their own under ``own``."""
    lent = ["--cores", str(cores), "--memory", f"{memory_mb}m", "--webui-port", "0", "--work-dir", str(own)]
    return [*_program(own, "spark-class", "192m"), *words, *lent, master]


def connect_command(
    own: Path, words: Sequence[str], master: str, cores: int, executor_mb: int, python: str
) -> list[str]:
    """The Connect server's command line; ``cores`` of the cluster are its own while it runs."""
    settings = {
        "spark.connect.grpc.binding.address": HOST,
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(own / "warehouse"),
        "spark.cores.max": str(cores),
        "spark.executor.memory": f"{executor_mb}m",
        "spark.executor.extraJavaOptions": _JVM,
    }
    options = ["--master", master, "--name", "Spark Connect", "--class", _CLASSES["connect"], *words]
    options += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    return [*_program(own, "spark-submit", "768m", f"PYSPARK_PYTHON={python}"), *options, "spark-internal"]


def _program(own: Path, script: str, memory: str, *more: str) -> list[str]:
    """One of Spark's scripts with its environment; each of them ends as the Java program that it starts."""
    home = spark_home()
    environment = [
        f"SPARK_HOME={home}",
        f"SPARK_LOCAL_IP={HOST}",
        f"SPARK_LOCAL_DIRS={own}",
        f"SPARK_DAEMON_MEMORY={memory}",
        f"SPARK_DAEMON_JAVA_OPTS={_JVM}",
        *([f"JAVA_HOME={os.environ['JAVA_HOME']}"] if "JAVA_HOME" in os.environ else []),
        *more,
    ]
    return ["/usr/bin/env", *environment, str(home / "bin" / script)]


def connect_answers(url: str) -> bool:
    """Whether a Connect server at ``sc://host:port`` answers a question."""
    import grpc  # type: ignore[import-untyped]  # noqa: PLC0415  with Spark Connect only
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(url.removeprefix("sc://").partition("/")[0]) as channel:
        service = base_pb2_grpc.SparkConnectServiceStub(channel)  # type: ignore[no-untyped-call]
        asker: dict[str, Any] = {
            "session_id": str(uuid.uuid4()),
            "user_context": base_pb2.UserContext(user_id="negawatt"),
        }
        question = base_pb2.AnalyzePlanRequest(**asker, spark_version=base_pb2.AnalyzePlanRequest.SparkVersion())
        try:
            version = service.AnalyzePlan(question, timeout=20).spark_version.version
            service.ReleaseSession(base_pb2.ReleaseSessionRequest(**asker), timeout=20)
        except grpc.RpcError:
            return False
        return bool(version)


def spark_home() -> Path:
    """Folder of the installed package pyspark, which holds Spark's jars and programs.

    Raises
    ------
    ServiceError
        It isn't installed.
    """
    found = find_spec("pyspark")
    if found is None or found.origin is None:
        raise ServiceError("pyspark isn't installed in this Python: install negawatt with its dependencies")
    return Path(found.origin).parent
