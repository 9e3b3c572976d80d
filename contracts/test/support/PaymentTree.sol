// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../../src/DemandResponse.sol";

/// @notice Builds the whole tree of a certification in memory and reads proofs off it.
library PaymentTree {
    /// @dev `levels[0]` holds the leaves and the last level the root alone.
    struct Tree {
        bytes32[][] levels;
    }

    function leafOf(bytes32 eventId, uint256 index, DemandResponse.Payment memory row)
        internal
        pure
        returns (bytes32)
    {
        bytes memory words = abi.encodePacked(
            eventId,
            index,
            row.resource,
            uint256(uint160(row.wallet)),
            uint256(row.reductionWh),
            uint256(row.payment),
            row.certificateHash
        );
        return keccak256(abi.encodePacked(keccak256(words)));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encodePacked(a, b)) : keccak256(abi.encodePacked(b, a));
    }

    function build(bytes32 eventId, DemandResponse.Payment[] memory rows)
        internal
        pure
        returns (Tree memory tree)
    {
        uint256 height = 1;
        for (uint256 width = rows.length; width > 1; width = (width + 1) / 2) {
            ++height;
        }
        tree.levels = new bytes32[][](height);
        tree.levels[0] = new bytes32[](rows.length);
        for (uint256 i; i < rows.length; ++i) {
            tree.levels[0][i] = leafOf(eventId, i, rows[i]);
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
    function slice(DemandResponse.Payment[] memory rows, uint256 level, uint256 chunk)
        internal
        pure
        returns (DemandResponse.Payment[] memory part)
    {
        uint256 first = chunk << level;
        uint256 last = first + (1 << level);
        if (last > rows.length) last = rows.length;
        part = new DemandResponse.Payment[](last - first);
        for (uint256 i; i < part.length; ++i) {
            part[i] = rows[first + i];
        }
    }
}
