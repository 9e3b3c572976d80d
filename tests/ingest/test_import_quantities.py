from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.quantities import ENORMOUS_WH, read_energies
from ingest.rejects import Code


def wh(text: object, unit: str = "kWh") -> int:
    energies = read_energies(pa.array([text]), unit)
    assert energies.problems == {}
    return int(energies.wh[0])


@pytest.mark.parametrize(
    ("text", "expected_wh"),
    [
        ("0.0005", 0),  # half a watt-hour goes to the even neighbour, 0
        ("0.0015", 2),  # 1.5 -> 2
        ("0.0025", 2),  # 2.5 -> 2
        ("0.00250000000000000001", 3),  # just above 2.5: a double would say 2
        ("1.0049999999999999999999", 1005),
        ("2.276", 2276),
        (" 0.143 ", 143),
        ("1e-3", 1),
        ("2.5E2", 250_000),
        ("+.5", 500),
        ("5.", 5000),
        ("-0.0", 0),
        ("0e99", 0),
        ("1e-400", 0),
        ("000000000000000000000000000001", 1000),
    ],
)
def test_kilowatt_hours_become_whole_watt_hours_half_to_even(text: str, expected_wh: int):
    assert wh(text) == expected_wh


@pytest.mark.parametrize("text", ["1e400", "9e18", "111111111111111111111111111111", "9" * 500])
def test_an_enormous_number_stays_enormous_instead_of_wrapping_around(text: str):
    assert wh(text) == ENORMOUS_WH


@pytest.mark.parametrize("text", ["", " ", "Null", "NULL", "null", "None", "NA", "n/a", None])
def test_a_gap_is_missing_and_never_zero(text: str | None):
    problems = read_energies(pa.array([text], pa.string()), "kWh").problems
    assert list(problems) == [Code.ENERGY_MISSING]


@pytest.mark.parametrize(
    "text",
    ["NaN", "inf", "-inf", "1_000", "1,5", "0x10", "1 2", "--1", "e5", ".", "\uff11\uff12", "\u0663", "1e", "12kWh"],
)
def test_what_is_no_ascii_decimal_number_is_not_a_number(text: str):
    assert list(read_energies(pa.array([text]), "kWh").problems) == [Code.ENERGY_NOT_A_NUMBER]


@pytest.mark.parametrize("text", ["-1", "-0.0001", "-1e-9", "-1e400"])
def test_a_negative_energy_is_negative_even_where_it_would_round_to_zero(text: str):
    assert list(read_energies(pa.array([text]), "kWh").problems) == [Code.ENERGY_NEGATIVE]


def test_typed_columns_are_read_like_text():
    assert wh(0.0005) == 0
    assert wh(0.0015) == 2  # its shortest decimal text; the double itself is a little above
    assert wh(12) == 12_000
    assert wh(12, "Wh") == 12
    assert wh(Decimal("1.0025")) == 1002
    assert wh(2**60, "Wh") == ENORMOUS_WH
    assert list(read_energies(pa.array([None, -1], pa.int64()), "Wh").problems) == [
        Code.ENERGY_MISSING,
        Code.ENERGY_NEGATIVE,
    ]
    assert list(read_energies(pa.array([float("nan")]), "Wh").problems) == [Code.ENERGY_NOT_A_NUMBER]


decimals = st.decimals(min_value=0, max_value=10**6, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(decimals, st.sampled_from(["f", "E", ""])), min_size=1, max_size=20))
@example([(Decimal("0.5"), "f"), (Decimal("1e-30"), "E")])
def test_any_decimal_text_gives_what_decimal_arithmetic_gives(numbers: list[tuple[Decimal, str]]):
    texts = [format(number, style) for number, style in numbers]
    with localcontext() as exact:
        exact.prec = 400
        expected = [int((Decimal(t) * 1000).to_integral_value(ROUND_HALF_EVEN)) for t in texts]
    assert read_energies(pa.array(texts), "kWh").wh.tolist() == expected


@given(st.text(max_size=8))
def test_any_text_is_a_number_or_a_problem_and_never_both(text: str):
    energies = read_energies(pa.array([text]), "Wh")
    if energies.problems:
        assert int(energies.wh[0]) == 0
    else:
        assert Decimal(text.strip()) >= 0
