"""A matched day after delivery: settled against the meters, and brought into rows for the chain."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from domain.errors import NegawattError
from domain.imbalance import Agreed, Balance, Deal, MeteringError, balance, between, to_trades, with_grid, with_pool
from domain.intervals import slot_of
from domain.matching import Community, InvalidMarketError
from domain.profits import WH_PER_KWH
from domain.trades import Trade
from negawatt.market import day_slots, prepare
from negawatt.market_days import (
    POSITION_COLUMNS,
    as_csv,
    digest_of,
    digest_of_bytes,
    folder_of,
    read_matched,
    read_positions,
)
from negawatt.market_files import MarketFile, read_energies
from negawatt.workspace import Workspace, write_json, write_whole

WORSE_OFF = "delivery.worse_off"
"""Code of the finding that the grid alone would have been better for somebody, as it delivered or used."""


def balance_day(workspace: Workspace, file: MarketFile, day: date, metered: Path) -> dict[str, Any]:
    """Settle a matched day against the meters, and write the trades that go on chain.

    Every interval in which a participant traded needs its reading. Other energy stays on the grid's own bill.

    Returns
    -------
    dict
        The document that is kept as ``statement.json``; ``trades_file`` is None where accounts are missing.

    Raises
    ------
    MeteringError
        A reading is missing.
    """
    matched, rows = read_matched(workspace, day), read_positions(workspace, day)
    if not rows:
        raise NegawattError(f"{day}: nobody traded, so there is nothing to settle")
    minutes = file.interval_minutes
    slots = day_slots(file, day)
    held, prices, _ = prepare(workspace, file, slots)
    if held.scale * WH_PER_KWH != matched["fine_units_per_minor_unit"]:
        raise NegawattError(f"{day}: the market file or a tariff has changed since it was matched; match it again")
    place = {name: n for n, name in enumerate(held.names)}
    readings = read_energies(metered, ("export_wh", "import_wh"), place, minutes)
    shape = len(held.names), len(slots)
    arrays = {name: np.zeros(shape, dtype=np.int64) for name in (*POSITION_COLUMNS[2:7], "export", "import")}
    traded = np.zeros(shape, dtype=bool)
    for row in rows:
        if row["participant"] not in place:
            raise NegawattError(f"{day}: {row['participant']} has traded and is not in the market file any more")
        at = place[row["participant"]], slot_of(datetime.fromisoformat(row["interval_start"]), minutes)
        if at not in readings:
            raise MeteringError(
                f"{metered}: no reading of {row['participant']} at {row['interval_start']}, when it traded; "
                "bring it, or an estimate by `negawatt vee`"
            )
        cell = at[0], at[1] - slots.start
        traded[cell] = True
        for name in POSITION_COLUMNS[2:7]:
            arrays[name][cell] = row[name]
        arrays["export"][cell], arrays["import"][cell] = readings[at]
    agreed = Agreed(*(arrays[name] for name in POSITION_COLUMNS[2:7]))
    of_tariff = held.tariff_of
    settled = balance(agreed, arrays["export"], arrays["import"], prices.sell[of_tariff], prices.buy[of_tariff]).day()
    trading = np.flatnonzero(traded.any(axis=1)).tolist()
    folder = folder_of(workspace, day)
    trades = _chain_trades(file, matched, settled, held, trading)
    lines = [(trade.seller, trade.buyer, trade.wh, trade.value) for trade in trades or ()]
    rows_of_trades = as_csv(("seller", "buyer", "wh", "value"), lines)
    document = {
        "format": "negawatt-market-statement/1",
        "day": day.isoformat(),
        "matched": digest_of(folder / "matched.json"),
        "currency": matched["currency"],
        "fine_units_per_minor_unit": matched["fine_units_per_minor_unit"],
        "participants": [_statement_row(held.names[n], settled, n) for n in trading],
        "grid_net": -sum(int(settled.net[n]) for n in trading),
        "findings": [
            {
                "code": WORSE_OFF,
                "sentence": "delivery or use is so far from what was traded that the grid alone was better",
                "values": {"participant": held.names[n], "gain": int(settled.gain[n])},
            }
            for n in trading
            if settled.gain[n] < 0
        ],
        "trades": len(trades or ()),
        "trades_file": str(folder / "trades.csv") if trades else None,
        "trades_sha256": digest_of_bytes(rows_of_trades) if trades else None,
    }
    if trades:
        write_whole(folder / "trades.csv", rows_of_trades)
    write_json(folder / "statement.json", document)
    return document


def _statement_row(name: str, settled: Balance, n: int) -> dict[str, Any]:
    agreed = settled.agreed
    return {
        "participant": name,
        "sold_wh": int(agreed.sold_wh[n]),
        "bought_wh": int(agreed.bought_wh[n]),
        "earned": int(agreed.earned[n]),
        "paid": int(agreed.paid[n]),
        "fee": int(agreed.fee[n]),
        "to_grid_wh": int(settled.to_grid_wh[n]),
        "from_grid_wh": int(settled.from_grid_wh[n]),
        "grid_pays": int(settled.grid_pays[n]),
        "grid_charges": int(settled.grid_charges[n]),
        "net": int(settled.net[n]),
        "gain": int(settled.gain[n]),
    }


def _chain_trades(
    file: MarketFile, matched: Mapping[str, Any], settled: Balance, held: Community, trading: list[int]
) -> list[Trade] | None:
    """The day's trades between accounts; None where somebody who traded has no account."""
    if any(held.names[n] not in file.wallets for n in trading):
        return None
    accounts = [file.wallets[held.names[n]] for n in trading]
    mine = _take(settled, trading)
    if file.pool:
        parts: list[list[Deal]] = list(with_pool(mine.agreed, accounts, file.pool))
    else:
        parts = [between(_flows_between(file, matched))]
    if file.grid:
        parts += with_grid(mine, accounts, file.grid)
    return to_trades(parts, matched["fine_units_per_minor_unit"], file.token_units)


def _take(settled: Balance, rows: list[int]) -> Balance:
    agreed = Agreed(**{name: values[rows] for name, values in vars(settled.agreed).items()})
    return Balance(agreed, **{name: values[rows] for name, values in vars(settled).items() if name != "agreed"})


def _flows_between(file: MarketFile, matched: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    flows: dict[tuple[str, str], tuple[int, int]] = {}
    for interval in matched["intervals"]:
        for flow in interval["flows"]:
            ends = flow["seller"]["participant"], flow["buyer"]["participant"]
            if None in ends:
                where = flow["seller"] if ends[0] is None else flow["buyer"]
                raise InvalidMarketError(
                    "settlement",
                    f"several participants share site {where['site']} and tariff {where['tariff']}: "
                    "name an account that they trade with, [settlement] pool, or match by --method lp",
                )
            accounts = file.wallets[ends[0]], file.wallets[ends[1]]
            wh, value = flows.get(accounts, (0, 0))
            flows[accounts] = wh + flow["wh"], value + flow["wh"] * flow["price"]
    return flows
