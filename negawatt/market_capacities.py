"""What participants have over and lack: PV output less load, by the forecasts that the workspace keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from domain.errors import NegawattError
from domain.intervals import slot_start
from negawatt.kept_forecasts import KeptForecast, forecast_file, read_kept
from negawatt.market import day_slots, interval_start
from negawatt.market_days import as_csv, folder_of
from negawatt.market_files import MarketFile, Source
from negawatt.market_intraday import CAPACITIES_FORMAT
from negawatt.workspace import Workspace, write_json, write_whole

FORECAST_MISSING = "forecast.missing"
"""Code of the finding that a participant takes no part in some intervals, because it has no forecast of them."""


class MissingForecastError(NegawattError):
    """A participant has no forecast of an interval; its surplus and deficit are not guessed.

    Attributes
    ----------
    participant : str
    problem : str
    """

    retry_may_help = True
    """A forecast may only be late."""

    def __init__(self, participant: str, problem: str) -> None:
        self.participant, self.problem = participant, problem
        super().__init__(
            f"{participant}: {problem}. Make the forecast, or leave such participants out (--leave-out), or give "
            "capacities in a file"
        )


@dataclass(frozen=True)
class _Expected:
    """What a participant is forecast to produce less what it is to use, by slot; and what is missing."""

    net_wh: dict[int, int]
    missing: str


def capacities_of_forecasts(
    workspace: Workspace, file: MarketFile, day: date, *, leave_out: bool = False
) -> dict[str, Any]:
    """Work out a day's capacities from the kept forecasts, and write them as ``market/DAY/capacities.csv``.

    What a participant's plants produce beyond its load is its surplus, what they lack is its deficit: one of them is
    0. Forecasts of shorter intervals are added up.

    Parameters
    ----------
    workspace : Workspace
    file : MarketFile
    day : date
        Local day of the market's zone.
    leave_out : bool
        Leave a participant out of intervals that it has no forecast of, with a finding, instead of refusing.

    Returns
    -------
    dict
        The document that is kept as ``capacities.json``: the file and its SHA-256, the forecasts that were taken,
        totals and findings. The same forecasts give the same bytes.

    Raises
    ------
    MissingForecastError
        Naming participant, forecast and interval.
    NegawattError
        A forecast's intervals are longer than the market's; or nobody has any forecast.
    """
    slots = day_slots(file, day)
    shelf = _Shelf(workspace, day)
    rows: list[tuple[str, str, int, int]] = []
    findings: list[dict[str, Any]] = []
    starts = [interval_start(file, slot) for slot in slots]
    for name in sorted(one.name for one in file.participants):
        expected = _expected(shelf, name, file.sources[name], slots, file.interval_minutes)
        if expected.missing and not leave_out:
            raise MissingForecastError(name, expected.missing)
        if expected.missing:
            findings.append(_left_out(name, len(slots) - len(expected.net_wh), expected.missing))
        for slot, start in zip(slots, starts, strict=True):
            if slot in expected.net_wh:
                net = expected.net_wh[slot]
                rows.append((name, start, max(net, 0), max(-net, 0)))
    if not rows:
        raise MissingForecastError(findings[0]["values"]["participant"], findings[0]["values"]["problem"])
    folder = folder_of(workspace, day)
    data = as_csv(("participant", "interval_start", "surplus_wh", "deficit_wh"), rows)
    document = {
        "format": CAPACITIES_FORMAT,
        "day": day.isoformat(),
        "zone": file.zone,
        "interval_minutes": file.interval_minutes,
        "file": str(folder / "capacities.csv"),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "participants": len({row[0] for row in rows}),
        "surplus_wh": sum(row[2] for row in rows),
        "deficit_wh": sum(row[3] for row in rows),
        "forecasts": shelf.issues(),
        "findings": findings,
    }
    write_whole(folder / "capacities.csv", data)
    write_json(folder / "capacities.json", document)
    return document


def _left_out(name: str, intervals: int, problem: str) -> dict[str, Any]:
    return {
        "code": FORECAST_MISSING,
        "sentence": "without a forecast a participant takes no part",
        "values": {"participant": name, "intervals": intervals, "problem": problem},
    }


class _Shelf:
    """Kept forecasts of a day, each read once."""

    def __init__(self, workspace: Workspace, day: date) -> None:
        self._workspace, self._day = workspace, day
        self._read: dict[str, KeptForecast | None] = {}

    def forecast(self, name: str) -> KeptForecast | None:
        """The forecast of a model or a plant; None where there is none."""
        if name not in self._read:
            there = forecast_file(self._workspace, name, self._day).exists()
            self._read[name] = read_kept(self._workspace, name, self._day) if there else None
        return self._read[name]

    def why_absent(self, name: str) -> str:
        """That there is none, in words."""
        return f"no forecast of {name!r} for {self._day}: no {forecast_file(self._workspace, name, self._day)}"

    def issues(self) -> list[dict[str, Any]]:
        """What was read, by file."""
        return [one.issue for one in sorted(filter(None, self._read.values()), key=lambda one: one.file)]


def _expected(shelf: _Shelf, name: str, source: Source, slots: range, minutes: int) -> _Expected:
    parts = [(-1, source.load_model, source.load_site)] if source.load_model else []
    parts += [(1, plant, plant) for plant in source.pv_plants]
    if not parts:
        return _Expected({}, "the participants file names neither load_model nor pv_plants")
    net, missing = dict.fromkeys(slots, 0), ""
    for sign, forecast_name, site in parts:
        kept = shelf.forecast(forecast_name)
        if kept is None:
            return _Expected({}, shelf.why_absent(forecast_name))
        if site not in kept.wh:
            some = ", ".join(sorted(kept.wh)[:5]) + (", …" if len(kept.wh) > 5 else "")
            return _Expected({}, f"{kept.file} has no site {site!r}; it has {len(kept.wh)}: {some}")
        sums = dict(_summed(kept, kept.wh[site], slots, minutes, name))
        for slot in slots:
            if slot not in sums:
                missing = missing or f"{kept.file} lacks {site!r} at {slot_start(slot, minutes).isoformat()}"
                net.pop(slot, None)
            elif slot in net:
                net[slot] += sign * sums[slot]
    return _Expected(net, missing)


def _summed(
    kept: KeptForecast, wh: Mapping[int, int], slots: range, minutes: int, name: str
) -> Iterator[tuple[int, int]]:
    """Energy by the market's interval, where every shorter one of it is there. [Wh]"""
    parts, over = divmod(minutes, kept.interval_minutes)
    if over or not parts:
        raise NegawattError(
            f"{name}: {kept.file} has intervals of {kept.interval_minutes} min, which don't make up the market's of "
            f"{minutes} min: forecast at {minutes} min or at an even part of it"
        )
    for slot in slots:
        finer = range(slot * parts, (slot + 1) * parts)
        if all(part in wh for part in finer):
            yield slot, sum(wh[part] for part in finer)
