"""Two sets of certificates of one event, home by home."""

from __future__ import annotations

import numpy as np
from builders import SALT, a_plan, a_wallet

from domain.certificate_changes import certificate_changes
from domain.certificates import CertificateSet, Resource, issue_certificates, resource_key
from domain.certification import LoadBlock, certify

PLAN = a_plan(interval_minutes=15)  # an hour in four intervals


def certificates(homes: dict[str, list[int]], *, history: int = 500, guessed: str = "") -> CertificateSet:
    """Of homes with 500 Wh an interval on days of history, unless said otherwise, and what they used in the event."""
    names = sorted(homes)
    wh = np.full((len(names), *PLAN.slots.shape), history, dtype=np.int32)
    wh[:, 0, :4] = [homes[name] for name in names]
    estimated = np.zeros(wh.shape, dtype=bool)
    estimated[:, 0, 0] = [name == guessed for name in names]
    reductions = certify(PLAN, LoadBlock(np.array(names, dtype=object), wh, estimated))
    people = {name: Resource(name, 1000, a_wallet(n)) for n, name in enumerate("abc") if name in homes}
    return issue_certificates(PLAN, reductions, people, SALT)


def test_equal_certificates_have_no_changes():
    homes = {"a": [300] * 4, "b": [600] * 4}
    assert certificate_changes(certificates(homes), certificates(homes)) == []


def test_other_usage_is_told_in_watt_hours_and_minor_units():
    before = certificates({"a": [300] * 4, "b": [300] * 4})
    (change,) = certificate_changes(before, certificates({"a": [300] * 4, "b": [300, 300, 300, 250]}))
    assert change.resource == resource_key(SALT, "b")
    assert change.reduction_wh == (800, 850)
    # 800 Wh at 1,300.00 a kWh, and 80 % of 1 kWh undertaken: no shortfall. 50 Wh more are 65.00 more.
    assert (change.payment, change.change_payment) == ((104_000, 110_500), 6_500)
    assert change.differs == ("actual_wh", "payment", "reduction_wh", "total_reduction_wh")


def test_a_home_that_uses_more_has_a_negative_reduction_and_no_payment():
    (change,) = certificate_changes(certificates({"a": [500] * 4}), certificates({"a": [500, 500, 500, 700]}))
    assert (change.change_wh, change.change_payment) == (-200, 0)
    assert change.reduction_wh == (0, -200)


def test_other_evidence_alone_changes_no_amount():
    (change,) = certificate_changes(certificates({"a": [300] * 4}, guessed="a"), certificates({"a": [300] * 4}))
    assert (change.differs, change.change_wh, change.change_payment) == (("findings",), 0, 0)


def test_homes_that_came_or_went_change_by_all_they_have_and_move_nobody_else():
    before, after = certificates({"a": [300] * 4, "b": [300] * 4}), certificates({"b": [300] * 4, "c": [400] * 4})
    by_key = {change.resource: change for change in certificate_changes(before, after)}
    gone, came = by_key.pop(resource_key(SALT, "a")), by_key.pop(resource_key(SALT, "c"))
    assert by_key == {}
    assert (gone.after, gone.reduction_wh, gone.payment) == (None, (800, 0), (104_000, 0))
    # 400 Wh at 1,300.00 a kWh is 520.00; 400 Wh short of 800 Wh at 300.00 a kWh is 120.00 less.
    assert (came.before, came.reduction_wh, came.payment) == (None, (0, 400), (0, 40_000))


def test_changes_add_up_to_the_change_of_the_sums():
    random = np.random.default_rng(3)
    before, after = (
        certificates({name: random.integers(0, 900, 4).tolist() for name in "abc"}, history=history)
        for history in (500, 501)
    )
    found = certificate_changes(before, after)
    assert sum(change.change_payment for change in found) == after.total_payment - before.total_payment
    assert [change.resource for change in found] == sorted(change.resource for change in found)
