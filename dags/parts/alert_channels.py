"""How an alert leaves the machine: a webhook and a mail, each by an Airflow connection that the operator declares.

A channel that isn't declared is silent. One that fails says so in a sentence that names no secret: the address of a
webhook often is one, so neither its path nor its headers are ever repeated.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from airflow.sdk import Connection

WEBHOOK = "negawatt_webhook"
MAIL = "negawatt_smtp"
RECIPIENTS = "negawatt_alert_email"
_TIMEOUT_S = 10.0

Said = Mapping[str, Any]


class ChannelError(Exception):
    """An alert could not be sent; the sentence says where and why, without secrets."""


def post(said: Said) -> bool:
    """Post an alert as JSON to the connection ``negawatt_webhook``; False where that isn't declared.

    Its host says where: an address, or a name to which schema (``https`` if none is given), port and, from the extra,
    ``path`` are added. The password is sent as a bearer token, ``headers`` of the extra are sent along, and its
    ``timeout`` is in seconds. The JSON has the alert's fields; chat servers show its ``text``.

    Raises
    ------
    ChannelError
        No answer in time, or one that isn't 2xx. Redirects aren't followed: they would carry the token elsewhere.
    """
    declared = _connection(WEBHOOK)
    if declared is None:
        return False
    import requests  # noqa: PLC0415

    address, extra = _address(declared), declared.extra_dejson

    def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As a header alone, requests would let an entry of ~/.netrc replace it.
        if declared.password:
            request.headers["Authorization"] = f"Bearer {declared.password}"
        return request

    try:
        answer = requests.post(
            address,
            json={**said, "text": f"{headline(said)}\n{said['text']}"},
            headers=extra.get("headers"),
            auth=authorise,
            timeout=float(extra.get("timeout", _TIMEOUT_S)),
            allow_redirects=False,
        )
    except requests.RequestException as failed:
        raise ChannelError(f"{WEBHOOK}: {type(failed).__name__} at {urlsplit(address).hostname}") from None
    if not 200 <= answer.status_code < 300:
        raise ChannelError(f"{WEBHOOK}: {urlsplit(address).hostname} answered {answer.status_code}")
    return True


def mail(said: Said) -> bool:
    """Mail an alert by the connection ``negawatt_smtp``; False where that isn't declared.

    It goes to the addresses of the variable ``negawatt_alert_email``, separated by commas, from the connection's
    ``from_email``. Its extra may hold ``timeout``, for how long an answer is awaited (in seconds), and
    ``retry_limit``, how often a server that hangs up is tried again; by default it isn't.

    Raises
    ------
    ChannelError
        Nobody to mail to, or the mail server refused or wasn't there.
    """
    if _connection(MAIL) is None:
        return False
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # noqa: PLC0415
    from airflow.sdk import Variable  # noqa: PLC0415

    class SoonGivenUp(SmtpHook):
        """With limits of our own: six tries of half a minute would keep all who have something to say waiting."""

        @property
        def smtp_retry_limit(self) -> int:
            return int(self.conn.extra_dejson.get("retry_limit", 0))

        @property
        def timeout(self) -> Any:
            return float(self.conn.extra_dejson.get("timeout", _TIMEOUT_S))

    addresses = [address.strip() for address in (Variable.get(RECIPIENTS, default=None) or "").split(",")]
    if not any(addresses):
        raise ChannelError(f"{MAIL}: nobody to mail to: set the variable {RECIPIENTS} to one or more addresses")
    try:
        with SoonGivenUp(smtp_conn_id=MAIL) as server:
            server.send_email_smtp(
                to=[address for address in addresses if address],
                subject=" ".join(headline(said).split()),
                html_content=_page(said),
            )
    except Exception as failed:  # the hook passes on what smtplib, ssl and sockets raise
        raise ChannelError(f"{MAIL}: {type(failed).__name__}: {failed}") from None
    return True


CHANNELS: dict[str, Callable[[Said], bool]] = {"webhook": post, "mail": mail}
"""In the order in which they are used: a webhook answers sooner."""


def headline(said: Said) -> str:
    """What happened and where, in a line: a mail's subject.

    >>> headline({"kind": "task_failed", "dag": "settlement", "run": "e1", "task": "pay"})
    'negawatt: task failed (settlement, e1, pay)'
    """
    where = ", ".join(said[name] for name in ("dag", "run", "task") if said.get(name))
    return f"negawatt: {said['kind'].replace('_', ' ')}" + (f" ({where})" if where else "")


def _connection(name: str) -> Connection | None:
    from airflow.sdk import BaseHook  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415

    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        return None


def _address(declared: Connection) -> str:
    host = declared.host or ""
    given = urlsplit(host if "://" in host else f"{declared.schema or 'https'}://{host}")
    if not given.hostname:
        raise ChannelError(f"{WEBHOOK}: the connection names no host")
    place = given.netloc if given.port or not declared.port else f"{given.netloc}:{declared.port}"
    parts = [given.path.strip("/"), str(declared.extra_dejson.get("path", "")).lstrip("/")]
    path = "/".join(part for part in parts if part)
    return urlunsplit((given.scheme, place, path, given.query, ""))


def _page(said: Said) -> str:
    rows = {"DAG": said["dag"], "run": said["run"], "task": said["task"], **said["facts"], "time": said["time"]}
    cells = "".join(
        f"<tr><th align=left>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value not in ("", None)
    )
    return f"<p>{html.escape(said['text'])}</p><table>{cells}</table>"
