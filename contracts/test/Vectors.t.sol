// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice The contract agrees with trees built by an independent script; see scripts/merkle-vectors.js.
contract VectorsTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for PaymentTree.Leaf;
    using PaymentTree for PaymentTree.Leaf[];

    string private json;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("test/vectors/merkle.json");
    }

    function hashAt(string memory at, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(at, field));
    }

    function numberAt(string memory at, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(at, field));
    }

    /// @dev Read a leaf from the file.
    function readLeaf(string memory at) private view returns (PaymentTree.Leaf memory leaf) {
        leaf.resource = hashAt(at, ".resource");
        leaf.wallet = vm.parseJsonAddress(json, string.concat(at, ".wallet"));
        leaf.reductionWh = uint128(numberAt(at, ".reductionWh"));
        leaf.payment = uint96(numberAt(at, ".payment"));
        leaf.certificateHash = hashAt(at, ".certificateHash");
    }

    /// @dev Make a leaf after the formula that the file states.
    function makeLeaf(uint256 count, uint256 index) private pure returns (PaymentTree.Leaf memory leaf) {
        string memory name = string.concat(vm.toString(count), "/", vm.toString(index));
        leaf.resource = keccak256(bytes(string.concat("resource ", name)));
        leaf.wallet = named(string.concat("wallet ", name));
        leaf.reductionWh = index % 7 == 3 ? 0 : uint128((index * 137 + count) % 4000);
        leaf.payment = uint96(leaf.reductionWh * 250_000_000_000_000);
        if (count == 1) (leaf.reductionWh, leaf.payment) = (type(uint128).max, type(uint96).max);
        leaf.certificateHash = keccak256(bytes(string.concat("certificate ", name)));
    }

    /// @dev Run one event per tree of the file up to its payable second, with the root of the file. As many homes
    ///      take part as the tree has leaves; which, no payment asks.
    function finalTree(string memory at) private returns (bytes32 eventId, PaymentTree.Leaf[] memory leaves) {
        uint256 count = numberAt(at, ".count");
        eventId = hashAt(at, ".eventId");
        leaves = new PaymentTree.Leaf[](count);
        for (uint256 i; i < count; ++i) {
            leaves[i] = makeLeaf(count, i);
        }
        vm.warp(NOW);
        if (registry.resourceCount() < count) registerUpTo(count);
        endedEvent(eventId, count);
        vm.startPrank(certifier);
        dr.certify(
            eventId,
            hashAt(at, ".root"),
            uint32(count),
            uint128(numberAt(at, ".totalReductionWh")),
            uint96(numberAt(at, ".totalPayment")),
            PUBLISHED
        );
        vm.stopPrank();
        vm.warp(FINAL);
        dr.finalise(eventId);
    }

    function pathOf(uint256 tree) private pure returns (string memory) {
        return string.concat(".trees[", vm.toString(tree), "]");
    }

    function test_theFileHoldsTheTreesThatMatter() public view {
        uint256[7] memory sizes = [uint256(1), 2, 3, 5, 8, 13, 300];
        for (uint256 t; t < sizes.length; ++t) {
            checkEq(numberAt(pathOf(t), ".count"), sizes[t], "count");
        }
        check(!vm.keyExistsJson(json, pathOf(sizes.length)), "no further tree");
    }

    function test_everyLeafOfTheFileHasItsHashAndItsProof() public {
        for (uint256 t; t < 6; ++t) {
            (bytes32 eventId, PaymentTree.Leaf[] memory leaves) = finalTree(pathOf(t));
            for (uint256 i; i < leaves.length; ++i) {
                string memory at = string.concat(pathOf(t), ".leaves[", vm.toString(i), "]");
                PaymentTree.Leaf memory leaf = readLeaf(at);
                checkEq(keccak256(abi.encode(leaf)), keccak256(abi.encode(leaves[i])), "leaf and formula");
                checkEq(leaf.payeeOf(), hashAt(at, ".payee"), "payee");
                checkEq(leaf.detailOf(), hashAt(at, ".detail"), "detail");
                checkEq(PaymentTree.hashOf(eventId, i, leaf), hashAt(at, ".hash"), "hash of a leaf");
                DemandResponse.Row memory row =
                    DemandResponse.Row(hashAt(at, ".payee"), hashAt(at, ".detail"));
                dr.claim(eventId, uint32(i), row, vm.parseJsonBytes32Array(json, string.concat(at, ".proof")));
            }
            checkState(eventId, DemandResponse.State.Paid);
        }
    }

    function test_everyNodeOfTheFileHasItsHashAndItsProof() public {
        for (uint256 t = 1; t < 6; ++t) {
            (bytes32 eventId, PaymentTree.Leaf[] memory leaves) = finalTree(pathOf(t));
            PaymentTree.Tree memory tree = PaymentTree.build(eventId, leaves);
            for (
                uint256 n;
                vm.keyExistsJson(json, string.concat(pathOf(t), ".nodes[", vm.toString(n), "]"));
                ++n
            ) {
                string memory at = string.concat(pathOf(t), ".nodes[", vm.toString(n), "]");
                uint256 level = numberAt(at, ".level");
                uint256 chunk = numberAt(at, ".chunk");
                bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(at, ".proof"));
                checkEq(tree.levels[level][chunk], hashAt(at, ".hash"), "hash of a node");
                checkEq(
                    keccak256(abi.encode(tree.proof(level, chunk))), keccak256(abi.encode(proof)), "proof"
                );
                if (level == 1) dr.payBatch(eventId, uint32(chunk), 1, leaves.slice(1, chunk), proof);
            }
            checkState(eventId, DemandResponse.State.Paid);
        }
    }

    function test_theTreeOf300HasItsRoot() public {
        (bytes32 eventId, PaymentTree.Leaf[] memory leaves) = finalTree(pathOf(6));
        PaymentTree.Tree memory tree = PaymentTree.build(eventId, leaves);
        checkEq(tree.root(), dr.eventOf(eventId).commitment, "root");
        dr.creditBatch(eventId, 0, 8, leaves.slice(8, 0), tree.proof(8, 0));
        dr.payBatch(eventId, 1, 8, leaves.slice(8, 1), tree.proof(8, 1));
        checkState(eventId, DemandResponse.State.Paid);
    }
}

/// @notice The contracts accept messages signed by an independent script; see scripts/eip712-vectors.js.
contract SignatureVectorsTest is Fixture {
    uint256 private constant MESSAGES = 8;

    string private json;
    bytes32 private resource;
    bytes32 private eventId;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("test/vectors/eip712.json");
    }

    function pathOf(uint256 number) private pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(number), "]");
    }

    function hashAt(uint256 number, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(pathOf(number), field));
    }

    function numberAt(uint256 number, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(pathOf(number), field));
    }

    function addressAt(uint256 number, string memory field) private view returns (address) {
        return vm.parseJsonAddress(json, string.concat(pathOf(number), field));
    }

    function textAt(uint256 number, string memory field) private view returns (string memory) {
        return vm.parseJsonString(json, string.concat(pathOf(number), field));
    }

    function signatureAt(uint256 number) private view returns (bytes memory) {
        return vm.parseJsonBytes(json, string.concat(pathOf(number), ".signature"));
    }

    /// @dev Run a constructor at an address of choice: its storage and immutables are those of that address.
    function deployAt(address target, bytes memory creation) private {
        vm.etch(target, creation);
        (bool done, bytes memory runtime) = target.call("");
        check(done, "deployment");
        vm.etch(target, runtime);
    }

    /// @dev The two contracts at the addresses that the vectors name, on their chain, at a time when they count.
    function deployFor(uint256 first) private {
        vm.chainId(numberAt(first, ".domain.chainId"));
        address target = addressAt(first, ".domain.verifyingContract");
        deployAt(target, abi.encodePacked(type(ResourceRegistry).creationCode, abi.encode(admin)));
        registry = ResourceRegistry(target);
        target = addressAt(first + 1, ".domain.verifyingContract");
        deployAt(
            target, abi.encodePacked(type(DemandResponse).creationCode, abi.encode(registry, coin, admin))
        );
        dr = DemandResponse(target);
        bytes32 role = registry.REGISTRAR_ROLE();
        vm.prank(admin);
        registry.grantRole(role, registrar);
        grantRoles(dr);
        resource = hashAt(first, ".message.resource");
        eventId = hashAt(first + 1, ".message.eventId");
    }

    function consentAt(uint256 number) private view returns (ResourceRegistry.Consent memory) {
        return ResourceRegistry.Consent({
            resource: hashAt(number, ".message.resource"),
            owner: addressAt(number, ".message.owner"),
            contractedW: uint32(numberAt(number, ".message.contractedW")),
            standing: vm.parseJsonBool(json, string.concat(pathOf(number), ".message.standing")),
            deadline: numberAt(number, ".message.deadline"),
            signature: signatureAt(number)
        });
    }

    function choose(uint256 number) private {
        bool takesPart = vm.parseJsonBool(json, string.concat(pathOf(number), ".message.takesPart"));
        checkEq(dr.nonces(addressAt(number, ".signer")), numberAt(number, ".message.nonce"), "nonce");
        dr.choose(
            eventId,
            only(
                DemandResponse.Choice(
                    resource, takesPart, numberAt(number, ".message.deadline"), signatureAt(number)
                )
            )
        );
        check(dr.optedIn(eventId, one(resource))[0] == takesPart, "as chosen");
    }

    /// @dev The separator as the contract describes its own domain (EIP-5267).
    function separatorOf(address target) private view returns (bytes32) {
        (, string memory name, string memory version, uint256 chain, address verifier,,) =
            ResourceRegistry(target).eip712Domain();
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chain,
                verifier
            )
        );
    }

    /// @dev Each vector of one chain follows from its type, its domain and its key.
    function checkVectors(uint256 first) private {
        deployFor(first);
        uint256[2] memory keys =
            [vm.parseJsonUint(json, ".keys.first"), vm.parseJsonUint(json, ".keys.second")];
        for (uint256 n = first; n < first + MESSAGES; ++n) {
            checkEq(hashAt(n, ".typeHash"), keccak256(bytes(textAt(n, ".typeString"))), "type hash");
            bytes32 separator = separatorOf(addressAt(n, ".domain.verifyingContract"));
            checkEq(hashAt(n, ".domainSeparator"), separator, "domain separator");
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", separator, hashAt(n, ".structHash")));
            checkEq(hashAt(n, ".digest"), digest, "digest");
            uint256 key = addressAt(n, ".signer") == vm.addr(keys[0]) ? keys[0] : keys[1];
            checkEq(addressAt(n, ".signer"), vm.addr(key), "signer");
            checkEq(keccak256(signatureAt(n)), keccak256(sign(key, digest)), "signature");
        }
    }

    /// @dev One meter's life, by nothing but the messages of the file: registered, opted in, out and in again,
    ///      challenged, handed over and withdrawn. So each digest is the contracts' own.
    function checkLife(uint256 first) private {
        deployFor(first);
        register(consentAt(first));
        issue(eventId);
        choose(first + 1);
        choose(first + 2);
        choose(first + 3);
        vm.warp(END);
        certifyRoot(eventId, hashAt(first + 4, ".message.root"), 1);
        dr.challenge(
            eventId,
            resource,
            hashAt(first + 4, ".message.reasonHash"),
            numberAt(first + 4, ".message.deadline"),
            signatureAt(first + 4)
        );
        check(dr.hasOpenChallenge(eventId, resource), "challenged");
        checkEq(addressAt(first + 5, ".message.to"), addressAt(first + 6, ".message.owner"), "to");
        registry.transfer(consentAt(first + 6), signatureAt(first + 5));
        checkEq(registry.resourceOf(resource).owner, addressAt(first + 6, ".signer"), "owner");
        registry.withdraw(resource, numberAt(first + 7, ".message.deadline"), signatureAt(first + 7));
        check(!registry.resourceOf(resource).active, "withdrawn");
    }

    function test_theVectorsOfTheFirstChainFollowFromTheirTypesDomainsAndKeys() public {
        checkVectors(0);
    }

    function test_theVectorsOfTheSecondChainFollowFromTheirTypesDomainsAndKeys() public {
        checkVectors(MESSAGES);
        check(!vm.keyExistsJson(json, pathOf(2 * MESSAGES)), "no further vector");
    }

    function test_theContractsAcceptEverySignatureOfTheFirstChain() public {
        checkLife(0);
    }

    function test_theContractsAcceptEverySignatureOfTheSecondChain() public {
        checkLife(MESSAGES);
    }

    function test_noSignatureOfTheFileCountsOnTheOtherChain() public {
        deployFor(0);
        ResourceRegistry.Consent memory foreign = consentAt(MESSAGES);
        vm.expectRevert(
            abi.encodeWithSelector(ResourceRegistry.InvalidSignature.selector, resource, foreign.owner)
        );
        register(foreign);
    }
}
