"""Table 7 of Na, Kim, Jung, Transactions of the Korean Institute of Electrical Engineers 70 (9), 2021, p. 1282.

The paper prints what each site gained in every half hour of 2021-02-01; it prints each hour twice. The volumes are
inferred from the gains, which are half the difference of the two sites' tariffs for every kWh. They are kept in
tenths of a watt-hour, because a peak kWh gains 260 VND and the table has hundredths.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

UNITS_PER_KWH = 10_000
"""Tenths of a watt-hour."""

FIRST_DAY = datetime(2021, 2, 1, 0, tzinfo=UTC)
"""Monday 2021-02-01 at 07:00 in Vietnam, seven hours ahead of UTC all year: the table's first row."""

TOLERANCE = Decimal("0.07")
"""Of each cell: the paper's own sums of sellers and buyers differ by 0.22 VND. [VND]"""

PRINTED_TOTAL = Decimal("157246.07")
PRINTED_SUMS = {
    "seller": {"A": Decimal("39136.97"), "B": Decimal("39486.18")},
    "buyer": {"A": Decimal("35566.29"), "B": Decimal("37102.52"), "C": Decimal("5954.11")},
}

HOURS = (
    # local hour, volume from seller to buyer in a half hour, gains of sellers A and B, of buyers A, B and C [VND]
    (7, {"A>C": 23863, "B>C": 7158}, ("124.08", "18.61"), ("0.00", "0.00", "142.70")),
    (8, {"A>B": 69927, "A>C": 23248, "B>C": 27954}, ("302.70", "72.68"), ("0.00", "181.81", "193.57")),
    (9, {"B>A": 168974}, ("0.00", "4393.30"), ("4393.33", "0.00", "0.00")),
    (10, {"B>A": 514993}, ("0.00", "13389.83"), ("13389.82", "0.00", "0.00")),
    (11, {"A>B": 2302215, "B>C": 157500}, ("5985.81", "409.50"), ("0.00", "5985.76", "409.50")),
    (12, {"A>B": 2270973, "B>C": 157500}, ("5904.58", "409.50"), ("0.00", "5904.53", "409.50")),
    (13, {"A>B": 235381, "A>C": 66835, "B>C": 90665}, ("959.53", "235.73"), ("0.00", "611.99", "583.27")),
    (14, {"A>B": 813873, "B>C": 157500}, ("2116.06", "409.50"), ("0.00", "2116.07", "409.50")),
    (15, {"A>B": 1401238, "B>C": 118600}, ("3643.22", "308.36"), ("0.00", "3643.22", "308.36")),
    (16, {"A>B": 41488, "A>C": 81648, "B>C": 36958}, ("532.50", "96.09"), ("0.00", "107.87", "520.66")),
    (17, {}, ("0.00", "0.00"), ("0.00", "0.00", "0.00")),
)

TARIFFS = {"A": "kiee-2021-a-table7", "B": "kiee-2021-b-table7", "C": "kiee-2021-c"}


def half_hours() -> list[tuple[datetime, dict[str, int], dict[str, dict[str, Decimal]]]]:
    """Start, volumes [tenths of Wh] and printed gains [VND] of every half hour of the table."""
    rows = []
    for hour, volumes, seller, buyer in HOURS:
        gains = {
            "seller": dict(zip("AB", map(Decimal, seller), strict=True)),
            "buyer": dict(zip("ABC", map(Decimal, buyer), strict=True)),
        }
        for half in (0, 1):
            rows.append((FIRST_DAY + timedelta(hours=hour - 7, minutes=30 * half), volumes, gains))
    return rows


def capacities(volumes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """What A, B and C have over and lack: all that they sell and buy in the table. [tenths of Wh]"""
    surplus, deficit = (np.zeros(3, dtype=np.int64) for _ in range(2))
    for pair, volume in volumes.items():
        surplus["ABC".index(pair[0])] += volume
        deficit["ABC".index(pair[2])] += volume
    return surplus, deficit
