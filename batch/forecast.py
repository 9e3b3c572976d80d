"""Load forecasts: walk-forward validation, training, prediction and judgement, of groups of sites.

A model is judged on the last weeks of its data by walking forward: it is trained on what came before each stretch,
forecasts the stretch, and only then may learn from it. Its intervals are moved so that they would have covered
those weeks as they promise. Then it is trained once more on everything, from the same seed.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from batch.forecast_judgement import Forecast, Validation, judge
from batch.forecast_nn import NetworkRule, train_network
from batch.forecast_trees import TreesRule, train_trees
from domain.errors import NegawattError
from domain.forecast_features import FEWEST_DAYS, Features, make_features, why_unusable
from domain.forecast_metrics import conformal_margin
from domain.intervals import slot_start, slots_per_day
from domain.series import InvalidSeriesError, Loads, Weather

FloatArray = NDArray[np.float64]

MODELS = ("nn", "lightgbm")
LEARN_DAYS = 28
"""A model learns from so many days at least. [days]"""


class TooLittleHistoryError(InvalidSeriesError):
    """No site has enough loads to train a model on."""


class Predictor(Protocol):
    """A trained model."""

    @property
    def scope(self) -> Literal["global", "site"]:
        """Whether one model serves all sites, or each has its own."""

    def predict(self, by_site: NDArray[np.float32], common: NDArray[np.float32]) -> FloatArray:
        """Low, middle and high quantile of the correction, shape (sites, n, 3)."""


@dataclass(frozen=True)
class ForecastRule:
    """What to train, on what, and how to judge it.

    Attributes
    ----------
    model : {"nn", "lightgbm"}
    scope : {"global", "site"}
        One model for a group of sites, or one for each.
    zone : str
        IANA zone of the sites' local days.
    holidays : str
        ISO 3166 code of their holiday calendar; empty for none.
    weather_kind : {"actual", "forecast"}
        What the weather of the targets is. With actual weather errors are those of hindsight: real forecasts of
        weather make them greater.
    coverage : float
        Share of values that the interval is to hold, between 0 and 1.
    seed : int
    validation_days, folds : int
        The last days, and the stretches that they are walked through in.
    network : NetworkRule
    trees : TreesRule
    """

    model: Literal["nn", "lightgbm"] = "nn"
    scope: Literal["global", "site"] = "global"
    zone: str = "UTC"
    holidays: str = ""
    weather_kind: Literal["actual", "forecast"] = "actual"
    coverage: float = 0.8
    seed: int = 1
    validation_days: int = 28
    folds: int = 2
    network: NetworkRule = field(default_factory=NetworkRule)
    trees: TreesRule = field(default_factory=TreesRule)

    def __post_init__(self) -> None:
        if not 0 < self.coverage < 1:
            raise NegawattError(f"coverage {self.coverage:g}: expected a share between 0 and 1, such as 0.8")
        if not 1 <= self.folds <= self.validation_days:
            raise NegawattError(
                f"{self.folds} folds of {self.validation_days} validation days: expected a day or more in each"
            )

    @property
    def levels(self) -> tuple[float, float, float]:
        """The quantiles: low, middle and high."""
        beyond = (1 - self.coverage) / 2
        return (round(beyond, 9), 0.5, round(1 - beyond, 9))

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Group:
    """A trained model and the sites that it serves.

    Attributes
    ----------
    sites : ndarray of str objects, shape (sites,)
    interval_minutes : int
    first_slot, last_slot : int
        What it learned from.
    predictor : Predictor
    names : tuple of str
        Its inputs, in order.
    margin : ndarray of float64, shape (sites,)
        How far the ends of the interval are moved out, in logarithms.
    validation : Validation
    data_hash : str
        SHA-256 of the loads and the weather that it learned from.
    findings : tuple of str
    """

    sites: NDArray[np.object_]
    interval_minutes: int
    first_slot: int
    last_slot: int
    predictor: Predictor
    names: tuple[str, ...]
    margin: FloatArray
    validation: Validation
    data_hash: str
    findings: tuple[str, ...]


def features_of(loads: Loads, weather: Weather, rule: ForecastRule, first_slot: int, last_slot: int) -> Features:
    """The inputs for some targets, on the local days of the rule."""
    return make_features(loads, weather, first_slot, last_slot, ZoneInfo(rule.zone), rule.holidays)


def fit(features: Features, load: FloatArray, rule: ForecastRule, first_slot: int, last_slot: int) -> Predictor:
    """Train a model on the targets ``[first_slot, last_slot)``.

    Parameters
    ----------
    features : Features
    load : ndarray of float64, shape (sites, n)
        Of the features' targets.
    """
    part = slice(first_slot - features.first_slot, last_slot - features.first_slot)
    inputs = features.by_site[:, part], features.common[part], features.target(load)[:, part]
    if rule.model == "nn":
        return train_network(*inputs, rule.scope, rule.network, rule.levels, rule.seed)
    return train_trees(*inputs, rule.scope, rule.trees, rule.levels, rule.seed)


def walk_forward(
    features: Features,
    load: FloatArray,
    rule: ForecastRule,
    first_slot: int,
    last_slot: int,
    folds: int,
) -> FloatArray:
    """Forecast ``[first_slot, last_slot)`` in stretches, each by a model that was trained on what came before it.

    Returns
    -------
    ndarray of float64, shape (sites, last_slot − first_slot, 3)
        Quantiles of the correction; NaN where inputs are missing.
    """
    edges = np.linspace(first_slot, last_slot, folds + 1).round().astype(np.int64)
    parts = []
    for begin, end in itertools.pairwise(edges.tolist()):
        predictor = fit(features, load, rule, features.first_slot, begin)
        parts.append(_predicted(features, predictor, begin, end))
    return np.concatenate(parts, axis=1)


def _predicted(features: Features, predictor: Predictor, first_slot: int, last_slot: int) -> FloatArray:
    part = slice(first_slot - features.first_slot, last_slot - features.first_slot)
    found = predictor.predict(features.by_site[:, part], features.common[part])
    return np.where(features.usable[:, part, None], found, np.nan)


def train(loads: Loads, weather: Weather, rule: ForecastRule) -> Group:
    """Train a group's model, and judge it on the last days.

    Sites without enough history are left out, with a finding; so are intervals whose load or inputs are missing.

    Raises
    ------
    TooLittleHistoryError
        No site has enough of it.
    InvalidSeriesError
        The weather doesn't cover the loads, or has no temperature.
    NegawattError
        The library of the model isn't there.
    """
    day = slots_per_day(loads.interval_minutes)
    validation = rule.validation_days * day
    first, last = loads.first_slot + FEWEST_DAYS * day, loads.last_slot
    cut = last - validation
    need = FEWEST_DAYS + LEARN_DAYS + rule.validation_days
    if last - loads.first_slot < need * day:
        have = (last - loads.first_slot) / day
        raise TooLittleHistoryError(
            f"{have:.1f} days of loads are too few: expected {need} or more, {FEWEST_DAYS} for a site's level, "
            f"{LEARN_DAYS} to learn from and {rule.validation_days} to be judged on (--validation-days)"
        )
    features = features_of(loads, weather, rule, first, last)
    check_weather(features)
    load = loads.between(first, last).load
    learnable = ~np.isnan(features.target(load))
    enough = learnable[:, : cut - first].sum(axis=1) >= LEARN_DAYS * day // 2
    enough &= learnable[:, cut - first :].any(axis=1)
    findings = [
        f"site {site!r} has too little history with readings: it is left out, and can't be forecast"
        for site in loads.sites[~enough]
    ]
    if not enough.any():
        begin, end = (slot_start(slot, loads.interval_minutes) for slot in (first, cut))
        raise TooLittleHistoryError(
            f"none of {len(enough)} sites has {LEARN_DAYS // 2} days of loads from {begin:%Y-%m-%d} to "
            f"{end:%Y-%m-%d}, with the days before them, and some after"
        )
    if not enough.all():
        loads = replace(loads, sites=loads.sites[enough], load=loads.load[enough])
        features, load = features_of(loads, weather, rule, first, last), load[enough]
    correction = walk_forward(features, load, rule, cut, last, rule.folds)
    judged = features_slice(features, cut, last)
    target = judged.target(load[:, cut - first :])
    margin = np.array(
        [
            conformal_margin(np.maximum(found[:, 0] - wanted, wanted - found[:, 2]), rule.coverage)
            for found, wanted in zip(correction, target, strict=True)
        ]
    )
    forecast = _forecast(judged, correction, np.zeros(len(margin)), rule)
    return Group(
        sites=loads.sites,
        interval_minutes=loads.interval_minutes,
        first_slot=first,
        last_slot=last,
        predictor=fit(features, load, rule, first, last),
        names=features.names,
        margin=margin,
        validation=judge(loads, forecast),
        data_hash=hash_of(loads, weather),
        findings=tuple(findings),
    )


def check_weather(features: Features) -> None:
    """Raise unless most targets have weather.

    Raises
    ------
    InvalidSeriesError
        More than a tenth lack it.
    """
    lacking = features.weather_missing
    if lacking.mean() > 0.1:
        at = int(np.flatnonzero(lacking)[0])
        when = slot_start(features.first_slot + at, features.interval_minutes).isoformat()
        begin, end = (
            slot_start(slot, features.interval_minutes).isoformat()
            for slot in (features.first_slot, features.last_slot)
        )
        raise InvalidSeriesError(
            f"the weather lacks {int(lacking.sum()):,} of {len(lacking):,} intervals between {begin} and {end}, "
            f"the first at {when}; expected temperatures from two weeks before the first interval to the end"
        )


def features_slice(features: Features, first_slot: int, last_slot: int) -> Features:
    """The inputs of part of the targets."""
    part = slice(first_slot - features.first_slot, last_slot - features.first_slot)
    of_sites = ("by_site", "base", "level", "load_missing", "filled")
    return replace(
        features,
        first_slot=first_slot,
        common=features.common[part],
        weather_missing=features.weather_missing[part],
        clock=features.clock.cut(first_slot, last_slot),
        **{name: getattr(features, name)[:, part] for name in of_sites},
    )


def _forecast(features: Features, correction: FloatArray, margin: FloatArray, rule: ForecastRule) -> Forecast:
    low = np.minimum(correction[..., 0] - margin[:, None], correction[..., 1])
    high = np.maximum(correction[..., 2] + margin[:, None], correction[..., 1])
    findings = [text for row in range(len(features.sites)) if (text := why_unusable(features, row))]
    findings += [
        f"site {site!r}: for {int(n)} intervals loads of earlier weeks stand in for missing ones"
        for site, n in zip(features.sites, features.filled.sum(axis=1), strict=True)
        if n
    ]
    return Forecast(
        features.sites,
        features.first_slot,
        features.interval_minutes,
        features.to_load(low),
        features.to_load(correction[..., 1]),
        features.to_load(high),
        features.clock.working_day,
        rule.levels,
        tuple(findings),
    )


def predict(
    group: Group, loads: Loads, weather: Weather, rule: ForecastRule, first_slot: int, last_slot: int
) -> Forecast:
    """Forecast ``[first_slot, last_slot)``; each interval from loads at least a day older than itself.

    Parameters
    ----------
    loads : Loads
        Of the group's sites; a group of the scope ``global`` takes other sites as well.

    Raises
    ------
    InvalidSeriesError
        Another interval than the model's, weather that has other columns than it learned from, or a site that it
        doesn't know.
    """
    if loads.interval_minutes != group.interval_minutes:
        raise InvalidSeriesError(
            f"the loads are of {loads.interval_minutes} min, the model of {group.interval_minutes} min: "
            "expected the same interval"
        )
    known = {site: margin for site, margin in zip(group.sites, group.margin, strict=True)}
    strangers = [site for site in loads.sites if site not in known]
    if strangers and group.predictor.scope == "site":
        raise InvalidSeriesError(f"site {strangers[0]!r} has no model of its own; there are {len(known)} that have")
    if group.predictor.scope == "site" and len(loads.sites) < len(group.sites):
        whole = np.full((len(group.sites), loads.load.shape[1]), np.nan)
        whole[np.isin(group.sites.astype(str), loads.sites.astype(str))] = loads.load
        found = predict(group, replace(loads, sites=group.sites, load=whole), weather, rule, first_slot, last_slot)
        return _only(found, loads.sites)
    features = features_of(loads, weather, rule, first_slot, last_slot)
    if features.names != group.names:
        here, wanted = set(features.names), set(group.names)
        lacking, other = sorted(wanted - here), sorted(here - wanted)
        raise InvalidSeriesError(
            "the weather has other columns than the model learned from: "
            f"missing {', '.join(lacking) or 'none'}; unknown to it {', '.join(other) or 'none'}"
        )
    correction = _predicted(features, group.predictor, first_slot, last_slot)
    widest = float(np.max(group.margin))
    return _forecast(features, correction, np.array([known.get(site, widest) for site in loads.sites]), rule)


def _only(forecast: Forecast, sites: NDArray[np.object_]) -> Forecast:
    rows = np.flatnonzero(np.isin(forecast.sites.astype(str), sites.astype(str)))
    named = tuple(f"site {site!r}" for site in sites)
    return replace(
        forecast,
        sites=forecast.sites[rows],
        low=forecast.low[rows],
        middle=forecast.middle[rows],
        high=forecast.high[rows],
        findings=tuple(text for text in forecast.findings if text.startswith(named)),
    )


def hash_of(loads: Loads, weather: Weather) -> str:
    """SHA-256 of everything that a model learns from."""
    digest = hashlib.sha256()
    for number in (loads.first_slot, loads.interval_minutes, weather.first_slot, weather.interval_minutes):
        digest.update(f"{number};".encode())
    digest.update("\n".join(loads.sites).encode())
    digest.update(np.ascontiguousarray(loads.load).tobytes())
    for name in sorted(weather.values):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weather.values[name]).tobytes())
    return digest.hexdigest()
