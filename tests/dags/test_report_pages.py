"""Reports on Airflow's API server: for who is logged in, read-only, and nothing but reports.

Logins are checked by Airflow's own auth manager and tokens.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest.importorskip("airflow")

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")

EVENT_PAGE = "<!doctype html><title>peak-1</title>"
TRADES_PAGE = "<!doctype html><title>trades</title>"


@pytest.fixture(scope="module")
def auth_manager():
    """Airflow's simple auth manager, with the one table that it asks: tokens that were revoked."""
    from airflow import settings
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.models.revoked_token import RevokedToken

    RevokedToken.__table__.create(settings.engine, checkfirst=True)
    return init_auth_manager()


@pytest.fixture(scope="module")
def token(auth_manager):
    """A viewer's token."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return auth_manager.generate_jwt(SimpleAuthManagerUser(username="ann", role="VIEWER"))


@pytest.fixture
def reports(workspace):
    """A workspace with an event's report, a day's trades, and things that are nobody's business."""
    for name, text in {"reports/peak-1.html": EVENT_PAGE, "market/2025-07-30/report.html": TRADES_PAGE}.items():
        (workspace / name).parent.mkdir(parents=True)
        (workspace / name).write_text(text)
    (workspace / "salt").write_text("secret")
    (workspace / "market" / "2025-07-30" / "trades.json").write_text("secret")
    return workspace


@pytest.fixture
def visitor(auth_manager, reports):
    """A client without a login."""
    from fastapi.testclient import TestClient

    from dags.parts.report_pages import make_app

    return TestClient(make_app(), follow_redirects=False)


@pytest.fixture
def viewer(visitor, token):
    """A client that is logged in."""
    visitor.headers["Authorization"] = f"Bearer {token}"
    return visitor


def test_who_is_logged_in_sees_the_list_and_the_reports(viewer):
    page = viewer.get("/").text
    assert '<a href="/negawatt/reports/peak-1"' in page
    assert '<a href="/negawatt/market/2025-07-30"' in page
    assert viewer.get("/reports/peak-1").text == EVENT_PAGE
    assert viewer.get("/market/2025-07-30").text == TRADES_PAGE


@pytest.mark.parametrize("path", ["/", "/reports/peak-1", "/reports/none", "/market/2025-07-30"])
def test_without_a_login_nothing_is_shown_or_told(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code == 401
    assert "peak-1" not in answer.text


def test_a_browser_without_a_login_is_sent_to_the_login_page_and_back(visitor):
    answer = visitor.get("/reports/peak-1", headers={"Accept": "text/html"})
    assert answer.status_code == 307
    assert answer.headers["Location"] == "/api/v2/auth/login?next=%2Fnegawatt%2Freports%2Fpeak-1"


def test_the_cookie_of_airflows_pages_is_a_login(visitor, token):
    visitor.cookies.set("_token", token)
    assert visitor.get("/reports/peak-1").text == EVENT_PAGE


def test_a_token_that_is_forged_or_expired_or_revoked_is_none(visitor, auth_manager, token):
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    user = SimpleAuthManagerUser(username="bob", role="ADMIN")
    expired = auth_manager.generate_jwt(user, expiration_time_in_seconds=-3600)
    revoked = auth_manager.generate_jwt(user)
    auth_manager.revoke_token(revoked)
    for bad in (token[:-4] + "AAAA", expired, revoked, "nonsense"):
        answer = visitor.get("/reports/peak-1", headers={"Authorization": f"Bearer {bad}"})
        assert answer.status_code in {401, 403}
        assert "peak-1" not in answer.text


def test_a_user_without_any_role_is_refused(visitor, auth_manager):
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    nobody = auth_manager.generate_jwt(SimpleAuthManagerUser(username="eve", role=None))
    assert visitor.get("/reports/peak-1", headers={"Authorization": f"Bearer {nobody}"}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/reports/..%2Fsalt",
        "/reports/%2e%2e%2fmarket%2f2025-07-30%2freport",
        "/reports/..%5Csalt",
        "/reports/peak-1%00",
        "/reports/peak-1.html",
        "/reports/%2fetc%2fpasswd",
        "/reports/" + "a" * 300,
        "/market/%2e%2e",
        "/market/2025-07-30/trades.json",
        "/stores/peak-1",
        "/reports/link",
        "/market/linked",
    ],
)
def test_nothing_but_reports_can_be_read(viewer, reports, path):
    (reports / "reports" / "link.html").symlink_to(reports / "salt")
    outside = reports.parent / "outside"
    outside.mkdir()
    (outside / "report.html").write_text("secret")
    (reports / "market" / "linked").symlink_to(outside)
    answer = viewer.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    listed = viewer.get("/").text
    assert "link" not in listed.split("<table>")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(viewer, reports, method):
    for path in ("/", "/reports/peak-1", "/reports/new"):
        assert viewer.request(method, path, content=b"x").status_code == 405
    assert (reports / "reports" / "peak-1.html").read_text() == EVENT_PAGE


def test_a_report_may_load_nothing_and_has_no_part_in_the_login(viewer):
    headers = viewer.get("/reports/peak-1").headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert "allow-same-origin" not in policy["sandbox"]
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "private, no-store")
    assert "script-src" not in viewer.get("/").headers["Content-Security-Policy"]


def test_a_name_with_markup_is_not_listed(viewer, reports):
    (reports / "reports" / "<script>x.html").write_text(EVENT_PAGE)
    assert "<script>" not in viewer.get("/").text


def test_an_empty_workspace_and_none_are_said(viewer, reports, monkeypatch, tmp_path):
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(tmp_path / "new"))
    assert "No report is written yet" in viewer.get("/").text
    monkeypatch.delenv("NEGAWATT_WORKSPACE")
    assert "NEGAWATT_WORKSPACE" in viewer.get("/").text
    assert viewer.get("/reports/peak-1").status_code == 404


def test_below_a_path_every_address_starts_with_it(visitor, token, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://utility.example/airflow/")
    sent = visitor.get("/reports/peak-1", headers={"Accept": "text/html"}).headers["Location"]
    assert sent == "/airflow/api/v2/auth/login?next=%2Fairflow%2Fnegawatt%2Freports%2Fpeak-1"
    page = visitor.get("/", headers={"Authorization": f"Bearer {token}"}).text
    assert '<a href="/airflow/negawatt/reports/peak-1"' in page


def test_tasks_of_an_event_link_to_its_report_once_there_is_one(reports):
    from airflow.models.taskinstancekey import TaskInstanceKey

    from dags.parts.plugin import ReportLink

    def link(dag, run):
        return ReportLink().get_link(None, ti_key=TaskInstanceKey(dag, "report", run, 1, -1))

    assert link("settlement", "peak-1") == link("certification", "peak-1") == "/negawatt/reports/peak-1"
    assert link("settlement", "peak-2") == ""
    assert link("housekeeping", "peak-1") == ""
    assert link("settlement", "../salt") == ""


def test_airflow_finds_the_plugin_and_mounts_its_pages():
    from airflow import plugins_manager

    from dags.parts.plugin import NegawattPlugin

    (found,) = entry_points(group="airflow.plugins", name="negawatt")
    assert found.load() is NegawattPlugin
    apps, _ = plugins_manager.get_fastapi_plugins()
    assert "/negawatt" in [app["url_prefix"] for app in apps]
    assert "Report" in [link.name for link in plugins_manager.get_global_operator_extra_links()]


def test_every_dag_that_links_to_a_report_exists():
    import dags
    from dags.parts.plugin import EVENT_DAGS

    assert {f"{name}.py" for name in EVENT_DAGS} <= {path.name for path in Path(dags.__file__).parent.glob("*.py")}
