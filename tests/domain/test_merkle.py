"""The tree against a verifier of its own: recursion instead of levels, and another Keccak."""

from __future__ import annotations

import json

import pytest
from Crypto.Hash import keccak as crypto_keccak
from domain_builders import ROOT

from domain.merkle import MAX_PAYMENT, Leaf, MerkleTree, event_key, pair_hash

VECTORS = ROOT / "contracts" / "test" / "vectors" / "merkle.json"


def keccak(data: bytes) -> bytes:
    return crypto_keccak.new(digest_bits=256, data=data).digest()


def join(a: bytes, b: bytes) -> bytes:
    return keccak(min(a, b) + max(a, b))


def root_over(leaves: list[bytes]) -> bytes:
    """Split at the greatest power of two below the number of leaves: the left half of a tree is always full."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return join(root_over(leaves[:split]), root_over(leaves[split:]))


def fold(node: bytes, proof: list[bytes]) -> bytes:
    for sibling in proof:
        node = join(node, sibling)
    return node


def hashes(count: int) -> list[bytes]:
    return [keccak(f"leaf {count}/{n}".encode()) for n in range(count)]


def a_leaf(**fields: object) -> Leaf:
    plain = {
        "event": event_key("e1"),
        "index": 0,
        "resource": b"r" * 32,
        "wallet": b"w" * 20,
        "reduction_wh": 350,
        "payment": 45_500,
        "certificate_hash": b"c" * 32,
    }
    return Leaf(**(plain | fields))  # type: ignore[arg-type]


def test_keccak_is_ethereums_and_not_sha3():
    # Keccak-256 of nothing, as every Ethereum client knows it.
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert event_key("") == keccak(b"")


@pytest.mark.parametrize("count", range(1, 41))
def test_every_node_of_every_level_proves_its_leaves(count):
    leaves = hashes(count)
    tree = MerkleTree(leaves)
    assert tree.root == root_over(leaves)
    level = 0
    while 2**level < 2 * count:
        for node in range(-(-count // 2**level)):
            covered = leaves[node * 2**level : (node + 1) * 2**level]
            assert fold(root_over(covered), tree.proof(node, level)) == tree.root
        level += 1


@pytest.mark.parametrize("count", [2, 5, 13, 40])
def test_a_proof_proves_no_other_leaf(count):
    leaves = hashes(count)
    tree = MerkleTree(leaves)
    for node in range(count):
        proof = tree.proof(node)
        assert fold(keccak(leaves[node]), proof) != tree.root
        assert fold(leaves[node], [*proof[:-1], keccak(proof[-1])]) != tree.root
        assert fold(leaves[node], proof[:-1]) != tree.root


@pytest.mark.parametrize("count", [3, 8, 40])
def test_any_changed_leaf_changes_the_root(count):
    leaves = hashes(count)
    root = MerkleTree(leaves).root
    for node in range(count):
        assert MerkleTree([*leaves[:node], bytes(32), *leaves[node + 1 :]]).root != root


def test_a_tree_leaves_its_leaves_alone():
    leaves = hashes(5)
    MerkleTree(leaves)
    assert leaves == hashes(5)


def test_a_tree_without_leaves_is_refused():
    with pytest.raises(ValueError, match="at least one leaf"):
        MerkleTree([])


def test_the_children_of_a_pair_have_no_order():
    a, b = hashes(2)
    assert pair_hash(a, b) == pair_hash(b, a) == join(a, b)


def test_a_leaf_is_four_words_hashed_twice():
    # Each number 32 bytes, big end first; 45,500 = 0xb1bc in 12 bytes after the wallet, 350 = 0x15e in a word.
    payee = b"w" * 20 + bytes(10) + b"\xb1\xbc"
    detail = keccak(b"r" * 32 + bytes(30) + b"\x01\x5e" + b"c" * 32)
    data = keccak(b"e1") + bytes(31) + b"\x05" + payee + detail
    assert a_leaf(index=5).hash() == keccak(keccak(data))


def test_a_payment_has_twelve_bytes():
    assert a_leaf(payment=MAX_PAYMENT).payee == b"w" * 20 + b"\xff" * 12
    with pytest.raises(OverflowError):
        a_leaf(payment=MAX_PAYMENT + 1).hash()


def test_a_leaf_depends_on_every_field():
    changes = [
        {"event": event_key("e2")},
        {"index": 1},
        {"resource": b"s" * 32},
        {"wallet": b"x" * 20},
        {"reduction_wh": 351},
        {"payment": 45_501},
        {"certificate_hash": b"d" * 32},
    ]
    assert len({a_leaf(**change).hash() for change in [{}, *changes]}) == 8


@pytest.mark.parametrize("field", ["event", "resource", "wallet", "certificate_hash"])
@pytest.mark.parametrize("length", [0, 19, 21, 31, 33])
def test_a_field_of_the_wrong_length_is_refused(field, length):
    with pytest.raises(ValueError, match="leaf 0"):
        a_leaf(**{field: bytes(length)}).hash()


@pytest.mark.parametrize("field", ["index", "reduction_wh", "payment"])
def test_a_negative_number_has_no_leaf(field):
    with pytest.raises(OverflowError):
        a_leaf(**{field: -1}).hash()


def vector_trees() -> list[dict]:
    return json.loads(VECTORS.read_text("utf-8"))["trees"] if VECTORS.exists() else []


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def leaf_of_vector(tree: dict, row: dict) -> Leaf:
    return Leaf(
        unhex(tree["eventId"]),
        row["index"],
        unhex(row["resource"]),
        unhex(row["wallet"]),
        int(row["reductionWh"]),
        int(row["payment"]),
        unhex(row["certificateHash"]),
    )


def leaves_by_recipe(count: int) -> list[Leaf]:
    """The leaves of a tree in the vectors, as its ``about`` describes them."""
    rows = []
    for n in range(count):
        reduction_wh = 0 if n % 7 == 3 else (137 * n + count) % 4000
        payment = 250_000_000_000_000 * reduction_wh
        if count == 1:
            reduction_wh, payment = 2**128 - 1, MAX_PAYMENT
        texts = (f"{what} {count}/{n}".encode() for what in ("resource", "wallet", "certificate"))
        resource, wallet, certificate = (keccak(text) for text in texts)
        rows.append(Leaf(event_key(f"event {count}"), n, resource, wallet[-20:], reduction_wh, payment, certificate))
    return rows


@pytest.mark.skipif(not VECTORS.exists(), reason="the contracts' test vectors are not there")
class TestVectorsSharedWithTheContracts:
    @pytest.mark.parametrize("tree", vector_trees(), ids=lambda tree: f"{tree['count']} leaves")
    def test_roots_and_totals_agree(self, tree):
        leaves = leaves_by_recipe(tree["count"])
        assert leaves[0].event == unhex(tree["eventId"])
        assert MerkleTree([leaf.hash() for leaf in leaves]).root == unhex(tree["root"])
        assert sum(leaf.reduction_wh for leaf in leaves) == int(tree["totalReductionWh"])
        assert sum(leaf.payment for leaf in leaves) == int(tree["totalPayment"])

    @pytest.mark.parametrize(
        "tree", [t for t in vector_trees() if "leaves" in t], ids=lambda tree: f"{tree['count']} leaves"
    )
    def test_leaves_and_proofs_agree(self, tree):
        leaves = [leaf_of_vector(tree, row) for row in tree["leaves"]]
        assert leaves == leaves_by_recipe(tree["count"])
        built = MerkleTree([leaf.hash() for leaf in leaves])
        for leaf, row in zip(leaves, tree["leaves"], strict=True):
            assert leaf.hash() == unhex(row["hash"])
            assert built.proof(leaf.index) == [unhex(sibling) for sibling in row["proof"]]
        for node in tree["nodes"]:
            proof = built.proof(node["chunk"], node["level"])
            assert proof == [unhex(sibling) for sibling in node["proof"]]
            assert fold(unhex(node["hash"]), proof) == built.root
