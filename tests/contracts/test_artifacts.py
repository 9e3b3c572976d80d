"""The compiled contracts that the package ships."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import contracts
from contracts import artifacts

FOLDER = Path(contracts.__file__).parent


@pytest.mark.parametrize("name", artifacts.NAMES)
def test_an_artifact_holds_what_deploying_and_calling_need(name: str) -> None:
    artifact = artifacts.load(name)
    assert artifact.name == name
    assert {entry["type"] for entry in artifact.abi} >= {"constructor", "function", "event", "error"}
    # No unlinked library is left in the code.
    assert len(bytes.fromhex(artifact.bytecode.removeprefix("0x"))) > 1000


def test_every_source_has_an_artifact_and_the_other_way_round() -> None:
    assert sorted(artifacts.NAMES) == sorted(path.stem for path in (FOLDER / "src").glob("*.sol"))
    assert sorted(artifacts.NAMES) == sorted(path.stem for path in (FOLDER / "artifacts").iterdir())


def test_an_artifact_is_loaded_once_and_cannot_be_changed() -> None:
    artifact = artifacts.load("IncentiveCoin")
    assert artifacts.load("IncentiveCoin") is artifact
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.name = "Other"  # type: ignore[misc]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'Coin'.*DemandResponse, EnergyMarket, EnergyToken, IncentiveCoin"):
        artifacts.load("Coin")


@pytest.mark.parametrize("name", artifacts.NAMES)
def test_an_artifact_was_made_from_the_sources_as_they_are(name: str) -> None:
    digest = hashlib.sha256()
    shared = sorted((FOLDER / "src" / "support").glob("*.sol"))
    for path in [FOLDER / "compiler.json", *sorted((FOLDER / "src").glob("*.sol")), *shared]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    recorded = json.loads((FOLDER / "artifacts" / f"{name}.json").read_text(encoding="utf-8"))
    assert recorded["sourceHash"] == digest.hexdigest(), "run: node scripts/compile.js"


def test_compiling_again_gives_the_same_artifacts() -> None:
    if not (FOLDER / "node_modules" / "solc").is_dir():
        pytest.skip("the compiler is not installed: run npm ci in contracts/")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    command = [node, "scripts/compile.js", "--check"]
    check = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert check.returncode == 0, check.stderr
