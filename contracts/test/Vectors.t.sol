// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice The contract agrees with trees built by an independent script; see scripts/merkle-vectors.js.
contract VectorsTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for DemandResponse.Payment[];

    string private json;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("test/vectors/merkle.json");
    }

    /// @dev Read a leaf from the file.
    function readLeaf(string memory at) private view returns (DemandResponse.Payment memory row) {
        row.resource = vm.parseJsonBytes32(json, string.concat(at, ".resource"));
        row.wallet = vm.parseJsonAddress(json, string.concat(at, ".wallet"));
        row.reductionWh = uint128(vm.parseJsonUint(json, string.concat(at, ".reductionWh")));
        row.payment = uint128(vm.parseJsonUint(json, string.concat(at, ".payment")));
        row.certificateHash = vm.parseJsonBytes32(json, string.concat(at, ".certificateHash"));
    }

    /// @dev Make a leaf after the formula that the file states.
    function makeLeaf(uint256 count, uint256 index) private pure returns (DemandResponse.Payment memory row) {
        string memory name = string.concat(vm.toString(count), "/", vm.toString(index));
        row.resource = keccak256(bytes(string.concat("resource ", name)));
        row.wallet = named(string.concat("wallet ", name));
        row.reductionWh = index % 7 == 3 ? 0 : uint128((index * 137 + count) % 4000);
        row.payment = row.reductionWh * 250_000_000_000_000;
        if (count == 1) row.reductionWh = row.payment = type(uint128).max;
        row.certificateHash = keccak256(bytes(string.concat("certificate ", name)));
    }

    /// @dev Run one event per tree of the file up to its payable second, with the root of the file.
    function certifyTree(string memory at)
        private
        returns (bytes32 eventId, DemandResponse.Payment[] memory rows)
    {
        uint256 count = vm.parseJsonUint(json, string.concat(at, ".count"));
        eventId = vm.parseJsonBytes32(json, string.concat(at, ".eventId"));
        rows = new DemandResponse.Payment[](count);
        bytes32[] memory resources = new bytes32[](count);
        ResourceRegistry.Registration[] memory homes = new ResourceRegistry.Registration[](count);
        for (uint256 i; i < count; ++i) {
            rows[i] = makeLeaf(count, i);
            resources[i] = rows[i].resource;
            homes[i] = ResourceRegistry.Registration(rows[i].resource, rows[i].wallet, 1);
        }
        vm.warp(NOW);
        vm.prank(registrar);
        registry.register(homes);
        issue(eventId);
        vm.prank(operator);
        dr.optIn(eventId, resources);
        vm.warp(END);
        bytes32 root = vm.parseJsonBytes32(json, string.concat(at, ".root"));
        uint128 reductionWh = uint128(vm.parseJsonUint(json, string.concat(at, ".totalReductionWh")));
        uint128 payment = uint128(vm.parseJsonUint(json, string.concat(at, ".totalPayment")));
        vm.prank(certifier);
        dr.certify(eventId, root, uint32(count), reductionWh, payment, 0);
        vm.warp(END + WINDOW);
    }

    function pathOf(uint256 tree) private pure returns (string memory) {
        return string.concat(".trees[", vm.toString(tree), "]");
    }

    function test_theFileHoldsTheTreesThatMatter() public view {
        uint256[7] memory sizes = [uint256(1), 2, 3, 5, 8, 13, 300];
        for (uint256 t; t < sizes.length; ++t) {
            checkEq(vm.parseJsonUint(json, string.concat(pathOf(t), ".count")), sizes[t], "count");
        }
        check(!vm.keyExistsJson(json, pathOf(sizes.length)), "no further tree");
    }

    function test_everyLeafOfTheFileHasItsHashAndItsProof() public {
        for (uint256 t; t < 6; ++t) {
            (bytes32 eventId, DemandResponse.Payment[] memory rows) = certifyTree(pathOf(t));
            for (uint256 i; i < rows.length; ++i) {
                string memory at = string.concat(pathOf(t), ".leaves[", vm.toString(i), "]");
                DemandResponse.Payment memory row = readLeaf(at);
                checkEq(
                    keccak256(abi.encode(row)), keccak256(abi.encode(rows[i])), "leaf against its formula"
                );
                checkEq(
                    PaymentTree.leafOf(eventId, i, row),
                    vm.parseJsonBytes32(json, string.concat(at, ".hash")),
                    "hash of a leaf"
                );
                dr.claim(eventId, uint32(i), row, vm.parseJsonBytes32Array(json, string.concat(at, ".proof")));
            }
            checkState(eventId, DemandResponse.State.Paid);
        }
    }

    function test_everyNodeOfTheFileHasItsHashAndItsProof() public {
        for (uint256 t = 1; t < 6; ++t) {
            (bytes32 eventId, DemandResponse.Payment[] memory rows) = certifyTree(pathOf(t));
            PaymentTree.Tree memory tree = PaymentTree.build(eventId, rows);
            for (
                uint256 n;
                vm.keyExistsJson(json, string.concat(pathOf(t), ".nodes[", vm.toString(n), "]"));
                ++n
            ) {
                string memory at = string.concat(pathOf(t), ".nodes[", vm.toString(n), "]");
                uint256 level = vm.parseJsonUint(json, string.concat(at, ".level"));
                uint256 chunk = vm.parseJsonUint(json, string.concat(at, ".chunk"));
                bytes32 hash = vm.parseJsonBytes32(json, string.concat(at, ".hash"));
                bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(at, ".proof"));
                checkEq(tree.levels[level][chunk], hash, "hash of a node");
                checkEq(
                    keccak256(abi.encode(tree.proof(level, chunk))), keccak256(abi.encode(proof)), "proof"
                );
                if (level == 1) dr.payBatch(eventId, uint32(chunk), 1, rows.slice(1, chunk), proof);
            }
            checkState(eventId, DemandResponse.State.Paid);
        }
    }

    function test_theTreeOf300HasItsRoot() public {
        (bytes32 eventId, DemandResponse.Payment[] memory rows) = certifyTree(pathOf(6));
        PaymentTree.Tree memory tree = PaymentTree.build(eventId, rows);
        checkEq(tree.root(), dr.eventOf(eventId).root, "root");
        dr.payBatch(eventId, 0, 8, rows.slice(8, 0), tree.proof(8, 0));
        dr.payBatch(eventId, 1, 8, rows.slice(8, 1), tree.proof(8, 1));
        checkState(eventId, DemandResponse.State.Paid);
    }
}
