"""A day of a market between microgrids: matched interval by interval, and settled after delivery."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.intervals import local_day_bounds, slot_of, slot_start
from domain.matching import Community, InvalidMarketError, Market, Matching, community, match_pairs
from domain.matching_aggregated import match
from domain.optimality import match_or_grid
from domain.prices import PRICE_RULES
from domain.profits import WH_PER_KWH, Profits, profits
from domain.tariffs import Tariff
from negawatt.console import Progress, quiet
from negawatt.market_files import MarketFile, find_tariff, read_energies
from negawatt.workspace import Workspace, write_json, write_whole

FORMAT = "negawatt-market/1"
POSITION_COLUMNS = (
    "participant", "interval_start", "sold_wh", "bought_wh", "earned", "paid", "fee", "seller_gain", "buyer_gain",
)  # fmt: skip


@dataclass(frozen=True)
class DayPrices:
    """Grid prices of a day in price units, shape (tariffs, intervals)."""

    sell: NDArray[np.int64]
    buy: NDArray[np.int64]


def folder_of(workspace: Workspace, day: date) -> Path:
    """Where a matched day lies."""
    return workspace.folder / "market" / day.isoformat()


def prepare(workspace: Workspace, file: MarketFile, slots: range) -> tuple[Community, DayPrices, Tariff]:
    """The community with its unit of prices, the grid's prices over the slots, and a tariff whose currency counts.

    Raises
    ------
    InvalidMarketError
        The tariffs have several currencies.
    """
    names = sorted({one.tariff for one in file.participants})
    tariffs = [find_tariff(workspace, name) for name in names]
    if len({tariff.currency for tariff in tariffs}) > 1:
        codes = ", ".join(f"{tariff.id} in {tariff.currency.code}" for tariff in tariffs)
        raise InvalidMarketError("tariffs", f"expected one currency, found {codes}")
    prices = [tariff.prices(slots.start, len(slots), file.interval_minutes) for tariff in tariffs]
    every = sorted({price for one in prices for price in (*one.buy, *one.sell)})
    fee = file.fee_per_kwh_km * 10 ** tariffs[0].currency.decimals
    held = community(file.participants, file.distances_m, every, fee)
    units = {price: held.units(price) for price in every}
    day = DayPrices(
        *(np.array([[units[p] for p in getattr(one, side)] for one in prices], np.int64) for side in ("sell", "buy"))
    )
    return held, day, tariffs[0]


def match_day(
    workspace: Workspace,
    file: MarketFile,
    capacities: Path,
    *,
    day: date | None = None,
    method: str = "groups",
    engine: str = "auto",
    time_limit_s: float = 60.0,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Match a local day, and keep what was matched in the workspace.

    Parameters
    ----------
    workspace : Workspace
    file : MarketFile
    capacities : Path
        CSV: participant, interval_start, surplus_wh, deficit_wh.
    day : date, optional
        By default the only one in the file.
    method : str
        ``groups``: `domain.matching_aggregated.match`; ``lp``: PuLP, participant by participant.
    engine, time_limit_s
        For ``lp``, see `batch.lp.pulp_solver`.
    progress : callable

    Returns
    -------
    dict
        The document that is kept as ``matched.json``.

    Raises
    ------
    NegawattError
        Something in the files can't be, or somebody would be worse off.
    """
    place = {name: n for n, name in enumerate(sorted(one.name for one in file.participants))}
    offered = read_energies(capacities, ("surplus_wh", "deficit_wh"), place, file.interval_minutes)
    day, slots = _slots_of_day(file, capacities, {slot for _, slot in offered}, day)
    held, prices, tariff = prepare(workspace, file, slots)
    surplus, deficit = (np.zeros((len(slots), len(place)), dtype=np.int64) for _ in range(2))
    for (n, slot), (over, lacking) in offered.items():
        if slot in slots:
            surplus[slot - slots.start, n], deficit[slot - slots.start, n] = over, lacking
    matcher = _matcher(method, engine, time_limit_s)
    intervals, rows, sums = [], [], _Sums(held)
    for n, slot in enumerate(slots):
        market = Market(
            held,
            surplus[n],
            deficit[n],
            prices.sell[:, n],
            prices.buy[:, n],
            PRICE_RULES[file.price],
            file.objective,
        )
        matching, findings = match_or_grid(market, matcher)
        gained = profits(matching)
        start = slot_start(slot, file.interval_minutes).astimezone(ZoneInfo(file.zone)).isoformat()
        intervals.append(_interval(start, matching, gained, findings))
        rows += _positions(start, held, gained)
        sums.add(gained)
        progress("match", n + 1, len(slots))
    document = {
        "format": FORMAT,
        "day": day.isoformat(),
        "zone": file.zone,
        "interval_minutes": file.interval_minutes,
        "currency": {"code": tariff.currency.code, "decimals": tariff.currency.decimals},
        "fine_units_per_minor_unit": held.scale * WH_PER_KWH,
        "price": file.price,
        "objective": str(file.objective),
        "method": method,
        "totals": _totals(intervals),
        "participants": sums.rows(),
        "intervals": intervals,
    }
    folder = folder_of(workspace, day)
    write_whole(folder / "positions.csv", as_csv(POSITION_COLUMNS, rows))
    write_json(folder / "matched.json", document)
    return document


def _slots_of_day(file: MarketFile, path: Path, slots: set[int], day: date | None) -> tuple[date, range]:
    zone, minutes = ZoneInfo(file.zone), file.interval_minutes
    days = {slot_start(slot, minutes).astimezone(zone).date() for slot in slots}
    if day is None:
        if len(days) != 1:
            listed = ", ".join(map(str, sorted(days)[:5])) or "none"
            raise InvalidMarketError(str(path), f"expected rows of one local day, found {listed}; name one by --day")
        (day,) = days
    begin, end = local_day_bounds(day, zone)
    bounds = range(slot_of(begin, minutes), slot_of(end, minutes))
    inside = [slot for slot in slots if slot in bounds]
    if not inside:
        raise InvalidMarketError(str(path), f"has no rows of {day} ({file.zone})")
    return day, range(min(inside), max(inside) + 1)


def _matcher(method: str, engine: str, time_limit_s: float) -> Callable[[Market], Matching]:
    if method == "groups":
        return match
    from batch.lp import pulp_solver  # noqa: PLC0415  optional, and heavy

    return partial(match_pairs, solver=pulp_solver(engine, time_limit_s))


def _interval(start: str, matching: Matching, gained: Profits, findings: list[dict[str, Any]]) -> dict[str, Any]:
    market, pairing = matching.market, matching.pairing
    held = market.community
    ends = [
        [_end(held, group, np.flatnonzero(group_of == g)) for g, group in enumerate(groups)]
        for groups, group_of in ((pairing.sellers, pairing.seller_of), (pairing.buyers, pairing.buyer_of))
    ]
    flows = [
        {"seller": ends[0][s], "buyer": ends[1][b], "wh": int(matching.flow[s, b]), "price": int(pairing.price[s, b])}
        for s, b in np.argwhere(matching.flow).tolist()
    ]
    return {
        "start": start,
        "surplus_wh": int(market.surplus.sum()),
        "deficit_wh": int(market.deficit.sum()),
        "traded_wh": int(matching.flow.sum()),
        "value": sum(gained.seller.value.tolist()),
        "fee": sum(gained.seller.fee.tolist()) + sum(gained.buyer.fee.tolist()),
        "seller_gain": sum(gained.seller.gain.tolist()),
        "buyer_gain": sum(gained.buyer.gain.tolist()),
        "findings": findings,
        "grid": {
            name: {"sell": int(sell), "buy": int(buy)}
            for name, sell, buy in zip(held.tariffs, market.ask, market.bid, strict=True)
        },
        "flows": flows,
    }


def _end(held: Community, group: Any, members: NDArray[np.intp]) -> dict[str, str | None]:
    only = held.names[int(members[0])] if len(members) == 1 else None
    return {"site": held.sites[group.site], "tariff": held.tariffs[group.tariff], "participant": only}


def _positions(start: str, held: Community, gained: Profits) -> list[tuple[Any, ...]]:
    sell, buy = gained.seller, gained.buyer
    columns = (sell.energy, buy.energy, sell.value, buy.value, sell.fee + buy.fee, sell.gain, buy.gain)
    trading = np.flatnonzero(sell.energy + buy.energy).tolist()
    return [(held.names[n], start, *(int(column[n]) for column in columns)) for n in trading]


class _Sums:
    """A day's sums of each participant, in fine units of any size."""

    NAMES = ("sold_wh", "bought_wh", "earned", "paid", "fee", "seller_gain", "buyer_gain")

    def __init__(self, held: Community) -> None:
        self._held = held
        self._sums = np.zeros((len(self.NAMES), len(held.names)), dtype=object)

    def add(self, gained: Profits) -> None:
        sell, buy = gained.seller, gained.buyer
        rows = (sell.energy, buy.energy, sell.value, buy.value, sell.fee + buy.fee, sell.gain, buy.gain)
        self._sums += np.array([row.astype(object) for row in rows])

    def rows(self) -> list[dict[str, Any]]:
        held = self._held
        return [
            {
                "participant": name,
                "site": held.sites[held.site_of[n]],
                "tariff": held.tariffs[held.tariff_of[n]],
                **{what: int(self._sums[m, n]) for m, what in enumerate(self.NAMES)},
            }
            for n, name in enumerate(held.names)
        ]


def _totals(intervals: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    names = ("surplus_wh", "deficit_wh", "traded_wh", "value", "fee", "seller_gain", "buyer_gain")
    rows = list(intervals)
    return {name: sum(row[name] for row in rows) for name in names} | {
        "unmatched_intervals": sum(bool(row["findings"]) for row in rows)
    }


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    """The bytes of a CSV file."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(rows)
    return out.getvalue().encode()


# --- what is kept ------------------------------------------------------------------------------------------


def read_matched(workspace: Workspace, day: date) -> dict[str, Any]:
    """A matched day's document.

    Raises
    ------
    NegawattError
        The day was not matched in this workspace.
    """
    path = folder_of(workspace, day) / "matched.json"
    if not path.exists():
        raise NegawattError(f"{day} is not matched: no {path}; run `negawatt match` first")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if document.get("format") != FORMAT:
        raise NegawattError(f"{path}: format {document.get('format')!r}, expected {FORMAT!r}")
    return document


def read_positions(workspace: Workspace, day: date) -> list[dict[str, Any]]:
    """A matched day's positions: participant, interval_start, and whole numbers for the rest."""
    with (folder_of(workspace, day) / "positions.csv").open(newline="", encoding="utf-8") as lines:
        return [
            {name: text if name in POSITION_COLUMNS[:2] else int(text) for name, text in row.items()}
            for row in csv.DictReader(lines)
        ]


def read_statement(workspace: Workspace, day: date) -> dict[str, Any] | None:
    """A settled day's statement; None before it is settled, or when it was matched anew since."""
    folder = folder_of(workspace, day)
    path = folder / "statement.json"
    if not path.exists():
        return None
    statement: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return statement if statement.get("matched") == digest_of(folder / "matched.json") else None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, by which a statement names the matching that it settles."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
