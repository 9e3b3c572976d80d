"""Written energies to whole watt-hours, exactly: decimal arithmetic, never binary floating point."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.rejects import Code

ENORMOUS_WH = 2**40
"""Stands for any energy at or above it: far beyond absurd, and still an int64 after scaling. [Wh]"""

MISSING_WORDS = ("", "null", "none", "na", "n/a")
_WH_PER = {"Wh": 1, "kWh": 1000}
_PLAIN = r"^[+-]?(\d{1,12}(\.\d{0,18})?|\.\d{1,18})$"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
_PLAIN_TYPE = pa.decimal128(33, 18)


@dataclass(frozen=True)
class Energies:
    """A column of energies.

    Attributes
    ----------
    wh : ndarray of int64, shape (n,)
        Energy, rounded half to even; 0 where there is a problem, `ENORMOUS_WH` at most. [Wh]
    problems : dict of Code to ndarray of bool
        The rows that hold no energy, by reason; no row has two.
    """

    wh: NDArray[np.int64]
    problems: dict[Code, NDArray[np.bool_]]


def read_energies(column: pa.Array, unit: str) -> Energies:
    """Read a column of numbers, written or typed, in ``unit`` ("Wh" or "kWh").

    A floating-point column counts as its shortest decimal text, so 0.0005 stored as a float is still
    exactly half a watt-hour.

    Examples
    --------
    >>> read_energies(pa.array(["0.0005", "1.0015", "2.5e-3"]), "kWh").wh.tolist()
    [0, 1002, 2]
    >>> sorted(str(code) for code in read_energies(pa.array(["Null", "-1", "x"]), "Wh").problems)
    ['energy.missing', 'energy.negative', 'energy.not_a_number']
    """
    if pa.types.is_integer(column.type):
        wh, problem = _from_integers(column, _WH_PER[unit])
    else:
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        wh, problem = _from_text(column.dictionary.cast(pa.string()), _WH_PER[unit])
        wh, problem = np.append(wh, 0), np.append(problem, _MISSING)
        at = pc.fill_null(column.indices, len(wh) - 1).to_numpy(zero_copy_only=False)
        wh, problem = wh[at], problem[at]
    codes = {code: problem == number for number, code in _CODES.items()}
    return Energies(wh, {code: rows for code, rows in codes.items() if rows.any()})


_MISSING, _NEGATIVE, _NO_NUMBER = 1, 2, 3
_CODES = {
    _MISSING: Code.ENERGY_MISSING,
    _NEGATIVE: Code.ENERGY_NEGATIVE,
    _NO_NUMBER: Code.ENERGY_NOT_A_NUMBER,
}


def _from_integers(column: pa.Array, wh_per_unit: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    problem = pc.is_null(column).to_numpy(zero_copy_only=False).astype(np.int8) * _MISSING
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    problem[values < 0] = _NEGATIVE
    wh = np.clip(values, 0, ENORMOUS_WH).astype(np.int64) * wh_per_unit
    return np.minimum(wh, ENORMOUS_WH), problem


def _from_text(text: pa.Array, wh_per_unit: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Watt-hours and problems of each text; those of ordinary length in bulk, the others one by one."""
    text = pc.fill_null(pc.utf8_trim_whitespace(text), "")
    wh, problem = np.zeros(len(text), np.int64), np.zeros(len(text), np.int8)
    plain = pc.match_substring_regex(text, _PLAIN).to_numpy(zero_copy_only=False)
    if plain.any():
        factor = pa.scalar(Decimal(wh_per_unit), pa.decimal128(4, 0))
        value = pc.multiply(text.filter(pa.array(plain)).cast(_PLAIN_TYPE), factor)
        negative = pc.less(value, pa.scalar(Decimal(0), value.type)).to_numpy(zero_copy_only=False)
        rounded = pc.round(value, ndigits=0, round_mode="half_to_even").cast(pa.int64(), safe=False)
        wh[plain] = np.where(negative, 0, np.minimum(rounded.to_numpy(zero_copy_only=False), ENORMOUS_WH))
        problem[plain] = negative * _NEGATIVE
    for i in np.flatnonzero(~plain):
        wh[i], problem[i] = _from_one(text[int(i)].as_py(), wh_per_unit)
    return wh, problem


def _from_one(text: str, wh_per_unit: int) -> tuple[int, int]:
    """Watt-hours and problem of one text, whatever its length or exponent.

    >>> _from_one("1e3", 1), _from_one("1E99999999", 1)[0] == ENORMOUS_WH
    ((1000, 0), True)
    """
    if text.lower() in MISSING_WORDS:
        return 0, _MISSING
    if not _NUMBER.fullmatch(text):
        return 0, _NO_NUMBER
    value = Decimal(text)
    if value < 0:
        return 0, _NEGATIVE
    if value == 0 or abs(value.adjusted()) > 15:
        return (ENORMOUS_WH if value and value.adjusted() > 0 else 0), 0
    with localcontext() as context:
        context.prec = len(text) + 40
        rounded = (value * wh_per_unit).to_integral_value(ROUND_HALF_EVEN)
    return min(int(rounded), ENORMOUS_WH), 0
