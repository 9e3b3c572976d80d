"""PV output from irradiance: against figures by hand, and against ten real homes' panels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from batch.pv import INVERTER_EFFICIENCY, PVPlant, pv_forecast
from domain.errors import NegawattError
from domain.intervals import slot_of
from domain.series import InvalidSeriesError, Weather
from ingest.series_files import LoadColumns, read_loads, read_weather

DATA = Path(__file__).parents[2] / "../shared/data"
pytestmark = pytest.mark.stack  # pvlib takes seconds to load


@pytest.fixture(autouse=True)
def _pvlib():
    pytest.importorskip("pvlib", reason="pvlib isn't installed")


def sunny(start: datetime, hours: int, **changed: float) -> Weather:
    values = {"direct_wm2": 900.0, "diffuse_wm2": 100.0, "temperature_c": 25.0, "wind_speed_ms": 1.0} | changed
    return Weather(slot_of(start, 60), 60, {name: np.full(hours, value) for name, value in values.items()})


NOON = datetime(2021, 3, 20, 5, tzinfo=UTC)
"""12:00 in Hanoi (105.8° E) on the equinox, when the sun there stands about 21° from the zenith, in the south."""


def test_a_panel_that_faces_the_sun_gives_its_rating_less_heat_and_losses():
    """1,000 W/m² on the plane; the cell is G/(u0 + u1·v) = 1000/(25 + 6.84) = 31.4 K above the air: 56.4 °C.

    Faiman's u0 = 25.0, u1 = 6.84. PVWatts: 1 kW · (1 − 0.0035 · 31.4) · 0.86 · η, some 0.73 kWh in the hour;
    reflection takes little at this angle.
    """
    plant = PVPlant(1000, 21.0, 105.8, tilt_deg=21.0, dc_ac_ratio=1.0)
    weather = sunny(NOON, 1)
    wh = pv_forecast(plant, weather, weather.first_slot, weather.last_slot, 60)
    expected = 1000 * (1 - 0.0035 * 31.4) * 0.86 * INVERTER_EFFICIENCY
    assert wh[0] == pytest.approx(expected, rel=0.03)


def test_there_is_nothing_at_night_and_nothing_without_weather():
    midnight = datetime(2021, 3, 20, 17, tzinfo=UTC)
    weather = sunny(midnight, 2, direct_wm2=0.0, diffuse_wm2=0.0)
    weather.values["temperature_c"][1] = np.nan
    wh = pv_forecast(PVPlant(1000, 21.0, 105.8), weather, weather.first_slot, weather.last_slot, 60)
    assert wh.tolist() == pytest.approx([0.0, np.nan], nan_ok=True)


def test_twice_the_capacity_gives_twice_the_energy():
    weather = sunny(NOON, 3)
    span = weather.first_slot, weather.last_slot, 60
    one, two = (pv_forecast(PVPlant(kw * 1000, 21.0, 105.8), weather, *span) for kw in (1, 2))
    assert two == pytest.approx(2 * one)


def test_the_inverter_cuts_off_what_is_beyond_its_rating():
    weather = sunny(NOON, 1, direct_wm2=1100.0, temperature_c=-10.0)
    plant = PVPlant(1000, 21.0, 105.8, tilt_deg=21.0, dc_ac_ratio=2.0)
    assert pv_forecast(plant, weather, weather.first_slot, weather.last_slot, 60)[0] == pytest.approx(500)


def test_half_hours_add_up_to_about_the_hour():
    weather = sunny(NOON, 3)
    plant = PVPlant(1000, 21.0, 105.8)
    hour = pv_forecast(plant, weather, weather.first_slot, weather.first_slot + 2, 60).sum()
    halves = pv_forecast(plant, weather, 2 * weather.first_slot, 2 * weather.first_slot + 4, 30).sum()
    assert halves == pytest.approx(hour, rel=0.01)


def test_weather_without_irradiance_is_refused():
    with pytest.raises(InvalidSeriesError, match="no 'direct_wm2'; a PV forecast needs it"):
        pv_forecast(PVPlant(1000, 0, 0), Weather(0, 60, {"temperature_c": np.ones(3)}), 0, 3, 60)


def test_a_plant_that_can_t_be_is_refused():
    with pytest.raises(NegawattError, match="latitude_deg 99; expected -90 to 90"):
        PVPlant(1000, 99, 0)


@pytest.mark.skipif(not DATA.exists(), reason="the shared data aren't here")
def test_a_year_of_real_panels_follows_the_forecast():
    """Panels in California of unknown rating and direction, under other clouds than those of the file's weather.

    The sum of the file's irradiances itself follows the panels by 0.81 only, so hours are held to 0.75 and the mean
    day of the year to 0.9; sizes aren't compared.
    """
    weather = read_weather(DATA / "homes-weather-hourly.csv.gz")
    homes = read_loads(DATA / "homes-hourly.csv.gz", LoadColumns("pv_kwh", site="meter", unit="kWh"))
    wh = pv_forecast(PVPlant(5000, 34.1, -117.4), weather, homes.first_slot, homes.last_slot, 60)
    for row in homes.load:
        assert np.corrcoef(row, wh)[0, 1] > 0.75
        days = (series[: 24 * 364].reshape(364, 24).mean(axis=0) for series in (row, wh))
        assert np.corrcoef(*days)[0, 1] > 0.9
