import copy
from datetime import date, datetime
from fractions import Fraction

import pytest
from domain_builders import BUILT_IN, DELETE, a_programme, an_event, built_in, built_in_data, programme_data

from domain.calendars import DayType
from domain.errors import InvalidEventError, InvalidProgrammeError
from domain.programmes import Adjustment, LowUsageShortage, parse_programme

RULE = "terms[0].baselines[0]"
PAYMENT = "terms[0].payment"


def refusal(data):
    with pytest.raises(InvalidProgrammeError) as refused:
        parse_programme(data)
    return refused.value


@pytest.mark.parametrize("programme_id", BUILT_IN)
def test_built_in_programmes_are_valid_and_named_after_their_file(programme_id):
    programme = built_in(programme_id)
    assert programme.id == programme_id
    assert programme.terms_on(date(2025, 7, 9)).baseline_for(DayType.WEEKDAY) is not None


def test_the_korean_rules_are_what_their_source_says():
    rule = built_in("kpx-max-4-of-5").terms_on(date(2025, 7, 9)).baselines[0]
    assert (rule.days, rule.drop_lowest, rule.drop_highest) == (5, 1, 0)
    assert (rule.low_usage_pct, rule.search_days) == (75, 10)  # "up to twice as far": 2 x 5
    assert rule.adjustment == Adjustment(240, 60, None)  # 4 h to 1 h before
    rule = built_in("kpx-mid-6-of-10").terms_on(date(2025, 7, 9)).baselines[0]
    assert (rule.days, rule.drop_lowest, rule.drop_highest) == (10, 2, 2)
    assert (rule.low_usage_pct, rule.search_days) == (75, 20)


def test_pjm_keeps_saturdays_and_sundays_with_holidays_apart():
    terms = built_in("pjm-high-4-of-5").terms_on(date(2025, 7, 9))
    by_kind = {kind: terms.baseline_for(kind) for kind in DayType}
    assert {kind: (rule.days, rule.drop_lowest) for kind, rule in by_kind.items() if rule} == {
        DayType.WEEKDAY: (5, 1),
        DayType.SATURDAY: (3, 1),
        DayType.SUNDAY: (3, 1),
        DayType.HOLIDAY: (3, 1),
    }
    assert by_kind[DayType.SUNDAY] is by_kind[DayType.HOLIDAY]
    assert {rule.look_back_days for rule in terms.baselines} == {45}


def test_a_korean_programme_has_no_baseline_for_a_weekend():
    assert built_in("kpx-max-4-of-5").terms_on(date(2025, 7, 9)).baseline_for(DayType.SUNDAY) is None


def test_money_is_exact_minor_units():
    payment = parse_programme(programme_data(**{f"{PAYMENT}.rate_per_kwh": "0.125"})).terms[0].payment
    assert payment.rate_per_kwh == Fraction(25, 2)  # 0.125 units of 100
    assert payment.shortfall_penalty_per_kwh == 30_000


def test_eighteen_decimals_are_exact():
    data = programme_data(**{"currency.decimals": 18, f"{PAYMENT}.rate_per_kwh": "1300.000000000000000001"})
    assert parse_programme(data).terms[0].payment.rate_per_kwh == 1300 * 10**18 + 1


@pytest.mark.parametrize(
    ("level", "path"),
    [
        ("", "file"),
        ("currency.", "currency"),
        ("terms[0].", "terms[0]"),
        (f"{PAYMENT}.", PAYMENT),
        (f"{RULE}.", RULE),
        (f"{RULE}.adjustment.", f"{RULE}.adjustment"),
    ],
)
def test_an_unknown_key_is_refused_at_every_level(level, path):
    error = refusal(programme_data(**{f"{level}drop_lowst": 1}))
    assert (error.programme, error.path, error.problem) == ("test", path, "unknown key: drop_lowst")


@pytest.mark.parametrize(
    "path",
    [
        *("id", "title", "source", "zone", "holidays", "currency", "currency.code", "currency.decimals", "terms"),
        *(f"terms[0].{key}" for key in ("valid_from", "dispute_window_minutes", "payment", "baselines")),
        *(f"{PAYMENT}.{key}" for key in ("rate_per_kwh", "paid_share_max_pct", "shortfall_tolerance_pct")),
        *(f"{RULE}.{key}" for key in ("label", "method", "day_types", "days", "look_back_days")),
        *(f"{RULE}.adjustment.{key}" for key in ("kind", "from_minutes_before", "to_minutes_before")),
    ],
)
def test_a_missing_key_is_named(path):
    error = refusal(programme_data(**{path: DELETE}))
    assert (error.path, error.problem) == (path, "missing")


def test_optional_keys_have_defaults_that_add_no_rule():
    optional = ("min_days", "drop_lowest", "drop_highest", "search_days", "low_usage_pct", "low_usage_shortage")
    changes = {f"{RULE}.{key}": DELETE for key in (*optional, "adjustment")}
    changes |= {f"terms[0].{key}": DELETE for key in ("accept_estimated", "min_event_completeness_pct")}
    changes[f"{PAYMENT}.shortfall_penalty_per_kwh"] = DELETE
    terms = parse_programme(programme_data(**changes)).terms[0]
    rule = terms.baselines[0]
    assert (rule.min_days, rule.search_days, rule.drop_lowest, rule.drop_highest) == (6, 6, 0, 0)
    assert (rule.low_usage_pct, rule.low_usage_shortage, rule.adjustment) == (0, LowUsageShortage.REFUSE, None)
    assert (terms.accept_estimated, terms.min_event_completeness_pct) == (True, 100)
    assert terms.payment.shortfall_penalty_per_kwh == 0


def test_an_adjustment_without_cap_has_none():
    rule = parse_programme(programme_data(**{f"{RULE}.adjustment.cap_pct": DELETE})).terms[0].baselines[0]
    assert rule.adjustment == Adjustment(240, 60, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", 7),
        ("title", ""),
        ("source", "  "),
        ("zone", "Asia/Atlantis"),
        ("zone", "Asia"),  # a folder of zones
        ("zone", "../etc/passwd"),
        ("zone", "x" * 300),
        ("currency", "DRC"),
        ("currency.decimals", 19),
        ("currency.decimals", -1),
        ("currency.decimals", 2.0),
        ("currency.decimals", True),
        ("terms", []),
        ("terms", {"valid_from": date(2020, 1, 1)}),
        ("terms[0]", "always"),
        ("terms[0].valid_from", "2020-01-01"),
        ("terms[0].valid_from", datetime(2020, 1, 1)),
        ("terms[0].dispute_window_minutes", -1),
        ("terms[0].accept_estimated", 1),
        ("terms[0].min_event_completeness_pct", 0),
        ("terms[0].min_event_completeness_pct", 101),
        (PAYMENT, "1300"),
        (f"{PAYMENT}.paid_share_max_pct", "120"),
        (f"{PAYMENT}.shortfall_tolerance_pct", 101),
        (f"{RULE}.label", None),
        (f"{RULE}.method", "oracle"),
        (f"{RULE}.day_types", ["workday"]),
        (f"{RULE}.day_types", "weekday"),
        (f"{RULE}.day_types", 5),
        (f"{RULE}.day_types", []),
        (f"{RULE}.days", 0),
        (f"{RULE}.days", 61),
        (f"{RULE}.drop_lowest", 6),  # of 6 days none would be left
        (f"{RULE}.drop_highest", 4),  # 2 lowest and 4 highest of 6
        (f"{RULE}.min_days", 3),  # fewer than the mean is of
        (f"{RULE}.min_days", 7),
        (f"{RULE}.search_days", 5),  # fewer than days
        (f"{RULE}.look_back_days", 5),
        (f"{RULE}.low_usage_pct", 101),
        (f"{RULE}.low_usage_shortage", "ignore"),
        (f"{RULE}.adjustment", True),
        (f"{RULE}.adjustment.kind", "ratio"),
        (f"{RULE}.adjustment.from_minutes_before", 1441),
        (f"{RULE}.adjustment.to_minutes_before", 240),  # an empty window
        (f"{RULE}.adjustment.to_minutes_before", -60),
        (f"{RULE}.adjustment.cap_pct", 1001),
        (f"{RULE}.adjustment.cap_pct", True),
        (f"{RULE}.adjustment.cap_pct", 20.0),
    ],
)
def test_values_of_the_wrong_type_or_range_are_refused_by_path(path, value):
    error = refusal(programme_data(**{path: value}))
    assert error.path == path
    assert "expected" in error.problem or "unknown method" in error.problem or "no IANA time zone" in error.problem


@pytest.mark.parametrize("key", ["rate_per_kwh", "shortfall_penalty_per_kwh"])
@pytest.mark.parametrize("value", [0.25, 1300, True, "NaN", "sNaN", "Infinity", "-1", "1,300", "", "1300 DRC"])
def test_money_is_decimal_text_and_nothing_else(key, value):
    error = refusal(programme_data(**{f"{PAYMENT}.{key}": value}))
    assert error.path == f"{PAYMENT}.{key}"
    assert "an amount in quotes" in error.problem


def test_a_trim_of_the_highest_days_allows_no_short_history():
    data = programme_data(**{f"{RULE}.drop_highest": 1, f"{RULE}.min_days": 5})
    assert refusal(data).path == f"{RULE}.min_days"


def test_two_baselines_for_one_kind_of_day_are_refused():
    data = programme_data()
    data["terms"][0]["baselines"].append(copy.deepcopy(data["terms"][0]["baselines"][0]))
    assert refusal(data).problem == "two baselines serve the same day type"


def two_terms():
    data = programme_data()
    later = copy.deepcopy(data["terms"][0])
    later["valid_from"] = date(2025, 7, 1)
    later["payment"]["rate_per_kwh"] = "1400"
    data["terms"].insert(0, later)  # the order in the file doesn't matter
    return data


@pytest.mark.parametrize(
    ("day", "rate"),
    [
        (date(2020, 1, 1), 130_000),
        (date(2025, 6, 30), 130_000),
        (date(2025, 7, 1), 140_000),
        (date(2030, 1, 1), 140_000),
    ],
)
def test_an_event_is_settled_under_the_terms_of_its_day(day, rate):
    assert parse_programme(two_terms()).terms_on(day).payment.rate_per_kwh == rate


def test_before_the_first_terms_there_is_no_programme():
    with pytest.raises(InvalidEventError, match="no terms for 2019-12-31: its first begin 2020-01-01"):
        parse_programme(two_terms()).terms_on(date(2019, 12, 31))


@pytest.mark.parametrize(("start", "rate"), [("2025-06-30 23:30", 130_000), ("2025-07-01 00:00", 140_000)])
def test_the_terms_of_an_event_are_those_of_the_local_date_on_which_it_starts(start, rate):
    assert parse_programme(two_terms()).terms_of(an_event(start)).payment.rate_per_kwh == rate


def test_an_event_without_terms_is_named():
    with pytest.raises(InvalidEventError, match="event 'e1': the programme has no terms for 2019-12-31") as refused:
        parse_programme(two_terms()).terms_of(an_event("2019-12-31 23:30"))
    assert refused.value.event == "e1"


def test_two_terms_from_the_same_day_are_refused():
    data = two_terms()
    data["terms"][0]["valid_from"] = data["terms"][1]["valid_from"]
    assert refusal(data).path == "terms"


def leaves(value, path=""):
    """Paths of all plain values of nested tables."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from leaves(item, f"{path}[{n}]")
    else:
        yield path, value


NUMBERS = [
    (path, value)
    for path, value in leaves(programme_data())
    if type(value) is int and not path.endswith("drop_highest")  # goes with min_days only; see below
]
AMOUNTS = [path for path, _ in leaves(programme_data()) if path.endswith("_per_kwh")]


def digest_of(**changes):
    programme = parse_programme(programme_data(**changes))
    return programme.digest(programme.terms[0])


def test_the_digest_is_32_bytes_and_repeats():
    assert digest_of() == digest_of()
    assert len(digest_of()) == 32


@pytest.mark.parametrize(("path", "value"), NUMBERS)
def test_the_digest_changes_with_any_number(path, value):
    digests = set()
    for changed in (value - 1, value + 1):
        try:
            digests.add(digest_of(**{path: changed}))
        except InvalidProgrammeError:  # at one end of its range
            continue
    assert digests
    assert digest_of() not in digests


def test_the_digest_changes_with_the_highest_days_dropped():
    full = {f"{RULE}.min_days": 6}
    digests = {digest_of(**full, **{f"{RULE}.drop_highest": n}) for n in range(4)}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((path, "1300.01") for path in AMOUNTS),
        ("terms[0].valid_from", date(2020, 1, 2)),
        ("terms[0].accept_estimated", False),
        (f"{RULE}.low_usage_shortage", "refuse"),
        (f"{RULE}.day_types", ["weekday", "saturday"]),
        (f"{RULE}.adjustment", DELETE),
        (f"{RULE}.adjustment.cap_pct", DELETE),
        ("zone", "Asia/Tokyo"),
        ("holidays", "JP"),
        ("id", "test-2"),
    ],
)
def test_the_digest_changes_with_any_other_rule(path, value):
    assert digest_of(**{path: value}) != digest_of()


def test_the_digest_of_old_terms_stays_when_new_ones_are_added():
    old, new = parse_programme(programme_data()), parse_programme(two_terms())
    day = date(2021, 1, 1)
    assert old.digest(old.terms_on(day)) == new.digest(new.terms_on(day))
    assert new.digest(new.terms[0]) != new.digest(new.terms[1])


def test_facts_hold_no_float():
    def floats(value):
        return [path for path, item in leaves(value) if isinstance(item, float)]

    for programme_id in BUILT_IN:
        programme = built_in(programme_id)
        assert floats(programme.facts(programme.terms[0])) == []
        assert floats(built_in_data(programme_id)) == []


def test_a_rule_without_adjustment_has_none():
    assert a_programme(days=3).terms[0].baselines[0].adjustment is None
