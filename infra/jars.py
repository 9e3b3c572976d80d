"""Jars of the servers: fetched once by Maven from a pom of ours, and kept in the user's cache.

``python -m infra.jars kafka hbase`` fetches them ahead of time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from domain.errors import NegawattError
from infra.daemons import ServiceError, alone
from infra.java import find_java

POMS = Path(__file__).parent
EXPECTED = {"kafka": 46, "hbase": 192}
"""Jars of each server, for the progress bar."""

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


def jars(name: str, progress: Progress = lambda *_: None, say: Say = lambda _: None) -> Path:
    """Folder with the jars of a server, fetched now if they are not in the cache.

    The folder's name ends with a hash of the pom, so that other versions go into a folder of their own.

    Parameters
    ----------
    name : str
        ``kafka`` or ``hbase``.
    progress : callable
        Called while fetching with its name, jars done and jars expected.
    say : callable
        Told in a sentence why we wait.

    Raises
    ------
    ServiceError
        No Maven, no Java 17, or Maven failed; the sentence says what to do.
    """
    pom = POMS / name / "pom.xml"
    target = cache_folder() / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    with alone(
        target.with_name(f".{target.name}.lock"), lambda: say(f"another process fetches {name}; waiting for it")
    ):
        if not target.is_dir():
            _fetch(name, pom, target, progress)
    return target


def cache_folder() -> Path:
    """Where jars are kept: ``~/.cache/negawatt/jars``, or where XDG_CACHE_HOME puts caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "negawatt" / "jars"


def find_maven() -> str:
    """Path of Maven.

    Raises
    ------
    ServiceError
        There is none on PATH.
    """
    if (maven := shutil.which("mvn")) is None:
        raise ServiceError(
            "no Maven (mvn) on PATH, which fetches the servers' jars once: install it (Debian: apt-get install maven)"
        )
    return maven


def _fetch(name: str, pom: Path, target: Path, progress: Progress) -> None:
    """Let Maven copy the jars into a folder beside ``target``, and move it there whole."""
    step, expected = f"fetch {name}", EXPECTED[name]
    maven, java = find_maven(), find_java()
    home = java.resolve().parents[1]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as folder:
        jar_folder = Path(folder) / "jars"
        command = [maven, "-B", "-C", "-f", str(pom), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={jar_folder}"]
        environment = os.environ | {"JAVA_HOME": str(home)}
        said, done = list[str](), 0
        progress(step, 0, expected)
        with subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as working:
            for line in working.stdout or ():
                if "Downloaded" in line:
                    done += ".jar" in line
                    progress(step, min(done, expected - 1), expected)
                elif "Downloading" not in line and line.strip():
                    said.append(line.rstrip())
            status = working.wait()
        if status or not any(jar_folder.glob("*.jar")):
            raise ServiceError(
                f"Maven can't fetch {name} (status {status}); the network is needed this once. The end of what it "
                "said:\n" + "\n".join([line for line in said if "ERROR" in line][:6] or said[-8:])
            )
        jar_folder.rename(target)
    progress(step, expected, expected)


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or EXPECTED:
            print(jars(wanted, say=lambda said: print(said, file=sys.stderr)))
    except NegawattError as error:
        sys.exit(f"error: {error}")
