"""What every engine has to find: certified meters with their baselines and reductions, compared whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.certification import Reductions


class WrongAnswerError(AssertionError):
    """Two engines certify different things: there is nothing to compare the speed of."""


@dataclass(frozen=True)
class Answer:
    """Certificates of one event.

    Attributes
    ----------
    meters : ndarray of str, shape (n,)
        Those that are certified, in ascending order.
    baseline_wh, reduction_wh : ndarray of int64, shape (n, intervals)
        The adjusted baseline, and it less the usage (0 where the usage is not known). [Wh]
    """

    meters: NDArray[np.str_]
    baseline_wh: NDArray[np.int64]
    reduction_wh: NDArray[np.int64]

    @classmethod
    def of(cls, reductions: Reductions) -> Answer:
        """Our own answer."""
        rows = np.flatnonzero(reductions.certified)
        return cls(reductions.meters[rows].astype(str), reductions.baseline_wh[rows], reductions.reduction_wh[rows])

    @classmethod
    def unordered(cls, meters: object, baseline_wh: NDArray[np.int64], reduction_wh: NDArray[np.int64]) -> Answer:
        """An answer whose meters come in any order."""
        names = np.asarray(meters).astype(str)
        order = np.argsort(names)
        return cls(names[order], baseline_wh[order], reduction_wh[order])

    def require(self, other: Answer, engine: str) -> None:
        """Raise unless another engine's answer is this one.

        Raises
        ------
        WrongAnswerError
            Naming the first meter that differs.
        """
        if not np.array_equal(self.meters, other.meters):
            odd = sorted(set(self.meters.tolist()) ^ set(other.meters.tolist()))
            raise WrongAnswerError(
                f"{engine} certifies {len(other.meters)} meters instead of {len(self.meters)}; {odd[:1]} first"
            )
        for name in ("baseline_wh", "reduction_wh"):
            mine, theirs = getattr(self, name), getattr(other, name)
            wrong = np.flatnonzero((mine != theirs).any(axis=1))
            if len(wrong):
                n = wrong[0]
                raise WrongAnswerError(
                    f"{engine}, {len(wrong)} meters differ, {self.meters[n]} first: {name} {theirs[n].tolist()} "
                    f"instead of {mine[n].tolist()}"
                )

    def save(self, path: Path) -> None:
        """Keep it for other processes."""
        np.savez(path, meters=self.meters, baseline_wh=self.baseline_wh, reduction_wh=self.reduction_wh)

    @classmethod
    def load(cls, path: Path) -> Answer:
        """Read what `save` wrote."""
        with np.load(path) as kept:
            return cls(kept["meters"], kept["baseline_wh"], kept["reduction_wh"])
