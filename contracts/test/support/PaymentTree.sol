// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../../src/DemandResponse.sol";

/// @notice Builds the whole tree of a certification in memory and reads proofs off it.
library PaymentTree {
    /// @dev What a certification says of one home; the event and the index complete the leaf.
    struct Leaf {
        bytes32 resource;
        address wallet;
        uint128 reductionWh;
        uint96 payment;
        bytes32 certificateHash;
    }

    /// @dev `levels[0]` holds the leaves and the last level the root alone.
    struct Tree {
        bytes32[][] levels;
    }

    function payeeOf(Leaf memory leaf) internal pure returns (bytes32) {
        bytes memory packed = abi.encodePacked(leaf.wallet, leaf.payment);
        require(packed.length == 32, "20 bytes of wallet and 12 of payment");
        return bytes32(packed);
    }

    function detailOf(Leaf memory leaf) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(leaf.resource, uint256(leaf.reductionWh), leaf.certificateHash));
    }

    /// @notice What a payment has to show of a leaf.
    function row(Leaf memory leaf) internal pure returns (DemandResponse.Row memory) {
        return DemandResponse.Row(payeeOf(leaf), detailOf(leaf));
    }

    /// @notice What an answer to a challenge has to show of a leaf.
    function open(Leaf memory leaf, uint256 index) internal pure returns (DemandResponse.OpenLeaf memory) {
        return DemandResponse.OpenLeaf(uint32(index), payeeOf(leaf), leaf.reductionWh, leaf.certificateHash);
    }

    function hashOf(bytes32 eventId, uint256 index, Leaf memory leaf) internal pure returns (bytes32) {
        bytes memory words = abi.encodePacked(eventId, index, payeeOf(leaf), detailOf(leaf));
        return keccak256(abi.encodePacked(keccak256(words)));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encodePacked(a, b)) : keccak256(abi.encodePacked(b, a));
    }

    function build(bytes32 eventId, Leaf[] memory leaves) internal pure returns (Tree memory tree) {
        uint256 height = 1;
        for (uint256 width = leaves.length; width > 1; width = (width + 1) / 2) {
            ++height;
        }
        tree.levels = new bytes32[][](height);
        tree.levels[0] = new bytes32[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            tree.levels[0][i] = hashOf(eventId, i, leaves[i]);
        }
        for (uint256 level = 1; level < height; ++level) {
            bytes32[] memory below = tree.levels[level - 1];
            bytes32[] memory nodes = new bytes32[]((below.length + 1) / 2);
            for (uint256 i; i < nodes.length; ++i) {
                nodes[i] = 2 * i + 1 < below.length ? pair(below[2 * i], below[2 * i + 1]) : below[2 * i];
            }
            tree.levels[level] = nodes;
        }
    }

    function root(Tree memory tree) internal pure returns (bytes32) {
        return tree.levels[tree.levels.length - 1][0];
    }

    /// @notice Siblings from a node up to the root; empty for the root and for levels above it.
    function proof(Tree memory tree, uint256 level, uint256 chunk)
        internal
        pure
        returns (bytes32[] memory path)
    {
        bytes32[] memory buffer = new bytes32[](tree.levels.length);
        uint256 length;
        for (; level + 1 < tree.levels.length; ++level) {
            uint256 sibling = chunk ^ 1;
            if (sibling < tree.levels[level].length) buffer[length++] = tree.levels[level][sibling];
            chunk /= 2;
        }
        path = new bytes32[](length);
        for (uint256 i; i < length; ++i) {
            path[i] = buffer[i];
        }
    }

    /// @notice The rows that a node covers.
    function slice(Leaf[] memory leaves, uint256 level, uint256 chunk)
        internal
        pure
        returns (DemandResponse.Row[] memory part)
    {
        uint256 first = chunk << level;
        uint256 last = first + (1 << level);
        if (last > leaves.length) last = leaves.length;
        part = new DemandResponse.Row[](last - first);
        for (uint256 i; i < part.length; ++i) {
            part[i] = row(leaves[first + i]);
        }
    }
}
