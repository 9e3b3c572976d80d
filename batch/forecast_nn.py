"""The neural network of the load forecast: trained by TensorFlow, run by numpy.

A small network with a linear path beside it, in several members that start from different weights; the forecast is
their mean. All members, and in the scope ``site`` the networks of all sites, are trained together as one batch of
matrices. What is kept are plain arrays, so that a forecast needs no TensorFlow, and no file can carry code.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Scope = Literal["global", "site"]

MOST_DEVIATIONS = 6.0
"""Inputs further from their mean than so many standard deviations of the training data count as that far."""

ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class NetworkRule:
    """Size and training of the network.

    Attributes
    ----------
    hidden : int
        Units of each of the two layers.
    members : int
        Networks whose forecasts are averaged.
    passes : float
        How often each target is learned from, on average.
    steps, batch : int
        Gradient steps at most, and targets in each.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over the first twentieth of the steps and falls to zero along a cosine.
    dropout : float
        Share of hidden units that each step leaves out.
    """

    hidden: int = 128
    members: int = 4
    passes: float = 15.0
    steps: int = 1000
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3

    def steps_for(self, targets: int) -> int:
        """Gradient steps for so many targets.

        >>> NetworkRule().steps_for(25_600), NetworkRule().steps_for(10**7)
        (750, 1000)
        """
        return max(1, min(self.steps, math.ceil(self.passes * targets / self.batch)))


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes
    ----------
    scope : {"global", "site"}
        One for all sites, or one for each.
    arrays : mapping of str to ndarray of float32
        Means and deviations of the inputs, and the weights; models first, then members.
    """

    scope: Scope
    arrays: Mapping[str, Float32Array]

    def predict(self, by_site: Float32Array, common: Float32Array) -> FloatArray:
        """Low, middle and high quantile of the correction.

        Parameters
        ----------
        by_site : ndarray of float32, shape (sites, n, inputs)
            In the scope ``site`` the sites that it was trained on, in their order.
        common : ndarray of float32, shape (n, inputs)

        Returns
        -------
        ndarray of float64, shape (sites, n, 3)
        """
        sites, n, _ = by_site.shape
        out = np.empty((sites, n, 3))
        rows = max(1, ROWS_AT_ONCE // max(sites, 1))
        for at in range(0, n, rows):
            part = slice(at, at + rows)
            inputs = _joined(by_site[:, part], common[part])
            if self.scope == "global":
                inputs = inputs.reshape(1, -1, inputs.shape[-1])
            found = _numpy_forward(_standardised(inputs, self.arrays), self.arrays).mean(axis=1)
            out[:, part] = found.reshape(sites, -1, 3)
        return out


def train_network(
    by_site: Float32Array,
    common: Float32Array,
    target: FloatArray,
    scope: Scope,
    rule: NetworkRule,
    levels: tuple[float, float, float],
    seed: int,
) -> Network:
    """Train a network on corrections by quantile loss; the same inputs and seed give the same network.

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
        TensorFlow isn't there, or a site has nothing to learn from.
    """
    tf = tensorflow()
    known = ~np.isnan(target)
    learning = known.any(axis=1)
    if not (learning.all() if scope == "site" else learning.any()):
        raise NegawattError(f"{int((~learning).sum())} sites have no interval to learn from")
    times = np.flatnonzero(known.any(axis=0))
    by_site, common, target, known = by_site[:, times], common[times], target[:, times], known[:, times]
    arrays = _scales(by_site, common, known, scope)
    models = len(by_site) if scope == "site" else 1
    start = _first_weights(arrays["mean"].shape[-1], models, rule, target, known, scope, seed)
    weights = {name: tf.Variable(value) for name, value in start.items()}
    if scope == "site":
        draw = _draw_times(tf, by_site, common, target, rule.batch)
    else:
        draw = _draw_rows(tf, by_site, common, target, known, rule.batch)
    targets = len(times) if scope == "site" else int(known.sum())
    _descend(tf, weights, draw, arrays, rule, rule.steps_for(targets), levels, seed)
    return Network(scope, arrays | {name: variable.numpy() for name, variable in weights.items()})


def tensorflow() -> Any:
    """The library, made to give the same result each time.

    Raises
    ------
    NegawattError
        It isn't there.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tf: Any = importlib.import_module("tensorflow")  # takes seconds, and only training needs it
    except ImportError as absent:
        raise NegawattError(
            f"training a network needs TensorFlow ({absent}): install negawatt[forecast], or train --model lightgbm"
        ) from absent
    tf.config.experimental.enable_op_determinism()
    return tf


def _joined(by_site: Float32Array, common: Float32Array) -> Float32Array:
    shape = (len(by_site), *common.shape)
    joined: Float32Array = np.concatenate([by_site, np.broadcast_to(common, shape)], axis=-1)
    return joined


def _scales(
    by_site: Float32Array, common: Float32Array, known: NDArray[np.bool_], scope: Scope
) -> dict[str, Float32Array]:
    """Mean and standard deviation of every input over what is learned from, shape (models, 1, inputs)."""
    weight = np.atleast_2d(known if scope == "site" else known.any(axis=0))
    if scope == "site":
        parts = [_mean_and_deviation(x[None], w[None]) for x, w in zip(by_site, known, strict=True)]
        own = tuple(np.concatenate(values) for values in zip(*parts, strict=True))
    else:
        own = _mean_and_deviation(by_site, known)
    shared = [_mean_and_deviation(common[None], w[None]) for w in weight]
    others = tuple(np.concatenate(values) for values in zip(*shared, strict=True))
    return {
        name: np.concatenate([a, b], axis=-1)[:, None].astype(np.float32)
        for name, a, b in zip(("mean", "deviation"), own, others, strict=True)
    }


def _mean_and_deviation(x: Float32Array, known: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    rows = x[known].astype(np.float64)
    deviation = rows.std(axis=0)
    return rows.mean(axis=0)[None], np.where(deviation > 1e-6, deviation, 1.0)[None]


def _first_weights(
    inputs: int,
    models: int,
    rule: NetworkRule,
    target: FloatArray,
    known: NDArray[np.bool_],
    scope: Scope,
    seed: int,
) -> dict[str, Float32Array]:
    """Weights to start from: random layers, and an output that is about right on average."""
    random = np.random.default_rng(seed)
    hidden, stack = rule.hidden, (models, rule.members)

    def layer(rows: int, columns: int, gain: float) -> Float32Array:
        return (random.normal(0, gain / np.sqrt(rows), (*stack, rows, columns))).astype(np.float32)

    spread = np.array(
        [np.nanstd(target[m] if scope == "site" else target[known]) for m in range(models)], dtype=np.float64
    )
    out = np.zeros((*stack, 1, 3), np.float32)
    out[..., 1:] = np.log(np.expm1(np.maximum(spread, 1e-3)))[:, None, None, None]
    return {
        "in": layer(inputs, hidden, 1.4),
        "in_bias": np.zeros((*stack, 1, hidden), np.float32),
        "middle": layer(hidden, hidden, 1.0),
        "middle_bias": np.zeros((*stack, 1, hidden), np.float32),
        "out": layer(hidden, 3, 0.1) * spread.astype(np.float32)[:, None, None, None],
        "beside": np.zeros((*stack, inputs, 3), np.float32),
        "out_bias": out,
    }


def _standardised(x: Float32Array, arrays: Mapping[str, Float32Array]) -> Float32Array:
    found: Float32Array = np.clip((x - arrays["mean"]) / arrays["deviation"], -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return found


def _forward(
    x: Any,
    w: Mapping[str, Any],
    silu: Callable[[Any], Any],
    softplus: Callable[[Any], Any],
    join: Callable[[list[Any]], Any],
    drop: Callable[[Any], Any],
) -> Any:
    """The network, for numpy and for TensorFlow: inputs (models, 1, rows, inputs) to (models, members, rows, 3).

    The middle is a sum of a linear path and two layers, the second beside the first; the ends lie a positive distance
    from it, so quantiles never cross.
    """
    hidden = drop(silu(x @ w["in"] + w["in_bias"]))
    hidden = hidden + drop(silu(hidden @ w["middle"] + w["middle_bias"]))
    out = hidden @ w["out"] + x @ w["beside"] + w["out_bias"]
    middle = out[..., :1]
    return join([middle - softplus(out[..., 1:2]), middle, middle + softplus(out[..., 2:3])])


def _numpy_forward(x: Float32Array, arrays: Mapping[str, Float32Array]) -> FloatArray:
    with np.errstate(over="ignore"):
        found: FloatArray = _forward(
            x[:, None],
            arrays,
            lambda h: h / (1 + np.exp(-h)),
            lambda h: np.logaddexp(h, 0),
            lambda parts: np.concatenate(parts, axis=-1),
            lambda h: h,
        )
    return found


Draw = Callable[[Any], tuple[Any, Any, Any]]
"""Inputs (models, rows, inputs), targets and weights (models, rows) for a step's seed."""


def _draw_times(tf: Any, by_site: Float32Array, common: Float32Array, target: FloatArray, batch: int) -> Draw:
    """The same random intervals of every site, for a network a site."""
    own, shared = tf.constant(np.ascontiguousarray(by_site.swapaxes(0, 1))), tf.constant(common)
    wanted = tf.constant(np.nan_to_num(target.T).astype(np.float32))
    weight = tf.constant((~np.isnan(target.T)).astype(np.float32))
    sites, n = target.shape

    def draw(seed: Any) -> tuple[Any, Any, Any]:
        at = tf.random.stateless_uniform([batch], seed, maxval=n, dtype=tf.int32)
        mine = tf.transpose(tf.gather(own, at), [1, 0, 2])
        others = tf.tile(tf.gather(shared, at)[None], [sites, 1, 1])
        return tf.concat([mine, others], -1), *(tf.transpose(tf.gather(v, at)) for v in (wanted, weight))

    return draw


def _draw_rows(
    tf: Any,
    by_site: Float32Array,
    common: Float32Array,
    target: FloatArray,
    known: NDArray[np.bool_],
    batch: int,
) -> Draw:
    """Random intervals of random sites, for one network of all."""
    n = target.shape[1]
    flat = tf.constant(by_site.reshape(-1, by_site.shape[-1]))
    shared, wanted = tf.constant(common), tf.constant(np.nan_to_num(target).reshape(-1).astype(np.float32))
    rows = tf.constant(np.flatnonzero(known.reshape(-1)).astype(np.int64))
    ones = tf.ones([1, batch])

    def draw(seed: Any) -> tuple[Any, Any, Any]:
        at = tf.gather(rows, tf.random.stateless_uniform([batch], seed, maxval=len(rows), dtype=tf.int32))
        inputs = tf.concat([tf.gather(flat, at), tf.gather(shared, at % n)], -1)
        return inputs[None], tf.gather(wanted, at)[None], ones

    return draw


def _descend(
    tf: Any,
    weights: Mapping[str, Any],
    draw: Draw,
    arrays: Mapping[str, Float32Array],
    rule: NetworkRule,
    steps: int,
    levels: tuple[float, float, float],
    seed: int,
) -> None:
    """Take the gradient steps, all in one graph."""
    mean, deviation = (tf.constant(arrays[name]) for name in ("mean", "deviation"))
    level = tf.constant(levels, tf.float32)
    moments = {name: (tf.Variable(tf.zeros_like(w)), tf.Variable(tf.zeros_like(w))) for name, w in weights.items()}
    warm = max(steps // 20, 1)

    def loss_of(step_seed: Any) -> Any:
        x, wanted, weight = draw(step_seed)
        x = tf.clip_by_value((x - mean) / deviation, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        layer = iter(range(1, 10))

        def drop(hidden: Any) -> Any:
            if rule.dropout == 0:
                return hidden
            return tf.nn.experimental.stateless_dropout(hidden, rule.dropout, step_seed + next(layer))

        found = _forward(x[:, None], weights, tf.nn.silu, tf.math.softplus, lambda parts: tf.concat(parts, -1), drop)
        short = wanted[:, None, :, None] - found
        loss = tf.reduce_sum(tf.maximum(level * short, (level - 1) * short), -1) * weight[:, None]
        # Models and members don't share weights, so a sum over them trains each by itself.
        return tf.reduce_sum(tf.reduce_sum(loss, -1) / tf.maximum(tf.reduce_sum(weight, -1)[:, None], 1.0))

    def step(number: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(tf.stack([tf.constant(seed, tf.int32), 16 * number]))
        gradients = tape.gradient(loss, list(weights.values()))
        done = tf.cast(number, tf.float32)
        rate = rule.learning_rate * tf.minimum((done + 1) / warm, 0.5 * (1 + tf.cos(np.pi * done / steps)))
        for (name, w), g in zip(weights.items(), gradients, strict=True):
            first, second = moments[name]
            first.assign(0.9 * first + 0.1 * g)
            second.assign(0.999 * second + 0.001 * g * g)
            by = (first / (1 - 0.9 ** (done + 1))) / (tf.sqrt(second / (1 - 0.999 ** (done + 1))) + 1e-8)
            decay = 0.0 if name.endswith("bias") else rule.weight_decay
            w.assign_sub(rate * (by + decay * w))

    compiled = tf.function(step, autograph=False)
    for number in range(steps):
        compiled(tf.constant(number, tf.int32))
