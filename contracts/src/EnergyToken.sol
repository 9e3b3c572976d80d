// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

/// @title Energy token: the money of energy trades, bought with ether
/// @notice Anyone buys tokens at the posted rate. The ether goes to the treasury; the contract does not buy
///         tokens back.
/// @dev A transfer calls no other contract and no transfer can be stopped, so a payment in this token cannot
///      be made to fail by who receives it. There are never more than `MAX_SUPPLY` units, so any sum of
///      balances fits 128 bits, with a sign.
///
///      There is no `receive` and no `fallback`: ether sent without a call to `buy` comes back. Ether that is
///      forced in, as a block reward may be, counts as proceeds.
contract EnergyToken is ERC20, ERC20Permit, AccessControlDefaultAdminRules, Pausable {
    /// @notice Role that posts the rate.
    bytes32 public constant RATE_ROLE = keccak256("RATE_ROLE");

    /// @notice Role that takes out the ether that tokens were bought with.
    bytes32 public constant TREASURER_ROLE = keccak256("TREASURER_ROLE");

    /// @notice Role that may pause the sale; only the admin can resume it.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @notice Most units that can exist.
    uint256 public constant MAX_SUPPLY = uint256(uint128(type(int128).max));

    /// @notice Units of the token, the smallest ones, for one ether. Zero while the sale is closed.
    uint128 public tokensPerEther;

    uint8 private immutable _decimals;

    /// @notice A rate was posted; it holds for every purchase from here on.
    /// @param tokensPerEther Smallest units of the token for one ether; zero closes the sale.
    /// @param by Who posted it.
    event RatePosted(uint128 tokensPerEther, address indexed by);

    /// @notice Tokens were bought.
    /// @param buyer Who bought and received them.
    /// @param value What they cost, in wei.
    /// @param amount How many, in the smallest unit.
    event Bought(address indexed buyer, uint256 value, uint256 amount);

    /// @notice Ether was taken out.
    /// @param to Who received it.
    /// @param amount How much, in wei.
    /// @param by Who ordered it.
    event EtherWithdrawn(address indexed to, uint256 amount, address indexed by);

    /// @notice Nothing is for sale while the posted rate is zero.
    error SaleClosed();

    /// @notice The ether sent does not buy a single unit.
    /// @param value What was sent, in wei.
    /// @param rate The posted rate.
    error NothingBought(uint256 value, uint128 rate);

    /// @notice At the posted rate the buyer gets less than asked for.
    /// @param amount What the ether buys, in the smallest unit.
    /// @param minimum What the buyer asked for at least.
    error BelowMinimum(uint256 amount, uint256 minimum);

    /// @notice The purchase would bring more than `MAX_SUPPLY` units into the world.
    /// @param supply What the supply would be.
    error SupplyTooLarge(uint256 supply);

    /// @notice Ether is not sent to the zero address.
    error ZeroReceiver();

    /// @notice The contract does not hold that much ether.
    /// @param have What it holds, in wei.
    /// @param need What was asked for, in wei.
    error NotEnoughEther(uint256 have, uint256 need);

    /// @notice The receiver refused the ether.
    /// @param to Who refused it.
    /// @param amount How much, in wei.
    error EtherRefused(address to, uint256 amount);

    /// @param name_ Name of the token, also in the domain of signed approvals.
    /// @param symbol_ Ticker of the token.
    /// @param decimals_ Number of decimals that wallets show.
    /// @param admin First admin; grants the other roles.
    constructor(string memory name_, string memory symbol_, uint8 decimals_, address admin)
        ERC20(name_, symbol_)
        ERC20Permit(name_)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
    {
        _decimals = decimals_;
    }

    /// @notice Buy tokens with the ether sent along: value * tokensPerEther / 1 ether, rounded down.
    /// @param minimum Least number of smallest units to accept, in case the rate changes before the purchase
    ///        is mined.
    /// @return amount What was bought, in the smallest unit.
    function buy(uint256 minimum) external payable whenNotPaused returns (uint256 amount) {
        uint128 rate = tokensPerEther;
        if (rate == 0) revert SaleClosed();
        amount = msg.value * rate / 1 ether;
        if (amount == 0) revert NothingBought(msg.value, rate);
        if (amount < minimum) revert BelowMinimum(amount, minimum);
        uint256 supply = totalSupply() + amount;
        if (supply > MAX_SUPPLY) revert SupplyTooLarge(supply);

        _mint(msg.sender, amount);
        emit Bought(msg.sender, msg.value, amount);
    }

    /// @notice Destroy tokens of the caller. Nothing is paid for them.
    /// @param amount How many, in the smallest unit.
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /// @notice Post the rate of all later purchases.
    /// @param rate Smallest units of the token for one ether; zero closes the sale.
    function postRate(uint128 rate) external onlyRole(RATE_ROLE) {
        tokensPerEther = rate;
        emit RatePosted(rate, msg.sender);
    }

    /// @notice Take out ether.
    /// @dev The contract keeps no account of its ether besides its balance, which has fallen by the time the
    ///      receiver runs; so a receiver that calls back gains nothing.
    /// @param to Who receives it.
    /// @param amount How much, in wei.
    function withdrawEther(address payable to, uint256 amount) external onlyRole(TREASURER_ROLE) {
        if (to == address(0)) revert ZeroReceiver();
        uint256 have = address(this).balance;
        if (amount > have) revert NotEnoughEther(have, amount);
        emit EtherWithdrawn(to, amount, msg.sender);
        (bool accepted,) = to.call{value: amount}("");
        if (!accepted) revert EtherRefused(to, amount);
    }

    /// @notice Stop the sale. Transfers and withdrawals go on.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Resume the sale.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @notice Number of decimals that wallets show.
    /// @return The number given at construction.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }
}
