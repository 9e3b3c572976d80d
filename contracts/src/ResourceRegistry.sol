// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";

/// @title Registry of demand-response resources
/// @notice Maps the hash of a meter to the wallet that owns it and to its contracted power.
/// @dev Each resource also gets a serial number, so that other contracts can keep one bit per resource
///      instead of one storage slot. A resource fills exactly one slot.
contract ResourceRegistry is AccessControlDefaultAdminRules {
    /// @notice One row of a registration batch.
    /// @param resource Hash of the meter.
    /// @param owner Wallet of the home.
    /// @param contractedW Contracted power in watts.
    struct Registration {
        bytes32 resource;
        address owner;
        uint64 contractedW;
    }

    /// @notice What the registry holds about a resource.
    /// @param owner Wallet of the home; zero for an unknown resource.
    /// @param contractedW Contracted power in watts.
    /// @param number Serial number, counted from zero in order of registration.
    struct Resource {
        address owner;
        uint64 contractedW;
        uint32 number;
    }

    /// @notice Role that may register resources.
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @notice Number of registered resources.
    uint32 public resourceCount;

    mapping(bytes32 resource => Resource) private _resources;

    /// @notice A resource was registered.
    /// @param resource Hash of the meter.
    /// @param owner Wallet of the home.
    /// @param contractedW Contracted power in watts.
    /// @param number Serial number of the resource.
    event ResourceRegistered(
        bytes32 indexed resource, address indexed owner, uint64 contractedW, uint32 number
    );

    /// @notice The hash of a meter must not be zero.
    /// @param row Position in the batch.
    error ZeroResource(uint256 row);

    /// @notice The owner of a resource must not be the zero address.
    /// @param resource Hash of the meter.
    error ZeroOwner(bytes32 resource);

    /// @notice The resource has been registered before, or stands twice in the batch.
    /// @param resource Hash of the meter.
    error AlreadyRegistered(bytes32 resource);

    /// @param admin First admin; grants the registrar role.
    constructor(address admin) AccessControlDefaultAdminRules(ADMIN_DELAY, admin) {}

    /// @notice Register a batch of resources; all of them or none.
    /// @param rows The resources with their owners.
    function register(Registration[] calldata rows) external onlyRole(REGISTRAR_ROLE) {
        uint32 number = resourceCount;
        for (uint256 i; i < rows.length; ++i) {
            Registration calldata row = rows[i];
            if (row.resource == bytes32(0)) revert ZeroResource(i);
            if (row.owner == address(0)) revert ZeroOwner(row.resource);
            Resource storage slot = _resources[row.resource];
            if (slot.owner != address(0)) revert AlreadyRegistered(row.resource);
            (slot.owner, slot.contractedW, slot.number) = (row.owner, row.contractedW, number);
            emit ResourceRegistered(row.resource, row.owner, row.contractedW, number);
            ++number;
        }
        resourceCount = number;
    }

    /// @notice Owner and contracted power of a resource; zeros for an unknown one.
    /// @param resource Hash of the meter.
    /// @return owner Wallet of the home.
    /// @return contractedW Contracted power in watts.
    function resourceOf(bytes32 resource) external view returns (address owner, uint64 contractedW) {
        Resource storage slot = _resources[resource];
        return (slot.owner, slot.contractedW);
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

    /// @notice Whether a resource is registered.
    /// @param resource Hash of the meter.
    /// @return Whether it is.
    function isRegistered(bytes32 resource) external view returns (bool) {
        return _resources[resource].owner != address(0);
    }

    /// @notice Which of a batch of resources are registered, so that an interrupted batch can be resumed.
    /// @param resources Hashes of the meters.
    /// @return flags One flag per hash, in the order asked.
    function registered(bytes32[] calldata resources) external view returns (bool[] memory flags) {
        flags = new bool[](resources.length);
        for (uint256 i; i < resources.length; ++i) {
            flags[i] = _resources[resources[i]].owner != address(0);
        }
    }
}
