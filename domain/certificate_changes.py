"""Two sets of certificates of one event, home by home: what differs, in whole watt-hours and minor units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.certificates import CertificateSet


@dataclass(frozen=True)
class CertificateChange:
    """One home's certificate in both sets.

    Attributes
    ----------
    resource : bytes
        Its pseudonym.
    before, after : mapping or None
        The certificate; None where that set has none.
    differs : tuple of str
        Keys with other values, in order, but for the index; all of them where one is missing.
    """

    resource: bytes
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    differs: tuple[str, ...]

    @property
    def reduction_wh(self) -> tuple[int, int]:
        """Before and after; negative where a home used more, 0 without a certificate. [Wh]"""
        return _value(self.before, "total_reduction_wh"), _value(self.after, "total_reduction_wh")

    @property
    def payment(self) -> tuple[int, int]:
        """Before and after; 0 without a certificate. [minor units]"""
        return _value(self.before, "payment"), _value(self.after, "payment")

    @property
    def change_wh(self) -> int:
        """[Wh]"""
        return self.reduction_wh[1] - self.reduction_wh[0]

    @property
    def change_payment(self) -> int:
        """[minor units]"""
        return self.payment[1] - self.payment[0]


def certificate_changes(before: CertificateSet, after: CertificateSet) -> list[CertificateChange]:
    """The homes whose certificates differ, in the order of their pseudonyms.

    That a home has another index alone is no difference: others came or went.
    """
    old, new = _by_resource(before), _by_resource(after)
    found = []
    for resource in sorted(old.keys() | new.keys()):
        lines = old.get(resource), new.get(resource)
        if lines[0] == lines[1]:
            continue
        one, other = (None if line is None else json.loads(line) for line in lines)
        keys = sorted((one or {}).keys() | (other or {}).keys())
        differs = tuple(
            key for key in keys if key != "index" and (one is None or other is None or one.get(key) != other.get(key))
        )
        if differs:
            found.append(CertificateChange(resource, one, other, differs))
    return found


def _by_resource(certificates: CertificateSet) -> dict[bytes, bytes]:
    return {leaf.resource: line for leaf, line in zip(certificates.leaves, certificates.lines, strict=True)}


def _value(certificate: Mapping[str, Any] | None, key: str) -> int:
    return 0 if certificate is None else int(certificate[key])
