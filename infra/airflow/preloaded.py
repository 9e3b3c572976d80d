"""Airflow's scheduler, which first loads what its tasks import: ``python -m infra.airflow.preloaded scheduler``.

Its workers are forks of it, and tasks are forks of those, so that a task begins with these modules in place of
loading them for a second or two. Where a module is missing, the task that wants it tells.
"""

from __future__ import annotations

import contextlib
import importlib

from airflow.__main__ import main as airflow  # first: it has its own order of imports

MODULES = (
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.triggers.temporal",
    "negawatt.chains",
    "negawatt.event_readings",
    "negawatt.pipeline",
    "negawatt.settling",
)
"""What tasks of an event import. None starts a thread that has a lock of ours."""


def main() -> None:
    """Load the modules, then run Airflow's command of the same arguments."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
