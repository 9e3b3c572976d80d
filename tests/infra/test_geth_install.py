"""Finding a geth that seals clique, or building one, with programs that stand in for both geth and Go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from geth_desk import a_geth, a_program

from infra import geth_install
from infra.daemons import ServiceError
from infra.geth_install import cache_folder, find_geth, find_go, parse_version, seals_clique

CODE = Path(geth_install.__file__).parents[1]

GO = """
case "$1" in
env) echo go1.26.8 ;;
install)
    echo "$@" >> "$(dirname "$0")/asked"
    echo "$GOFLAGS" >> "$(dirname "$0")/flags"
    echo internal/goarch >&2; echo github.com/ethereum/go-ethereum/cmd/geth >&2
    sleep 0.3
    printf '#!/bin/sh\\nprintf "Geth\\\\nVersion: 1.13.15-stable\\\\n"\\n' > "$GOBIN/geth"
    chmod +x "$GOBIN/geth" ;;
esac"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache, and ``bin`` and the system's own folders on PATH; no Go in the usual places."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(geth_install, "GO_PLACES", ())
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Geth\nVersion: 1.13.15-stable\nGit Commit: c5ba367e\nArchitecture: amd64\n", (1, 13, 15)),
        ("Geth\nVersion: 1.13.5-unstable\n", (1, 13, 5)),
        ("Geth\nVersion: 1.16.0-stable\n", (1, 16, 0)),
        ("Erigon\nVersion: 1.13.15\n", None),
        ("Geth\n", None),
        ("", None),
    ],
)
def test_versions_are_read_as_geth_states_them(said, version):
    assert parse_version(said) == version


@pytest.mark.parametrize(
    ("version", "seals"),
    [
        ((1, 13, 15), True), ((1, 13, 0), True), ((1, 12, 2), False), ((1, 13, 16), False), ((1, 14, 0), False),
        (None, False),
    ],
)  # fmt: skip
def test_only_1_13_up_to_15_will_do(version, seals):
    assert seals_clique(version) is seals


def test_a_fitting_geth_on_path_is_taken(machine):
    geth = a_geth(machine / "bin" / "geth", "1.13.14-stable")
    assert find_geth() == geth


def test_a_newer_geth_on_path_is_passed_over_and_named(machine):
    newer = a_geth(machine / "bin" / "geth", "1.14.12-stable")
    cached = a_geth(cache_folder() / "geth-1.13.15")
    said = []
    assert find_geth(say=said.append) == cached
    assert len(said) == 1
    assert f"{newer} is geth 1.14.12" in said[0]


def test_without_geth_and_go_the_error_says_what_to_install(machine):
    with pytest.raises(ServiceError, match=r"no Go 1\.20 or later.*golang-go"):
        find_geth()


def test_without_leave_to_build_nothing_is_built(machine):
    a_program(machine / "bin" / "go", GO)
    with pytest.raises(ServiceError, match="make test"):
        find_geth(build=False)
    assert not (machine / "bin" / "asked").exists()


def test_a_go_that_is_too_old_is_named(machine):
    old = a_program(machine / "bin" / "go", "echo go1.19.8")
    with pytest.raises(ServiceError, match=f"{old} is 1.19"):
        find_go()


def test_geth_is_built_into_the_cache_with_progress(machine):
    a_program(machine / "bin" / "go", GO)
    seen = []
    geth = find_geth(lambda *step: seen.append(step))
    assert geth == cache_folder() / "geth-1.13.15"
    assert [done for _, done, _ in seen] == [0, 1, 2, seen[-1][2]]
    (asked,) = (machine / "bin" / "asked").read_text().splitlines()
    assert asked == (
        "install -v -trimpath -ldflags=-s -w -checklinkname=0 github.com/ethereum/go-ethereum/cmd/geth@v1.13.15"
    )
    assert (machine / "bin" / "flags").read_text() == "-mod=mod\n"
    assert find_geth() == geth
    assert (machine / "bin" / "asked").read_text().count("\n") == 1


def test_linkers_that_know_no_such_check_are_not_told_to_leave_it_out(machine):
    a_program(machine / "bin" / "go", GO.replace("go1.26.8", "go1.22.1"))
    find_geth()
    assert "checklinkname" not in (machine / "bin" / "asked").read_text()


def test_a_failed_build_leaves_nothing_and_tells_the_end_of_what_go_said(machine):
    a_program(machine / "bin" / "go", '[ "$1" = env ] && echo go1.26.8 && exit\necho "no space left" >&2; exit 1')
    with pytest.raises(ServiceError, match=r"status 1(.|\n)*no space left"):
        find_geth()
    assert [path.name for path in cache_folder().iterdir()] == [".geth-1.13.15.lock"]


def test_two_processes_build_it_once(machine):
    a_program(machine / "bin" / "go", GO)
    command = [sys.executable, "-c", "from infra.geth_install import find_geth; print(find_geth())"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CODE) for _ in range(2)]
    assert {process.communicate(timeout=60)[0].strip() for process in both} == {str(cache_folder() / "geth-1.13.15")}
    assert (machine / "bin" / "asked").read_text().count("\n") == 1
