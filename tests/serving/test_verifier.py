"""The independent verifier agrees with an honest settlement and catches every lie we could think of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chain_desk import a_desk

from domain.certificates import canonical
from domain.errors import VerificationError
from serving.chain import Chain
from serving.deployment import attach
from serving.verifier import require, verify

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    with a_desk(tmp_path_factory.mktemp("desk")) as desk:
        desk.settle(desk.chain())
        yield desk.certificates.published(), attach(Chain(desk.url, reader=True), desk.book)


def failed(published: bytes, contracts, event: str = "e1") -> set[str]:
    return {check.name for check in verify(published, contracts, event) if not check.holds}


def changed(published: bytes, line: int, **values) -> bytes:
    """The file with some values of one line changed, in canonical form again."""
    lines = published.splitlines()
    lines[line] = canonical(json.loads(lines[line]) | values)
    return b"\n".join(lines) + b"\n"


def test_an_honest_settlement_holds(settled):
    assert failed(*settled) == set()


@pytest.mark.parametrize(
    ("lie", "caught_by"),
    [
        ({"payment": 10**6}, "payments follow from reductions and the programme's rates"),
        ({"total_reduction_wh": 999}, "baseline less usage is the reduction"),
        ({"baseline_wh": [900, 900]}, "baseline less usage is the reduction"),
        ({"wallet": "0x" + "77" * 20}, "each payment made once, to the right wallet, in the right amount"),
        ({"wallet": "0x" + "77" * 20}, "resource registered to the wallet that is paid"),
        ({"contracted_w": 5000}, "resource registered to the wallet that is paid"),
        ({"status": "not-certified"}, "nothing is paid without a certificate"),
        ({"index": 7}, "index in place"),
        ({"baseline_days": []}, "Merkle root of the certificates"),
        ({"findings": []}, "hash of the published file"),
    ],
)
def test_a_changed_certificate_is_caught(settled, lie, caught_by):
    published, contracts = settled
    lie = lie if "findings" not in lie else {"findings": [{"code": "x", "sentence": "y", "values": {}}]}
    found = failed(changed(published, 3, **lie), contracts)
    assert caught_by in found
    assert "Merkle root of the certificates" in found


def test_a_cheaper_rate_in_the_header_is_caught(settled):
    published, contracts = settled
    header = json.loads(published.splitlines()[0])
    header["programme"]["terms"]["payment"]["rate_per_kwh"] = "1"
    found = failed(changed(published, 0, programme=header["programme"]), contracts)
    assert {"hash of the programme's rules", "payments follow from reductions and the programme's rates"} <= found


def test_a_certificate_left_out_is_caught(settled):
    published, contracts = settled
    lines = published.splitlines()
    found = failed(b"\n".join(lines[:-1]) + b"\n", contracts)
    assert {"number of certificates on chain", "total payment on chain"} <= found


def test_another_event_than_the_one_asked_for_is_caught(settled):
    published, contracts = settled
    assert "event" in failed(published, contracts, "e2")


def test_a_file_of_something_else_is_said_to_be_none(settled):
    with pytest.raises(VerificationError, match="no certificate file"):
        verify(b"hello\n", settled[1], "e1")


def test_a_failed_check_is_an_error_that_names_it(settled):
    published, contracts = settled
    checks = verify(changed(published, 3, payment=1), contracts, "e1")
    with pytest.raises(VerificationError, match="Merkle root of the certificates"):
        require(checks, "e1")


def test_the_verifier_imports_no_rules_but_hashing():
    source = Path(verify.__code__.co_filename).read_text()
    imported = {line.split()[1] for line in source.splitlines() if line.startswith("from domain")}
    assert imported == {"domain.errors", "domain.merkle"}
    assert "settlement" not in {line.split()[1] for line in source.splitlines() if line.startswith("from serving")}
