"""Gradient-boosted trees on the inputs of the load forecast, what the network is compared with: LightGBM."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class TreesRule:
    """Size and training of the trees; LightGBM's own defaults where nothing is said.

    Attributes
    ----------
    rounds : int
        Trees of each quantile.
    learning_rate : float
    leaves : int
        Leaves of a tree at most.
    """

    rounds: int = 500
    learning_rate: float = 0.05
    leaves: int = 31


@dataclass(frozen=True, eq=False)
class Trees:
    """Trained trees: a model for each quantile, of all sites or of each, as LightGBM's text.

    Attributes
    ----------
    scope : {"global", "site"}
    models : tuple of tuple of str
        For each model's sites, the three quantiles.
    """

    scope: Literal["global", "site"]
    models: tuple[tuple[str, ...], ...]

    def predict(self, by_site: Float32Array, common: Float32Array) -> FloatArray:
        """Low, middle and high quantile of the correction, as `batch.forecast_nn.Network.predict`."""
        lightgbm = _library()
        boosters = [[lightgbm.Booster(model_str=text) for text in texts] for texts in self.models]
        out = np.empty((*by_site.shape[:2], 3))
        for site, own in enumerate(by_site):
            rows = np.concatenate([own, common], axis=-1)
            for n, booster in enumerate(boosters[site if self.scope == "site" else 0]):
                out[site, :, n] = booster.predict(rows)
        return np.sort(out, axis=-1)  # quantiles trained apart may cross


def train_trees(
    by_site: Float32Array,
    common: Float32Array,
    target: FloatArray,
    scope: Literal["global", "site"],
    rule: TreesRule,
    levels: tuple[float, float, float],
    seed: int,
) -> Trees:
    """Train trees on corrections by quantile loss; the same inputs and seed give the same trees.

    Parameters
    ----------
    by_site : ndarray of float32, shape (sites, n, inputs)
    common : ndarray of float32, shape (n, inputs)
    target : ndarray of float64, shape (sites, n)
        NaN where a target is not to be learned from.
    levels : tuple of float
        The quantiles: low, middle and high.

    Raises
    ------
    NegawattError
        LightGBM isn't there, or a site has nothing to learn from.
    """
    lightgbm = _library()
    groups = [[site] for site in range(len(by_site))] if scope == "site" else [list(range(len(by_site)))]
    found = []
    for sites in groups:
        known = {site: ~np.isnan(target[site]) for site in sites}
        rows = np.concatenate([np.concatenate([by_site[s][k], common[k]], axis=-1) for s, k in known.items()])
        wanted = np.concatenate([target[s][k] for s, k in known.items()])
        if len(wanted) == 0:
            raise NegawattError(f"{len(sites)} sites have no interval to learn from")
        data = lightgbm.Dataset(rows, wanted, free_raw_data=False)
        found.append(tuple(_train(lightgbm, data, rule, level, seed) for level in levels))
    return Trees(scope, tuple(found))


def _train(lightgbm: Any, data: Any, rule: TreesRule, level: float, seed: int) -> str:
    settings = {
        "objective": "quantile",
        "alpha": level,
        "learning_rate": rule.learning_rate,
        "num_leaves": rule.leaves,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # sums in another order give other trees; and tasks run side by side
        "verbosity": -1,
    }
    booster = lightgbm.train(settings, data, num_boost_round=rule.rounds)
    return str(booster.model_to_string())


def _library() -> Any:
    try:
        return importlib.import_module("lightgbm")  # only this comparator needs it
    except ImportError as absent:
        raise NegawattError(
            f"gradient-boosted trees need LightGBM ({absent}): install negawatt[forecast], or train --model nn"
        ) from absent
