// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title Signatures of owners
/// @notice Accepts keys and contract wallets (ERC-1271) alike.
library Signatures {
    /// @notice Whether a signature over a digest is a signer's.
    /// @dev The key is tried first: it needs no look at the signer's account, which costs 2,600 gas.
    /// @param signer Whose signature it should be; not zero.
    /// @param digest What was signed.
    /// @param signature 65 bytes of a key, or what a contract wallet accepts.
    /// @return Whether it is.
    function valid(address signer, bytes32 digest, bytes memory signature) internal view returns (bool) {
        (address found, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && found == signer) return true;
        if (signer.code.length == 0) return false;
        (bool answered, bytes memory said) =
            signer.staticcall(abi.encodeCall(IERC1271.isValidSignature, (digest, signature)));
        return answered && said.length >= 32
            && abi.decode(said, (bytes32)) == bytes32(IERC1271.isValidSignature.selector);
    }
}
