"""A market of two homes whose forecasts and readings lie in the workspace: a roof and load at A, load at B.

Every price is that of one tariff: the grid pays 10 and charges 20 VND a kWh, so homes trade at 15.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from stores import Row, a_batch
from terminal import Terminal
from trade_desk import OWN_TARIFF

from batch.parquet_store import ParquetStore
from domain.intervals import local_day_bounds, slot_of
from domain.readings import Register
from negawatt.market_days import folder_of
from negawatt.market_files import MarketFile, read_market
from negawatt.settings import Settings

DAY = date(2025, 6, 11)
ROOF, LOAD_A, LOAD_B = 600, 100, 800
"""Energy of an hour. [Wh]"""

Wh = Callable[[datetime], int | None]


class ForecastMarket(Terminal):
    """A workspace with market.toml, a tariff, kept forecasts and a batch store."""

    def __init__(self, folder: Path, *, zone: str = "Europe/Paris", minutes: int = 60, day: date = DAY) -> None:
        super().__init__(folder, folder)
        self.settings, self.zone, self.day = Settings(buckets=2), ZoneInfo(zone), day
        (folder / "tariffs").mkdir(parents=True)
        (folder / "forecasts").mkdir()
        (folder / "tariffs" / "own.toml").write_text(OWN_TARIFF)
        self.text = f'participants = "participants.csv"\nzone = "{zone}"\ninterval_minutes = {minutes}\n'
        self.write("market.toml", self.text)
        self.people("A,x,own,homes,,roof,", "B,y,own,homes,site-b,,meter-b")

    def people(self, *rows: str) -> None:
        self.write("participants.csv", "participant,site,tariff,load_model,load_site,pv_plants,meter", *rows)

    @property
    def file(self) -> MarketFile:
        return read_market(self.folder / "market.toml")

    @property
    def kept(self) -> Path:
        return folder_of(self.workspace, self.day)

    def starts(self, minutes: int) -> list[datetime]:
        """Starts of the local day's intervals. [UTC]"""
        begin, end = local_day_bounds(self.day, self.zone)
        return [begin + timedelta(minutes=n) for n in range(0, int((end - begin).total_seconds() // 60), minutes)]

    def local(self, hour: int, minute: int = 0) -> datetime:
        """A time of the day, on the local clock."""
        return datetime(self.day.year, self.day.month, self.day.day, hour, minute, tzinfo=self.zone)

    def forecast(self, name: str, sites: Mapping[str, Wh], minutes: int = 60) -> Path:
        """Keep a forecast: energy by the start of each interval, None for what can't be forecast."""
        rows = [
            f"{site},{start.isoformat()},{minutes},{'' if (value := wh(start)) is None else value}"
            for site, wh in sites.items()
            for start in self.starts(minutes)
        ]
        name = f"forecasts/{name}-{self.day}.csv"
        return self.write(name, "site,interval_start,interval_minutes,forecast_wh", *rows)

    def forecasts(self, *, roof: Wh | None = None) -> None:
        """Loads all day; the roof produces from 10 to 16 hours."""
        self.forecast("homes", {"A": lambda _: LOAD_A, "site-b": lambda _: LOAD_B})
        self.forecast("roof", {"roof": roof or self.sunny})

    def sunny(self, start: datetime) -> int:
        return ROOF if 10 <= start.astimezone(self.zone).hour < 16 else 0

    def readings(self, meter: str, wh: Wh, *, export: bool = False, minutes: int = 60) -> None:
        """Store the day's readings of one register; None for those that are missing."""
        rows = [
            Row(meter, slot_of(start, minutes), value)
            for start in self.starts(minutes)
            if (value := wh(start)) is not None
        ]
        register = Register.EXPORT if export else Register.IMPORT
        ParquetStore(self.workspace.store, buckets=2).append([a_batch(rows, minutes, register)])

    def matched(self) -> dict:
        return json.loads((self.kept / "matched.json").read_text())

    def bytes_kept(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.kept.iterdir())}

    def match(self, *words: object) -> dict:
        return self.json("match", self.folder / "market.toml", "--day", self.day, *words)


def utc(hour: int, minute: int = 0) -> datetime:
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, tzinfo=UTC)
