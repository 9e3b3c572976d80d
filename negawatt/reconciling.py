"""What later results of an event changed: the batch one of the provisional one, late readings of the settled one."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.certificate_changes import CertificateChange, certificate_changes
from domain.certificates import CertificateSet, resource_key
from domain.errors import InvalidEventError, NotSettledError, VerificationError
from domain.events import DREvent
from negawatt.console import Progress, quiet
from negawatt.pipeline import speed_store, work_out
from negawatt.settings import Settings
from negawatt.settling import read_certificates
from negawatt.workspace import Workspace, write_json, write_whole
from speed.reconciliation import Reconciliation, Source, from_bytes, keep, reconcile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COLUMNS = (
    "meter",
    "differs",
    "settled_status",
    "recomputed_status",
    "settled_reduction_wh",
    "recomputed_reduction_wh",
    "change_wh",
    "settled_payment",
    "recomputed_payment",
    "change_payment",
)
"""Of the file of changed homes."""


def reconcile_event(workspace: Workspace, settings: Settings, event: DREvent, *, largest: int = 10) -> Reconciliation:
    """Compare an event's provisional result with the batch layer's.

    Raises
    ------
    InvalidEventError
        Neither result is there.
    StoreError
        The speed store can't be opened; while a worker has a DuckDB file open, nobody else has.
    """
    with contextlib.closing(speed_store(workspace, settings)) as speed:
        for source in Source:
            waiting = workspace.waiting_result(event.id, source)
            if waiting.exists():
                keep(speed, from_bytes(waiting.read_bytes()))
                waiting.unlink()
        found = reconcile(speed, event.id, largest=largest)
    if found.provisional is None and found.batch is None:
        raise InvalidEventError(
            event.id, f"no result to compare: run `negawatt certify --provisional {event.id}` and `negawatt certify`"
        )
    return found


def settled_events(workspace: Workspace, since: datetime) -> list[DREvent]:
    """Events whose certificates settlement has fixed and that ended at a moment or later, the earliest first."""
    settled = [e for e in workspace.events() if e.end >= since and workspace.committed(e.id).exists()]
    return sorted(settled, key=lambda event: (event.end, event.id))


def recheck(
    workspace: Workspace,
    settings: Settings,
    event: DREvent,
    *,
    largest: int = 10,
    session: SparkSession | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Work a settled event out again from what the batch store has by now, and compare home by home.

    Nothing is published, paid or sent, and the settled certificates stay: what to do about a difference is the
    programme's business. The result is kept at `Workspace.recheck`, all changed homes beside it as CSV; doing it
    again over the same readings writes the same bytes.

    Parameters
    ----------
    largest : int
        Changed homes in the result, those whose payment changed most first.
    session : SparkSession, optional
        Default: one that the settings name.

    Returns
    -------
    dict
        ``unchanged``; ``settled``, ``recomputed`` and ``change`` with totals [Wh, minor units]; ``homes_changed``,
        ``payments_changed``, ``same_programme``, ``changes_file`` and ``largest``.

    Raises
    ------
    NotSettledError
        Its certificates are not fixed by settlement.
    VerificationError
        The file of certificates is not the one that was settled.
    NegawattError
        As `work_out`.
    """
    settled = _settled_certificates(workspace, event)
    _, again = work_out(workspace, settings, event, session=session, progress=progress)
    meters = workspace.resources() | workspace.participants(event)
    salt = workspace.salt()
    names = {resource_key(salt, meter): meter for meter in meters}
    rows = [_row(change, names) for change in certificate_changes(settled, again.certificates)]
    rows.sort(key=lambda row: (-abs(row["change_payment"]), -abs(row["change_wh"]), row["meter"]))
    before, after = _totals(settled), _totals(again.certificates)
    path = workspace.recheck(event.id)
    document = {
        "event": event.id,
        "unchanged": before["root"] == after["root"],
        "same_programme": _programme_of(settled) == _programme_of(again.certificates),
        "homes_changed": len(rows),
        "payments_changed": sum(row["change_payment"] != 0 for row in rows),
        "settled": before,
        "recomputed": after,
        "change": {key: after[key] - before[key] for key in ("certified", "reduction_wh", "net_wh", "payment")},
        "changes_file": str(path.with_suffix(".csv")),
        "largest": rows[:largest],
    }
    _write_rows(path.with_suffix(".csv"), rows)
    write_json(path, document)
    return document


def _settled_certificates(workspace: Workspace, event: DREvent) -> CertificateSet:
    """The published certificates, seen to be those whose root settlement committed to."""
    try:
        root = workspace.committed(event.id).read_text()
    except FileNotFoundError:
        raise NotSettledError(
            event.id, f"not settled, so there is nothing to compare with: run `negawatt settle {event.id}` first"
        ) from None
    certificates = read_certificates(workspace, event)
    if (found := certificates.tree.root.hex()) != root:
        raise VerificationError(
            f"event {event.id!r}: {workspace.certificates(event.id)} has the root 0x{found}, settled is 0x{root}: "
            "bring the file that was settled back"
        )
    return certificates


def _row(change: CertificateChange, names: dict[bytes, str]) -> dict[str, Any]:
    """A changed home in `COLUMNS`. A home that one side lacks has no status there, and zeros."""
    sides = {"settled": change.before, "recomputed": change.after}
    row: dict[str, Any] = {
        "meter": names.get(change.resource, "0x" + change.resource.hex()),
        "differs": list(change.differs),
        "change_wh": change.change_wh,
        "change_payment": change.change_payment,
    }
    for n, (side, certificate) in enumerate(sides.items()):
        row[f"{side}_status"] = None if certificate is None else certificate["status"]
        row[f"{side}_reduction_wh"] = change.reduction_wh[n]
        row[f"{side}_payment"] = change.payment[n]
    return {column: row[column] for column in COLUMNS}


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    lines.writeheader()
    lines.writerows(row | {"differs": " ".join(row["differs"])} for row in rows)
    write_whole(path, text.getvalue().encode())


def _totals(certificates: CertificateSet) -> dict[str, Any]:
    """Sums of a set; in ``reduction_wh`` homes that used more count as zero, in ``net_wh`` as they are."""
    lines = [json.loads(line) for line in certificates.lines]
    return {
        "homes": len(lines),
        "certified": sum(line["status"] == "certified" for line in lines),
        "reduction_wh": certificates.total_reduction_wh,
        "net_wh": sum(line["total_reduction_wh"] for line in lines),
        "payment": certificates.total_payment,
        "root": "0x" + certificates.tree.root.hex(),
    }


def _programme_of(certificates: CertificateSet) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(certificates.header)["programme"]
    return facts
