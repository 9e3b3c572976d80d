"""Alerts: what a person should look at. Each is a line of the workspace's ``alerts.jsonl``, and is posted and mailed.

An alert never fails the task that raises it, and a channel that fails never keeps another from being used.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dags.parts.alert_channels import CHANNELS, ChannelError, headline
from dags.parts.alert_log import open_alert_log

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

Kind = Literal[
    "deadline_missed", "completeness_low", "rejects_high", "settlement_late", "task_failed", "readings_changed"
]

_log = logging.getLogger(__name__)
_SENTENCE_CHARACTERS = 500


def alert(
    kind: Kind,
    text: str,
    facts: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    once: str = "",
) -> dict[str, Any]:
    """Tell people, once: by webhook, by mail, in the task's log and in ``alerts.jsonl``.

    Secrets that the task got from Airflow, passwords of connections among them, are masked in all of it. A task that
    is tried again doesn't repeat its alert: only channels that failed are used again.

    Parameters
    ----------
    kind, text
        What happened: its name, and a sentence or two.
    facts : mapping, optional
        Numbers and names to go with it; becomes JSON.
    context : mapping, optional
        Airflow's context of the task, or what Airflow hands to a callback.
    once : str, optional
        The occasion, said once whichever run finds it. Without it: this run's task, said once a kind; and where
        the context names no run either, nothing is taken for a repeat.

    Returns
    -------
    dict
        The line of ``alerts.jsonl``, with the channels ``sent`` and ``failed``; an earlier one if nothing was left
        to say.
    """
    try:
        return _alert(kind, text, facts or {}, context or {}, once)
    except Exception:
        _log.exception("the alert %s failed: %s", kind, text)
        return {}


def on_failure(context: Mapping[str, Any]) -> None:
    """Tell people that a task failed for good: the ``on_failure_callback`` of every task, and of every DAG.

    A task whose process is killed, for want of memory say, calls nothing; then the run's failure tells of it. Of a
    task that did call, it finds nothing left to say.
    """
    ti, failed = context.get("ti"), context.get("exception")
    if ti is None:
        run = {"dag_id": context["dag"].dag_id, "dag_run_id": context["run_id"]}
        alert("task_failed", f"A run of {run['dag_id']} failed: {context.get('reason')}", {}, {"dag_run": run})
        return
    sentence = str(failed or "its process ended without a word; it may have been killed").strip().split("\n")[0]
    kind = type(failed).__name__ if isinstance(failed, BaseException) else ""
    name = f"{kind}: " if kind not in ("", "AirflowFailException") else ""
    map_index = ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None
    task = ti.task_id if map_index is None else f"{ti.task_id}/{map_index}"
    facts = {
        "try": ti.try_number,
        "map index": map_index,
        "log": getattr(ti, "log_url", None),
    }
    alert(
        "task_failed",
        f"{ti.task_id} of {ti.dag_id} failed: {name}{sentence[:_SENTENCE_CHARACTERS]}",
        {name: value for name, value in facts.items() if value is not None},
        context,
        # A task that someone clears and that fails again is news.
        once=f"{ti.dag_id}/{ti.run_id}/{task}/{ti.try_number}",
    )


def late(hours: float, kind: Kind = "settlement_late") -> DeadlineAlert:
    """Alert when a run isn't done so long after it was queued: the ``deadline`` of a DAG. [h]

    Airflow's scheduler watches the time and its triggerer tells, so no task needs to run for it.
    """
    from airflow.sdk.definitions.callback import AsyncCallback  # noqa: PLC0415
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference  # noqa: PLC0415

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=AsyncCallback(deadline_missed, kwargs={"kind": kind, "hours": hours}),
        name=kind,
    )


async def deadline_missed(kind: Kind, hours: float, context: Mapping[str, Any]) -> None:
    """Tell people that a run isn't done; called by the triggerer, whose other work goes on meanwhile."""
    import asyncio  # noqa: PLC0415

    run = context["dag_run"]
    text = f"Run {run['dag_run_id']} of {run['dag_id']} isn't done {hours:g} h after it was queued"
    facts = {"queued": run.get("queued_at"), "state": run.get("state")}
    # A run that has two deadlines is late twice.
    once = f"{run['dag_id']}/{run['dag_run_id']}/{hours:g} h"
    await asyncio.to_thread(alert, kind, text, facts, context, once=once)


def _alert(kind: Kind, text: str, facts: Mapping[str, Any], context: Mapping[str, Any], once: str) -> dict[str, Any]:
    place = _place(context)
    said: dict[str, Any] = _without_secrets(
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "kind": kind,
            **place,
            "text": text,
            "facts": facts,
            "once": once or "/".join(place.values()).strip("/"),
        }
    )
    line = None
    try:
        with open_alert_log(_workspace()) as kept:
            before = kept.of(kind, said["once"]) if said["once"] else []
            channels = _left_over(before) if before else set(CHANNELS)
            if not channels:
                return before[-1]
            line = {**said, **_send(said, channels)}
            kept.add(line)
    except OSError as lost:
        _log.error("this alert isn't in alerts.jsonl and may be repeated: %s", lost)
    return line or {**said, **_send(said, set(CHANNELS))}


def _send(said: Mapping[str, Any], channels: Iterable[str]) -> dict[str, Any]:
    line_of_log = f"{headline(said)}: {said['text']} {said['facts']}"
    _log.warning("%s", line_of_log.encode("utf-8", "backslashreplace").decode())  # files of logs are UTF-8
    sent, failed = [], {}
    for name in sorted(channels, key=list(CHANNELS).index):
        try:
            if CHANNELS[name](said):
                sent.append(name)
        except Exception as problem:
            # Of foreign errors the name alone: their sentences may repeat an address or a header.
            failed[name] = _without_secrets(
                str(problem) if isinstance(problem, ChannelError) else repr(type(problem))
            )
            _log.error("alert not sent by %s: %s", name, failed[name])
    return {"sent": sent, "failed": failed}


def _left_over(before: Iterable[Mapping[str, Any]]) -> set[str]:
    """Channels that failed, and that no later try used with success."""
    left: set[str] = set()
    for line in before:
        left = (left | set(line.get("failed", ()))) - set(line.get("sent", ()))
    return left & set(CHANNELS)


def _place(context: Mapping[str, Any]) -> dict[str, str]:
    if ti := context.get("ti"):
        return {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id}
    run = context.get("dag_run")
    # A callback of a deadline gets the run as the API describes it, and no task.
    found = (run["dag_id"], run["dag_run_id"]) if isinstance(run, Mapping) else ("", "")
    return dict(zip(("dag", "run", "task"), (*found, ""), strict=True))


def _without_secrets(value: Any) -> Any:
    """As plain JSON, with the secrets that Airflow has met in this process replaced by stars."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]  # noqa: PLC0415

    return redact(json.loads(json.dumps(value, default=str)))


def _workspace() -> Path:
    folder = os.environ.get("NEGAWATT_WORKSPACE")
    if not folder:
        raise FileNotFoundError("the variable NEGAWATT_WORKSPACE of the environment isn't set")
    return Path(folder)
