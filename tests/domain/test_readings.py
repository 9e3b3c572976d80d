import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidReadingsError, NegawattError
from domain.readings import MAX_REVISION, MAX_WH, Quality, Readings, Register, make_readings, precedence

METERS = ("a", "b", "c")


def a_batch(rows, **options):
    """Readings from (meter, slot, wh, quality, revision) rows."""
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 5
    meters, slot, wh, quality, revision = columns
    return make_readings(meters, slot, wh, quality=list(quality), revision=list(revision), **options)


def rows_of(batch):
    names = batch.meters[batch.meter].tolist()
    columns = (batch.slot, batch.wh, batch.quality, batch.revision)
    return list(zip(names, *(column.tolist() for column in columns), strict=True))


rows = st.lists(
    st.tuples(
        st.sampled_from(METERS),
        st.integers(0, 3),
        st.one_of(st.integers(0, 3), st.just(MAX_WH)),
        st.sampled_from([Quality.ESTIMATED, Quality.ACTUAL]).map(int),
        st.one_of(st.integers(0, 2), st.just(MAX_REVISION)),
    ),
    min_size=1,
    max_size=25,
)


@given(rows)
def test_the_winner_is_the_highest_revision_then_quality_then_energy(batch):
    best = {}
    for meter, slot, wh, quality, revision in batch:
        rank = (revision, quality, wh)
        best[meter, slot] = max(best.get((meter, slot), rank), rank)
    expected = [(m, s, wh, quality, revision) for (m, s), (revision, quality, wh) in sorted(best.items())]
    assert rows_of(a_batch(batch).winners()) == expected


@given(rows, st.data())
def test_repeating_and_shuffling_readings_changes_no_winner(batch, data):
    repeated = batch + data.draw(st.lists(st.sampled_from(batch), max_size=10))
    shuffled = data.draw(st.permutations(repeated))
    assert rows_of(a_batch(shuffled).winners()) == rows_of(a_batch(batch).winners())


@given(rows, rows)
def test_winners_of_winners_and_later_arrivals_are_the_winners_of_all(early, late):
    at_once = rows_of(a_batch(early + late).winners())
    in_turn = rows_of(a_batch(rows_of(a_batch(early).winners()) + late).winners())
    assert in_turn == at_once


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # (Wh, quality, revision)
        ((0, Quality.ESTIMATED, 1), (MAX_WH, Quality.ACTUAL, 0)),  # revision counts first
        ((0, Quality.ACTUAL, 3), (MAX_WH, Quality.ESTIMATED, 3)),  # then quality
        ((501, Quality.ACTUAL, 3), (500, Quality.ACTUAL, 3)),  # then the greater usage, which pays less
        ((0, Quality.ESTIMATED, MAX_REVISION), (MAX_WH, Quality.ACTUAL, MAX_REVISION - 1)),
    ],
)
def test_precedence_is_by_revision_quality_and_energy(better, worse):
    wh, quality, revision = zip(better, worse, strict=True)
    ranks = precedence(np.array(wh, np.int32), np.array(quality, np.int8), np.array(revision, np.int16))
    assert ranks[0] > ranks[1]


def test_winners_keep_the_batch_they_come_from():
    batch = a_batch([("b", 1, 5, 2, 0), ("a", 1, 6, 2, 0)], interval_minutes=15, register=Register.EXPORT)
    winners = batch.winners()
    assert (winners.interval_minutes, winners.register) == (15, Register.EXPORT)
    assert [name for name, *_ in rows_of(winners)] == ["a", "b"]


def test_no_readings_are_a_batch_too():
    batch = make_readings([], [], [])
    assert len(batch) == len(batch.winners()) == 0


def test_a_batch_takes_rows_by_mask_or_position():
    batch = make_readings(["a", "b", "c"], [1, 2, 3], [10, 20, 30])
    assert rows_of(batch.take(np.array([True, False, True]))) == rows_of(batch.take(np.array([0, 2])))


@pytest.mark.parametrize(
    ("column", "value", "limits"),
    [
        ("slot", -1, f"0 to {2**40}"),
        ("slot", 2**40 + 1, f"0 to {2**40}"),
        ("wh", -1, f"0 to {MAX_WH}"),
        ("wh", MAX_WH + 1, f"0 to {MAX_WH}"),
        ("quality", Quality.MISSING, "1 to 2"),
        ("quality", 3, "1 to 2"),
        ("revision", -1, f"0 to {MAX_REVISION}"),
    ],
)
def test_values_out_of_bounds_are_refused(column, value, limits):
    values = {"slot": 1, "wh": 1, "quality": 2, "revision": 0} | {column: int(value)}
    row = ("a", values["slot"], values["wh"], values["quality"], values["revision"])
    with pytest.raises(InvalidReadingsError, match=f"{column} {int(value)}: expected {limits}"):
        a_batch([("a", 1, 1, 2, 0), row])


@pytest.mark.parametrize("value", [0, MAX_WH])
def test_values_at_the_bounds_are_kept(value):
    assert make_readings(["a"], [0], [value]).wh.tolist() == [value]


@pytest.mark.parametrize("index", [-1, 1])
def test_a_row_names_a_meter_of_its_batch(index):
    batch = make_readings(["a"], [0], [1])
    with pytest.raises(InvalidReadingsError, match=f"meter {index}: expected 0 to 0"):
        Readings(
            5,
            Register.IMPORT,
            batch.meters,
            np.array([index], dtype=np.int32),
            batch.slot,
            batch.wh,
            batch.quality,
            batch.revision,
        )


def test_columns_of_unequal_length_are_refused():
    batch = make_readings(["a", "b"], [0, 0], [1, 1])
    with pytest.raises(InvalidReadingsError, match="wh has 1 rows, slot has 2"):
        Readings(
            5, Register.IMPORT, batch.meters, batch.meter, batch.slot, batch.wh[:1], batch.quality, batch.revision
        )


def test_an_interval_length_that_no_meter_has_is_refused():
    with pytest.raises(NegawattError, match="interval of 7 minutes"):
        make_readings(["a"], [0], [1], interval_minutes=7)
