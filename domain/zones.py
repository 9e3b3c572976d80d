"""Time zones by name."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import NegawattError


class UnknownZoneError(NegawattError):
    """There is no time zone of a name."""

    def __init__(self, name: object) -> None:
        self.name = name
        super().__init__(f"zone {name!r} is no IANA time zone; expected a name such as 'Asia/Seoul'")


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone of a name.

    Raises
    ------
    UnknownZoneError
        There is none.

    Examples
    --------
    >>> zone_named("Asia")
    Traceback (most recent call last):
    ...
    domain.zones.UnknownZoneError: zone 'Asia' is no IANA time zone; expected a name such as 'Asia/Seoul'
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as unknown:  # OSError: "Asia" is a folder
        raise UnknownZoneError(name) from unknown
