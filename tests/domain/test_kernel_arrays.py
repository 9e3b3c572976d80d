"""The kernel on the arrays of other libraries: identical integers.

array-api-strict has nothing but what the standard for arrays has, and here also refuses operations whose shape
depends on the data. PyTorch takes part where it is installed.
"""

from __future__ import annotations

from dataclasses import replace

import array_api_strict
import numpy as np
import pytest
from domain_builders import a_block, a_home, a_plan, assert_equal_columns
from hypothesis import given, settings
from random_blocks import PLANS, neighbourhoods, random_block

from domain.baselines import round_half_even, trimmed_days
from domain.certification import LoadBlock, certify, empty_block, expected
from domain.readings import MISSING

try:
    import torch
except ImportError:
    torch = None


def strictly(rule, plan, block):
    with array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        return in_numpy(rule(plan, in_library(array_api_strict, block)), np.asarray)


def in_library(library, block):
    estimated = None if block.estimated is None else library.asarray(block.estimated)
    return LoadBlock(block.meters, library.asarray(block.wh), estimated)


def in_numpy(result, convert):
    columns = [getattr(result, name) for name in result.__dataclass_fields__ if name != "meters"]
    assert not any(isinstance(column, np.ndarray) for column in columns)  # none was computed elsewhere
    return type(result)(result.meters, *map(convert, columns))


def assert_same_integers(one, other):
    assert_equal_columns(one, other)
    for name in one.__dataclass_fields__:
        assert getattr(one, name).dtype == getattr(other, name).dtype, name


@pytest.mark.parametrize("rule", [certify, expected])
@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=25)
@given(neighbourhood=neighbourhoods())
def test_arrays_of_the_standard_give_the_same_integers(name, rule, neighbourhood):
    block = random_block(PLANS[name], **neighbourhood)
    assert_same_integers(strictly(rule, PLANS[name], block), rule(PLANS[name], block))


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("rule", [certify, expected])
@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=25)
@given(neighbourhood=neighbourhoods())
def test_pytorch_gives_the_same_integers(name, rule, neighbourhood):
    block = random_block(PLANS[name], **neighbourhood)
    result = in_numpy(rule(PLANS[name], in_library(torch, block)), lambda tensor: tensor.numpy())
    assert_same_integers(result, rule(PLANS[name], block))


@pytest.mark.parametrize("rule", [certify, expected])
def test_a_block_without_meters_gives_no_rows_on_any_arrays(rule):
    plan = PLANS["capped"]
    assert len(strictly(rule, plan, empty_block(plan))) == 0


@pytest.mark.parametrize("rule", [certify, expected])
def test_a_plan_without_a_day_of_history_gives_no_baseline(rule):
    plan = a_plan("kpx-max-4-of-5")
    blank = replace(plan, days=(), slots=plan.slots[:1])
    block = a_block(a_home(blank))
    for result in (rule(blank, block), strictly(rule, blank, block)):
        assert result.baseline_wh.tolist() == [[MISSING]]


def test_ties_are_broken_by_the_day_on_any_arrays():
    # Three days of 20 Wh: the oldest is the lowest, the latest the highest.
    usage = array_api_strict.asarray([[20, 20, 20]])
    kept = trimmed_days(usage, usage > 0, days=3, drop_lowest=1, drop_highest=1)
    assert np.asarray(kept).tolist() == [[False, True, False]]


def test_halves_go_to_the_even_neighbour_on_any_arrays():
    numerator = array_api_strict.asarray([-25, -15, -5, 5, 15, 25])
    assert np.asarray(round_half_even(numerator, 10)).tolist() == [-2, -2, 0, 0, 2, 2]
