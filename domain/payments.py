"""What certified reductions earn: exact amounts, one rounding for the event, split without a remainder."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from domain.programmes import PaymentRule


def payments(
    reduction_wh: Sequence[int],
    contracted_w: Sequence[int],
    certified: Sequence[bool],
    event_minutes: int,
    rule: PaymentRule,
    traded_wh: Sequence[int] = (),
) -> list[int]:
    """Pay each resource for its reduction over one event.

    The obligation is the contracted capacity times the event's length, and what trades before the event moved.
    Reduction earns the rate up to the
    paid share of the obligation; shortfall beyond the tolerance costs the penalty, at most what was earned.
    The exact amounts are summed, the sum is rounded once, and split by `apportion`.

    Parameters
    ----------
    reduction_wh : sequence of int
        Total over the event; negative where a home used more than its baseline. [Wh]
    contracted_w : sequence of int
        Contracted capacity. [W]
    certified : sequence of bool
        A resource without certificate is paid nothing and owes nothing.
    event_minutes : int
        [min]
    rule : PaymentRule
    traded_wh : sequence of int
        By how much trades moved each obligation: positive where cover was sold, negative where it was bought;
        empty when there were none. [Wh]

    Returns
    -------
    list of int
        [minor units]

    Examples
    --------
    1 kW for two hours is an obligation of 2,000 Wh, paid up to 120 %: 2,400 Wh at 1,000 a kWh. The second home
    falls 500 Wh short, 300 Wh beyond the tolerance of 10 %: 1,500 less 300 x 2.

    >>> rule = PaymentRule(Fraction(1000), 120, 10, Fraction(2000))
    >>> payments([3000, 1500, -50], [1000, 1000, 1000], [True] * 3, 120, rule)
    [2400, 900, 0]

    The second buys cover of 500 Wh from the first: it falls short no more, and the first is paid up to 120 % of
    2,500 Wh.

    >>> payments([3000, 1500, -50], [1000, 1000, 1000], [True] * 3, 120, rule, [500, -500, 0])
    [3000, 1500, 0]
    """
    scale = lcm(rule.rate_per_kwh.denominator, rule.shortfall_penalty_per_kwh.denominator)
    rate = int(rule.rate_per_kwh * scale)
    penalty = int(rule.shortfall_penalty_per_kwh * scale)
    # Energies are counted in 1/6000 Wh, so that percent of W x min stay whole numbers.
    paid_pct, owed_pct = rule.paid_share_max_pct, 100 - rule.shortfall_tolerance_pct
    exact = []
    for wh, watt, ok, moved in zip(
        reduction_wh, contracted_w, certified, traded_wh or [0] * len(contracted_w), strict=True
    ):
        if not ok:
            exact.append(0)
            continue
        obligation = event_minutes * int(watt) + 60 * int(moved)
        reduced = 6000 * max(int(wh), 0)
        earned = min(reduced, paid_pct * obligation) * rate
        charged = max(owed_pct * obligation - reduced, 0) * penalty
        exact.append(max(earned - charged, 0))
    return apportion(exact, 6000 * 1000 * scale)


def apportion(numerators: Sequence[int], denominator: int) -> list[int]:
    """Round fractions to whole numbers whose sum is the rounded sum (largest remainder).

    The sum is rounded half to even. Every part gets its whole share; what is left goes, one each, to the
    largest remainders, the earlier first on a tie.

    >>> apportion([5, 5, 5], 10)   # 1.5 rounds to 2, and the first two get it
    [1, 1, 0]
    >>> apportion([25, 25], 10)
    [3, 2]
    """
    shares = [divmod(numerator, denominator) for numerator in numerators]
    whole = [quotient for quotient, _ in shares]
    left = round(Fraction(sum(numerators), denominator)) - sum(whole)
    if left:
        by_remainder = sorted(range(len(shares)), key=lambda row: -shares[row][1])
        for row in by_remainder[:left]:
            whole[row] += 1
    return whole
