"""``forecast.toml`` of a workspace: which models are trained and which forecasts are made without anybody's flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from batch.forecast import MODELS, ForecastRule
from batch.pv import PVPlant
from domain.errors import NegawattError
from domain.intervals import INTERVAL_MINUTES
from domain.series import WEATHER_BOUNDS
from domain.zones import UnknownZoneError, zone_named
from negawatt.forecasting import WeatherSource
from negawatt.workspace import Workspace

PLAN_KEYS = frozenset(("zone", "weather", "load", "pv"))
WEATHER_KEYS = frozenset(("learn", "learn_kind", "predict", "predict_kind", "columns", "start_column", "file_zone"))
LOAD_KEYS = frozenset(
    ("name", "model", "holidays", "sites", "history_days", "per_site", "coverage", "validation_days", "folds", "seed")
) | {"on_spark", "weather"}
PV_KEYS = frozenset(
    ("name", "capacity_kw", "latitude", "longitude", "tilt", "azimuth", "interval_minutes", "weather")
)
DAY_WORD = "{day}"
"""Stands in the name of a file of weather for the first day that is forecast."""

Kind = Literal["actual", "forecast"]
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class ForecastFileError(NegawattError):
    """A workspace's forecast.toml says something that can't be.

    Attributes
    ----------
    where : str
        File and key.
    problem : str
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


@dataclass(frozen=True)
class WeatherPlan:
    """Where weather lies, beside the plan or by an absolute path, and what it is.

    Attributes
    ----------
    folder : Path
        Of the plan.
    learn, predict : str
        File to learn from and to forecast by; the latter may hold `DAY_WORD`. Empty where none is named.
    learn_kind, predict_kind : {"actual", "forecast"}
    columns : mapping of str to str
    start_column : str
    file_zone : str or None
    """

    folder: Path
    learn: str
    learn_kind: Kind
    predict: str
    predict_kind: Kind
    columns: Mapping[str, str]
    start_column: str
    file_zone: str | None

    def to_learn(self) -> WeatherSource:
        """The file to learn from."""
        return self._source(self.learn)

    def to_predict(self, day: date) -> WeatherSource:
        """The file to forecast a day by."""
        return self._source(self.predict.replace(DAY_WORD, day.isoformat()))

    def _source(self, name: str) -> WeatherSource:
        path = self.folder / name
        if not path.is_file():
            raise NegawattError(f"no file of weather {path}, which {self.folder / 'forecast.toml'} names")
        return WeatherSource(path, self.columns, self.start_column, self.file_zone)


@dataclass(frozen=True)
class LoadPlan:
    """A model of loads in the batch store.

    Attributes
    ----------
    name : str
    rule : ForecastRule
    sites : tuple of str
        Meters; empty for all.
    history_days : int
        It learns from so many days up to yesterday; 0 for all that there are. [days]
    on_spark : bool
    weather : WeatherPlan
    """

    name: str
    rule: ForecastRule
    sites: tuple[str, ...]
    history_days: int
    on_spark: bool
    weather: WeatherPlan


@dataclass(frozen=True)
class PVPlan:
    """A PV plant; units as of `negawatt.pv_forecasts.pv_days`."""

    name: str
    capacity_kw: float
    latitude: float
    longitude: float
    tilt: float
    azimuth: float
    interval_minutes: int
    weather: WeatherPlan


@dataclass(frozen=True)
class ForecastPlan:
    """What the file says.

    Attributes
    ----------
    zone : str
        IANA zone of the local days.
    loads : tuple of LoadPlan
    plants : tuple of PVPlan
    """

    zone: str
    loads: tuple[LoadPlan, ...]
    plants: tuple[PVPlan, ...]

    def model(self, name: str) -> LoadPlan:
        """A model by its name.

        Raises
        ------
        NegawattError
            The plan has none of that name.
        """
        for one in self.loads:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.loads) or "none"
        raise NegawattError(f"forecast.toml has no load {name!r}; it has: {known}")


def plan_path(workspace: Workspace) -> Path:
    """Where a workspace's plan lies."""
    return workspace.folder / "forecast.toml"


def read_plan(workspace: Workspace) -> ForecastPlan:
    """A workspace's plan.

    Raises
    ------
    ForecastFileError
        There is none, or naming file and key.
    """
    path = plan_path(workspace)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as absent:
        raise ForecastFileError(
            str(path), "no such file; it says what to train and to forecast where no flags do: docs/forecast.md"
        ) from absent
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise ForecastFileError(str(path), str(broken)) from broken
    top = _Table(str(path), data, PLAN_KEYS)
    zone = top.text("zone", "an IANA zone such as Asia/Seoul", _is_zone)
    shared = _weather(path.parent, top, None)
    loads = tuple(_load(path.parent, one, zone, shared) for one in top.tables("load", LOAD_KEYS))
    plants = tuple(_plant(path.parent, one, shared) for one in top.tables("pv", PV_KEYS))
    names = [*(one.name for one in loads), *(one.name for one in plants)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ForecastFileError(str(path), f"name {twice[0]!r} comes twice; a forecast is kept under its name")
    if not names:
        raise ForecastFileError(str(path), "expected a [[load]] or a [[pv]], found none")
    return ForecastPlan(zone, loads, plants)


def _is_zone(name: Any) -> bool:
    try:
        zone_named(name)
    except UnknownZoneError:
        return False
    return True


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


_REQUIRED: Any = object()


class _Table:
    """A table of the file, whose keys are taken one by one and checked."""

    def __init__(self, where: str, data: Mapping[str, Any], known: frozenset[str]) -> None:
        self.where, self.data = where, data
        if unknown := sorted(set(data) - known):
            raise ForecastFileError(f"{where}: {unknown[0]}", f"unknown key; known: {', '.join(sorted(known))}")

    def take(self, key: str, expected: str, fits: Callable[[Any], bool], default: Any = _REQUIRED) -> Any:
        """A value that fits; the default where there is none."""
        if key not in self.data:
            if default is _REQUIRED:
                raise ForecastFileError(f"{self.where}: {key}", f"missing; expected {expected}")
            return default
        if not fits(self.data[key]):
            raise ForecastFileError(f"{self.where}: {key}", f"expected {expected}, got {self.data[key]!r}")
        return self.data[key]

    def text(self, key: str, expected: str, fits: Callable[[str], bool] = bool, default: Any = _REQUIRED) -> Any:
        """A text."""
        return self.take(key, expected, lambda v: isinstance(v, str) and fits(v), default)

    def whole(self, key: str, low: int, default: int) -> int:
        """A whole number."""
        return int(self.take(key, f"a whole number of {low} or more", lambda v: type(v) is int and v >= low, default))

    def number(self, key: str, expected: str, default: Any = _REQUIRED) -> float:
        """A number."""
        return float(self.take(key, expected, lambda v: type(v) in (int, float), default))

    def flag(self, key: str) -> bool:
        """True or false; false where it isn't there."""
        return bool(self.take(key, "true or false", lambda v: type(v) is bool, False))

    def tables(self, key: str, known: frozenset[str]) -> Iterator[_Table]:
        """Tables of a list."""
        found = self.take(
            key, f"tables [[{key}]]", lambda v: isinstance(v, list) and all(isinstance(one, dict) for one in v), []
        )
        for number, one in enumerate(found, 1):
            yield _Table(f"{self.where}: {key} {one.get('name', number)}", one, known)


def _weather(folder: Path, above: _Table, shared: WeatherPlan | None) -> WeatherPlan | None:
    if "weather" not in above.data:
        return shared
    data = above.take("weather", "a table", lambda v: isinstance(v, dict))
    table = _Table(f"{above.where}: weather", data, WEATHER_KEYS)
    kinds = "'actual' (measured afterwards) or 'forecast'"
    files, kind = {}, {}
    for use in ("learn", "predict"):
        files[use] = table.text(use, "the name of a file", default="")
        needed = _REQUIRED if files[use] else "actual"
        kind[use] = table.text(f"{use}_kind", kinds, lambda v: v in ("actual", "forecast"), needed)
    if DAY_WORD in files["learn"]:
        raise ForecastFileError(f"{table.where}: learn", f"{DAY_WORD} can stand in predict alone")
    columns = table.take(
        "columns",
        f"a table of names to columns; names: {', '.join(WEATHER_BOUNDS)}",
        lambda v: (
            isinstance(v, dict) and set(v) <= set(WEATHER_BOUNDS) and all(isinstance(c, str) for c in v.values())
        ),
        {},
    )
    start = table.text("start_column", "the name of a column", default="interval_start")
    zone = table.text("file_zone", "an IANA zone", _is_zone, None)
    return WeatherPlan(folder, files["learn"], kind["learn"], files["predict"], kind["predict"], columns, start, zone)


def _weather_with(folder: Path, table: _Table, shared: WeatherPlan | None, *uses: str) -> WeatherPlan:
    found = _weather(folder, table, shared)
    for use in uses:
        if found is None or not getattr(found, use):
            raise ForecastFileError(f"{table.where}: weather", f"no {use}: name the file of weather, here or for all")
    assert found is not None  # noqa: S101  a use was found in it
    return found


def _load(folder: Path, table: _Table, zone: str, shared: WeatherPlan | None) -> LoadPlan:
    name = table.text("name", "small letters, digits and . _ - within", _is_name)
    weather = _weather_with(folder, table, shared, "learn", "predict")
    sites = table.take(
        "sites", "a list of meters", lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v), []
    )
    try:
        rule = ForecastRule(
            model=table.text("model", f"one of {', '.join(MODELS)}", lambda v: v in MODELS, "nn"),
            scope="site" if table.flag("per_site") else "global",
            zone=zone,
            holidays=table.text("holidays", "a calendar such as KR or AU-VIC", default=""),
            weather_kind=weather.learn_kind,
            coverage=table.number("coverage", "a share between 0 and 1", 0.8),
            seed=table.whole("seed", 0, 1),
            validation_days=table.whole("validation_days", 1, 28),
            folds=table.whole("folds", 1, 2),
        )
    except ForecastFileError:
        raise
    except NegawattError as wrong:
        raise ForecastFileError(table.where, str(wrong)) from wrong
    history = table.whole("history_days", 0, 0)
    return LoadPlan(name, rule, tuple(sites), history, table.flag("on_spark"), weather)


def _plant(folder: Path, table: _Table, shared: WeatherPlan | None) -> PVPlan:
    name = table.text("name", "small letters, digits and . _ - within", _is_name)
    weather = _weather_with(folder, table, shared, "predict")
    minutes = table.take(
        "interval_minutes",
        f"one of {', '.join(map(str, INTERVAL_MINUTES))}",
        lambda v: type(v) is int and v in INTERVAL_MINUTES,
        30,
    )
    capacity = table.number("capacity_kw", "the rating of the modules in kW")
    place = (
        table.number("latitude", "degrees, north positive"),
        table.number("longitude", "degrees, east positive"),
        table.number("tilt", "degrees from the horizontal", 20.0),
        table.number("azimuth", "degrees: 0 north, 90 east, 180 south", 180.0),
    )
    try:
        PVPlant(round(capacity * 1000), *place)
    except NegawattError as wrong:
        raise ForecastFileError(table.where, str(wrong)) from wrong
    return PVPlan(name, capacity, *place, minutes, weather)
