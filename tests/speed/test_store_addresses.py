"""Addresses of speed stores, and that a password is shown nowhere."""

from __future__ import annotations

import pytest

from domain.errors import NegawattError, StoreError
from negawatt import pipeline
from negawatt.settings import Settings, load_settings
from negawatt.workspace import Workspace
from speed.heavydb_url import HeavyDBAddress
from speed.stores import duckdb_url, open_speed_store

SECRET = "Tr0ub4dor:@/&3"
QUOTED = "Tr0ub4dor%3A%40%2F%263"


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(SECRET + "\nsecond line\n")
    path.chmod(0o600)
    return path


def test_an_address_has_host_port_database_user_and_password():
    address = HeavyDBAddress.parse(f"heavydb://ana:{QUOTED}@data-1:7000/live")
    assert (address.host, address.port, address.database) == ("data-1", 7000, "live")
    assert (address.user, address.password, address.protocol) == ("ana", SECRET, "binary")


def test_an_address_as_pymapd_has_it_is_understood():
    address = HeavyDBAddress.parse("mapd://ana:word@data-1:6274/live?protocol=http")
    assert (address.password, address.protocol) == ("word", "http")
    assert address.url == "heavydb://ana@data-1:6274/live?protocol=http"


def test_the_port_is_heavydb_s_unless_given():
    assert HeavyDBAddress.parse("heavydb://ana:word@data-1/live").port == 6274


def test_the_password_is_in_neither_url_nor_repr_nor_str():
    address = HeavyDBAddress.parse(f"heavydb://ana:{QUOTED}@data-1/live")
    for text in (address.url, repr(address), str(address)):
        assert SECRET not in text
        assert QUOTED not in text


def test_the_address_s_own_password_counts_then_its_file_then_the_given_ones(password_file):
    plain, of_file = "heavydb://ana@h/live", f"heavydb://ana@h/live?password_file={password_file}"
    assert HeavyDBAddress.parse("heavydb://ana:own@h/live", password="other").password == "own"
    assert HeavyDBAddress.parse(of_file, password="other").password == SECRET
    assert HeavyDBAddress.parse(plain, password="other", password_file=str(password_file)).password == "other"
    assert HeavyDBAddress.parse(plain, password_file=str(password_file)).password == SECRET


def test_a_password_file_that_others_can_read_is_refused(password_file):
    password_file.chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        HeavyDBAddress.parse("heavydb://ana@h/live", password_file=str(password_file))


@pytest.mark.parametrize("content", ["", "\nword\n"])
def test_a_password_file_without_a_password_is_refused(password_file, content):
    password_file.write_text(content)
    with pytest.raises(StoreError, match="no password in its first line"):
        HeavyDBAddress.parse("heavydb://ana@h/live", password_file=str(password_file))


def test_a_password_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StoreError, match="no password from"):
        HeavyDBAddress.parse("heavydb://ana@h/live", password_file=str(tmp_path / "none"))


def test_without_any_password_it_is_said_where_to_put_one():
    with pytest.raises(StoreError, match="set NEGAWATT_SPEED_PASSWORD"):
        HeavyDBAddress.parse("heavydb://ana@h/live")


@pytest.mark.parametrize(
    "url",
    [
        "heavydb://ana:Tr0ub4dor/x@h:6274/live",  # a slash ends the host, so the rest of it looks like a port
        "heavydb://ana:Tr0ub4dor@h:port/live",
        "heavydb://ana:Tr0ub4dor@h:6274",
        "heavydb://:Tr0ub4dor@h:6274/live",
        "heavydb://ana:Tr0ub4dor@/live",
        "heavydb://ana:Tr0ub4dor@h/live?protocol=smoke",
        "heavydb://ana:Tr0ub4dor@h/live?colour=red",
        "mysql://ana:Tr0ub4dor@h/live",
        "heavydb://ana:Tr0ub4dor[@h/live",
        "Tr0ub4dor",
    ],
)
def test_a_wrong_address_is_told_without_its_password(url):
    with pytest.raises(StoreError) as told:
        open_speed_store(url)
    assert "Tr0ub4dor" not in str(told.value)
    assert "Tr0ub4dor" not in str(told.value.__cause__)


def test_a_duckdb_file_is_named_by_its_address(tmp_path):
    path = tmp_path / "a ü file.duckdb"
    store = open_speed_store(duckdb_url(path))
    store.create("notes", {"id": "INTEGER"})
    store.close()
    assert path.exists()
    again = open_speed_store(store.url)
    assert again.query("SELECT COUNT(*) AS n FROM notes").to_pylist() == [{"n": 0}]
    again.close()


@pytest.mark.parametrize("url", ["duckdb://folder/file.duckdb", "duckdb:///file.duckdb?threads=4"])
def test_an_address_of_a_duckdb_file_has_three_slashes_and_no_options(url):
    with pytest.raises(StoreError, match="three slashes"):
        open_speed_store(url)


def test_a_workspace_has_a_duckdb_file_unless_the_setting_names_another(tmp_path):
    workspace = Workspace(tmp_path / "w")
    store = pipeline.speed_store(workspace, Settings())
    assert store.url == duckdb_url(workspace.speed)
    store.close()
    other = pipeline.speed_store(workspace, Settings(speed=duckdb_url(tmp_path / "other.duckdb")))
    assert other.url == duckdb_url(tmp_path / "other.duckdb")
    other.close()


def test_the_password_comes_from_the_environment_and_settings_do_not_show_it(tmp_path):
    settings = load_settings(tmp_path / "none.toml", {"NEGAWATT_SPEED_PASSWORD": SECRET})
    assert settings.speed_password == SECRET
    assert SECRET not in repr(settings)


def test_a_password_in_the_settings_file_is_refused_and_not_repeated(tmp_path):
    file = tmp_path / "negawatt.toml"
    file.write_text('speed_password = "Tr0ub4dor"\n')
    with pytest.raises(NegawattError, match="speed_password_file") as told:
        load_settings(file, {})
    assert "Tr0ub4dor" not in str(told.value)
