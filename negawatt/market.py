"""A day of a market between microgrids, matched interval by interval; by day, what lies ahead is matched again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from domain.intervals import local_day_bounds, slot_of, slot_start
from domain.matching import Community, InvalidMarketError, Market, Matching, community, match_pairs
from domain.matching_aggregated import match
from domain.optimality import match_or_grid
from domain.prices import PRICE_RULES
from domain.profits import WH_PER_KWH, Profits, profits
from domain.tariffs import Tariff
from negawatt.console import Progress, quiet
from negawatt.market_days import FORMAT, POSITION_COLUMNS, as_csv, digest_of_bytes, write_matched
from negawatt.market_files import MarketFile, find_tariff, read_energies
from negawatt.market_intraday import NOTHING_PAST, first_ahead, issue_of, issues_of, kept_part
from negawatt.workspace import Workspace


@dataclass(frozen=True)
class DayPrices:
    """Grid prices of a day in price units, shape (tariffs, intervals)."""

    sell: NDArray[np.int64]
    buy: NDArray[np.int64]


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
    now: datetime | None = None,
    method: str = "groups",
    engine: str = "auto",
    time_limit_s: float = 60.0,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Match a local day, and keep what was matched in the workspace.

    With ``now``, only intervals are matched that lie far enough ahead (`MarketFile.gate_minutes`). What was matched
    before for the others stays as it is, to the byte; what was not, isn't matched any more.

    Parameters
    ----------
    workspace : Workspace
    file : MarketFile
    capacities : Path
        CSV: participant, interval_start, surplus_wh, deficit_wh.
    day : date, optional
        By default the only one in the file.
    now : datetime, optional
        Without it the whole day is matched, whatever was matched before.
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
    names = sorted(one.name for one in file.participants)
    place = {name: n for n, name in enumerate(names)}
    offered = read_energies(capacities, ("surplus_wh", "deficit_wh"), place, file.interval_minutes)
    day, bounds = _day_of(file, capacities, {slot for _, slot in offered}, day)
    offered = {at: energies for at, energies in offered.items() if at[1] in bounds}
    issue = issue_of(capacities, {(names[n], slot): energies for (n, slot), energies in offered.items()})
    held, prices, tariff = prepare(workspace, file, bounds)
    head = {
        "format": FORMAT,
        "day": day.isoformat(),
        "zone": file.zone,
        "interval_minutes": file.interval_minutes,
        "currency": {"code": tariff.currency.code, "decimals": tariff.currency.decimals},
        "fine_units_per_minor_unit": held.scale * WH_PER_KWH,
        "price": file.price,
        "objective": str(file.objective),
        "method": method,
    }
    past = NOTHING_PAST
    ahead = bounds.start if now is None else first_ahead(now, file.gate_minutes, file.interval_minutes)
    if ahead > bounds.start:
        past = kept_part(workspace, day, ahead, head, _people(held))
        if ahead >= bounds.stop and past.document:
            return past.document
        offered = {at: energies for at, energies in offered.items() if at[1] >= ahead}
    if not offered:
        when = f" from {interval_start(file, ahead)} on" if ahead > bounds.start else ""
        raise InvalidMarketError(str(capacities), f"has no rows of {day} ({file.zone}){when}")
    begin = past.last_slot + 1 if past.intervals else min(slot for _, slot in offered)
    slots = range(begin, max(slot for _, slot in offered) + 1)
    offers = _Offers(held, prices, bounds.start, offered)
    intervals, rows = _match_slots(file, offers, slots, _matcher(method, engine, time_limit_s), progress)
    intervals, rows = [*past.intervals, *intervals], [*past.rows, *rows]
    positions = as_csv(POSITION_COLUMNS, rows)
    document = {
        **head,
        "gate_minutes": file.gate_minutes,
        "issues": issues_of(past, interval_start(file, begin), issue),
        "positions_sha256": digest_of_bytes(positions),
        "totals": _totals(intervals),
        "participants": _sums(held, rows),
        "intervals": intervals,
    }
    write_matched(workspace, day, document, positions)
    return document


@dataclass(frozen=True)
class _Offers:
    """What is offered and lacked on a day, by place and slot, with the grid's prices from its first slot on. [Wh]"""

    held: Community
    prices: DayPrices
    first_slot: int
    offered: Mapping[tuple[int, int], tuple[int, int]]


def _match_slots(
    file: MarketFile, offers: _Offers, slots: range, matcher: Callable[[Market], Matching], progress: Progress
) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Match interval by interval: what the document says of each, and the rows of their positions."""
    surplus, deficit = (np.zeros((len(slots), len(offers.held.names)), dtype=np.int64) for _ in range(2))
    for (n, slot), (over, lacking) in offers.offered.items():
        surplus[slot - slots.start, n], deficit[slot - slots.start, n] = over, lacking
    intervals: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    for n, slot in enumerate(slots):
        at = slot - offers.first_slot
        market = Market(
            offers.held,
            surplus[n],
            deficit[n],
            offers.prices.sell[:, at],
            offers.prices.buy[:, at],
            PRICE_RULES[file.price],
            file.objective,
        )
        matching, findings = match_or_grid(market, matcher)
        gained = profits(matching)
        start = interval_start(file, slot)
        intervals.append(_interval(start, matching, gained, findings))
        rows += _positions(start, offers.held, gained)
        progress("match", n + 1, len(slots))
    return intervals, rows


def interval_start(file: MarketFile, slot: int) -> str:
    """Start of an interval on the local clock, with its offset."""
    return slot_start(slot, file.interval_minutes).astimezone(ZoneInfo(file.zone)).isoformat()


def day_slots(file: MarketFile, day: date) -> range:
    """The intervals of a local day: of 23, 24 or 25 hours."""
    begin, end = local_day_bounds(day, ZoneInfo(file.zone))
    return range(slot_of(begin, file.interval_minutes), slot_of(end, file.interval_minutes))


def _day_of(file: MarketFile, path: Path, slots: set[int], day: date | None) -> tuple[date, range]:
    zone, minutes = ZoneInfo(file.zone), file.interval_minutes
    days = {slot_start(slot, minutes).astimezone(zone).date() for slot in slots}
    if day is None:
        if len(days) != 1:
            listed = ", ".join(map(str, sorted(days)[:5])) or "none"
            raise InvalidMarketError(str(path), f"expected rows of one local day, found {listed}; name one by --day")
        (day,) = days
    return day, day_slots(file, day)


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


def _people(held: Community) -> list[dict[str, Any]]:
    return [
        {"participant": name, "site": held.sites[held.site_of[n]], "tariff": held.tariffs[held.tariff_of[n]]}
        for n, name in enumerate(held.names)
    ]


def _sums(held: Community, rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """A day's sums of each participant, in fine units of any size, from the rows of its positions."""
    columns = POSITION_COLUMNS[2:]
    sums = {name: [0] * len(columns) for name in held.names}
    for name, _, *figures in rows:
        sums[name] = [total + figure for total, figure in zip(sums[name], figures, strict=True)]
    return [person | dict(zip(columns, sums[person["participant"]], strict=True)) for person in _people(held)]


def _totals(intervals: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    names = ("surplus_wh", "deficit_wh", "traded_wh", "value", "fee", "seller_gain", "buyer_gain")
    rows = list(intervals)
    return {name: sum(row[name] for row in rows) for name in names} | {
        "unmatched_intervals": sum(bool(row["findings"]) for row in rows)
    }
