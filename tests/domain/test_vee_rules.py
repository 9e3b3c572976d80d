"""Rule sets: thresholds as data, refused when they break a rule."""

from __future__ import annotations

import tomllib

import pytest
from vee_desk import RULES_FILE, the_rules

from domain.vee_rules import InvalidVeeRulesError, parse_vee_rules


def data() -> dict:
    return tomllib.loads(RULES_FILE.read_text())


def test_the_standard_rules_name_a_source_for_every_section():
    sections = [name for name, value in data().items() if isinstance(value, dict)]
    assert len(sections) == 8
    assert all(len(data()[name]["source"]) > 40 for name in sections)


def test_the_standard_rules_read_four_like_days_and_three_days_before():
    assert the_rules().reference_offsets == (1, 2, 3, 7, 14, 21, 28)


@pytest.mark.parametrize(
    ("section", "key", "value", "sentence"),
    [
        ("gap", "interpolate_minutes", -1, "gap.interpolate_minutes: expected a whole number from 0 to 1440, got -1"),
        ("gap", "interpolate_minutes", True, "expected a whole number"),
        ("spike", "edit", 1, "spike.edit: expected true or false, got 1"),
        ("clock", "source", " ", "clock.source: expected text that says who"),
        ("limit", "colour", 1, "limit.colour: unknown key; known: contracted_pct, edit, source, watts"),
        ("like_days", "min_days", 5, "like_days.min_days: expected at most weeks, 4"),
    ],
)
def test_a_rule_out_of_bounds_is_refused_with_its_path(section, key, value, sentence):
    broken = data()
    broken[section][key] = value
    with pytest.raises(InvalidVeeRulesError, match=f"{sentence}"):
        parse_vee_rules(broken)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("spike"), "spike: missing"),
        (lambda d: d["spike"].pop("edit"), r"spike\.edit: missing"),
        (lambda d: d.update(spike=3), "spike: expected a table, got 3"),
        (lambda d: d.update(id=""), "id: expected text"),
        (lambda d: d.update(more={}), "more: unknown key"),
    ],
)
def test_missing_and_unknown_parts_are_refused(change, sentence):
    broken = data()
    change(broken)
    with pytest.raises(InvalidVeeRulesError, match=sentence):
        parse_vee_rules(broken)


def test_the_digest_changes_with_any_threshold():
    assert the_rules().digest == the_rules().digest
    assert the_rules().digest != the_rules(spike={"peak_pct": 281}).digest
