// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Signatures} from "./support/Signatures.sol";

/// @title Registry of demand-response resources
/// @notice Maps the hash of a meter to the wallet that owns it and to its contracted power. Nobody is registered
///         without the owner's signed consent.
/// @dev Each resource also gets a serial number, so that other contracts can keep one bit per resource instead
///      of one storage slot. A resource fills exactly one slot. Its nonce counts the changes to it: a signature
///      names the nonce it was given for, so each works once, here and on this chain alone.
contract ResourceRegistry is AccessControlDefaultAdminRules, EIP712 {
    /// @notice An owner's consent: this meter, this wallet, this power.
    /// @param resource Hash of the meter.
    /// @param owner Wallet of the home, which signs.
    /// @param contractedW Contracted power in watts.
    /// @param standing Whether operators may opt the resource in to events without asking each time.
    /// @param deadline Last second at which the signature counts.
    /// @param signature Over `Consent(bytes32 resource,address owner,uint32 contractedW,bool standing,uint256
    ///        nonce,uint256 deadline)`; 65 bytes, or whatever a contract wallet accepts (ERC-1271).
    struct Consent {
        bytes32 resource;
        address owner;
        uint32 contractedW;
        bool standing;
        uint256 deadline;
        bytes signature;
    }

    /// @notice What the registry holds about a resource.
    /// @param owner Wallet of the home; zero for an unknown resource.
    /// @param contractedW Contracted power in watts.
    /// @param number Serial number, counted from zero in order of registration.
    /// @param nonce How often the resource has changed; the next signature must name this number.
    /// @param standing Whether operators may opt the resource in without asking each time.
    /// @param active Whether it may take part in new events; false once withdrawn.
    struct Resource {
        address owner;
        uint32 contractedW;
        uint32 number;
        uint16 nonce;
        bool standing;
        bool active;
    }

    /// @notice Role that registers resources: it vouches that the meter is in the owner's home.
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    bytes32 private constant CONSENT_TYPE = keccak256(
        "Consent(bytes32 resource,address owner,uint32 contractedW,bool standing,uint256 nonce,uint256 deadline)"
    );
    bytes32 private constant HANDOVER_TYPE =
        keccak256("Handover(bytes32 resource,address to,uint256 nonce,uint256 deadline)");
    bytes32 private constant WITHDRAWAL_TYPE =
        keccak256("Withdrawal(bytes32 resource,uint256 nonce,uint256 deadline)");

    /// @notice Number of resources that were ever registered.
    uint32 public resourceCount;

    mapping(bytes32 resource => Resource) private _resources;

    /// @notice A resource was registered, or its owner agreed to new terms.
    /// @param resource Hash of the meter.
    /// @param owner Wallet of the home.
    /// @param contractedW Contracted power in watts.
    /// @param number Serial number of the resource.
    /// @param standing Whether operators may opt it in without asking each time.
    event ResourceRegistered(
        bytes32 indexed resource, address indexed owner, uint32 contractedW, uint32 number, bool standing
    );

    /// @notice A resource went to another owner, with that owner's consent.
    /// @param resource Hash of the meter.
    /// @param from Owner before.
    /// @param to Owner from now on.
    event ResourceTransferred(bytes32 indexed resource, address indexed from, address indexed to);

    /// @notice A resource takes part in no further event.
    /// @param resource Hash of the meter.
    /// @param owner Its owner.
    /// @param by Who withdrew it: the owner, somebody with the owner's signature, or a registrar.
    event ResourceWithdrawn(bytes32 indexed resource, address indexed owner, address by);

    /// @notice The hash of a meter must not be zero.
    /// @param row Position in the batch.
    error ZeroResource(uint256 row);

    /// @notice The owner of a resource must not be the zero address.
    /// @param resource Hash of the meter.
    error ZeroOwner(bytes32 resource);

    /// @notice The resource is registered to another owner, who has to hand it over or withdraw it first.
    /// @param resource Hash of the meter.
    /// @param owner Its owner.
    error AlreadyRegistered(bytes32 resource, address owner);

    /// @notice The resource is not registered, or was withdrawn.
    /// @param resource Hash of the meter.
    error NotRegistered(bytes32 resource);

    /// @notice The signature's deadline has passed: ask its signer for a new one.
    /// @param resource Hash of the meter.
    /// @param deadline Last second at which it counted.
    error SignatureExpired(bytes32 resource, uint256 deadline);

    /// @notice The signature is not its owner's, or was given for other values, another contract, another chain
    ///         or an earlier state of the resource.
    /// @param resource Hash of the meter.
    /// @param signer Whose signature is needed.
    error InvalidSignature(bytes32 resource, address signer);

    /// @param admin First admin; grants the registrar role.
    constructor(address admin)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
        EIP712("negawatt ResourceRegistry", "1")
    {}

    /// @notice Register resources with their owners' consent; all of them or none. A consent for a resource that
    ///         its owner already holds replaces its power and its standing permission.
    /// @param rows The consents.
    function register(Consent[] calldata rows) external onlyRole(REGISTRAR_ROLE) {
        uint32 count = resourceCount;
        for (uint256 i; i < rows.length; ++i) {
            Consent calldata row = rows[i];
            if (row.resource == bytes32(0)) revert ZeroResource(i);
            if (row.owner == address(0)) revert ZeroOwner(row.resource);
            Resource memory held = _resources[row.resource];
            if (held.active && held.owner != row.owner) revert AlreadyRegistered(row.resource, held.owner);
            uint32 number = held.owner == address(0) ? count++ : held.number;
            _agree(row, number, held.nonce);
            emit ResourceRegistered(row.resource, row.owner, row.contractedW, number, row.standing);
        }
        resourceCount = count;
    }

    /// @notice Hand a resource over to another owner, with that owner's consent to its terms.
    /// @param consent The new owner's consent; the power must be the present one.
    /// @param handover The present owner's signature over `Handover(bytes32 resource,address to,uint256
    ///        nonce,uint256 deadline)`, with the consent's deadline; ignored when the present owner calls.
    function transfer(Consent calldata consent, bytes calldata handover) external {
        Resource memory held = _active(consent.resource);
        if (consent.owner == address(0)) revert ZeroOwner(consent.resource);
        if (consent.contractedW != held.contractedW) {
            revert InvalidSignature(consent.resource, consent.owner);
        }
        if (msg.sender != held.owner) {
            bytes32 hash = keccak256(
                abi.encode(HANDOVER_TYPE, consent.resource, consent.owner, held.nonce, consent.deadline)
            );
            _require(consent.resource, held.owner, hash, consent.deadline, handover);
        }
        _agree(consent, held.number, held.nonce);
        emit ResourceTransferred(consent.resource, held.owner, consent.owner);
    }

    /// @notice Take a resource out of all future events. What it earned before stays its wallet's.
    /// @dev Callable by the owner and by registrars; by anyone else with the owner's signature.
    /// @param resource Hash of the meter.
    /// @param deadline Last second at which the signature counts.
    /// @param signature The owner's, over `Withdrawal(bytes32 resource,uint256 nonce,uint256 deadline)`.
    function withdraw(bytes32 resource, uint256 deadline, bytes calldata signature) external {
        Resource memory held = _active(resource);
        if (msg.sender != held.owner && !hasRole(REGISTRAR_ROLE, msg.sender)) {
            bytes32 hash = keccak256(abi.encode(WITHDRAWAL_TYPE, resource, held.nonce, deadline));
            _require(resource, held.owner, hash, deadline, signature);
        }
        held.active = false;
        ++held.nonce;
        _resources[resource] = held;
        emit ResourceWithdrawn(resource, held.owner, msg.sender);
    }

    /// @notice Everything the registry holds about a resource; zeros for an unknown one.
    /// @param resource Hash of the meter.
    /// @return The resource.
    function resourceOf(bytes32 resource) external view returns (Resource memory) {
        return _resources[resource];
    }

    /// @notice Everything the registry holds about a batch of resources; zeros for unknown ones.
    /// @param resources Hashes of the meters.
    /// @return rows One entry per hash, in the order asked.
    function resourcesOf(bytes32[] calldata resources) external view returns (Resource[] memory rows) {
        rows = new Resource[](resources.length);
        for (uint256 i; i < resources.length; ++i) {
            rows[i] = _resources[resources[i]];
        }
    }

    /// @dev Check a consent and write it down.
    function _agree(Consent calldata row, uint32 number, uint16 nonce) private {
        bytes32 hash = keccak256(
            abi.encode(
                CONSENT_TYPE, row.resource, row.owner, row.contractedW, row.standing, nonce, row.deadline
            )
        );
        _require(row.resource, row.owner, hash, row.deadline, row.signature);
        _resources[row.resource] = Resource(row.owner, row.contractedW, number, nonce + 1, row.standing, true);
    }

    /// @dev The resource, if it may take part in events.
    function _active(bytes32 resource) private view returns (Resource memory held) {
        held = _resources[resource];
        if (!held.active) revert NotRegistered(resource);
    }

    /// @dev Revert unless the signer signed the struct hash, in time.
    function _require(
        bytes32 resource,
        address signer,
        bytes32 structHash,
        uint256 deadline,
        bytes calldata signature
    ) private view {
        if (block.timestamp > deadline) revert SignatureExpired(resource, deadline);
        if (!Signatures.valid(signer, _hashTypedDataV4(structHash), signature)) {
            revert InvalidSignature(resource, signer);
        }
    }
}
