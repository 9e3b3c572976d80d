"""The operator of a market at a terminal, with the paper's day in files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from kiee_table7 import TARIFFS, capacities, half_hours
from terminal import Terminal

DAY = "2021-02-01"
WALLETS = {site: f"0x{n + 1:040x}" for n, site in enumerate("ABC")}
POOL, GRID = "0x" + 40 * "e", "0x" + 40 * "f"
MARKET = """
participants = "participants.csv"
distances = "distances.csv"
zone = "Asia/Ho_Chi_Minh"
interval_minutes = 30
"""

OWN_TARIFF = """
id = "own"
title = "One price"
source = "made up"
zone = "UTC"
currency = { code = "VND", decimals = 0 }

[[terms]]
valid_from = 2021-01-01
buy = { flat = "20" }
sell = "10"

[[terms.days]]
on = ["weekday", "saturday", "sunday"]
hours = { flat = ["00:00-24:00"] }
"""


class Desk(Terminal):
    """A terminal in one workspace, beside the files of the paper's market in whole watt-hours."""

    def __init__(self, folder, wallets: Sequence[str] = tuple(WALLETS.values())) -> None:
        super().__init__(folder / "workspace")
        people = [f"{site},{site},{TARIFFS[site]},{wallet}" for site, wallet in zip("ABC", wallets, strict=True)]
        self.write("participants.csv", "participant,site,tariff,wallet", *people)
        self.write("distances.csv", "from,to,km", "A,B,1.2", "B,C,0.8", "A,C,2")
        self.write("market.toml", MARKET)
        self.write("capacities.csv", "participant,interval_start,surplus_wh,deficit_wh", *self.offers())

    @staticmethod
    def offers():
        zone = ZoneInfo("Asia/Ho_Chi_Minh")
        for start, volumes, _ in half_hours():
            for site, over, lacking in zip("ABC", *capacities(volumes), strict=True):
                yield f"{site},{start.astimezone(zone).isoformat()},{round(over / 10)},{round(lacking / 10)}"

    def match(self, *words: object) -> dict:
        return self.json("match", self.folder / "market.toml", self.folder / "capacities.csv", *words)

    def refused(self, *words: object) -> str:
        return self.run("match", self.folder / "market.toml", self.folder / "capacities.csv", *words, exit_code=1)

    def metered(self, change=lambda name, start, export, imported: (export, imported)):
        """Meter readings of every interval that was traded: as agreed, unless changed."""
        with (self.workspace.folder / "market" / DAY / "positions.csv").open() as lines:
            rows = list(csv.DictReader(lines))
        out = []
        for row in rows:
            name, start = row["participant"], row["interval_start"]
            net = int(row["sold_wh"]) - int(row["bought_wh"])
            export, imported = change(name, start, max(net, 0), max(-net, 0))
            out.append(f"{name},{start},{export},{imported}")
        return self.write("metered.csv", "participant,interval_start,export_wh,import_wh", *out)

    def balance(self, *words: object) -> dict:
        return self.json("balance-day", self.folder / "market.toml", DAY, self.metered(*words))
