"""Workers that take readings from Kafka to a speed store and are killed: run as a script by the tests of faults.

``URL GROUP AT FLUSH`` with the store's address in SPEED_URL; says how far it is, a line of JSON a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta

from domain.errors import NegawattError
from ingest.kafka_worker import consume
from speed.consumer import SpeedConsumer
from speed.quarantine import Quarantine
from speed.stores import SpeedStore, open_speed_store


class TiredSpeed(SpeedConsumer):
    """A consumer that is killed at a flush: before its readings are stored, or after, when no offset is committed."""

    def __init__(self, store: SpeedStore, at: str, flush: int) -> None:
        super().__init__(store, Quarantine(store, timedelta(minutes=10)))
        self._at, self._left = at, flush

    def flush(self) -> None:
        self._left -= 1
        if self._left == 0 and self._at == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().flush()
        if self._left == 0 and self._at == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def take(url: str, group: str, at: str, flush: int) -> None:
    store = open_speed_store(os.environ["SPEED_URL"])
    done = consume(
        url,
        group,
        TiredSpeed(store, at, flush),
        lambda: False,
        until_idle=at != "endless",
        flush_readings=20_000 if at != "endless" else 500_000,
        flush_seconds=0.3 if at == "endless" else 60,
        report=lambda state: print(json.dumps(state.document()), flush=True),
        group_instance_id="one",
    )
    print(json.dumps(done.document()), flush=True)
    store.close()


if __name__ == "__main__":
    try:
        take(*sys.argv[1:4], int(sys.argv[4]))
    except NegawattError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
