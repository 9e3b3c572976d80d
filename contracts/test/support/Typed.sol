// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @notice The typed messages (EIP-712) that owners sign, written down apart from the contracts that check them.
library Typed {
    string internal constant REGISTRY = "negawatt ResourceRegistry";
    string internal constant EVENTS = "negawatt DemandResponse";

    bytes internal constant CONSENT =
        "Consent(bytes32 resource,address owner,uint32 contractedW,bool standing,uint256 nonce,uint256 deadline)";
    bytes internal constant HANDOVER = "Handover(bytes32 resource,address to,uint256 nonce,uint256 deadline)";
    bytes internal constant WITHDRAWAL = "Withdrawal(bytes32 resource,uint256 nonce,uint256 deadline)";
    bytes internal constant CHOICE =
        "Choice(bytes32 eventId,bytes32 resource,bool takesPart,uint256 nonce,uint256 deadline)";
    bytes internal constant CHALLENGE =
        "Challenge(bytes32 eventId,bytes32 resource,bytes32 root,bytes32 reasonHash,uint256 deadline)";

    function domain(string memory name, uint256 chain, address verifier) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256("1"),
                chain,
                verifier
            )
        );
    }

    function digest(bytes32 separator, bytes32 message) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, message));
    }

    function consent(
        bytes32 resource,
        address owner,
        uint32 contractedW,
        bool standing,
        uint256 nonce,
        uint256 deadline
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(keccak256(CONSENT), resource, owner, contractedW, standing, nonce, deadline)
        );
    }

    function handover(bytes32 resource, address to, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(keccak256(HANDOVER), resource, to, nonce, deadline));
    }

    function withdrawal(bytes32 resource, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(WITHDRAWAL), resource, nonce, deadline));
    }

    function choice(bytes32 eventId, bytes32 resource, bool takesPart, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(keccak256(CHOICE), eventId, resource, takesPart, nonce, deadline));
    }

    function challenge(bytes32 eventId, bytes32 resource, bytes32 root, bytes32 reasonHash, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(keccak256(CHALLENGE), eventId, resource, root, reasonHash, deadline));
    }
}
