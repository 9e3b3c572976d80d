"""Two homes whose loads are forecast by ``forecast.toml``, beside a roof that needs the weather alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from stores import Row, a_batch

from batch.parquet_store import ParquetStore
from domain.intervals import slot_of
from negawatt.workspace import Workspace

WEATHER = """zone = "Asia/Seoul"

[weather]
learn = "weather.csv"
learn_kind = "actual"
predict = "weather.csv"
predict_kind = "forecast"
"""
LOAD = """
[[load]]
name = "homes"
model = "lightgbm"
holidays = "KR"
validation_days = 14
folds = 1
"""
ROOF = """
[[pv]]
name = "roof"
capacity_kw = 300
latitude = 21.0
longitude = 105.8
"""


def two_homes(folder: Path, start: datetime, days: int) -> Workspace:
    """A workspace with hourly readings of homes that cool when it is hot; weather to some days later."""
    folder.mkdir(exist_ok=True)
    workspace = Workspace(folder)
    random = np.random.default_rng(1)
    hours = np.arange(24 * (days + 24))
    heat = 18 + np.repeat(random.normal(0, 5, days + 24), 24) + 5 * np.sin(2 * np.pi * (hours - 9) / 24)
    begin = start - timedelta(days=20)
    rows = [
        f"{(begin + timedelta(hours=int(h))).isoformat()},{heat[h]:.2f},{(sun := 600 * (h % 24 < 9))},{sun // 8}"
        for h in hours
    ]
    header = "interval_start,temperature_c,direct_wm2,diffuse_wm2"
    (folder / "weather.csv").write_text("\n".join([header, *rows]) + "\n")
    readings = [
        Row(
            home,
            slot_of(start, 60) + h,
            round((500 + 400 * n) * (1 + 0.05 * max(heat[20 * 24 + h] - 18, 0)) * random.uniform(0.95, 1.05)),
        )
        for n, home in enumerate(("a", "b"))
        for h in range(24 * days)
    ]
    ParquetStore(workspace.store, buckets=2).append([a_batch(readings)])
    return workspace
