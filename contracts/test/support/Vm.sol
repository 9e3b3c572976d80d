// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @notice The cheatcodes of forge that these tests use.
interface Vm {
    /// @notice What a call used, without the cost of the call itself.
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function warp(uint256 time) external;
    function chainId(uint256 id) external;
    function etch(address target, bytes calldata code) external;
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(address emitter) external;
    function lastCallGas() external view returns (Gas memory gas);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function addr(uint256 key) external pure returns (address);
    function toString(uint256 value) external pure returns (string memory);
    function readFile(string calldata path) external view returns (string memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonBool(string calldata json, string calldata key) external pure returns (bool);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonBytes32Array(string calldata json, string calldata key)
        external
        pure
        returns (bytes32[] memory);
}

/// @notice Base of the tests: cheatcodes and assertions. A failed assertion reverts and so fails the test.
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function check(bool condition, string memory statement) internal pure {
        require(condition, statement);
    }

    function checkEq(uint256 found, uint256 expected, string memory what) internal pure {
        if (found == expected) return;
        revert(string.concat(what, ": found ", vm.toString(found), ", expected ", vm.toString(expected)));
    }

    function checkEq(bytes32 found, bytes32 expected, string memory what) internal pure {
        require(found == expected, what);
    }

    function checkEq(address found, address expected, string memory what) internal pure {
        require(found == expected, what);
    }

    /// @notice Fail if a number is above its upper limit.
    function checkAtMost(uint256 found, uint256 limit, string memory what) internal pure {
        if (found <= limit) return;
        revert(string.concat(what, ": found ", vm.toString(found), ", limit ", vm.toString(limit)));
    }

    /// @notice A number in [low, high] that follows from any number.
    function within(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + value % (high - low + 1);
    }

    /// @notice An address that follows from a name.
    function named(string memory name) internal pure returns (address) {
        return address(uint160(uint256(keccak256(bytes(name)))));
    }
}
