"""Forecast of photovoltaic output from irradiance, temperature and the plant's capacity, by pvlib.

The chain is that of PVWatts [1]_: the sun's position in the middle of each interval, irradiance on the tilted plane
(Hay and Davies), loss by reflection, cell temperature (Faiman), direct current by the rating and the temperature,
losses, inverter.

References
----------
.. [1] A. Dobos, "PVWatts Version 5 Manual", NREL/TP-6A20-62641, 2014
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.series import DIFFUSE, DIRECT, TEMPERATURE, WIND, InvalidSeriesError, Weather

FloatArray = NDArray[np.float64]

TEMPERATURE_PER_C = -0.0035
"""Change of a crystalline silicon module's power with temperature. [1/°C]"""

SYSTEM_LOSSES_PCT = 14.0
"""PVWatts' sum of soiling, wiring, mismatch, light-induced degradation and the like. [%]"""

INVERTER_EFFICIENCY = 0.96
MEAN_WIND_MS = 2.0
"""Taken where the weather has no wind. [m/s]"""


@dataclass(frozen=True)
class PVPlant:
    """A plant.

    Attributes
    ----------
    capacity_w : int
        Rating of its modules under standard conditions. [W]
    latitude_deg, longitude_deg : float
        North and east positive. [°]
    tilt_deg : float
        From the horizontal. [°]
    azimuth_deg : float
        Where it faces: 0 north, 90 east, 180 south. [°]
    dc_ac_ratio : float
        Rating of the modules over that of the inverter, which cuts off what is more.
    losses_pct : float
        Of direct current. [%]

    Raises
    ------
    NegawattError
        A value out of range.
    """

    capacity_w: int
    latitude_deg: float
    longitude_deg: float
    tilt_deg: float = 20.0
    azimuth_deg: float = 180.0
    dc_ac_ratio: float = 1.2
    losses_pct: float = SYSTEM_LOSSES_PCT

    def __post_init__(self) -> None:
        for name, low, high in (
            ("capacity_w", 1, 10**10),
            ("latitude_deg", -90, 90),
            ("longitude_deg", -180, 180),
            ("tilt_deg", 0, 90),
            ("azimuth_deg", 0, 360),
            ("dc_ac_ratio", 0.5, 3),
            ("losses_pct", 0, 99),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise NegawattError(f"PV plant: {name} {value:g}; expected {low:g} to {high:g}")


def pv_forecast(
    plant: PVPlant, weather: Weather, first_slot: int, last_slot: int, interval_minutes: int
) -> FloatArray:
    """What a plant will produce in each interval of ``[first_slot, last_slot)``.

    Parameters
    ----------
    weather : Weather
        With direct normal and diffuse horizontal irradiance, and temperature; wind where there is.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where the weather is missing. [Wh]

    Raises
    ------
    InvalidSeriesError
        The weather lacks a column.
    NegawattError
        pvlib isn't there.
    """
    for name in (DIRECT, DIFFUSE, TEMPERATURE):
        if name not in weather.values:
            there = ", ".join(weather.values) or "none"
            raise InvalidSeriesError(f"the weather has no {name!r}; a PV forecast needs it. Columns there: {there}")
    columns = weather.on(first_slot, last_slot, interval_minutes)
    pvlib, pandas = _libraries()
    step_s = 60 * interval_minutes
    middle = (np.arange(first_slot, last_slot) * step_s + step_s // 2) * 10**9
    times = pandas.DatetimeIndex(middle.astype("datetime64[ns]"), tz="UTC")
    sun = pvlib.solarposition.get_solarposition(times, plant.latitude_deg, plant.longitude_deg)
    direct, diffuse = columns[DIRECT], columns[DIFFUSE]
    zenith = sun["apparent_zenith"].to_numpy()
    global_horizontal = diffuse + direct * np.maximum(np.cos(np.radians(zenith)), 0)
    plane = pvlib.irradiance.get_total_irradiance(
        plant.tilt_deg,
        plant.azimuth_deg,
        zenith,
        sun["azimuth"].to_numpy(),
        direct,
        global_horizontal,
        diffuse,
        dni_extra=pvlib.irradiance.get_extra_radiation(times).to_numpy(),
        model="haydavies",
    )
    incidence = pvlib.irradiance.aoi(plant.tilt_deg, plant.azimuth_deg, zenith, sun["azimuth"].to_numpy())
    effective = np.asarray(plane["poa_direct"]) * np.nan_to_num(pvlib.iam.physical(incidence)) + np.asarray(
        plane["poa_diffuse"]
    )
    wind = columns.get(WIND, np.full(len(direct), MEAN_WIND_MS))
    cell = pvlib.temperature.faiman(np.asarray(plane["poa_global"]), columns[TEMPERATURE], wind)
    dc = pvlib.pvsystem.pvwatts_dc(np.maximum(effective, 0), cell, plant.capacity_w, TEMPERATURE_PER_C)
    dc = np.asarray(dc) * (1 - plant.losses_pct / 100)
    rating_ac = plant.capacity_w / plant.dc_ac_ratio
    ac = pvlib.inverter.pvwatts(dc, rating_ac / INVERTER_EFFICIENCY, INVERTER_EFFICIENCY)
    energy: FloatArray = np.where(np.isnan(dc), np.nan, np.maximum(np.asarray(ac), 0) * interval_minutes / 60)
    return energy


def _libraries() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pvlib"), importlib.import_module("pandas")  # only this needs them
    except ImportError as absent:
        raise NegawattError(f"a PV forecast needs pvlib ({absent}): install negawatt[forecast]") from absent
