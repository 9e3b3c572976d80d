"""What screening found, as a table with a row a resource and as sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.screening import SCREENING_FINDINGS, Screened
from domain.screening_plan import Candidate, ScreeningPlan

RATIOS = ("rrmse", "bias", "variability")


def screening_table(plan: ScreeningPlan, found: Screened) -> pa.Table:
    """A row a resource.

    ``days`` compared, ``actual_wh`` used on them; ``best`` baseline with its ratios [%] and whether it ``fits``; the
    same of the programme's own (``own_…``); codes of ``findings``; and ``baselines``, a list of every rule with its
    own days and ratios. Null is what can't be said.
    """
    labels = np.array([one.label for one in plan.candidates], dtype=object)
    known, best = found.best >= 0, np.maximum(found.best, 0)
    columns: dict[str, pa.Array] = {
        "meter": pa.array(found.meters, pa.string()),
        "days": pa.array(found.days),
        "actual_wh": pa.array(found.actual_wh),
        "best": pa.array(labels[best], pa.string(), mask=~known),
    }
    rows = np.arange(len(found))
    columns |= {f"{name}_pct": _percent(getattr(found, name)[rows, best]) for name in RATIOS}
    columns["fits"] = pa.array(found.best_fits)
    columns |= {f"own_{name}_pct": _percent(getattr(found, name)[:, 0]) for name in RATIOS}
    columns["own_fits"] = pa.array(found.fits[:, 0])
    columns["findings"] = pa.array([_codes(bits) for bits in found.findings.tolist()], pa.list_(pa.string()))
    columns["baselines"] = _each_baseline(labels, found)
    return pa.table(columns)


def summarise(plan: ScreeningPlan, found: Screened, worst: int) -> dict[str, Any]:
    """What a screening amounts to, as plain JSON values.

    Parameters
    ----------
    worst : int
        Resources with a finding to list: of those that fit worst first, then those of which nothing can be said.
    """
    zone = plan.programme.zoneinfo
    days = [proxy.start.astimezone(zone).date().isoformat() for proxy in plan.proxies]
    least = np.where(found.compared, found.rrmse, np.inf).min(axis=1, initial=np.inf)
    order = np.lexsort((found.meters.astype(str), -np.where(np.isinf(least), -1, least)))
    listed = [row for row in order.tolist() if found.findings[row]][:worst]
    rows = Screened(*(getattr(found, name)[listed] for name in Screened.__dataclass_fields__))
    return {
        "baseline": plan.candidates[0].label,
        "zone": plan.programme.zone,
        "window": str(plan.window),
        "proxy_days": len(days),
        "first_day": days[-1],
        "last_day": days[0],
        "block_minutes": plan.block_minutes,
        "rules": plan.rules.id,
        "limit_pct": plan.rules.limit_pct,
        "bias_limit_pct": plan.rules.bias_limit_pct,
        "min_days": plan.rules.min_days,
        "resources": len(found),
        "fits": int(found.best_fits.sum()),
        "own_fits": int(found.fits[:, 0].sum()),
        "findings": {
            code: count
            for bit, (code, _) in SCREENING_FINDINGS.items()
            if (count := int((found.findings & int(bit) != 0).sum()))
        },
        "baselines": [_over_all(found, one, at) for at, one in enumerate(plan.candidates)],
        "worst": [_plain(row) for row in screening_table(plan, rows).drop_columns(["baselines"]).to_pylist()],
    }


def _over_all(found: Screened, candidate: Candidate, at: int) -> dict[str, Any]:
    """A baseline over all resources for which it was compared; its bias is that of their energies together."""
    compared = found.compared[:, at]
    actual = int(found.actual_wh[compared].sum())
    ratios = found.rrmse[compared, at]
    return {
        "baseline": candidate.label,
        "programme": candidate.programme,
        "compared": int(compared.sum()),
        "best": int((compared & (found.best == at)).sum()),
        "fits": int(found.fits[:, at].sum()),
        "median_rrmse_pct": round(100 * float(np.median(ratios)), 2) if len(ratios) else None,
        "bias_pct": round(100 * int(found.error_wh[compared, at].sum()) / actual, 2) if actual else None,
    }


def _each_baseline(labels: NDArray[np.object_], found: Screened) -> pa.ListArray:
    n, c = found.rrmse.shape
    fields: dict[str, pa.Array] = {
        "baseline": pa.array(np.tile(labels, n), pa.string()),
        "days": pa.array(found.own_days.reshape(-1)),
        **{f"{name}_pct": _percent(getattr(found, name).reshape(-1)) for name in RATIOS},
        "fits": pa.array(found.fits.reshape(-1)),
    }
    offsets = np.arange(0, n * c + 1, c, dtype=np.int32)
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


def _codes(bits: int) -> list[str]:
    return [code for bit, (code, _) in SCREENING_FINDINGS.items() if bits & bit]


def _percent(ratio: NDArray[np.float64]) -> pa.Array:
    return pa.array(100 * ratio, from_pandas=True)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Percentages to the hundredth."""
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()}
