"""Signers: what they sign is what was asked, and no secret of theirs shows anywhere."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from eth_account import Account
from transaction_desk import a_chain, a_counter, a_node, ask

from domain.errors import ChainError
from serving.outbox import Outbox
from serving.signers import KeystoreSigner, RemoteSigner, Unsigned, check_signed

PASSWORD = "not a secret: made for this test"
CALL = Unsigned(31337, 7, "0x" + "12" * 20, b"\1\2\3", 5, 100_000, 3 * 10**9, 10**9)
ODD = Unsigned(1, 0, None, b"", 0, 21_000, 10**9, 0)
LEGACY = Unsigned(20260, 7, "0x" + "12" * 20, b"", 5, 100_000, 3 * 10**9, None)


@contextmanager
def a_remote_signer(account, *, lie=None, shape=lambda raw: raw, error=None):
    """A signer on the network, by JSON-RPC; ``lie`` changes what it signs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert asked["method"] == "eth_signTransaction"
            fields = {k: v for k, v in asked["params"][0].items() if k not in ("from", "input")}
            signed = account.sign_transaction(fields | (lie or {}))
            answer = {"error": error} if error else {"result": shape("0x" + bytes(signed.raw_transaction).hex())}
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("asked", [CALL, ODD, LEGACY], ids=["call", "creation", "without base fee"])
@pytest.mark.parametrize("shape", [lambda raw: raw, lambda raw: {"raw": raw, "tx": {}}], ids=["bare", "as geth"])
def test_a_remote_signer_signs_what_is_asked(asked, shape):
    account = Account.create()
    with a_remote_signer(account, shape=shape) as url:
        raw = RemoteSigner(url, account.address).sign(asked)
    assert Account.recover_transaction(raw) == account.address
    assert raw == bytes(account.sign_transaction(asked.as_dict()).raw_transaction)


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        ({"to": "0x" + "34" * 20}, "recipient"),
        ({"value": 6}, "value"),
        ({"data": "0x"}, "data"),
        ({"nonce": 8}, "nonce"),
        ({"gas": 99_999}, "gas"),
        ({"chainId": 1}, "chain id"),
        ({"maxFeePerGas": 4 * 10**9}, "max fee"),
        ({"accessList": [{"address": "0x" + "34" * 20, "storageKeys": []}]}, "access list"),
    ],
)
def test_a_signer_that_changes_the_transaction_is_refused(lie, named):
    account = Account.create()
    with (
        a_remote_signer(account, lie=lie) as url,
        pytest.raises(ChainError, match=f"signed another transaction than it was asked to: its {named} differ"),
    ):
        RemoteSigner(url, account.address).sign(CALL)


@pytest.mark.parametrize(("lie", "named"), [({"value": 6}, "its value differ"), ({"chainId": 1}, "another chain")])
def test_a_signer_that_changes_a_transaction_without_base_fee_is_refused(lie, named):
    account = Account.create()
    with a_remote_signer(account, lie=lie) as url, pytest.raises(ChainError, match=named):
        RemoteSigner(url, account.address).sign(LEGACY)


def test_a_signer_with_another_key_is_refused():
    with (
        a_remote_signer(Account.create()) as url,
        pytest.raises(ChainError, match=r"it is signed by 0x\w+, not by 0x"),
    ):
        RemoteSigner(url, Account.create().address).sign(CALL)


@pytest.mark.parametrize("answer", ["0x", "0xzz", "0x02c0", "0x02" + "ff" * 40, 7, None])
def test_a_signer_that_talks_nonsense_is_refused(answer):
    account = Account.create()
    with a_remote_signer(account, shape=lambda raw: answer) as url, pytest.raises(ChainError, match="the signer at"):
        RemoteSigner(url, account.address).sign(CALL)


def test_a_signer_that_refuses_is_quoted():
    account = Account.create()
    with (
        a_remote_signer(account, error={"code": -32000, "message": "not at this hour"}) as url,
        pytest.raises(ChainError, match=r"did not sign for 0x.*: not at this hour"),
    ):
        RemoteSigner(url, account.address).sign(CALL)


def test_a_signer_that_is_away_is_named():
    with pytest.raises(ChainError, match=r"the signer at http://127\.0\.0\.1:1 gave no answer"):
        RemoteSigner("http://127.0.0.1:1", Account.create().address).sign(CALL)


def test_a_remote_signer_needs_its_account():
    with pytest.raises(ChainError, match="operator '' is no address"):
        RemoteSigner("http://127.0.0.1:1", "")


def test_bytes_after_a_signed_transaction_are_refused():
    account = Account.create()
    raw = bytes(account.sign_transaction(CALL.as_dict()).raw_transaction)
    check_signed(raw, CALL, account.address)
    for wrong in (raw + b"\0", raw[:-1], raw[1:], b"\1" + raw[1:]):
        with pytest.raises(ChainError):
            check_signed(wrong, CALL, account.address)


@pytest.mark.stack
def test_a_lying_signer_sends_nothing_and_uses_no_nonce(tmp_path):
    account, box = Account.create(), tmp_path / "outbox.sqlite"
    with a_node() as node:
        ask(node, "anvil_setBalance", account.address, hex(10**20))
        with a_remote_signer(account) as url:
            chain = a_chain(node, box, signer=RemoteSigner(url, account.address))
            counter = a_counter(chain, node)
            chain.send("count", counter.count(1))
        with a_remote_signer(account, lie={"to": "0x" + "34" * 20}) as url:
            lied_to = a_chain(node, box, signer=RemoteSigner(url, account.address))
            with pytest.raises(ChainError, match="recipient"):
                lied_to.send("count", counter.count(1))
        assert [row.nonce for row in Outbox.at("", box).rows()] == [0, 1]
        with a_remote_signer(account) as url:
            a_chain(node, box, signer=RemoteSigner(url, account.address)).send("count", counter.count(1))
        assert counter.total() == 2


@pytest.mark.stack
def test_no_key_and_no_password_is_ever_written(tmp_path):
    account, box = Account.create(), tmp_path / "outbox.sqlite"
    keystore, password = tmp_path / "operator.json", tmp_path / "password"
    keystore.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, iterations=2)))
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    with a_node() as node:
        ask(node, "anvil_setBalance", account.address, hex(10**20))
        chain = a_chain(node, box, signer=KeystoreSigner(keystore, password))
        a_counter(chain, node)
    written = b"".join(path.read_bytes() for path in tmp_path.glob("outbox.sqlite*"))
    assert account.address[2:].lower().encode() in written.lower()
    for secret in (bytes(account.key), account.key.hex().encode(), PASSWORD.encode()):
        assert secret not in written
