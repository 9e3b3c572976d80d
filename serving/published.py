"""Which certificates of an event count: the batch layer's as soon as there are any, else the provisional ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from domain.certificates import CertificateSet, parse_published
from domain.errors import InvalidEventError


@dataclass(frozen=True)
class Published:
    """A file of certificates, and what it is worth.

    Attributes
    ----------
    path : Path
    data : bytes
        The file, read once, so that a new one that comes meanwhile mixes with nothing.
    provisional : bool
        From the speed layer: late readings may still change it, and it is never settled.
    """

    path: Path
    data: bytes
    provisional: bool

    @cached_property
    def certificates(self) -> CertificateSet:
        """What the file holds."""
        return parse_published(self.data)


def published_certificates(event_id: str, batch: Path, provisional: Path, *, final_only: bool = False) -> Published:
    """The certificates of an event: the batch layer's where they exist, else the provisional ones, marked so.

    Parameters
    ----------
    batch, provisional : Path
        Where each layer publishes them.
    final_only : bool
        For whatever moves money or answers for it: provisional ones are refused.

    Raises
    ------
    InvalidEventError
        There are none, or only provisional ones where they don't do.
    """
    for path, is_provisional in ((batch, False), (provisional, True)):
        if is_provisional and final_only:
            break
        try:
            return Published(path, path.read_bytes(), is_provisional)
        except FileNotFoundError:
            continue
    if provisional.exists():
        raise InvalidEventError(
            event_id,
            f"there are only provisional certificates, {provisional}, which may still change: run "
            f"`negawatt certify {event_id}` first",
        )
    raise InvalidEventError(
        event_id, f"there are no published certificates at {batch}: run `negawatt certify {event_id}` first"
    )
