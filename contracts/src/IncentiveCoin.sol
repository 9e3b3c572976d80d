// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title Coin in which homes are paid
/// @notice ERC-20 with signed approvals (ERC-2612). Only minters create coins; any holder may burn their own.
contract IncentiveCoin is ERC20, ERC20Permit, AccessControlDefaultAdminRules {
    /// @notice Role that may mint.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    uint8 private immutable _decimals;

    /// @param name_ Name of the coin, also in the domain of signed approvals.
    /// @param symbol_ Ticker of the coin.
    /// @param decimals_ Number of decimals that wallets show.
    /// @param admin First admin; grants the minter role.
    constructor(string memory name_, string memory symbol_, uint8 decimals_, address admin)
        ERC20(name_, symbol_)
        ERC20Permit(name_)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
    {
        _decimals = decimals_;
    }

    /// @notice Create coins.
    /// @param to Who receives them.
    /// @param amount How many, in the smallest unit.
    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        _mint(to, amount);
    }

    /// @notice Destroy coins of the caller.
    /// @param amount How many, in the smallest unit.
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /// @notice Number of decimals that wallets show.
    /// @return The number given at construction.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }
}
