"""Forecasts held against what came: errors beside those of naive forecasts, and whether a model is worth keeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.forecast_features import naive_forecasts
from domain.forecast_metrics import Errors, by_part, pooled
from domain.series import Loads

FloatArray = NDArray[np.float64]

NAIVE = ("yesterday", "last-week")
"""The naive forecasts: the load 24 hours before, and seven days before."""


class NotBetterThanNaiveError(NegawattError):
    """A model whose error is no less than that of yesterday's or last week's load: it is not kept."""

    def __init__(self, model: str, mae: float, naive: str, naive_mae: float, days: int) -> None:
        self.model, self.mae, self.naive, self.naive_mae = model, mae, naive, naive_mae
        super().__init__(
            f"the model {model!r} is no better than the load of {naive.replace('-', ' ')}: over the last {days} days "
            f"its mean absolute error was {mae:.4g}, that of {naive.replace('-', ' ')} {naive_mae:.4g}. "
            "It is not kept; give it more history or better weather, or use the naive forecast"
        )


@dataclass(frozen=True, eq=False)
class Forecast:
    """A forecast of some sites over a run of intervals.

    Attributes
    ----------
    sites : ndarray of str objects, shape (sites,)
    first_slot, interval_minutes : int
    low, middle, high : ndarray of float64, shape (sites, n)
        Quantiles of the load; NaN where it can't be forecast. [the load's unit]
    working_day : ndarray of bool, shape (n,)
    levels : tuple of float
    findings : tuple of str
        What couldn't be forecast, and why; and where old loads stood in.
    """

    sites: NDArray[np.object_]
    first_slot: int
    interval_minutes: int
    low: FloatArray
    middle: FloatArray
    high: FloatArray
    working_day: NDArray[np.bool_]
    levels: tuple[float, float, float]
    findings: tuple[str, ...]

    @property
    def quantiles(self) -> dict[float, FloatArray]:
        """By level."""
        return dict(zip(self.levels, (self.low, self.middle, self.high), strict=True))

    def errors(self, actual: FloatArray) -> dict[str, dict[str, Errors]]:
        """Errors against loads of shape (sites, n), of all sites (``""``) and each, by kind of day."""
        return by_part(list(self.sites), self.working_day, actual, self.middle, self.quantiles)


@dataclass(frozen=True, eq=False)
class Validation:
    """How a model did on the last weeks of its data, beside naive forecasts of the same intervals.

    Attributes
    ----------
    first_slot, last_slot : int
    model : mapping
        Errors by site (``""`` for all) and kind of day.
    naive : mapping of str to such a mapping
        Of each of `NAIVE`.
    """

    first_slot: int
    last_slot: int
    model: Mapping[str, Mapping[str, Errors]]
    naive: Mapping[str, Mapping[str, Mapping[str, Errors]]]


def judge(loads: Loads, forecast: Forecast) -> Validation:
    """Errors of a forecast and of the naive ones, over the same intervals."""
    first, last = forecast.first_slot, forecast.first_slot + forecast.middle.shape[1]
    actual = loads.between(first, last).load
    naive = naive_forecasts(loads, first, last)
    both = ~np.isnan(forecast.middle)
    for values in naive.values():
        both &= ~np.isnan(values)
    actual = np.where(both, actual, np.nan)
    return Validation(
        first,
        last,
        forecast.errors(actual),
        {
            name: by_part(list(forecast.sites), forecast.working_day, actual, np.where(both, values, np.nan))
            for name, values in naive.items()
        },
    )


def check_better_than_naive(validations: Sequence[Validation], model: str, days: int) -> None:
    """Raise unless a model's mean absolute error, over all sites, is below that of every naive forecast.

    Raises
    ------
    NotBetterThanNaiveError
        It isn't.
    NegawattError
        There was nothing to judge by.
    """
    mine = pooled(v.model[""]["all"] for v in validations).mae
    for name in NAIVE:
        theirs = pooled(v.naive[name][""]["all"] for v in validations).mae
        if mine is None or theirs is None:
            raise NegawattError(f"no interval of the last {days} days has loads a day and a week before to judge by")
        if not mine < theirs:
            raise NotBetterThanNaiveError(model, mine, name, theirs, days)
