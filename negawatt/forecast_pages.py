"""The pages that ``negawatt correlate`` and ``negawatt forecast`` write: what was found, as figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from batch.forecast_judgement import Forecast
from domain.correlation import FINDINGS, VARIABLES, Correlation
from domain.series import Loads
from negawatt.forecasting import DRAWN_SITES, KIND_WORDS, WHICH, Correlated
from serving.forecast_page import forecast_chart, page, scatter, section, table

LISTED_SITES = 200
"""Sites whose coefficients the page lists."""

AXIS = {
    "temperature_c": "temperature [°C]",
    "relative_humidity_pct": "relative humidity [%]",
    "dew_point_c": "dew point [°C]",
    "wind_speed_ms": "wind speed [m/s]",
}

CORRELATION_COLUMNS = ("site", "variable", "r", "range of days", "band", "days", "pairs", "p", "p, effective")


def correlation_rows(found: Iterable[Correlation]) -> list[tuple[Any, ...]]:
    """A row a site and variable, as in the paper's table 1: coefficient, range, word, and significance."""
    return [
        (
            one.site,
            one.variable,
            "–" if one.r is None else f"{one.r:+.2f}",
            "–" if one.low is None or one.high is None else f"{one.low:+.2f} to {one.high:+.2f}",
            one.band or FINDINGS.get(one.finding, "no day has a coefficient"),
            one.days,
            one.pairs,
            p_text(one.p_value),
            p_text(one.p_value_effective),
        )
        for one in found
    ]


SHORT_COLUMNS = ("site", "variable", "r", "days", "band", "p, eff.")


def short_rows(found: Iterable[Correlation]) -> list[tuple[Any, ...]]:
    """The same in fewer words, for a terminal; the code of a finding stands in place of the band."""
    return [
        (
            one.site,
            one.variable.rpartition("_")[0].replace("relative_", "").replace("_", " "),
            "–" if one.r is None else f"{one.r:+.2f}",
            "–" if one.low is None or one.high is None else f"{one.low:+.2f}…{one.high:+.2f}",
            one.band or one.finding or "–",
            p_text(one.p_value_effective),
        )
        for one in found
    ]


def p_text(p: float | None) -> str:
    """A p-value as people write it.

    >>> p_text(0.0371), p_text(1e-12), p_text(None)
    ('0.037', '< 0.001', '–')
    """
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def correlation_page(result: Correlated, zone: str) -> str:
    """Table of coefficients, and the scatter plots of some sites."""
    sites = list(dict.fromkeys(one.site for one in result.found))
    listed = set(sites[:LISTED_SITES])
    lead = (
        f"{len(sites):,} sites, local days of {zone}. The range holds the middle half of the days; "
        "“p, effective” counts the intervals as the fewer independent ones that they are worth."
    )
    rows = correlation_rows(one for one in result.found if one.site in listed)
    body = [section("Coefficients", [table(CORRELATION_COLUMNS, rows)])]
    drawn = result.drawn
    weather = result.weather.with_dew_point().on(drawn.first_slot, drawn.last_slot, drawn.interval_minutes)
    r_of = {(one.site, one.variable): one.r for one in result.found}
    for site, load in zip(drawn.sites, drawn.load, strict=True):
        kw = load * 60 / drawn.interval_minutes / 1000
        plots = [
            scatter(weather[name], kw, AXIS[name], "load [kW]", f"{site}: load against {name}, r = {r:+.2f}")
            for name in VARIABLES
            if name in weather and (r := r_of.get((str(site), name))) is not None
        ]
        if plots:
            body.append(section(str(site), ['<div class="charts">', *plots, "</div>"]))
    return page("Load and weather", lead, body)


ERROR_COLUMNS = ("forecast", "days", "MAPE", "WAPE", "MAE", "RMSE", "bias", "coverage")
"""MAE and RMSE in kWh, the others in percent."""


def error_rows(parts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[Any, ...]]:
    """A row a forecast and kind of day, from the documents of its errors."""
    rows = []
    for which in WHICH:
        for kind, found in parts[which].items():
            numbers = (
                found["mape_pct"],
                found["wape_pct"],
                _kwh(found["mae"]),
                _kwh(found["rmse"]),
                found["bias_pct"],
            )
            rows.append((which, kind, *("–" if n is None else float(n) for n in (*numbers, found["coverage_pct"]))))
    return rows


def _kwh(wh: float | None) -> float | None:
    return None if wh is None else wh / 1000


def forecast_page(
    title: str,
    kind: str,
    forecasts: Sequence[Forecast],
    loads: Sequence[Loads | None],
    errors: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> str:
    """Forecasts of some sites over time, with what came where that is known."""
    body = []
    if errors is not None:
        body.append(
            section(
                "Errors over all sites, in percent; MAE and RMSE in kWh", [table(ERROR_COLUMNS, error_rows(errors))]
            )
        )
    charts: list[str] = []
    for forecast, came in zip(forecasts, loads, strict=True):
        for row, site in enumerate(forecast.sites):
            if len(charts) >= DRAWN_SITES:
                break
            series = {"middle": forecast.middle[row], "low": forecast.low[row], "high": forecast.high[row]}
            if came is not None:
                series["actual"] = came.load[list(came.sites).index(site)]
            share = 100 * (forecast.levels[-1] - forecast.levels[0])
            caption = f"{site}: forecast (blue) with its {share:.0f} % interval" + (
                ", and what came (orange)" if came is not None else ""
            )
            charts.append(forecast_chart(forecast.first_slot, forecast.interval_minutes, series, caption))
    body.append(section("Forecasts", charts or ["<p>Nothing could be forecast.</p>"]))
    sites = sum(len(forecast.sites) for forecast in forecasts)
    return page(title, f"{sites:,} sites. Weather: {KIND_WORDS[kind]}.", body)  # type: ignore[index]


def unforecast(forecasts: Iterable[Forecast]) -> int:
    """Intervals that couldn't be forecast, over all sites."""
    return sum(int(np.isnan(forecast.middle).sum()) for forecast in forecasts)
