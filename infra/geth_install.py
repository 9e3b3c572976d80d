"""Find geth 1.13.15, the last version that seals clique, or build it once with the Go toolchain.

``python -m infra.geth_install`` does so and prints the path; with ``--find`` it builds nothing, and exits with 1 when
there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from glob import glob
from pathlib import Path

from domain.errors import NegawattError
from infra.daemons import ServiceError, alone

LAST_CLIQUE = (1, 13, 15)
OLDEST_GO = (1, 20)
"""The Go that geth 1.13.15's go.mod asks for. Debian 12's own is 1.19."""
GO_PLACES = ("/usr/local/go", "/usr/lib/go-1.*")
"""Where Go is when it is not on PATH: its own place, and the versioned packages of Debian and Ubuntu."""
_MODULE = "github.com/ethereum/go-ethereum/cmd/geth@v1.13.15"
_PACKAGES = 666
"""Packages that a build from nothing compiles, for the progress bar."""

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


def find_geth(progress: Progress = lambda *_: None, say: Say = lambda _: None, *, build: bool = True) -> Path:
    """Path of a geth that seals clique: on PATH, else in the user's cache, else built into the cache.

    Parameters
    ----------
    progress : callable
        Called during a build with its name, packages done and packages in all.
    say : callable
        Told in a sentence what was passed over, and why we wait.
    build : bool
        Build it when there is none.

    Raises
    ------
    ServiceError
        There is none, and none can be built; the sentence says what to install.
    """
    if on_path := shutil.which("geth"):
        version = version_of(Path(on_path))
        if seals_clique(version):
            return Path(on_path)
        spelt = ".".join(map(str, version)) if version else "of unknown version"
        say(f"{on_path} is geth {spelt}, which doesn't seal clique (1.13.0 to 1.13.15 do): another one is used")
    cached = cache_folder() / "geth-1.13.15"
    if seals_clique(version_of(cached)):
        return cached
    if not build:
        raise ServiceError(f"no geth that seals clique, neither on PATH nor as {cached}: `make test` sets it up")
    lock = cached.with_name(".geth-1.13.15.lock")
    with alone(lock, lambda: say("another process is building geth; waiting for it")):
        if not seals_clique(version_of(cached)):
            _build(cached, find_go(), progress)
    return cached


def cache_folder() -> Path:
    """Where programs that we built are kept: ``~/.cache/negawatt/bin``, or where XDG_CACHE_HOME puts caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "negawatt" / "bin"


def version_of(geth: Path) -> tuple[int, int, int] | None:
    """Version that a geth states; None when it is none, or doesn't run here."""
    try:
        said = subprocess.run([str(geth), "version"], capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(said.stdout)


def parse_version(said: str) -> tuple[int, int, int] | None:
    """Version in the output of ``geth version``; None when it is not geth's."""
    found = re.search(r"^Version: (\d+)\.(\d+)\.(\d+)\b", said, re.MULTILINE)
    if not said.lstrip().startswith("Geth") or found is None:
        return None
    return int(found[1]), int(found[2]), int(found[3])


def seals_clique(version: tuple[int, int, int] | None) -> bool:
    """Whether this version takes our options and seals clique; 1.14 dropped sealing."""
    return version is not None and (1, 13, 0) <= version <= LAST_CLIQUE


def find_go() -> tuple[Path, tuple[int, int]]:
    """Path and version of the Go toolchain to build with.

    Looks on PATH and in `GO_PLACES`.

    Raises
    ------
    ServiceError
        There is none, or only older ones than geth needs.
    """
    on_path = shutil.which("go")
    places = [Path(on_path)] if on_path else []
    places += [Path(found) for pattern in GO_PLACES for found in sorted(glob(f"{pattern}/bin/go"), reverse=True)]
    old: list[str] = []
    for go in places:
        if (version := go_version(go)) is not None:
            if version >= OLDEST_GO:
                return go, version
            old.append(f"{go} is {version[0]}.{version[1]}")
    raise ServiceError(
        f"no geth 1.13.15, and no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or later to build it "
        f"({'; '.join(old) or 'found no go'}): install a golang-go that is new enough (Debian 12: from "
        "bookworm-backports), unpack Go's own release as /usr/local/go, or put geth 1.13.15 on PATH; then try again"
    )


def go_version(go: Path) -> tuple[int, int] | None:
    """Major and minor version of a Go toolchain, None when it doesn't run."""
    try:
        # "local", because the toolchain that go would fetch by itself is not the one that is installed
        environment = os.environ | {"GOTOOLCHAIN": "local"}
        said = subprocess.run(  # noqa: S603
            [str(go), "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _build(target: Path, go: tuple[Path, tuple[int, int]], progress: Progress) -> None:
    """Build geth beside ``target`` and move it there whole."""
    program, version = go
    linker = "-s -w"
    if version >= (1, 23):
        linker += " -checklinkname=0"  # a package of geth's reaches into Go's runtime, which 1.23 began to refuse
    command = [str(program), "install", "-v", "-trimpath", f"-ldflags={linker}", _MODULE]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        environment = os.environ | {"GOBIN": folder, "GOFLAGS": "-mod=mod"}
        with subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as building:
            said, done = list[str](), 0
            progress("build geth 1.13.15", 0, _PACKAGES)
            for line in building.stderr or ():
                said.append(line.rstrip())
                if not line.startswith(("go: ", "#")):
                    done += 1
                    progress("build geth 1.13.15", min(done, _PACKAGES - 1), _PACKAGES)
            status = building.wait()
        built = Path(folder) / "geth"
        if status or not seals_clique(version_of(built)):
            raise ServiceError(
                f"geth 1.13.15 can't be built with {program} {version[0]}.{version[1]} (status {status}); "
                "the end of what it said:\n" + "\n".join(said[-8:])
            )
        built.replace(target)
    progress("build geth 1.13.15", _PACKAGES, _PACKAGES)


def _tell(step: str, done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"{step}: {done} of {total} packages", file=sys.stderr)


if __name__ == "__main__":
    try:
        print(find_geth(_tell, lambda said: print(said, file=sys.stderr), build="--find" not in sys.argv))
    except NegawattError as error:
        sys.exit(f"error: {error}")
