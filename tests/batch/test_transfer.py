from __future__ import annotations

import numpy as np
import pytest
from domain_builders import assert_equal_reductions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from batch.transfer import from_message, to_message
from domain.certification import EVIDENCE, Reductions

FIELDS = tuple(Reductions.__dataclass_fields__)


@st.composite
def reductions(draw):
    n, intervals, days = draw(st.integers(0, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 4))
    names = sorted(draw(st.sets(st.text(st.characters(exclude_categories=["Cs"])), min_size=n, max_size=n)))
    wh = arrays(np.int64, (n, intervals), elements=st.integers(-1, 10**9))
    return Reductions(
        np.array(names, dtype=object),
        draw(arrays(np.int32, n, elements=st.integers(0, 2047))),
        draw(wh),
        draw(wh),
        draw(wh),
        draw(arrays(np.bool_, (n, days))),
        draw(arrays(np.int32, (n, len(EVIDENCE)), elements=st.integers(0, 10**6))),
    )


@given(reductions())
def test_what_is_unpacked_is_what_was_packed(packed):
    unpacked = from_message(to_message(packed))
    assert_equal_reductions(unpacked, packed)
    for name in FIELDS:
        assert getattr(unpacked, name).dtype == getattr(packed, name).dtype


@pytest.mark.parametrize(("homes", "days"), [(0, 0), (0, 5), (3, 0), (3, 5)])
def test_no_homes_and_no_days_keep_their_shapes(homes, days):
    wh = np.full((homes, 2), -1, dtype=np.int64)
    names = np.array([f"m{n}" for n in range(homes)], dtype=object)
    kept = np.zeros((homes, days), dtype=bool)
    packed = Reductions(names, np.full(homes, 2, np.int32), wh, wh, wh, kept, np.zeros((homes, 6), np.int32))
    unpacked = from_message(memoryview(to_message(packed)))
    assert [getattr(unpacked, name).shape for name in FIELDS] == [
        (homes,),
        (homes,),
        (homes, 2),
        (homes, 2),
        (homes, 2),
        (homes, days),
        (homes, 6),
    ]


def test_rows_of_a_larger_set_are_packed_as_they_are():
    whole = Reductions(
        np.array(["a", "b", "c"], dtype=object),
        np.arange(3, dtype=np.int32),
        *(np.arange(6, dtype=np.int64).reshape(3, 2) + n for n in range(3)),
        np.eye(3, dtype=bool),
        np.arange(18, dtype=np.int32).reshape(3, 6),
    )
    part = whole.take(np.array([2, 0]))
    assert_equal_reductions(from_message(to_message(part)), part)
