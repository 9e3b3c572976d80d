"""Validation, estimation, editing of a block of meters: readings in, findings and edits out.

Nothing is overwritten. An edit is a reading of quality *estimated* that ranks by `domain.readings.precedence`:

- For a reading that is missing it has revision 0, so that an actual reading of revision 0 that comes late wins.
- For an actual reading that is wrong it has revision 1, so that it wins over that reading, however often the same
  one is delivered again, and loses to the source's own correction or confirmation, which is actual and of revision
  1 or higher.

So an edit never shadows what the source says later, and no order of arrival plays a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.estimation import conserve, inside, profile, sums
from domain.readings import MAX_WH, MISSING, Quality, Readings, Register
from domain.registers import Spans, tolerance_wh
from domain.validation import BoolArray, Check, DayBlock, flag, slots_of
from domain.vee_rules import VeeRules

GAP_REVISION, CORRECTION_REVISION = 0, 1

C = TypeVar("C", "Edits", "Findings")


class _Columns:
    def __len__(self) -> int:
        return len(self.meters)  # type: ignore[attr-defined]

    def take(self: C, rows: NDArray[np.bool_] | NDArray[np.intp]) -> C:  # type: ignore[misc]
        """The rows at ``rows`` (a mask or positions)."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Edits(_Columns):
    """Estimates to be added to the readings, as columns of shape (n,).

    ``old_wh`` is MISSING where there was no reading; ``check`` says what was wrong and ``method`` how the estimate
    came about (`domain.estimation.Method`). [Wh]
    """

    meters: NDArray[np.object_]
    slot: NDArray[np.int64]
    old_wh: NDArray[np.int32]
    wh: NDArray[np.int32]
    revision: NDArray[np.int16]
    check: NDArray[np.int8]
    method: NDArray[np.int8]

    def readings(self, interval_minutes: int, register: Register = Register.IMPORT) -> Readings:
        """The edits as readings of quality estimated."""
        names, codes = np.unique(self.meters, return_inverse=True)
        quality = np.full(len(self), Quality.ESTIMATED, np.int8)
        return Readings(
            interval_minutes, register, names, codes.astype(np.int32), self.slot, self.wh, quality, self.revision
        )


@dataclass(frozen=True, eq=False)
class Findings(_Columns):
    """What the checks found, a row for each meter and check.

    ``intervals`` counts readings (1 for findings about a register or a clock), ``first_slot`` is where it begins, and
    ``value`` is the energy in question [Wh], or for a clock how much it is ahead [s].
    """

    meters: NDArray[np.object_]
    check: NDArray[np.int8]
    intervals: NDArray[np.int64]
    first_slot: NDArray[np.int64]
    value: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VeeResult:
    """What became of a window's readings of some meters.

    ``expected`` is the number of intervals of the window; ``actual``, ``estimated`` and ``missing`` have shape (m,)
    and count them as they were before the edits.
    """

    meters: NDArray[np.object_]
    expected: int
    actual: NDArray[np.int64]
    estimated: NDArray[np.int64]
    missing: NDArray[np.int64]
    edits: Edits
    findings: Findings


def days_to_read(first_day: int, last_day: int, rules: VeeRules) -> NDArray[np.int64]:
    """UTC days that a window of whole or part days needs: its own, those compared with, and those around."""
    own = np.arange(first_day, last_day + 1)
    around = -(-max(rules.stuck_value.minutes, rules.stuck_zero.minutes) // 1440)
    parts = [own, *(own - back for back in rules.reference_offsets), np.arange(first_day - around, last_day + 2)]
    return np.unique(np.concatenate(parts)).astype(np.int64)


def window_of(days: NDArray[np.int64], interval_minutes: int, first_slot: int, last_slot: int) -> BoolArray:
    """Which intervals of some days lie in the half-open window. Shape (days, slots)."""
    slots = slots_of(days, interval_minutes)
    return (slots >= first_slot) & (slots < last_slot)


def limits(contracted_w: NDArray[np.int64], interval_minutes: int, rules: VeeRules) -> NDArray[np.int64]:
    """Most that each meter can count in an interval. [Wh]

    Parameters
    ----------
    contracted_w : ndarray of int64, shape (m,)
        Contracted capacity; 0 where there is none. [W]
    """
    watts = np.maximum(rules.limit.watts, contracted_w * rules.limit.contracted_pct // 100)
    most: NDArray[np.int64] = np.minimum(watts * interval_minutes // 60, MAX_WH).astype(np.int64)
    return most


def process(
    block: DayBlock,
    window: BoolArray,
    rules: VeeRules,
    contracted_w: NDArray[np.int64],
    spans: Spans,
    trusted: BoolArray | None = None,
) -> VeeResult:
    """Validate a window, and estimate what is missing or wrong.

    Parameters
    ----------
    block : DayBlock
        At least the days of `days_to_read`.
    window : ndarray of bool, shape (d, slots)
        The intervals to look at; at least one.
    rules : VeeRules
    contracted_w : ndarray of int64, shape (m,)
        [W]
    spans : Spans
        What registers counted; those outside the block are not looked at. Where the readings of a span add up to
        it, the register has confirmed them, and nothing in it is flagged.
    trusted : ndarray of bool, shape (m, d, slots), optional
        Readings that the source has confirmed: they are not flagged.
    """
    limit_wh = limits(contracted_w, block.interval_minutes, rules)
    found = flag(block, window, rules, limit_wh)
    if trusted is not None:
        found[trusted] = Check.NONE
    readable = block.wh != MISSING
    spans = _of_window(spans.take(inside(spans, block)), block, window)
    forward = spans.take(spans.wh >= 0)
    energy, complete = sums(block, readable, forward)
    off = np.abs(forward.wh - energy) > tolerance_wh(forward.wh, rules.register)
    _clear(found, block, forward.take(complete & ~off))
    wrong = _editable(rules)[found]
    known = readable & ~wrong
    wanted = (window & ~readable) | wrong
    open_spans, asked = _open_spans(block, known, wanted, forward)
    estimates = profile(block, asked, block.actual & (found == Check.NONE), rules)
    estimates, odd = conserve(block, estimates, known, open_spans, rules, limit_wh)

    m, d, s = estimates.meter, estimates.day, estimates.slot
    mine = wanted[m, d, s]
    done = mine & (estimates.wh != MISSING)
    m, d, s = m[done], d[done], s[done]
    check = np.where(readable[m, d, s], found[m, d, s], Check.GAP).astype(np.int8)
    edits = Edits(
        block.meters[m],
        block.slots[d, s],
        block.wh[m, d, s],
        estimates.wh[done].astype(np.int32),
        np.where(check == Check.GAP, GAP_REVISION, CORRECTION_REVISION).astype(np.int16),
        check,
        estimates.method[done],
    )
    none = mine & (estimates.wh == MISSING)
    found[window & ~readable] = Check.GAP
    unestimated = np.zeros_like(wanted)
    unestimated[estimates.meter[none], estimates.day[none], estimates.slot[none]] = True
    sure = _all_known(block, known, forward)
    findings = [
        *(_counted(block, found == check, check) for check in Check if Check.NONE < check <= Check.STUCK_ZERO),
        _counted(block, unestimated, Check.NO_ESTIMATE),
        _of_spans(spans.take(spans.wh < 0), Check.REGISTER_BACKWARDS, spans.wh[spans.wh < 0]),
        _of_spans(forward.take(complete & off & sure), Check.SUM, (forward.wh - energy)[complete & off & sure]),
        _of_spans(open_spans.take(odd != 0), Check.SUM, odd[odd != 0]),
    ]
    inside_window = readable & window
    estimated = (block.estimated & inside_window).sum(axis=(1, 2))
    present = inside_window.sum(axis=(1, 2))
    expected = int(window.sum())
    return VeeResult(
        block.meters, expected, present - estimated, estimated, expected - present, edits, join_columns(findings)
    )


def join_columns(parts: list[C]) -> C:
    """Columns one after another; at least one part."""
    names = parts[0].__dataclass_fields__
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def no_edits() -> Edits:
    """No edits."""
    return _empty(Edits)


def no_findings() -> Findings:
    """No findings."""
    return _empty(Findings)


def _empty(kind: type[C]) -> C:
    types: dict[str, Any] = {
        "meters": object,
        "old_wh": np.int32,
        "wh": np.int32,
        "revision": np.int16,
        "check": np.int8,
        "method": np.int8,
    }
    return kind(*(np.empty(0, types.get(name, np.int64)) for name in kind.__dataclass_fields__))


def _editable(rules: VeeRules) -> BoolArray:
    """Which checks edit what they flag, by the number of the check."""
    table = np.zeros(len(Check), dtype=bool)
    for check, edit in (
        (Check.LIMIT, rules.limit.edit),
        (Check.SPIKE, rules.spike.edit),
        (Check.STUCK_VALUE, rules.stuck_value.edit),
        (Check.STUCK_ZERO, rules.stuck_zero.edit),
    ):
        table[check] = edit
    return table


def _of_window(spans: Spans, block: DayBlock, window: BoolArray) -> Spans:
    slots = block.slots[window]
    return spans.take((spans.first <= int(slots.max())) & (spans.last > int(slots.min())))


def _rows(block: DayBlock, spans: Spans) -> list[tuple[int, slice]]:
    """The meter's row and the flat positions of each span."""
    row_of = {meter: row for row, meter in enumerate(block.meters)}
    per_day = block.wh.shape[2]
    starts = np.searchsorted(block.days, spans.first // per_day) * per_day + spans.first % per_day
    lengths = spans.last - spans.first
    return [
        (row_of[meter], slice(int(start), int(start + length)))
        for meter, start, length in zip(spans.meters, starts, lengths, strict=True)
    ]


def _clear(found: NDArray[np.int8], block: DayBlock, spans: Spans) -> None:
    flat = found.reshape(len(block.meters), -1)
    for row, at in _rows(block, spans):
        flat[row, at] = Check.NONE


def _all_known(block: DayBlock, known: BoolArray, spans: Spans) -> BoolArray:
    flat = known.reshape(len(block.meters), -1)
    return np.array([flat[row, at].all() for row, at in _rows(block, spans)], dtype=bool)


def _open_spans(block: DayBlock, known: BoolArray, wanted: BoolArray, spans: Spans) -> tuple[Spans, BoolArray]:
    """Spans with something to estimate, and all intervals that have to be estimated for their sake."""
    asked = wanted.copy()
    flat, wants, asks = (array.reshape(len(block.meters), -1) for array in (known, wanted, asked))
    chosen = np.zeros(len(spans), dtype=bool)
    for n, (row, at) in enumerate(_rows(block, spans)):
        if wants[row, at].any():
            chosen[n] = True
            asks[row, at] |= ~flat[row, at]
    return spans.take(chosen), asked


def _counted(block: DayBlock, flags: BoolArray, check: Check) -> Findings:
    """A row for each meter that has a flag."""
    counts = flags.sum(axis=(1, 2))
    rows = np.flatnonzero(counts)
    if len(rows) == 0:
        return no_findings()
    first = block.slots.reshape(-1)[flags[rows].reshape(len(rows), -1).argmax(axis=1)]
    energy = np.where(flags[rows], np.maximum(block.wh[rows], 0), 0).sum(axis=(1, 2), dtype=np.int64)
    return Findings(block.meters[rows], np.full(len(rows), check, np.int8), counts[rows], first, energy)


def _of_spans(spans: Spans, check: Check, value: NDArray[np.int64]) -> Findings:
    n = len(spans)
    return Findings(spans.meters, np.full(n, check, np.int8), np.ones(n, np.int64), spans.first, value)
