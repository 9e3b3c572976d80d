"""Trained models on disk: numbered versions, each complete or absent, with what they were made of and how they did.

A version is a folder with ``model.json`` and a file of plain arrays for each group of sites::

    models/NAME/000003/model.json
    models/NAME/000003/group-00000.npz

Nothing in it is ever run: no file can carry code.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.forecast import ForecastRule, Group, Predictor
from batch.forecast_judgement import NAIVE, Validation, check_better_than_naive
from batch.forecast_nn import Network, NetworkRule
from batch.forecast_trees import Trees, TreesRule
from batch.renames import sync_folder
from domain.errors import StoreError
from domain.forecast_metrics import Errors, pooled

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
FORMAT = 1


@dataclass(frozen=True)
class ModelVersion:
    """A version that was registered.

    Attributes
    ----------
    name : str
    version : int
        From 1.
    folder : Path
    rule : ForecastRule
        By which it was trained.
    document : mapping
        All of ``model.json``.
    """

    name: str
    version: int
    folder: Path
    rule: ForecastRule
    document: Mapping[str, Any]

    def groups(self) -> Iterator[Group]:
        """Its groups, one read after the other.

        Raises
        ------
        StoreError
            A file is lost or is not what was written.
        """
        for name, digest in self.document["groups"].items():
            path = self.folder / name
            try:
                data = path.read_bytes()
            except OSError as lost:
                raise StoreError(f"{path} can't be read ({lost.strerror}): train the model again") from lost
            if _sha256(data) != digest:
                raise StoreError(f"{path} is not what was written: train the model again")
            yield group_from(data)


class ModelRegistry:
    """Models in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first model is registered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def register(self, name: str, groups: Sequence[Group], rule: ForecastRule, now: datetime) -> ModelVersion:
        """Keep a model as the next version of its name, if it beats the naive forecasts.

        Raises
        ------
        NotBetterThanNaiveError
            It doesn't.
        StoreError
            No such name can be had, or the folder can't be written to.
        """
        check_name(name)
        validations = [group.validation for group in groups]
        check_better_than_naive(validations, rule.model, rule.validation_days)
        packed = {f"group-{number:05d}.npz": group_bytes(group) for number, group in enumerate(groups)}
        document = {
            "format": FORMAT,
            "name": name,
            "created": now.isoformat(timespec="seconds"),
            "rule": rule.document(),
            "sites": sum(len(group.sites) for group in groups),
            "interval_minutes": groups[0].interval_minutes,
            "first_slot": min(group.first_slot for group in groups),
            "last_slot": max(group.last_slot for group in groups),
            "data_sha256": _sha256("".join(sorted(group.data_hash for group in groups)).encode()),
            "inputs": list(groups[0].names),
            "validation": metrics_of(validations),
            "findings": [text for group in groups for text in group.findings],
            "groups": {file: _sha256(data) for file, data in packed.items()},
        }
        aside = self.folder / name / f".{secrets.token_hex(8)}.tmp"
        try:
            aside.mkdir(parents=True)
            for file, data in packed.items():
                (aside / file).write_bytes(data)
            number = (self.versions(name) or [0])[-1]
            while True:  # another process may take a number first
                number += 1
                document["version"] = number
                (aside / "model.json").write_text(json.dumps(document, indent=2) + "\n")
                if self._take(aside, self._place(name, number)):
                    return self.version(name, number)
        except OSError as failed:
            raise StoreError(f"{self.folder}: the model can't be written: {failed.strerror}") from failed
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def versions(self, name: str) -> list[int]:
        """Numbers of a name's versions, ascending."""
        there = self.folder / check_name(name)
        return sorted(int(path.name) for path in there.glob("[0-9]" * 6) if (path / "model.json").exists())

    def names(self) -> list[str]:
        """Names that have a version, ascending."""
        found = [path.name for path in self.folder.glob("*") if _NAME.fullmatch(path.name)]
        return sorted(name for name in found if self.versions(name))

    def version(self, name: str, number: int | None = None) -> ModelVersion:
        """A version of a model, by default the last.

        Raises
        ------
        StoreError
            There is none, or its file can't be read.
        """
        numbers = self.versions(name)
        if not numbers or (number is not None and number not in numbers):
            have = ", ".join(map(str, numbers)) or "none"
            wanted = f"version {number} of the model {name!r}" if number else f"model {name!r}"
            others = ", ".join(self.names()) or "none"
            raise StoreError(f"no {wanted} in {self.folder}; its versions: {have}; models there: {others}")
        number = number or numbers[-1]
        place = self._place(name, number)
        try:
            document = json.loads((place / "model.json").read_text())
            rule = _rule_from(document["rule"])
        except (OSError, ValueError, KeyError, TypeError) as broken:
            raise StoreError(f"{place / 'model.json'} can't be read ({broken}): train the model again") from broken
        return ModelVersion(name, number, place, rule, document)

    def _place(self, name: str, number: int) -> Path:
        return self.folder / name / f"{number:06d}"

    @staticmethod
    def _take(aside: Path, place: Path) -> bool:
        """Put a finished folder in its place, unless that is taken."""
        try:
            aside.rename(place)
        except OSError:
            if place.exists():
                return False
            raise
        sync_folder(place.parent)
        return True


def check_name(name: str) -> str:
    """Return ``name`` if a model can be called so.

    Raises
    ------
    StoreError
        It can't.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(f"a model can't be called {name!r}: expected small letters, digits and . _ - within")
    return name


def metrics_of(validations: Sequence[Validation]) -> dict[str, Any]:
    """Errors over all groups and of each site, of the model and of the naive forecasts, as plain values."""
    kinds = ("all", "weekday", "weekend")
    parts = {"model": [v.model for v in validations]} | {name: [v.naive[name] for v in validations] for name in NAIVE}
    return {
        "first_slot": min(v.first_slot for v in validations),
        "last_slot": max(v.last_slot for v in validations),
        "all": {
            which: {kind: pooled([found[""][kind] for found in groups]).document() for kind in kinds}
            for which, groups in parts.items()
        },
        "sites": {
            site: {which: {kind: found[site][kind].document() for kind in kinds} for which, found in one.items()}
            for number in range(len(validations))
            for one in [{which: groups[number] for which, groups in parts.items()}]
            for site in one["model"]
            if site
        },
    }


def pack(group: Group) -> dict[str, NDArray[Any]]:
    """A group as plain arrays, for a file or a message; `unpack` reads them."""
    validation = group.validation
    head = {
        "interval_minutes": group.interval_minutes,
        "first_slot": group.first_slot,
        "last_slot": group.last_slot,
        "names": group.names,
        "data_hash": group.data_hash,
        "findings": group.findings,
        "scope": group.predictor.scope,
        "kind": "nn" if isinstance(group.predictor, Network) else "lightgbm",
        "validation": {
            "first_slot": validation.first_slot,
            "last_slot": validation.last_slot,
            "model": _documents(validation.model),
            "naive": {name: _documents(parts) for name, parts in validation.naive.items()},
        },
    }
    arrays: dict[str, NDArray[Any]] = {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "sites": np.array([str(site) for site in group.sites]),
        "margin": group.margin,
    }
    if isinstance(group.predictor, Network):
        return arrays | {f"nn.{name}": value for name, value in group.predictor.arrays.items()}
    if not isinstance(group.predictor, Trees):
        raise TypeError(f"a model of kind {type(group.predictor).__name__}")
    for number, texts in enumerate(group.predictor.models):
        for quantile, text in enumerate(texts):
            arrays[f"trees.{number}.{quantile}"] = np.frombuffer(text.encode(), np.uint8)
    return arrays


def unpack(arrays: Mapping[str, NDArray[Any]]) -> Group:
    """A group from what `pack` made."""
    head = json.loads(bytes(arrays["head"]))
    scope = head["scope"]
    predictor: Predictor
    if head["kind"] == "nn":
        own = {name.removeprefix("nn."): arrays[name] for name in arrays if name.startswith("nn.")}
        predictor = Network(scope, own)
    else:
        count = sum(name.startswith("trees.") for name in arrays) // 3
        predictor = Trees(
            scope, tuple(tuple(bytes(arrays[f"trees.{n}.{q}"]).decode() for q in range(3)) for n in range(count))
        )
    found = head["validation"]
    return Group(
        sites=np.array(arrays["sites"].tolist(), dtype=object),
        interval_minutes=head["interval_minutes"],
        first_slot=head["first_slot"],
        last_slot=head["last_slot"],
        predictor=predictor,
        names=tuple(head["names"]),
        margin=arrays["margin"],
        validation=Validation(
            found["first_slot"],
            found["last_slot"],
            _errors(found["model"]),
            {name: _errors(parts) for name, parts in found["naive"].items()},
        ),
        data_hash=head["data_hash"],
        findings=tuple(head["findings"]),
    )


def _documents(parts: Mapping[str, Mapping[str, Errors]]) -> dict[str, dict[str, Any]]:
    return {site: {kind: found.document() for kind, found in kinds.items()} for site, kinds in parts.items()}


def _errors(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Errors]]:
    return {site: {kind: Errors(**found) for kind, found in kinds.items()} for site, kinds in parts.items()}


def group_bytes(group: Group) -> bytes:
    """A group as the bytes of a file of arrays."""
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **pack(group))
    return sink.getvalue()


def group_from(data: bytes | memoryview) -> Group:
    """A group from what `group_bytes` made; nothing in it is run."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return unpack({name: arrays[name] for name in arrays.files})


def _rule_from(values: Mapping[str, Any]) -> ForecastRule:
    known = {field.name for field in fields(ForecastRule)}
    given = {name: value for name, value in values.items() if name in known}
    return ForecastRule(**{**given, "network": NetworkRule(**given["network"]), "trees": TreesRule(**given["trees"])})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
