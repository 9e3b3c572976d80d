"""The Java that servers run on, and whether the machine has the memory that they ask for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from infra.daemons import ServiceError

OLDEST_JAVA = 17
"""Kafka 4 and Spark 4 ask for it."""
_GROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
MIB = 2**20


def find_java() -> Path:
    """Path of a Java that runs the servers: JAVA_HOME's, else the one on PATH.

    Raises
    ------
    ServiceError
        There is none, or it is too old; the sentence says what to install.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(Path(home) / "bin" / "java") if home else shutil.which("java")
    cure = f"install Java {OLDEST_JAVA} or later (Debian: openjdk-17-jre-headless)"
    if java is None:
        where = f"no Java in JAVA_HOME ({home})" if home else "no java on PATH"
        raise ServiceError(f"{where}: {cure}{', or unset JAVA_HOME' if home else ''}")
    version = java_version(Path(java))
    if version is None:
        raise ServiceError(f"{java} doesn't say its version, so it is no Java that works: {cure}")
    if version < OLDEST_JAVA:
        raise ServiceError(f"{java} is Java {version}: {cure}, and name it by JAVA_HOME if there are several")
    return Path(java)


def java_version(java: Path) -> int | None:
    """Major version of a Java, None when it doesn't run."""
    try:
        said = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(found[1]) if found else None


def require_memory(mib: int, what: str) -> None:
    """Refuse when the machine, or the group of processes that we are in, has less memory left than is needed.

    Parameters
    ----------
    mib : int
        Needed. [MiB]
    what : str
        Who needs it, and where heaps are set; begins the sentence.

    Raises
    ------
    ServiceError
        Too little memory.
    """
    free = free_memory_mib()
    if free is not None and free < mib:
        raise ServiceError(
            f"{what}: {mib:,} MiB of memory are needed and {free:,} MiB are free; "
            "stop other programs, or lower the heaps"
        )


def free_memory_mib() -> int | None:
    """Memory that programs can still take: the machine's, or less where a control group sets a limit.

    None where the system doesn't tell. [MiB]
    """
    found = [amount for amount in (_machine_memory(), _group_memory()) if amount is not None]
    return min(found, default=None) if found else None


def _machine_memory() -> int | None:
    try:
        told = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(told[1]) // 1024 if told else None


def _group_memory() -> int | None:
    """What a container's limit leaves; file cache can be taken back, so it counts as free."""
    try:
        most = (_GROUPS / "memory.max").read_text().strip()
        used = int((_GROUPS / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)", (_GROUPS / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if most == "max":
        return None
    return (int(most) - used + (int(cached[1]) if cached else 0)) // MIB
