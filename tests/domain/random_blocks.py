"""Random blocks of homes under every kind of rule, for what has to hold on all of them."""

from __future__ import annotations

import numpy as np
from domain_builders import NEW_YORK, a_plan, a_programme, an_event, programme_data
from hypothesis import strategies as st

from domain.certification import LoadBlock
from domain.plans import EventPlan
from domain.programmes import Programme, parse_programme
from domain.readings import MISSING

HOMES = 12


def capped_programme(**changes: object) -> Programme:
    """A programme with a cap, a two-sided trim and a short event allowed to be half measured."""
    rule: dict[str, object] = {
        "terms[0].min_event_completeness_pct": 50,
        "terms[0].baselines[0].drop_highest": 1,
        "terms[0].baselines[0].min_days": 6,
    }
    return parse_programme(programme_data(**rule, **changes))


PLANS = {
    "KPX Max(4/5)": a_plan("kpx-max-4-of-5", an_event(hours=2)),
    "KPX Mid(6/10)": a_plan("kpx-mid-6-of-10", an_event(hours=1)),
    "PJM weekday": a_plan("pjm-high-4-of-5", an_event("2025-07-09 17:00", hours=3, zone=NEW_YORK)),
    "PJM Saturday": a_plan("pjm-high-4-of-5", an_event("2025-07-12 17:00", hours=2, zone=NEW_YORK)),
    "PJM Sunday": a_plan("pjm-high-4-of-5", an_event("2025-07-06 17:00", hours=2, zone=NEW_YORK)),
    "capped": a_plan(capped_programme(), an_event(hours=4)),
    "actual readings only": a_plan(capped_programme(**{"terms[0].accept_estimated": False}), an_event(hours=2)),
    "no adjustment": a_plan(a_programme(days=4, drop_lowest=1, min_days=3, search_days=6), an_event(hours=2)),
}


@st.composite
def neighbourhoods(draw: st.DrawFn) -> dict:
    """Shape of some homes' usage, from few and tied values to huge ones, with gaps and estimates."""
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "top": draw(st.sampled_from([0, 1, 3, 20, 1000, 10**8])),
        "quiet_days": draw(st.sampled_from([0.0, 0.3, 0.8])),
        "gaps": draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])),
        "estimates": draw(st.sampled_from([None, 0.0, 0.02, 0.5])),
    }


def random_block(
    plan: EventPlan,
    *,
    seed: int,
    top: int,
    quiet_days: float,
    gaps: float,
    estimates: float | None,
    homes: int = HOMES,
) -> LoadBlock:
    random = np.random.default_rng(seed)
    shape = (homes, *plan.slots.shape)
    quiet = random.random(shape[:2]) < quiet_days
    wh = random.integers(0, top, shape, endpoint=True) // np.where(quiet, random.integers(1, 12), 1)[:, :, None]
    # Gaps fall on some rows only, so that complete days remain.
    gap = (random.random(shape) < gaps) & (random.random(shape[:2]) < 0.5)[:, :, None]
    wh = np.where(gap, MISSING, wh).astype(np.int32)
    estimated = None if estimates is None else random.random(shape) < estimates
    meters = np.array([f"m{n:02d}" for n in range(homes)], dtype=object)
    return LoadBlock(meters, wh, estimated)
