"""The stand-in as a server, asked by the vendor's client over its own protocol."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import threading
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from heavydb_desk import a_heavydb, given_heavydb
from terminal import Terminal

heavyai = pytest.importorskip("heavyai", reason="needs the extra heavydb")
from heavydb.exceptions import Error, ProgrammingError  # noqa: E402
from heavydb.thrift.ttypes import TArrowTransport, TDBException  # noqa: E402

from infra.daemons import ServiceError, wait_until  # noqa: E402
from infra.heavydb_server import HeavyDBServer  # noqa: E402
from negawatt.stack_services import speed_address  # noqa: E402
from negawatt.workspace import Workspace  # noqa: E402

pytestmark = pytest.mark.stack
OURS_ALONE = pytest.mark.skipif(bool(given_heavydb()), reason="of the stand-in, and HEAVYDB_URL names another server")
READINGS = (
    "(meter INTEGER, ts TIMESTAMP(0) ENCODING FIXED(32), wh INTEGER, quality TINYINT, revision SMALLINT, n TINYINT)"
)


@pytest.fixture
def connect(heavydb):
    """Connections of the vendor's client, closed at the end."""
    opened = []

    def one():
        opened.append(heavyai.connect(uri=heavydb))
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()


@pytest.fixture
def table(connect, request):
    """Name of a table of the test's own, dropped at the end."""
    name = "t_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[:50]
    connect().execute(f"DROP TABLE IF EXISTS {name}")
    yield name
    connect().execute(f"DROP TABLE IF EXISTS {name}")


def some_readings(count: int, first_ts: int = 1_750_000_000) -> pa.Table:
    """Five-minute readings of a thousand meters."""
    numbers = np.arange(count)
    return pa.table(
        {
            "meter": (numbers % 1000).astype(np.int32),
            "ts": pa.array(first_ts + 300 * (numbers // 1000)).cast(pa.timestamp("s")),
            "wh": (numbers % 997).astype(np.int32),
            "quality": np.zeros(count, np.int8),
            "revision": np.zeros(count, np.int16),
            "n": np.ones(count, np.int8),
        }
    )


def test_a_million_readings_load_and_add_up(connect, table):
    con = connect()
    con.execute(f"CREATE TABLE {table} {READINGS}")
    rows = some_readings(1_000_000)
    con.load_table_arrow(table, rows)
    whole = 997 * 996 // 2 * (1_000_000 // 997) + sum(range(1_000_000 % 997))
    assert con.execute(f"SELECT COUNT(*), SUM(wh), MAX(meter) FROM {table}").fetchall() == [(1_000_000, whole, 999)]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the vendor's client's own
def test_every_way_of_loading_brings_the_same_rows(connect, table):
    con = connect()
    con.execute(f"CREATE TABLE {table} (meter INTEGER, wh INTEGER, share DOUBLE, zone TEXT ENCODING DICT(8))")
    frame = pd.DataFrame(
        {
            "meter": np.arange(3, dtype=np.int32),
            "wh": np.array([5, -7, 0], np.int32),
            "share": [0.5, 0.25, 1.0],
            "zone": ["A", "B", "A"],
        }
    )
    wanted = [(0, 5, 0.5, "A"), (1, -7, 0.25, "B"), (2, 0, 1.0, "A")]
    loads = [
        lambda: con.load_table_arrow(table, frame),
        lambda: con.load_table_arrow(table, pa.Table.from_pandas(frame)),
        lambda: con.load_table_arrow(table, frame[["zone", "share", "wh", "meter"]], load_column_names=["given"]),
        lambda: con.load_table_columnar(table, frame),
        lambda: con.load_table_rowwise(table, list(frame.itertuples(index=False, name=None))),
        lambda: con.load_table(table, list(frame.itertuples(index=False, name=None)), method="rows", create=False),
        lambda: con.cursor().executemany(
            f"INSERT INTO {table} VALUES (:a, :b, :c, :d)", [dict(zip("abcd", row, strict=True)) for row in wanted]
        ),
    ]
    for load in loads:
        load()
        assert con.execute(f"SELECT * FROM {table} ORDER BY meter").fetchall() == wanted
        con.execute(f"TRUNCATE TABLE {table}")


def test_nulls_and_times_go_in_and_come_out(connect, table):
    con = connect()
    con.execute(f"CREATE TABLE {table} (a INTEGER, at_ TIMESTAMP(0), day_ DATE, ok BOOLEAN, name TEXT)")
    at = datetime(2026, 7, 1, 13, 55)
    con.load_table_arrow(
        table,
        pa.table(
            {
                "a": pa.array([1, None], pa.int32()),
                "at": pa.array([at, None], pa.timestamp("ns")),  # as pandas has them
                "day": pa.array([at.date(), None], pa.date32()),
                "ok": pa.array([True, None]),
                "name": pa.array(["x", None]).dictionary_encode(),
            }
        ),
    )
    assert con.execute(f"SELECT * FROM {table} ORDER BY a").fetchall() == [
        (1, at, at.date(), 1, "x"),
        (None, None, None, None, None),
    ]


@pytest.mark.parametrize("how", [TArrowTransport.WIRE, TArrowTransport.SHARED_MEMORY], ids=["wire", "shared memory"])
def test_results_come_as_a_frame(connect, table, how):
    con = connect()
    con.execute(f"CREATE TABLE {table} {READINGS}")
    con.load_table_arrow(table, some_readings(100_000))
    frame = con.select_ipc(f"SELECT meter, ts, wh FROM {table}", transport_method=how)
    assert frame.shape == (100_000, 3)
    assert frame.wh.sum() == (np.arange(100_000) % 997).sum()
    assert frame.ts.max() == pd.Timestamp(1_750_000_000 + 300 * 99, unit="s")
    limited = con.select_ipc(f"SELECT meter FROM {table} WHERE meter < :m", parameters={"m": 3}, first_n=5)
    assert len(limited) == 5


@OURS_ALONE
def test_shared_memory_is_given_back_when_its_client_leaves(heavydb):
    con = heavyai.connect(uri=heavydb)
    con.select_ipc("SELECT 1", transport_method=TArrowTransport.SHARED_MEMORY, release_memory=False)
    (key,) = struct.unpack("<L", con._tdf.df_handle)

    def is_held():
        with open("/proc/sysvipc/shm") as listed:
            return any(line.split()[0] == str(key) for line in listed)

    assert is_held()
    con.close()
    assert wait_until(lambda: not is_held(), 10)


def test_a_table_is_made_from_a_frame_and_described(connect, table):
    con = connect()
    frame = pd.DataFrame({"meter": np.arange(3, dtype=np.int32), "zone": ["A", "B", "A"], "share": [0.5, 1.5, 2.5]})
    con.load_table(table, frame)
    assert table in con.get_tables()
    described = [(c.name, c.type, c.encoding, c.comp_param) for c in con.get_column_details(table)]
    assert described == [("meter", "INT", "NONE", 0), ("zone", "STR", "DICT", 32), ("share", "DOUBLE", "NONE", 0)]
    assert con.get_table_details(table).fragment_size == 32_000_000


def test_statements_take_parameters(connect, table):
    con = connect()
    con.execute(f"CREATE TABLE {table} (name TEXT, wh INTEGER)")
    con.execute(f"INSERT INTO {table} VALUES (:name, :wh)", {"name": "O'Hara", "wh": 7})
    cursor = con.cursor()
    cursor.execute(f"SELECT wh FROM {table} WHERE name = :name", {"name": "O'Hara"})
    assert (cursor.fetchone(), cursor.fetchone(), cursor.rowcount) == ((7,), None, 1)


def test_errors_have_the_client_s_classes_and_the_connection_lives_on(connect):
    con = connect()
    with pytest.raises(ProgrammingError, match="nosuch"):
        con.execute("SELECT nosuch")
    with pytest.raises(Error, match=r"[Dd]ivision by zero") as divided:
        con.execute("SELECT 1 / 0")
    assert not isinstance(divided.value, ProgrammingError)
    with pytest.raises(TDBException):
        con.load_table_arrow("no_such_table", some_readings(1))
    assert con.execute("SELECT 1").fetchall() == [(1,)]


@OURS_ALONE
def test_calls_that_are_not_supported_say_so_and_the_connection_lives_on(connect):
    con = connect()
    with pytest.raises(TDBException, match="stand-in for HeavyDB doesn't support the call get_dashboards"):
        con.get_dashboards()
    with pytest.raises(TDBException, match="doesn't support the call render_vega"):
        con.render_vega("{}")
    assert con.execute("SELECT 1").fetchall() == [(1,)]


@OURS_ALONE
def test_what_is_no_thrift_ends_its_own_connection_alone(heavydb, connect):
    con = connect()
    port = int(heavydb.rpartition(":")[2].partition("/")[0])
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x80\x01\x00\x01\x7f\xff\xff\xff", b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(20)
            while stranger.recv(4096):
                pass
    assert con.execute("SELECT 1").fetchall() == [(1,)]


@OURS_ALONE
def test_a_bad_load_leaves_no_row(connect, table):
    con = connect()
    con.execute(f"CREATE TABLE {table} {READINGS}")
    rows = some_readings(200_000)
    late = rows.set_column(1, "ts", pa.array([1_750_000_000] * 199_999 + [2**31]).cast(pa.timestamp("s")))
    for bad in (late, rows.drop_columns(["n"]), rows.set_column(2, "wh", pa.array(["x"] * 200_000))):
        with pytest.raises(TDBException):
            con.load_table_arrow(table, bad)
    assert con.execute(f"SELECT COUNT(*) FROM {table}").fetchall() == [(0,)]


@OURS_ALONE
def test_a_wrong_password_is_refused(heavydb):
    user, _, rest = heavydb.partition("@")
    with pytest.raises(Error, match="Authentication failure"):
        heavyai.connect(uri=f"{user.rpartition(':')[0]}:wrong@{rest}")


@OURS_ALONE
def test_many_clients_load_and_ask_while_tables_come_and_go(connect, heavydb, table):
    connect().execute(f"CREATE TABLE {table} {READINGS}")
    rows, clients, rounds = some_readings(5_000), 6, 8
    total = int(np.asarray(rows["wh"]).sum())
    problems = []

    def work(number):
        try:
            with heavyai.connect(uri=heavydb) as con:
                for turn in range(rounds):
                    con.load_table_arrow(table, rows)
                    (counted, summed), = con.execute(f"SELECT COUNT(*), SUM(wh) FROM {table}").fetchall()  # fmt: skip
                    assert counted % 5_000 == 0
                    assert summed == counted // 5_000 * total
                    con.execute(f"CREATE TABLE {table}_{number} AS SELECT meter FROM {table} LIMIT 10")
                    con.execute(f"ALTER TABLE {table}_{number} ADD COLUMN c{turn} SMALLINT")
                    con.execute(f"DROP TABLE {table}_{number}")
        except Exception as problem:  # shown below, in the thread that pytest sees
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    counted = connect().execute(f"SELECT COUNT(*), SUM(n) FROM {table}").fetchall()
    assert counted == [(clients * rounds * 5_000,) * 2]


# --- the program ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """A server of the test's own."""
    with a_heavydb(tmp_path / "heavydb") as server:
        yield server


def test_what_was_loaded_survives_a_kill(own):
    con = heavyai.connect(uri=own.client_url)
    con.execute(f"CREATE TABLE t {READINGS}")
    con.load_table_arrow("t", some_readings(50_000))
    con.execute("CREATE VIEW v AS SELECT SUM(wh) AS s FROM t")
    before = con.execute("SELECT s FROM v").fetchall()
    loading = threading.Thread(target=_load_until_gone, args=(own.client_url,))
    loading.start()
    assert wait_until(lambda: con.execute("SELECT COUNT(*) FROM t").fetchone()[0] > 50_000, 30)
    assert own.kill()
    loading.join()
    con._closed = 1  # it needs no farewell
    assert own.up() == ["heavydb"]
    con = heavyai.connect(uri=own.client_url)
    ((counted, of_first),) = con.execute("SELECT COUNT(*), SUM(CASE WHEN n = 1 THEN wh ELSE 0 END) FROM t").fetchall()
    assert counted % 50_000 == 0  # each later load is there whole, or not at all
    assert [(of_first,)] == before
    con.close()


def _load_until_gone(url):
    more = some_readings(50_000).set_column(5, "n", pa.array(np.zeros(50_000, np.int8)))
    con = heavyai.connect(uri=url)
    try:
        while True:
            con.load_table_arrow("t", more)
    except Exception:  # the server was killed
        con._closed = 1


def test_the_password_is_in_a_private_file_and_nowhere_else(own):
    assert stat.S_IMODE(own.password_file.stat().st_mode) == 0o600
    assert len(own.password) >= 24
    with open(f"/proc/{own.pid}/cmdline", "rb") as words, open(f"/proc/{own.pid}/environ", "rb") as given:
        assert own.password.encode() not in words.read() + given.read()
    log = own.log.read_text()
    assert own.password not in log
    assert "stand-in" in log
    assert own.password not in own.url


def test_it_listens_on_loopback_alone(own):
    wanted = f":{own.port:04X}"
    with open("/proc/net/tcp") as table:
        listening = [
            line.split()[1] for line in table if line.split()[3] == "0A" and line.split()[1].endswith(wanted)
        ]
    assert listening == [f"0100007F{wanted}"]


def test_a_folder_has_one_server_at_a_time_and_a_taken_port_is_told(own, tmp_path):
    assert own.up() == []
    other = HeavyDBServer.create(tmp_path / "other", port=own.port)
    with pytest.raises(ServiceError, match=f"port {own.port} of heavydb is taken"):
        other.up()
    with pytest.raises(ServiceError, match="exists"):
        HeavyDBServer.create(own.folder)
    with pytest.raises(ServiceError, match="can't change"):
        own.changed(memory_mib=99)


def test_it_ends_when_it_is_asked_to_and_leaves_a_whole_file(own):
    with heavyai.connect(uri=own.client_url) as con:
        con.execute("CREATE TABLE t (a INTEGER)")
    os.kill(own.pid, signal.SIGTERM)
    assert wait_until(lambda: own.pid is None, 20)
    assert not (own.folder / "data.duckdb.wal").exists()


def test_a_result_that_is_too_large_is_refused_and_memory_stays_bounded(own):
    con = heavyai.connect(uri=own.client_url)
    con.execute("CREATE TABLE t (a BIGINT)")
    con.load_table_arrow("t", pa.table({"a": np.arange(100_000)}))
    pairs = "SELECT x.a, y.a FROM t x, t y"  # 160 GB
    with pytest.raises(TDBException, match="larger than 1024 MiB"):
        con.select_ipc(pairs)
    with pytest.raises(Error, match="more than 10,000,000 values"):
        con.execute(pairs)
    assert con.execute("SELECT COUNT(*) FROM t").fetchall() == [(100_000,)]
    con.close()


def test_the_stack_starts_shows_and_erases_it(tmp_path):
    def run(*words):
        return Terminal(tmp_path).json("stack", *words)["heavydb"]

    try:
        made = run("up", "heavydb", "--heavydb-memory", "300")
        assert (made["state"], made["made"], made["started"]) == ("running", True, ["heavydb"])
        assert made["answer_ms"] is not None
        with heavyai.connect(uri=speed_address(Workspace(tmp_path))) as con:
            assert con.execute("SELECT 1").fetchall() == [(1,)]
        assert "stand-in" in "\n".join(run("logs", "heavydb")["heavydb"]["lines"])
        assert run("down", "heavydb") == {"stopped": ["heavydb"], "erased": False}
        assert run("status", "heavydb")["state"] == "stopped"
    finally:
        run("reset", "heavydb", "--yes")
    assert not (tmp_path / "stack" / "heavydb").exists()
