"""Numbers of meters in HeavyDB, which knows no unique keys: several workers may give numbers at once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import StoreError
from speed.heavydb_client import HeavyDBClient, OutcomeUnknownError
from speed.tables import METERS

CLAIMS = "meter_numbers"
CLAIM_COLUMNS = {"first_id": "INTEGER", "last_id": "INTEGER", "token": "TEXT ENCODING DICT(32)"}
_ATTEMPTS = 20


class MeterNumbers:
    """Names and numbers of the meters of a database, read again whenever something isn't known.

    A worker that needs numbers first claims a stretch of them: writes it into the table ``meter_numbers``, then
    looks. Who finds another claim on one of his numbers leaves them all and claims later ones. Since a row is seen as
    soon as it is loaded, of two who claim the same number at least one sees the other, so no number has two owners,
    whoever is killed when. Numbers that nobody uses cost nothing.
    """

    def __init__(self, client: HeavyDBClient) -> None:
        self._client = client
        self._ids: dict[str, int] = {}
        self._names = np.empty(0, dtype=object)

    def forget(self) -> None:
        """Read everything again when next asked."""
        self._ids, self._names = {}, np.empty(0, dtype=object)

    def names(self, *, up_to: int = -1, asked: Sequence[str] = ()) -> NDArray[np.object_]:
        """Names by number; None for a number that no meter has.

        Parameters
        ----------
        up_to : int
            The greatest number that is of interest.
        asked : sequence of str
            Names that are.
        """
        if up_to >= len(self._names) or not self._ids.keys() >= set(asked):
            self._read()
        return self._names

    def ids(self, names: NDArray[np.object_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Numbers of meters, and which of them were given just now to new names."""
        wanted, given = dict.fromkeys(names.tolist()), np.empty(0, dtype=np.int32)
        if not self._ids.keys() >= wanted.keys():
            self._read()  # somebody else may have given them
            if new := [name for name in wanted if name not in self._ids]:
                given = self._give(new)
        return np.array([self._ids[name] for name in names], dtype=np.int32), given

    def _give(self, names: list[str]) -> NDArray[np.int32]:
        first = self._claim(len(names))
        ids = pa.array(range(first, first + len(names)), pa.int32())
        rows = pa.table({"id": ids, "name": pa.array(names, pa.string())})
        for _ in range(_ATTEMPTS):
            try:
                self._client.load(METERS, rows)
            except OutcomeUnknownError as lost:
                self._client.settle(lost, f"DELETE FROM {METERS} WHERE id < 0")  # noqa: S608
            self._read()
            if self._ids.keys() >= set(names):
                return np.arange(first, first + len(names), dtype=np.int32)
        raise StoreError(f"{self._client.address.url}: new meters can't be written: the connection is lost each time")

    def _claim(self, count: int) -> int:
        """A stretch of numbers that nobody else has; returns its first."""
        for _ in range(_ATTEMPTS):
            top = self._client.query(f"SELECT MAX(last_id) AS top FROM {CLAIMS}")["top"].to_pylist()[0]  # noqa: S608
            first = 0 if top is None else int(top) + 1
            token = secrets.token_hex(8)
            try:
                self._client.load(
                    CLAIMS,
                    pa.table(
                        {
                            "first_id": pa.array([first], pa.int32()),
                            "last_id": pa.array([first + count - 1], pa.int32()),
                            "token": pa.array([token], pa.string()),
                        }
                    ),
                )
            except OutcomeUnknownError as lost:
                self._client.settle(lost, f"DELETE FROM {CLAIMS} WHERE first_id < 0")  # noqa: S608
            held = self._client.query(
                f"SELECT token FROM {CLAIMS} WHERE first_id <= {first + count - 1} AND last_id >= {first}"  # noqa: S608
            )
            if held["token"].to_pylist() == [token]:
                return first
        raise StoreError(f"{self._client.address.url}: no numbers for new meters: others claim the same all the time")

    def _read(self) -> None:
        found = self._client.query(f"SELECT id, name FROM {METERS}")  # noqa: S608
        ids = np.asarray(found["id"].to_numpy(), dtype=np.int64)
        names = found["name"].to_pylist()
        self._names = np.full(int(ids.max(initial=-1)) + 1, None, dtype=object)
        self._names[ids] = names
        self._ids = {}
        for number, name in zip(ids.tolist(), names, strict=True):
            self._ids[name] = min(number, self._ids.get(name, number))
