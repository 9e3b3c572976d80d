"""The files of a market between microgrids: market.toml, participants, distances, capacities, readings, tariffs.

What can't be read is refused with file, line and what was expected; nothing is guessed.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from importlib import resources as package_files
from pathlib import Path
from typing import Any

from domain.errors import NegawattError
from domain.intervals import INTERVAL_MINUTES, slot_of
from domain.matching import InvalidMarketError, Objective, Participant
from domain.prices import PRICE_RULES
from domain.tariff_data import parse_tariff
from domain.tariffs import InvalidTariffError, Tariff
from domain.zones import UnknownZoneError, zone_named
from negawatt.workspace import Workspace

MARKET_KEYS = frozenset(
    ("participants", "distances", "zone", "interval_minutes", "price", "objective", "fee_per_kwh_km")
) | {"gate_minutes", "settlement"}
SETTLEMENT_KEYS = frozenset(("pool", "grid", "token_units"))

SOURCE_COLUMNS = ("load_model", "load_site", "pv_plants", "meter")
"""Optional columns of the participants file: whose forecasts and whose readings are a participant's."""

GATE_MINUTES = 30
"""Our own choice: an interval of the paper's market, in which participants can still learn what they traded. [min]"""

_ADDRESS = re.compile("0x[0-9a-f]{40}")
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Where a participant's forecasts and readings come from.

    Attributes
    ----------
    load_model : str
        Model whose kept forecasts have its load; empty for a participant without load.
    load_site : str
        Its site in them.
    pv_plants : tuple of str
        Names of kept PV forecasts, which add up.
    meter : str
        In the batch store.
    """

    load_model: str
    load_site: str
    pv_plants: tuple[str, ...]
    meter: str


@dataclass(frozen=True)
class MarketFile:
    """What a market file says.

    Attributes
    ----------
    participants : tuple of Participant
    wallets : dict of str to str
        Account of each participant that has one, in lower case.
    distances_m : dict of (str, str) to int
        [m]
    zone : str
    interval_minutes : int
    price : str
        Name in `domain.prices.PRICE_RULES`.
    objective : Objective
    fee_per_kwh_km : Fraction
        [currency/(kWh km)]
    pool, grid : str
        Accounts on chain, empty for none.
    token_units : int
        Smallest units of the token that make a minor unit of the currency.
    gate_minutes : int
        How long before its start an interval is matched for the last time. [min]
    sources : dict of str to Source
        Of each participant.
    """

    participants: tuple[Participant, ...]
    wallets: dict[str, str]
    distances_m: dict[tuple[str, str], int]
    zone: str
    interval_minutes: int
    price: str
    objective: Objective
    fee_per_kwh_km: Fraction
    pool: str
    grid: str
    token_units: int
    gate_minutes: int
    sources: dict[str, Source]


def read_market(path: Path) -> MarketFile:
    """Read a market file, and the participants and distances that it names, which lie beside it.

    Raises
    ------
    InvalidMarketError
        Naming the file and the key or line.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise InvalidMarketError(str(path), str(broken)) from broken
    _only(path, data, MARKET_KEYS)
    settlement = data.get("settlement", {})
    if not isinstance(settlement, Mapping):
        raise InvalidMarketError(f"{path}: settlement", "expected a table")
    _only(path, settlement, SETTLEMENT_KEYS)
    zone = _one(path, data, "zone", lambda v: isinstance(v, str), "an IANA zone such as Asia/Ho_Chi_Minh")
    try:
        zone_named(zone)
    except UnknownZoneError as unknown:
        raise InvalidMarketError(str(path), str(unknown)) from unknown
    grids = ", ".join(map(str, INTERVAL_MINUTES))
    minutes = _one(
        path, data, "interval_minutes", lambda v: type(v) is int and v in INTERVAL_MINUTES, f"one of {grids}"
    )
    price = _one(path, data, "price", lambda v: v in PRICE_RULES, f"one of {', '.join(PRICE_RULES)}", "mid")
    objective = _one(
        path, data, "objective", lambda v: v in list(Objective), f"one of {', '.join(Objective)}", "value"
    )
    fee = _one(
        path, data, "fee_per_kwh_km", lambda v: _decimal(v) is not None, 'a price in quotes such as "0.5"', "0"
    )
    accounts = {
        name: _one(path, settlement, name, _is_address, "an address of 0x and 40 digits", "").lower()
        for name in ("pool", "grid")
    }
    units = _one(
        path, settlement, "token_units", lambda v: type(v) is int and 0 < v <= 10**30, "a whole number above 0", 1
    )
    gate = _one(
        path, data, "gate_minutes", lambda v: type(v) is int and 0 <= v <= 1440, "minutes, 0 to 1440", GATE_MINUTES
    )
    named = _one(path, data, "participants", lambda v: isinstance(v, str), "the name of a file")
    participants, wallets, sources = read_participants(path.parent / named)
    distances: dict[tuple[str, str], int] = {}
    if "distances" in data:
        named = _one(path, data, "distances", lambda v: isinstance(v, str), "the name of a file")
        distances = read_distances(path.parent / named)
    return MarketFile(
        participants,
        wallets,
        distances,
        zone,
        minutes,
        price,
        Objective(objective),
        _decimal(fee) or Fraction(0),
        accounts["pool"],
        accounts["grid"],
        units,
        gate,
        sources,
    )


_REQUIRED = object()


def _one(
    path: Path,
    data: Mapping[str, Any],
    key: str,
    fits: Callable[[Any], bool],
    expected: str,
    default: Any = _REQUIRED,
) -> Any:
    if key not in data and default is not _REQUIRED:
        return default
    value = data.get(key)
    try:
        if value is not None and fits(value):
            return value
    except TypeError:  # a table or list where a word was expected
        pass
    raise InvalidMarketError(f"{path}: {key}", f"expected {expected}, got {value!r}" if key in data else "missing")


def _only(path: Path, data: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := sorted(set(data) - known):
        raise InvalidMarketError(f"{path}: {unknown[0]}", f"unknown key; known: {', '.join(sorted(known))}")


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(_ADDRESS.fullmatch(value.lower())) and int(value, 16) > 0


def _decimal(value: Any) -> Fraction | None:
    """A figure in decimal text of 0 or more, exact; None for anything else."""
    try:
        found = Decimal(value) if isinstance(value, str) and len(value) < 30 else None
    except InvalidOperation:
        return None
    if found is None or not found.is_finite() or not 0 <= found < 10**12 or found.adjusted() < -18:
        return None
    return Fraction(found)


def read_participants(path: Path) -> tuple[tuple[Participant, ...], dict[str, str], dict[str, Source]]:
    """Participants, the accounts of those that have one, and the sources of each.

    Columns participant, site, tariff, and optionally wallet and `SOURCE_COLUMNS`.
    """
    found: dict[str, Participant] = {}
    wallets: dict[str, str] = {}
    sources: dict[str, Source] = {}
    for where, row in _rows(path, ("participant", "site", "tariff")):
        name = row["participant"]
        if not _NAME.fullmatch(name) or name in found:
            raise InvalidMarketError(
                where, f"participant {name!r}: expected a name of letters, digits, . _ -, each once"
            )
        if not _NAME.fullmatch(row["site"]) or not _NAME.fullmatch(row["tariff"]):
            raise InvalidMarketError(where, f"site {row['site']!r} and tariff {row['tariff']!r}: expected names")
        found[name] = Participant(name, row["site"], row["tariff"])
        sources[name] = _source(where, name, row)
        if wallet := row.get("wallet", "").lower():
            if not _is_address(wallet):
                raise InvalidMarketError(
                    where, f"wallet {wallet!r}: expected an address of 0x and 40 digits, or none"
                )
            if wallet in wallets.values():
                raise InvalidMarketError(where, f"wallet {wallet} is another participant's; each needs its own")
            wallets[name] = wallet
    if not found:
        raise InvalidMarketError(str(path), "no participants")
    return tuple(found.values()), wallets, sources


def _source(where: str, name: str, row: Mapping[str, str]) -> Source:
    model, site, plants, meter = (row.get(column, "") for column in SOURCE_COLUMNS)
    for part in (model, *plants.split()):
        if part and not _NAME.fullmatch(part):
            raise InvalidMarketError(where, f"{part!r}: expected names of kept forecasts, several plants by spaces")
    return Source(model, site or name, tuple(plants.split()), meter or name)


def read_distances(path: Path) -> dict[tuple[str, str], int]:
    """Distances between sites, either way: from, to, km. [m]"""
    found: dict[tuple[str, str], int] = {}
    for where, row in _rows(path, ("from", "to", "km")):
        km = _decimal(row["km"])
        if km is None or (km * 1000).denominator != 1:
            raise InvalidMarketError(where, f"km {row['km']!r}: expected kilometres of 0 or more, to the metre")
        pair = row["from"], row["to"]
        if pair in found or pair[::-1] in found:
            raise InvalidMarketError(where, f"a second distance between {pair[0]} and {pair[1]}")
        found[pair] = int(km * 1000)
    return found


def read_energies(
    path: Path, columns: tuple[str, str], names: Mapping[str, int], minutes: int
) -> dict[tuple[int, int], tuple[int, int]]:
    """Two columns of energy by participant and interval.

    Parameters
    ----------
    path : Path
        CSV with participant, interval_start (with its UTC offset) and the two columns.
    columns : tuple of str
        Their names, whole watt-hours of 0 or more.
    names : mapping of str to int
        Place of each participant.
    minutes : int

    Returns
    -------
    dict of (int, int) to (int, int)
        By place and slot. [Wh]
    """
    found: dict[tuple[int, int], tuple[int, int]] = {}
    slots: dict[str, int] = {}
    for where, row in _rows(path, ("participant", "interval_start", *columns)):
        name, start = row["participant"], row["interval_start"]
        if name not in names:
            raise InvalidMarketError(
                where, f"unknown participant {name!r}; the market file names those that are known"
            )
        if start not in slots:
            try:
                slots[start] = slot_of(datetime.fromisoformat(start), minutes)
            except (ValueError, NegawattError) as wrong:
                raise InvalidMarketError(where, f"interval_start {start!r}: {wrong}") from wrong
        energies = []
        for column in columns:
            text = row[column]
            if not (text.isascii() and text.isdigit() and len(text) < 16):
                raise InvalidMarketError(where, f"{column} {text!r} of {name}: expected whole Wh of 0 or more")
            energies.append(int(text))
        key = names[name], slots[start]
        if key in found:
            raise InvalidMarketError(where, f"a second row of {name} at {start}")
        found[key] = energies[0], energies[1]
    return found


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file with the place of each; a row that is too short has empty text."""
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = csv.DictReader(lines)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                raise InvalidMarketError(
                    f"{path}, line 1", f"no column {', '.join(missing)}; found: {', '.join(rows.fieldnames or ())}"
                )
            for row in rows:
                if None in row:
                    raise InvalidMarketError(f"{path}, line {rows.line_num}", "more values than columns")
                yield f"{path}, line {rows.line_num}", {name: (text or "").strip() for name, text in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise InvalidMarketError(str(path), str(broken)) from broken


def built_in_tariffs() -> list[str]:
    """Names of the tariffs that come with negawatt."""
    folder = package_files.files("negawatt").joinpath("tariffs")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def find_tariff(workspace: Workspace, name: str) -> Tariff:
    """A tariff of the workspace's ``tariffs`` folder, or one that comes with negawatt.

    Raises
    ------
    InvalidTariffError
        There is none of that name, or it breaks a rule.
    """
    own = workspace.folder / "tariffs" / f"{name}.toml"
    names = built_in_tariffs()
    if own.exists():
        text = own.read_text("utf-8")
    elif name in names:
        text = package_files.files("negawatt").joinpath("tariffs", f"{name}.toml").read_text("utf-8")
    else:
        raise InvalidTariffError(name, "file", f"no {own}, and none of the built-in ones: {', '.join(names)}")
    try:
        return parse_tariff(tomllib.loads(text))
    except tomllib.TOMLDecodeError as broken:
        raise InvalidTariffError(name, "file", str(broken)) from broken
