"""What was refused lately: rows of files, and messages of the bus. Each is kept where it was refused."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from negawatt.pipeline import address_of
from negawatt.settings import Settings
from negawatt.workspace import Workspace


def rejected_between(workspace: Workspace, settings: Settings, since: datetime, until: datetime) -> dict[str, Any]:
    """Count rows that imports refused from a moment to before another, and messages that workers put aside.

    Of an import the whole file of rejects counts, by the time at which it was written.

    Returns
    -------
    dict
        ``since``, ``until``, ``rows``, ``messages``, ``by_code`` (reasons of both) and ``files``; plain JSON values.

    Raises
    ------
    BusError
        The bus is a Kafka that can't be read.
    """
    codes, files = Counter[str](), []
    for path in sorted((workspace.folder / "rejects").glob("*.csv")):
        if since <= datetime.fromtimestamp(path.stat().st_mtime, UTC) < until:
            with path.open(newline="") as lines:
                found = Counter(row["code"] for row in csv.DictReader(lines))
            codes += found
            if found:
                files.append(str(path))
    rows = codes.total()
    messages = _messages(address_of(workspace, settings.bus, "bus"), since, until)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "rows": rows,
        "messages": messages.total(),
        "by_code": dict(sorted((codes + messages).items())),
        "files": files,
    }


def _messages(bus: str, since: datetime, until: datetime) -> Counter[str]:
    if not bus.startswith("kafka://"):
        return Counter()
    from ingest.kafka_delivery import read_topic  # noqa: PLC0415  clients of servers are extras
    from ingest.kafka_topics import REJECTED, Place, ensure_topics  # noqa: PLC0415

    place = Place.of(bus)
    ensure_topics(place)
    found: dict[Any, str] = {}  # a message that was refused twice counts once
    for record in read_topic(place.address, place.topic(REJECTED)):
        if since.timestamp() <= record.timestamp / 1000 < until.timestamp():
            fault = dict(record.headers).get("fault", b"unknown").decode(errors="replace")
            found[record.key or (record.partition, record.offset)] = fault
    return Counter(found.values())
