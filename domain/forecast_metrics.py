"""How good a forecast was: errors in percent and in units, quantiles, and the share of values that fell inside.

Every figure is over the intervals that have both a value and a forecast; how many lacked one is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Errors:
    """Errors of a forecast over some intervals; None where nothing could be measured.

    Attributes
    ----------
    intervals : int
        Intervals that have a value and a forecast.
    missing : int
        Intervals that lack either.
    zero : int
        Intervals whose value is zero: they have no percentage, so ``mape_pct`` leaves them out.
    total : float
        Sum of the values. [the load's unit]
    mape_pct : float or None
        Mean of |value − forecast| / value, equation (2) of the inter-microgrid paper. [%]
    wape_pct : float or None
        Sum of |value − forecast| over the sum of the values, which zeros don't disturb. [%]
    mae, rmse : float or None
        Mean absolute error; root of the mean squared error. [the load's unit]
    bias, bias_pct : float or None
        Mean of forecast − value: positive where the forecast is too high; also as a share of the mean value.
    pinball : mapping of str to float
        Mean pinball loss of each quantile, by its level. [the load's unit]
    coverage_pct, width : float or None
        Share of values inside the interval, ends included [%], and its mean width [the load's unit].
    """

    intervals: int
    missing: int
    zero: int
    total: float
    mape_pct: float | None
    wape_pct: float | None
    mae: float | None
    rmse: float | None
    bias: float | None
    bias_pct: float | None
    pinball: Mapping[str, float]
    coverage_pct: float | None
    width: float | None

    def document(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def errors(actual: FloatArray, forecast: FloatArray, quantiles: Mapping[float, FloatArray] | None = None) -> Errors:
    """Measure a forecast.

    Parameters
    ----------
    actual, forecast : ndarray of float64, same shape
        NaN where there is none.
    quantiles : mapping of float to ndarray of the same shape, optional
        Forecast quantiles by level; the lowest and the highest bound the interval.

    Examples
    --------
    >>> found = errors(np.array([100.0, 200.0, 0.0, np.nan]), np.array([110.0, 180.0, 5.0, 1.0]))
    >>> found.mape_pct, found.wape_pct, found.bias, found.zero, found.missing
    (10.0, 11.666666666666666, -1.6666666666666667, 1, 1)
    """
    both = ~(np.isnan(actual) | np.isnan(forecast))
    a, f = actual[both], forecast[both]
    n, missing = len(a), int(both.size - len(a))
    if n == 0:
        return Errors(0, missing, 0, 0.0, None, None, None, None, None, None, {}, None, None)
    error = f - a
    zero = a == 0
    total = float(a.sum())
    levels = {level: values[both] for level, values in sorted((quantiles or {}).items())}
    coverage = width = None
    if len(levels) > 1:
        low, high = levels[min(levels)], levels[max(levels)]
        coverage = 100 * float(np.mean((a >= low) & (a <= high)))
        width = float(np.mean(high - low))
    return Errors(
        intervals=n,
        missing=missing,
        zero=int(zero.sum()),
        total=total,
        mape_pct=100 * float(np.mean(np.abs(error[~zero]) / a[~zero])) if not zero.all() else None,
        wape_pct=100 * float(np.abs(error).sum()) / total if total else None,
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
        bias_pct=100 * float(error.sum()) / total if total else None,
        pinball={f"{level:g}": pinball(a, values, level) for level, values in levels.items()},
        coverage_pct=coverage,
        width=width,
    )


def pooled(parts: Iterable[Errors]) -> Errors:
    """Errors over the intervals of several parts together.

    >>> a, b = errors(np.array([10.0]), np.array([11.0])), errors(np.array([20.0, 40.0]), np.array([18.0, 40.0]))
    >>> whole = errors(np.array([10.0, 20.0, 40.0]), np.array([11.0, 18.0, 40.0]))
    >>> together = pooled([a, b])
    >>> (together.mape_pct, together.wape_pct) == (whole.mape_pct, whole.wape_pct), together.intervals
    (True, 3)
    """
    given = list(parts)
    known = [part for part in given if part.intervals]
    n, missing, zero = (sum(getattr(part, name) for part in given) for name in ("intervals", "missing", "zero"))
    total = sum(part.total for part in known)

    def mean(values: Iterable[float | None], power: int = 1) -> float | None:
        weighed = [(v, p.intervals) for v, p in zip(values, known, strict=True) if v is not None]
        if not weighed:
            return None
        return float((sum(v**power * w for v, w in weighed) / sum(w for _, w in weighed)) ** (1 / power))

    mae, bias = mean(p.mae for p in known), sum((p.bias or 0.0) * p.intervals for p in known)
    shares = [(p.mape_pct, p.intervals - p.zero) for p in known if p.mape_pct is not None]
    levels = sorted({level for p in known for level in p.pinball}, key=float)
    return Errors(
        intervals=n,
        missing=missing,
        zero=zero,
        total=total,
        mape_pct=sum(share * w for share, w in shares) / sum(w for _, w in shares) if shares else None,
        wape_pct=100 * mae * n / total if mae is not None and total else None,
        mae=mae,
        rmse=mean((p.rmse for p in known), 2),
        bias=bias / n if n else None,
        bias_pct=100 * bias / total if total else None,
        pinball={level: mean(p.pinball.get(level) for p in known) or 0.0 for level in levels},
        coverage_pct=mean(p.coverage_pct for p in known),
        width=mean(p.width for p in known),
    )


def pinball(actual: FloatArray, forecast: FloatArray, level: float) -> float:
    """Mean pinball loss of a quantile's forecast: least in expectation at the true quantile.

    >>> pinball(np.array([10.0, 10.0]), np.array([8.0, 13.0]), 0.9)   # (0.9 · 2 + 0.1 · 3) / 2
    1.05
    """
    short = actual - forecast
    return float(np.mean(np.where(short >= 0, level * short, (level - 1) * short)))


def by_part(
    sites: Sequence[str],
    working_day: BoolArray,
    actual: FloatArray,
    forecast: FloatArray,
    quantiles: Mapping[float, FloatArray] | None = None,
) -> dict[str, dict[str, Errors]]:
    """Errors of all sites together and of each site, over all days, working days, and weekends with holidays.

    Parameters
    ----------
    working_day : ndarray of bool, shape (n,)
    actual, forecast : ndarray of float64, shape (sites, n)
    quantiles : mapping of float to ndarray of float64, shape (sites, n), optional

    Returns
    -------
    dict
        By site, ``""`` for all of them, then by ``all``, ``weekday`` and ``weekend``.

    Examples
    --------
    >>> parts = by_part(["a"], np.array([True, False]), np.array([[10.0, 20.0]]), np.array([[11.0, 15.0]]))
    >>> [(kind, found.mape_pct) for kind, found in parts["a"].items()]
    [('all', 17.5), ('weekday', 10.0), ('weekend', 25.0)]
    """
    kinds = {"all": np.ones(len(working_day), bool), "weekday": working_day, "weekend": ~working_day}
    rows: dict[str, slice] = {"": slice(None)} | {site: slice(row, row + 1) for row, site in enumerate(sites)}
    return {
        site: {
            kind: errors(
                actual[at][:, columns],
                forecast[at][:, columns],
                {level: values[at][:, columns] for level, values in (quantiles or {}).items()},
            )
            for kind, columns in kinds.items()
        }
        for site, at in rows.items()
    }


def conformal_margin(score: FloatArray, coverage: float) -> float:
    """How far to move both ends of an interval out so that it would have covered the share asked for.

    Parameters
    ----------
    score : ndarray of float64, shape (n,)
        How far each value lay outside its interval; negative inside it. NaN is left out.
    coverage : float
        Between 0 and 1.

    Returns
    -------
    float
        The ⌈(n + 1) · coverage⌉-th smallest score, which covers a new value of the same kind with at least that
        probability [1]_; the largest where there are too few. 0 without any.

    Examples
    --------
    >>> conformal_margin(np.arange(10.0), 0.8)   # the 9th of ten
    8.0

    References
    ----------
    .. [1] Y. Romano, E. Patterson, E. Candès, "Conformalized quantile regression", NeurIPS 2019, section 4
    """
    known = np.sort(score[~np.isnan(score)])
    if len(known) == 0:
        return 0.0
    return float(known[min(int(np.ceil((len(known) + 1) * coverage)), len(known)) - 1])
