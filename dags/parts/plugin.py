"""What the project adds to Airflow's pages: the workspace's reports, read-only, and a link to an event's report.

Every process of Airflow loads this module, and only the API server needs the pages, so they are made when the first
request for one comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/negawatt"
# The run id of these DAGs is the id of their event.
EVENT_DAGS = ("certification", "settlement")

_Messages = Callable[..., Awaitable[Any]]


class ReportPages:
    """The pages as an ASGI application that is made at the first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Messages, send: _Messages) -> None:
        """Answer one request."""
        if self._app is None:
            from dags.parts.report_pages import make_app  # noqa: PLC0415

            self._app = make_app()
        await self._app(scope, receive, send)


class ReportLink(BaseOperatorLink):
    """The button "Report" of every task that works on one event, once its report is written."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the event's report on this server; empty, so that no button is shown, where there is none."""
        from dags.parts.report_pages import event_report  # noqa: PLC0415

        if ti_key.dag_id not in EVENT_DAGS or event_report(ti_key.run_id) is None:
            return ""
        return f"{root_path()}{PREFIX}/reports/{quote(ti_key.run_id, safe='')}"


class NegawattPlugin(AirflowPlugin):
    """Found by Airflow through the entry point ``airflow.plugins``."""

    name = "negawatt"
    fastapi_apps = [{"app": ReportPages(), "url_prefix": PREFIX, "name": "negawatt reports"}]  # noqa: RUF012
    # Without the slash at its start: Airflow's page resolves it against its own base address.
    external_views = [{"name": "Reports", "href": f"{PREFIX[1:]}/", "destination": "nav"}]  # noqa: RUF012
    global_operator_extra_links = [ReportLink()]  # noqa: RUF012


def root_path() -> str:
    """What addresses of the API server start with, when it is reached below a path: of ``[api] base_url``."""
    from airflow.configuration import conf  # noqa: PLC0415

    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
