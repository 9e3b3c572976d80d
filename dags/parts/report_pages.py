"""The workspace's HTML reports on Airflow's API server: to look at, for users who are logged in there.

Reports name meters. Whoever may see Airflow's own pages may read them; nobody can change anything here.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from dags.parts.plugin import PREFIX, root_path

# A report's scripts and styles are its own, and its own policy names the one script by its hash. The sandbox keeps
# scripts from the login of whoever looks: to the browser, a report comes from nowhere.
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_LIST_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem;
color: #1a1a1a; background: #fff } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ccc }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 } a { color: #8ab4f8 } }"""


def event_report(event_id: str) -> Path | None:
    """The report of an event, if it has been written."""
    return _page(_workspace(), "reports", event_id)


def make_app() -> FastAPI:
    """The pages: ``/`` lists, ``/reports/NAME`` and ``/market/DAY`` show.

    Without a login a browser is sent to Airflow's login page and comes back from there; other clients get 401.
    """
    app = FastAPI(
        title="negawatt reports",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_view(AccessView.WEBSITE))],
    )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, problem: HTTPException) -> Response:
        browser = "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers
        if problem.status_code == 401 and browser:
            here = "/".join((f"{root_path()}{PREFIX}", *request.path_params.values()))
            return RedirectResponse(f"{root_path()}/api/v2/auth/login?{urlencode({'next': here})}", headers=_HEADERS)
        return await http_exception_handler(request, problem)

    @app.get("/")
    def every_report() -> Response:
        return HTMLResponse(_list(_workspace()), headers={**_HEADERS, "Content-Security-Policy": _LIST_POLICY})

    @app.get("/{folder}/{name}")
    def report(folder: str, name: str) -> Response:
        path = _page(_workspace(), folder, name)
        if path is None:
            raise HTTPException(404, f"there is no report {name}; {root_path()}{PREFIX}/ lists those that there are")
        headers = {**_HEADERS, "Content-Security-Policy": _REPORT_POLICY}
        return FileResponse(path, media_type="text/html", headers=headers)

    return app


def _workspace() -> Path | None:
    folder = os.environ.get("NEGAWATT_WORKSPACE")
    return Path(folder).resolve() if folder else None


def _page(workspace: Path | None, folder: str, name: str) -> Path | None:
    """A report's file. No name leads out of the folder of reports, by dots, slashes or links."""
    places = {"reports": f"reports/{name}.html", "market": f"market/{name}/report.html"}
    if workspace is None or folder not in places or not _NAME.fullmatch(name):
        return None
    path = workspace / places[folder]
    inside = path.resolve().is_relative_to(workspace / folder)
    return path if inside and path.is_file() else None


def _written(workspace: Path) -> Iterator[tuple[str, str, datetime]]:
    """Folder, name and time of every report."""
    found = [("reports", path, path.stem) for path in (workspace / "reports").glob("*.html")]
    found += [("market", path, path.parent.name) for path in (workspace / "market").glob("*/report.html")]
    for folder, path, name in found:
        if _page(workspace, folder, name):
            yield folder, name, datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _list(workspace: Path | None) -> str:
    rows = sorted(_written(workspace), key=lambda row: row[2], reverse=True) if workspace else []
    kinds = {"reports": "", "market": "Trades of "}
    lines = "".join(
        f'<tr><td><a href="{root_path()}{PREFIX}/{folder}/{quote(name, safe="")}" target="_top">'
        f"{kinds[folder]}{html.escape(name)}</a></td><td>{at:%Y-%m-%d %H:%M} UTC</td></tr>"
        for folder, name, at in rows
    )
    table = f"<table><thead><tr><th>Report</th><th>Written</th></tr></thead><tbody>{lines}</tbody></table>"
    none = "<p>No report is written yet.</p>" if workspace else "<p>NEGAWATT_WORKSPACE isn't set here.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reports</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>Reports</h1>{table if rows else none}</body></html>"
    )
