// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice A contract wallet (ERC-1271) whose keeper signs; the signature ends with a byte that no key's has.
contract ContractWallet {
    address private immutable _keeper;

    constructor(address keeper) {
        _keeper = keeper;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 66) return 0xffffffff;
        (address found,,) = ECDSA.tryRecover(digest, signature[:65]);
        return found == _keeper ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @notice A contract that answers whatever it was told to, be it a valid answer or not.
contract OddWallet {
    bytes private _answer;
    bool private _fails;

    constructor(bytes memory answer, bool fails) {
        _answer = answer;
        _fails = fails;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        require(!_fails, "no");
        return _answer;
    }
}
