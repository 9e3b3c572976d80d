"""Which column of a foreign file means what: the one place where foreign names become ours."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from domain.errors import NegawattError
from domain.intervals import check_interval
from domain.zones import zone_named
from ingest.sources import header_of


class UnknownLayoutError(NegawattError):
    """A file's header is none that we know, or lacks a column that was asked for."""

    def __init__(self, path: Path, found: Sequence[str], problem: str) -> None:
        self.path, self.found, self.problem = path, tuple(found), problem
        super().__init__(
            f"{path}: {problem}. Columns found: {', '.join(map(repr, found))}. Say which is which in a TOML "
            'file, e.g. meter = "ID", start = "time", import_energy = "kWh", unit = "kWh", '
            'zone = "Europe/London"'
        )


@dataclass(frozen=True)
class Columns:
    """The columns of a file of readings, one row an interval, and how to take their values.

    Attributes
    ----------
    meter, start, import_energy : str
        Names of the columns that every file has.
    export_energy : str or None
        Column of the export register; a blank cell means that the meter has none.
    unit : {"Wh", "kWh"}
        Unit of both energy columns.
    quality : str or None
        Column that says ``actual`` or ``estimated``; without it every reading is actual.
    revision : str or None
        Column of the revision, 0 to 32767; without it every reading is a first report.
    zone : str or None
        IANA zone of times that carry no UTC offset; without it such rows are rejected.
    stamps : {"start", "end"}
        Whether the time names the start or the end of the interval.
    interval_minutes : int or None
        Length of the interval; None to take the file's most common step. [min]

    Raises
    ------
    NegawattError
        A value that isn't one of these.
    """

    meter: str = "meter"
    start: str = "interval_start"
    import_energy: str = "import_wh"
    export_energy: str | None = None
    unit: Literal["Wh", "kWh"] = "Wh"
    quality: str | None = None
    revision: str | None = None
    zone: str | None = None
    stamps: Literal["start", "end"] = "start"
    interval_minutes: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("unit", ("Wh", "kWh")), ("stamps", ("start", "end"))):
            if getattr(self, name) not in allowed:
                expected = " or ".join(map(repr, allowed))
                raise NegawattError(f"columns: {name} is {getattr(self, name)!r}; expected {expected}")
        if self.interval_minutes is not None:
            check_interval(self.interval_minutes)
        if self.zone is not None:
            zone_named(self.zone)
        named = [*self.used]
        if len(set(named)) != len(named):
            raise NegawattError(f"columns: one column can't have two meanings: {', '.join(named)}")

    @property
    def used(self) -> tuple[str, ...]:
        """The names of the columns to read."""
        optional = (self.export_energy, self.quality, self.revision)
        return (self.meter, self.start, self.import_energy, *(name for name in optional if name is not None))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "columns") -> Columns:
        """Build from keys and values, as a TOML table or command-line flags have them.

        >>> Columns.from_mapping({"meter": "ID", "unit": "kWh"}).meter
        'ID'
        >>> Columns.from_mapping({"metre": "ID"})
        Traceback (most recent call last):
          ...
        domain.errors.NegawattError: columns: unknown key 'metre'; known: meter, start, import_energy, \
export_energy, unit, quality, revision, zone, stamps, interval_minutes
        """
        known = [field.name for field in fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise NegawattError(f"{source}: unknown key {key!r}; known: {', '.join(known)}")
            wanted = int if key == "interval_minutes" else str
            if type(value) is not wanted:
                raise NegawattError(f"{source}: {key} is {value!r}; expected {wanted.__name__}")
        return cls(**values)

    @classmethod
    def from_toml(cls, path: Path) -> Columns:
        """Load from a TOML file with these keys at its top level; unknown keys are errors."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NegawattError(f"{path}: can't be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise NegawattError(f"{path}: not TOML: {error}") from error
        return cls.from_mapping(values, str(path))

    def check_header(self, path: Path, found: Sequence[str]) -> None:
        """Raise `UnknownLayoutError` unless each column that is used stands in the header exactly once."""
        for name in self.used:
            if found.count(name) != 1:
                problem = f"no column {name!r}" if name not in found else f"two columns {name!r}"
                raise UnknownLayoutError(path, found, problem)


LONDON = Columns(
    meter="LCLid",
    start="tstp",
    import_energy="energy(kWh/hh)",
    unit="kWh",
    zone="UTC",
    interval_minutes=30,
)
"""Low Carbon London: half-hourly kWh, times in UTC without an offset, gaps written ``Null``."""

HOURLY_HOMES = Columns(start="interval_start", import_energy="load_kwh", unit="kWh", interval_minutes=60)
"""Hourly homes with ``load_kwh`` and ``pv_kwh``. The gross load is taken as the import register, as if the
panels had a meter of their own; PV output is not read. Netting it would guess how the home was wired."""


def layout_of(path: Path) -> Columns:
    """Recognise a file by its header.

    Known are our own tidy layout (``meter,interval_start,import_wh`` or ``import_kwh``, with optional
    ``export_wh``/``export_kwh``, ``quality`` and ``revision``), Low Carbon London, and hourly homes with
    ``load_kwh`` and ``pv_kwh``.

    Raises
    ------
    UnknownLayoutError
        None of these; the message lists the columns found and shows how to map them.
    UnreadableFileError
        The file holds no header that could be read.
    """
    found = header_of(path)
    names = set(found)
    if {"meter", "interval_start"} <= names:
        optional = {name: name for name in ("quality", "revision") if name in names}
        units: tuple[Literal["Wh", "kWh"], ...] = ("Wh", "kWh")
        for unit in units:
            energy, export = f"import_{unit.lower()}", f"export_{unit.lower()}"
            if energy in names:
                return Columns(
                    import_energy=energy,
                    export_energy=export if export in names else None,
                    unit=unit,
                    **optional,  # type: ignore[arg-type]
                )
    for layout, also in ((LONDON, set()), (HOURLY_HOMES, {"pv_kwh"})):
        if {*layout.used, *also} <= names:
            return layout
    raise UnknownLayoutError(path, found, "unrecognised header")
