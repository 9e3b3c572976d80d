"""How long a programme waits for readings: its keys, its defaults, and that no digest changes by it."""

from __future__ import annotations

import pytest
from domain_builders import DELETE, built_in, programme_data

from domain.errors import InvalidProgrammeError
from domain.programmes import AtDeadline, ReadingsRule, parse_programme

READINGS = "terms[0].readings"

DIGESTS = {
    "demo-pacific": "5b9c8d8d4f49ceaff8b1950353b7067d73ca73ee2a630b69a9fdfde2592ac4df",
    "kpx-max-4-of-5": "99c83480cf091c0db9b09e175df406d1597cb5fa5731a84db6ec90226e6d1ac3",
    "kpx-mid-6-of-10": "b2cb2fa4aaf61dfea3d435da21077b37c0320bf878fb2524a62fb68a468c3743",
    "pjm-high-4-of-5": "5e856226a879669326f6f6b3e9bd2748c4c7cf73dda81f5879850efab30e7b68",
}
"""Under which events were issued before programmes had this rule."""


def terms_of(**changes: object):
    return parse_programme(programme_data(**changes)).terms[0]


def digest_of(**changes: object) -> bytes:
    programme = parse_programme(programme_data(**changes))
    return programme.digest(programme.terms[0])


def test_without_the_table_all_readings_are_waited_for_a_day_long():
    assert terms_of().readings == ReadingsRule(100, 24, AtDeadline.CERTIFY)
    assert terms_of(**{READINGS: {}}).readings == ReadingsRule(100, 24, AtDeadline.CERTIFY)


def test_each_key_is_read():
    given = {"complete_pct": 98, "deadline_hours": 6, "at_deadline": "refuse"}
    assert terms_of(**{READINGS: given}).readings == ReadingsRule(98, 6, AtDeadline.REFUSE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("complete_pct", 0),
        ("complete_pct", 101),
        ("complete_pct", 99.5),
        ("complete_pct", True),
        ("deadline_hours", -1),
        ("deadline_hours", 24 * 90 + 1),
        ("deadline_hours", "24"),
        ("at_deadline", "wait"),
        ("at_deadline", True),
    ],
)
def test_other_values_are_refused_by_path(key, value):
    with pytest.raises(InvalidProgrammeError) as refused:
        parse_programme(programme_data(**{READINGS: {key: value}}))
    assert refused.value.path == f"{READINGS}.{key}"
    assert "expected" in refused.value.problem


def test_unknown_keys_and_other_shapes_are_refused():
    with pytest.raises(InvalidProgrammeError, match=r"terms\[0\].readings: unknown key: deadline"):
        parse_programme(programme_data(**{READINGS: {"deadline": 3}}))
    with pytest.raises(InvalidProgrammeError, match=r"terms\[0\].readings: expected a table"):
        parse_programme(programme_data(**{READINGS: 24}))


@pytest.mark.parametrize("programme_id", DIGESTS)
def test_events_stay_issued_under_the_digest_of_before_there_was_such_a_rule(programme_id):
    programme = built_in(programme_id)
    assert programme.digest(programme.terms[0]).hex() == DIGESTS[programme_id]


@pytest.mark.parametrize(
    "given", [{"complete_pct": 50}, {"deadline_hours": 1}, {"at_deadline": "refuse"}, {"complete_pct": 100}]
)
def test_how_long_to_wait_is_no_part_of_the_digest(given):
    assert digest_of(**{READINGS: given}) == digest_of()
    assert digest_of(**{READINGS: given, "terms[0].accept_estimated": False}) != digest_of()


def test_what_is_published_of_a_programme_leaves_it_out():
    programme = parse_programme(programme_data(**{READINGS: {"deadline_hours": 1}}))
    bare = parse_programme(programme_data(**{"terms[0].accept_estimated": DELETE}))
    facts = programme.facts(programme.terms[0])
    assert facts == bare.facts(bare.terms[0])
    assert "min_event_completeness_pct" in facts["terms"]
