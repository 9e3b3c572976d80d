"""The batch and the speed layer, fed by the same bus, certify the same to the last byte, whatever was sent."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from builders import PROGRAMMES, SALT, a_programme, a_wallet
from domain_builders import assert_equal_reductions
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import DictStore, Row, a_batch

from batch.certify import certify_bucket
from batch.parquet_store import ParquetStore, bucket_of
from batch.stores import BatchStore
from domain.certificates import Resource, issue_certificates
from domain.certification import Finding, Reductions, certify, join
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.readings import Quality
from ingest.bus import MemoryBus
from negawatt.ingesting import BatchConsumer
from speed.consumer import SpeedConsumer
from speed.duckdb_store import DuckDBStore
from speed.provisional import certify_provisionally

BUILT_IN = sorted(path.stem for path in PROGRAMMES.glob("*.toml"))
WEDNESDAY, SATURDAY, SUNDAY = "2025-07-09 17:00", "2025-07-12 17:00", "2025-07-06 17:00"
OVER_MIDNIGHT_UTC = (
    "2025-07-09 09:00"  # in Seoul: the event begins a UTC day, the adjustment window ends the one before
)
CASES = [(name, WEDNESDAY) for name in BUILT_IN] + [
    ("kpx-max-4-of-5", OVER_MIDNIGHT_UTC),
    ("pjm-high-4-of-5", SATURDAY),
    ("pjm-high-4-of-5", SUNDAY),
]


def plan_for(name: str, start: str, minutes: int) -> EventPlan:
    programme = a_programme(name)
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(programme.zone))
    return make_plan(DREvent("e1", name, begin, begin + timedelta(hours=2)), programme, minutes)


@dataclass
class Traffic:
    """How readings come about and travel."""

    seed: int
    homes: int
    top_wh: int
    gaps: float
    lost_days: float
    estimates: float
    corrections: float
    repeats: float
    appends: int
    compact: float

    def rows(self, plan: EventPlan) -> list[Row]:
        """Readings on the plan's slots, and some besides that must not matter, in a random order."""
        random = np.random.default_rng(self.seed)
        noise = plan.slots.reshape(-1)[:: max(plan.slots.size // 20, 1)] + plan.event_intervals + 5
        slots = np.unique(np.concatenate([plan.slots.reshape(-1), noise]))
        per_day = 24 * 60 // plan.interval_minutes
        rows = []
        for home in range(self.homes):
            day_lost = {day: random.random() < self.lost_days for day in np.unique(slots // per_day).tolist()}
            for slot in slots.tolist():
                if day_lost[slot // per_day] or random.random() < self.gaps:
                    continue
                reports = 1 + (random.random() < self.corrections) * int(random.integers(1, 4))
                for _ in range(reports):
                    row = Row(
                        f"home {home}",
                        slot,
                        int(random.integers(0, self.top_wh, endpoint=True)),
                        int(Quality.ESTIMATED if random.random() < self.estimates else Quality.ACTUAL),
                        int(random.integers(0, 3)) if reports > 1 else 0,
                    )
                    rows += [row] * (1 + (random.random() < self.repeats))
        return [rows[n] for n in random.permutation(len(rows))]


traffic = st.builds(
    Traffic,
    seed=st.integers(0, 2**32 - 1),
    homes=st.integers(1, 5),
    top_wh=st.sampled_from([0, 3, 1000, 10**8]),
    gaps=st.sampled_from([0.0, 0.002, 0.02, 0.3]),
    lost_days=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    estimates=st.sampled_from([0.0, 0.01, 0.5]),
    corrections=st.sampled_from([0.0, 0.1, 0.9]),
    repeats=st.sampled_from([0.0, 0.1, 1.0]),
    appends=st.integers(1, 12),
    compact=st.sampled_from([0.0, 0.3]),
)


class Layers:
    """Both layers on one bus, and a dict beside them."""

    def __init__(self, folder: Path, batch: BatchStore | None = None) -> None:
        self.batch = ParquetStore(folder / "store", buckets=2) if batch is None else batch
        self.speed = DuckDBStore(folder / "speed.duckdb")
        self.reference = DictStore()
        self.bus = MemoryBus()
        self.bus.subscribe(BatchConsumer(self.batch))
        self.bus.subscribe(SpeedConsumer(self.speed))

    def send(self, rows: list[Row], plan: EventPlan, traffic: Traffic) -> None:
        random = np.random.default_rng(traffic.seed)
        cuts = np.sort(random.integers(0, len(rows) + 1, traffic.appends - 1)).tolist()
        for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            self.bus.publish(a_batch(rows[first:last], plan.interval_minutes))
            self.reference.append(rows[first:last])
            if random.random() < 0.5:
                self.bus.flush()
            if random.random() < traffic.compact:
                self.batch.compact()
        self.bus.flush()

    def certified(self, plan: EventPlan, meters: list[str] | None) -> list[Reductions]:
        """By the batch layer, by the speed layer, and from the dict."""
        parts = []
        for bucket in range(self.batch.buckets):
            mine = None if meters is None else [m for m in meters if bucket_of(m, self.batch.buckets) == bucket]
            wanted = None if mine is None else np.array(mine, dtype=object)
            parts.append(certify_bucket(self.batch, plan, bucket, wanted))
        by_hand = certify(plan, self.reference.read(plan.slots, meters))
        return [join(parts, plan), certify_provisionally(self.speed, plan, meters), by_hand]


def published(plan: EventPlan, reductions: Reductions) -> bytes:
    resources = {m: Resource(m, 1000, a_wallet(n)) for n, m in enumerate(reductions.meters.tolist())}
    return issue_certificates(plan, reductions, resources, SALT).published()


@pytest.mark.parametrize(("name", "start"), CASES)
@settings(max_examples=10)
@given(traffic=traffic, minutes=st.sampled_from([15, 30, 60]))
def test_both_layers_certify_the_same_bytes_as_a_dict_of_the_readings(name, start, traffic, minutes):
    plan = plan_for(name, start, minutes)
    participants = [f"home {n}" for n in range(traffic.homes)] + ["a home without readings"]
    with tempfile.TemporaryDirectory() as folder:
        layers = Layers(Path(folder))
        layers.send(traffic.rows(plan), plan, traffic)
        for meters in (participants, None):
            batch, speed, by_hand = layers.certified(plan, meters)
            assert_equal_reductions(batch, speed)
            assert_equal_reductions(batch, by_hand)
            assert published(plan, batch) == published(plan, speed) == published(plan, by_hand)
        layers.batch.compact()
        assert_equal_reductions(layers.certified(plan, None)[0], batch)
        layers.speed.close()


@pytest.mark.stack
@pytest.mark.parametrize(("name", "start"), [CASES[0], ("kpx-max-4-of-5", OVER_MIDNIGHT_UTC)])
def test_hbase_certifies_the_same_bytes_as_the_other_layer(hbase, tmp_path, name, start):
    from hbase_layer import an_empty_store, give_back

    plan = plan_for(name, start, 30)
    busy = Traffic(11, 5, 1000, 0.02, 0.1, 0.1, 0.3, 0.3, 6, 0.3)
    layers = Layers(tmp_path, an_empty_store(hbase.url))
    layers.send(busy.rows(plan), plan, busy)
    for meters in ([f"home {n}" for n in range(5)] + ["a home without readings"], None):
        before = {published(plan, reductions) for reductions in layers.certified(plan, meters)}
        layers.batch.compact()
        after = {published(plan, reductions) for reductions in layers.certified(plan, meters)}
        assert len(before | after) == 1
    layers.speed.close()
    give_back(layers.batch)


GOOD = Traffic(1, 3, 1000, 0.0, 0.0, 0.0, 0.0, 0.0, 3, 0.0)


def test_the_days_and_gaps_drawn_here_reach_the_kernel(tmp_path):
    """The property above would hold for layers that certify nobody; this one shows that they do."""
    plan = plan_for("kpx-max-4-of-5", WEDNESDAY, 60)
    layers = Layers(tmp_path)
    layers.send(GOOD.rows(plan), plan, GOOD)
    batch, speed, _ = layers.certified(plan, ["home 0", "home 1", "home 2", "nobody"])
    layers.speed.close()
    assert batch.certified.tolist() == [True, True, True, False]
    assert batch.findings[3] & Finding.NO_READINGS
    assert_equal_reductions(batch, speed)


def test_sending_everything_again_in_another_order_changes_no_byte(tmp_path):
    plan = plan_for("demo-pacific", WEDNESDAY, 30)
    busy = Traffic(7, 4, 1000, 0.02, 0.1, 0.1, 0.3, 0.3, 6, 0.3)
    layers = Layers(tmp_path)
    rows = busy.rows(plan)
    layers.send(rows, plan, busy)
    before = [published(plan, r) for r in layers.certified(plan, None)]
    layers.send(rows[::-1], plan, busy)
    assert [published(plan, r) for r in layers.certified(plan, None)] == before
    assert len(set(before)) == 1
    layers.speed.close()


def test_a_late_correction_changes_both_layers_alike(tmp_path):
    plan = plan_for("kpx-max-4-of-5", WEDNESDAY, 60)
    layers = Layers(tmp_path)
    layers.send(GOOD.rows(plan), plan, GOOD)
    before = layers.certified(plan, None)[0]
    event_slot = int(plan.slots[0, 0])
    layers.send([Row("home 1", event_slot, 123_456, Quality.ACTUAL, 1)], plan, GOOD)
    batch, speed, _ = layers.certified(plan, None)
    layers.speed.close()
    assert batch.actual_wh[1, 0] == 123_456
    assert before.actual_wh[1, 0] != 123_456
    assert_equal_reductions(batch, speed)
    assert published(plan, batch) == published(plan, speed) != published(plan, before)


def test_without_a_day_of_history_both_layers_say_so_alike(tmp_path):
    programme = a_programme("kpx-max-4-of-5")
    event = plan_for("kpx-max-4-of-5", WEDNESDAY, 60).event
    first = event.start.date()
    plan = make_plan(event, programme, 60, event_days={first - timedelta(days=n) for n in range(1, 60)})
    assert plan.days == ()
    layers = Layers(tmp_path)
    layers.send(GOOD.rows(plan), plan, GOOD)
    batch, speed, by_hand = layers.certified(plan, ["home 0", "nobody"])
    layers.speed.close()
    assert (batch.findings & Finding.HISTORY_INSUFFICIENT).all()
    assert_equal_reductions(batch, speed)
    assert published(plan, batch) == published(plan, speed) == published(plan, by_hand)
