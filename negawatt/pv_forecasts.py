"""What a PV plant will produce on local days, as rows in the form of the load forecasts."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from batch.pv import PVPlant, pv_forecast
from domain.errors import NegawattError
from domain.intervals import check_interval
from domain.series import Weather, day_bounds
from domain.zones import zone_named


def pv_days(
    weather: Weather,
    first_day: date,
    last_day: date,
    *,
    name: str,
    zone: str,
    capacity_kw: float,
    latitude: float,
    longitude: float,
    tilt: float,
    azimuth: float,
    interval: int,
) -> pa.Table:
    """Forecast a plant's output.

    Returns
    -------
    pyarrow.Table
        Columns site, interval_start (UTC), interval_minutes, forecast_wh; null where the weather is missing.

    Raises
    ------
    NegawattError
        The plant or the weather can't be so, or the weather holds none of the days.
    """
    minutes = check_interval(interval)
    place = zone_named(zone)
    first, last = day_bounds(first_day, minutes, place)[0], day_bounds(last_day, minutes, place)[1]
    plant = PVPlant(round(capacity_kw * 1000), latitude, longitude, tilt, azimuth)
    wh = pv_forecast(plant, weather, first, last, minutes)
    if np.isnan(wh).all():
        raise NegawattError(f"the weather holds none of the days from {first_day} to {last_day} in {zone}")
    starts = np.arange(first, last, dtype=np.int64) * (60 * minutes)
    return pa.table(
        {
            "site": pa.array([name] * len(wh), pa.string()),
            "interval_start": pa.array(starts, pa.timestamp("s", "UTC")),
            "interval_minutes": pa.array(np.full(len(wh), minutes, np.int16)),
            "forecast_wh": pa.array(np.round(wh), mask=np.isnan(wh)).cast(pa.int64()),
        }
    )
