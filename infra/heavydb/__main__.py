"""The stand-in as a program: ``python -m infra.heavydb --folder FOLDER --port PORT``."""

from __future__ import annotations

import argparse
import fcntl
import logging
import signal
import sys
import threading
from pathlib import Path

from infra.daemons import ServiceError
from infra.heavydb.password import password_of

LOCK_FILE = "running"


def main() -> None:
    """Serve a folder until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m infra.heavydb", description="A stand-in for a HeavyDB server.")
    parser.add_argument("--folder", type=Path, required=True, help="data, password and log")
    parser.add_argument("--port", type=int, default=6274, help="0 for a free one, which is printed")
    parser.add_argument("--memory-mib", type=int, default=1024, help="what queries may hold")
    given = parser.parse_args()
    given.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        password = password_of(given.folder)
    except ServiceError as unusable:
        raise SystemExit(str(unusable)) from unusable
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        from infra.heavydb.database import Database  # noqa: PLC0415  heavy, and from an extra
        from infra.heavydb.protocol import NOTICE, VERSION, Handler, Processor  # noqa: PLC0415
        from infra.heavydb.server import HOST, Server  # noqa: PLC0415
        from infra.heavydb.sessions import Sessions  # noqa: PLC0415
    except ModuleNotFoundError as absent:
        raise SystemExit(f"{absent.name} is missing: pip install 'negawatt[heavydb]'") from absent
    with (given.folder / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"a server runs in {given.folder} already") from None
        database = Database(given.folder, memory_mib=given.memory_mib)
        sessions = Sessions(password)
        server = Server(Processor(Handler(database, sessions)), given.port)
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: threading.Thread(target=server.stop, daemon=True).start())
        print(f"listens on {HOST}:{server.port}, version {VERSION}: {NOTICE}", flush=True)
        server.serve()
        sessions.end_all()
        database.close()


if __name__ == "__main__":
    main()
