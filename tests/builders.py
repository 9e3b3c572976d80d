"""Builders for tests: each shows only the values that matter to the test that calls it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from eth_account import Account
from eth_hash.auto import keccak

from domain.certificates import CertificateSet, Resource, issue_certificates
from domain.certification import LoadBlock, certify
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.programmes import Programme, parse_programme

SALT = b"a salt for tests"
PROGRAMMES = Path(__file__).parent.parent / "negawatt" / "programmes"
WEDNESDAY_8_UTC = datetime(2025, 6, 11, 8, tzinfo=UTC)  # 17:00 in Seoul, no holiday near


def a_programme(name: str = "kpx-max-4-of-5") -> Programme:
    return parse_programme(tomllib.loads((PROGRAMMES / f"{name}.toml").read_text()))


def an_event(name: str = "e1", start: datetime = WEDNESDAY_8_UTC, hours: float = 1) -> DREvent:
    return DREvent(name, "kpx-max-4-of-5", start, start + timedelta(hours=hours))


def a_plan(event: DREvent | None = None, interval_minutes: int = 30) -> EventPlan:
    return make_plan(event or an_event(), a_programme(), interval_minutes)


def a_key(number: int) -> bytes:
    return keccak(f"throw-away key {number}".encode())


@cache
def a_wallet(number: int) -> str:
    return str(Account.from_key(a_key(number)).address).lower()


def some_resources(n: int) -> dict[str, Resource]:
    meters = [f"home-{number:04d}" for number in range(n)]
    return {meter: Resource(meter, 1000, a_wallet(number)) for number, meter in enumerate(meters)}


def some_certificates(
    n: int, event: DREvent | None = None, used_wh: int = 300, traded_wh: Mapping[str, int] | None = None
) -> CertificateSet:
    """Certificates of ``n`` homes: 500 Wh every interval of history; in the event ``used_wh``, a little more each."""
    plan = a_plan(event)
    wh = np.full((n, *plan.slots.shape), 500, dtype=np.int32)
    wh[:, 0, : plan.event_intervals] = used_wh + np.arange(n)[:, None] % 100
    resources = some_resources(n)
    block = LoadBlock(np.array(list(resources), dtype=object), wh, None)
    return issue_certificates(plan, certify(plan, block), resources, SALT, traded_wh)
