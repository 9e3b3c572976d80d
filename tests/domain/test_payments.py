from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.payments import apportion, payments
from domain.programmes import PaymentRule


def a_rule(rate=1000, share=120, tolerance=100, penalty=0):
    """Minor units a kWh, so a rate of 1000 is one a Wh. With this tolerance there is no penalty."""
    return PaymentRule(Fraction(rate), share, tolerance, Fraction(penalty))


def pay(*reductions, watts=1000, minutes=60, certified=None, **rule):
    n = len(reductions)
    return payments(
        list(reductions), [watts] * n, [True] * n if certified is None else certified, minutes, a_rule(**rule)
    )


KPX = {"rate": 130_000, "share": 120, "tolerance": 20, "penalty": 30_000}  # 130 and 30 minor units a Wh


@pytest.mark.parametrize(
    ("reduction_wh", "payment"),
    [
        # 1 kW for an hour is an obligation of 1000 Wh.
        (1000, 130_000),
        (1200, 156_000),  # the most that is paid: 120 %
        (1500, 156_000),
        (800, 104_000),  # 200 short, all of it tolerated
        (799, 103_840),  # 799 x 130 = 103,870, less 1 x 30
        (700, 88_000),  # 700 x 130 = 91,000, less 100 x 30
        (151, 160),  # 151 x 130 = 19,630, less 649 x 30 = 19,470
        (150, 0),  # 150 x 130 = 19,500, less 650 x 30 = 19,500
        (149, 0),  # the penalty is at most what was earned
        (0, 0),
        (-500, 0),
    ],
)
def test_a_home_is_paid_by_the_programme(reduction_wh, payment):
    assert pay(reduction_wh, **KPX) == [payment]


def test_the_obligation_is_capacity_times_length():
    # 333 W for 45 minutes is 249.75 Wh; 120 % of it 299.7 Wh, at ten a Wh 2997.
    assert pay(5000, watts=333, minutes=45, rate=10_000) == [2997]


def test_an_obligation_may_be_a_fraction_of_a_watt_hour():
    # 1 W for 5 minutes is 1/12 Wh, 120 % of it 0.1 Wh; at 5 a Wh that is 0.5, and half goes to the even 0;
    # at 15 a Wh it is 1.5, which goes to 2.
    assert pay(1, watts=1, minutes=5, rate=5000) == [0]
    assert pay(1, watts=1, minutes=5, rate=15_000) == [2]


def test_no_capacity_earns_nothing():
    assert pay(500, watts=0) == [0]


def test_the_event_is_rounded_once_not_each_home():
    # Half a unit each: three make 1.5, to the even 2; five make 2.5, to the even 2. The first ones get it.
    assert pay(500, 500, 500, rate=1) == [1, 1, 0]
    assert pay(500, 500, 500, 500, 500, rate=1) == [1, 1, 0, 0, 0]


def test_what_is_left_goes_to_the_largest_remainders():
    # 0.2, 0.9 and 0.7 sum to 1.8, rounded 2.
    assert pay(200, 900, 700, rate=1) == [0, 1, 1]


def test_a_home_without_certificate_is_paid_nothing_and_owes_nothing():
    # The second home's reduction earns and owes nothing: the first is paid as if alone.
    assert pay(700, 700, certified=[True, False], **KPX) == [88_000, 0]


def test_no_homes_are_paid_nothing():
    assert pay() == []


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        payments([1, 2], [1000], [True, True], 60, a_rule())


def test_a_token_of_18_decimals_is_paid_exactly():
    # 1300 tokens a kWh are 1.3 x 10^18 units a Wh, far beyond 64 bits for a home of 12 kWh.
    rate = 1300 * 10**18
    assert pay(1, 12_345, watts=20_000, rate=rate) == [13 * 10**17, 12_345 * 13 * 10**17]


def test_the_last_of_18_decimals_counts():
    # (10^21 + 1) / 1000 a Wh: 1000 Wh earn 10^21 + 1; 500 Wh half of it, 5 x 10^20 + 0.5, to the even 5 x 10^20.
    assert pay(1000, rate=10**21 + 1) == [10**21 + 1]
    assert pay(500, rate=10**21 + 1) == [5 * 10**20]


homes = st.lists(st.tuples(st.integers(-3000, 6000), st.integers(0, 5000), st.booleans()), min_size=0, max_size=12)
rates = st.one_of(
    st.integers(0, 3000).map(Fraction),
    st.fractions(0, 2000, max_denominator=1000),
    st.integers(0, 10**24).map(Fraction),
)
rules = st.builds(PaymentRule, rates, st.integers(0, 300), st.integers(0, 100), rates)
minutes = st.sampled_from([5, 15, 45, 60, 180, 1440])


def exact_payment(wh, watts, certified, length, rule):
    """The programme's sentence, in fractions of kWh."""
    if not certified:
        return Fraction(0)
    obligation = Fraction(watts, 1000) * Fraction(length, 60)
    reduced = max(Fraction(wh, 1000), Fraction(0))
    earned = min(reduced, obligation * Fraction(rule.paid_share_max_pct, 100)) * rule.rate_per_kwh
    shortfall = obligation - reduced
    beyond = max(shortfall - obligation * Fraction(rule.shortfall_tolerance_pct, 100), Fraction(0))
    return max(earned - beyond * rule.shortfall_penalty_per_kwh, Fraction(0))


def pay_all(rows, length, rule):
    return payments([wh for wh, _, _ in rows], [w for _, w, _ in rows], [ok for _, _, ok in rows], length, rule)


@given(homes, minutes, rules)
def test_payments_sum_to_the_exact_sum_rounded_once_and_each_is_within_one(rows, length, rule):
    exact = [exact_payment(*row, length, rule) for row in rows]
    paid = pay_all(rows, length, rule)
    assert sum(paid) == round(sum(exact, Fraction(0)))  # Python rounds fractions half to even
    for part, fraction in zip(paid, exact, strict=True):
        assert abs(part - fraction) < 1
        assert part >= 0
        assert part == 0 if fraction == 0 else True


@given(homes, minutes, rules)
def test_of_two_homes_the_one_that_earned_more_is_never_paid_less(rows, length, rule):
    exact = [exact_payment(*row, length, rule) for row in rows]
    paid = pay_all(rows, length, rule)
    ranked = sorted(zip(exact, paid, strict=True))
    for (less, smaller), (more, greater) in pairwise(ranked):
        assert less == more or smaller <= greater


@given(homes.filter(bool), minutes, rules, st.integers(1, 2000))
def test_reducing_more_never_pays_a_home_less(rows, length, rule, extra):
    wh, watts, ok = rows[0]
    assert pay_all([(wh + extra, watts, ok), *rows[1:]], length, rule)[0] >= pay_all(rows, length, rule)[0]


@given(homes, minutes, rules)
def test_uncertified_homes_change_nobody_elses_payment(rows, length, rule):
    paid = pay_all(rows, length, rule)
    kept = [row for row in rows if row[2]]
    assert [part for part, row in zip(paid, rows, strict=True) if row[2]] == pay_all(kept, length, rule)
    assert all(part == 0 for part, row in zip(paid, rows, strict=True) if not row[2])


@given(st.lists(st.integers(0, 10**30), max_size=20), st.integers(1, 10**12))
def test_parts_always_sum_to_the_rounded_whole(numerators, denominator):
    parts = apportion(numerators, denominator)
    assert sum(parts) == round(Fraction(sum(numerators), denominator))
    assert all(n // denominator <= part <= -(-n // denominator) for n, part in zip(numerators, parts, strict=True))
