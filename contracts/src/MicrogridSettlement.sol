// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignedMath} from "@openzeppelin/contracts/utils/math/SignedMath.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {EnergyToken} from "./EnergyToken.sol";

/// @title Settlement of a day's trades between microgrids
/// @notice Participants deposit energy tokens and say how much settling one day may take from them. An
///         operator proposes a day's matched trades by a Merkle root and what everybody gets or owes on
///         balance. After a dispute window anyone executes the day: all of it or nothing.
/// @dev A proposal is the root of a Merkle tree with one leaf per trade, in index order.
///
///      leaf = keccak256(keccak256(abi.encode(day, index, seller, buyer, wh, value))), all six as 32-byte
///      words; the tree is built like that of `DemandResponse`. Pairs are sorted, so the index is inside the
///      leaf.
///
///      The contract does not add up the trades: it holds the net amounts to their hash, their sum to zero,
///      what they move to the traded value, and every debit to what its participant put in and allowed.
///      Whoever has the published file can recompute the root and the net amounts.
///
///      A day goes from none to proposed to executed. A proposal can be retracted during its dispute window.
///      Then it is final for `EXECUTION_WINDOW`. One that could not be executed by then, as somebody lacks
///      the tokens, can be retracted again, or it would block its day for ever.
contract MicrogridSettlement is AccessControlDefaultAdminRules, Pausable {
    using SafeERC20 for IERC20;

    /// @notice Where a day stands.
    enum State {
        None,
        Proposed,
        Executed
    }

    /// @notice One trade of a day.
    /// @param index Place in the day's list, from zero.
    /// @param seller Who delivered.
    /// @param buyer Who consumed.
    /// @param wh Energy in watt-hours.
    /// @param value What the buyer owes for it, in the smallest unit of the token.
    struct Trade {
        uint32 index;
        address seller;
        address buyer;
        uint128 wh;
        uint128 value;
    }

    /// @notice What a day comes to for one participant.
    /// @param participant Whose account.
    /// @param amount What is added to it; negative for what is taken. In the smallest unit of the token.
    struct Net {
        address participant;
        int128 amount;
    }

    /// @notice Everything known about a day; zeros if nothing is proposed.
    /// @param root Merkle root of the trades.
    /// @param publishedHash Hash of the published file that holds all trades.
    /// @param netHash keccak256(abi.encode(rows)) of the net amounts.
    /// @param totalWh Energy traded, in watt-hours.
    /// @param totalValue Sum of the trades' values.
    /// @param tradeCount Number of trades.
    /// @param proposedAt Time of the proposal.
    /// @param state Where the day stands.
    struct Day {
        bytes32 root;
        bytes32 publishedHash;
        bytes32 netHash;
        uint128 totalWh;
        uint128 totalValue;
        uint32 tradeCount;
        uint48 proposedAt;
        State state;
    }

    /// @notice A participant's account.
    /// @param free What can be withdrawn, in the smallest unit of the token.
    /// @param dailyLimit Most that settling one day may take; nothing until it is set.
    struct Account {
        uint128 free;
        uint128 dailyLimit;
    }

    /// @notice Role that proposes and retracts days.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    /// @notice Role that may pause deposits, proposals and execution; only the admin can resume them.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @notice How long after its dispute window a proposal cannot be retracted.
    uint48 public constant EXECUTION_WINDOW = 3 days;

    /// @notice The token in which trades are settled.
    EnergyToken public immutable token;

    /// @notice Seconds between a proposal and the first moment of its execution.
    uint48 public immutable disputeWindow;

    mapping(uint32 day => Day) private _days;
    mapping(address participant => Account) private _accounts;

    /// @notice Tokens were paid in.
    /// @param participant Whose account.
    /// @param amount How many, in the smallest unit.
    event Deposited(address indexed participant, uint128 amount);

    /// @notice Tokens were paid out.
    /// @param participant Whose account.
    /// @param amount How many, in the smallest unit.
    event Withdrawn(address indexed participant, uint128 amount);

    /// @notice A participant set what settling one day may take.
    /// @param participant Whose account.
    /// @param amount Most to take, in the smallest unit of the token.
    event DailyLimitSet(address indexed participant, uint128 amount);

    /// @notice A day's trades were proposed.
    /// @param day Days since 1970-01-01.
    /// @param root Merkle root of the trades.
    /// @param tradeCount Number of trades.
    /// @param totalWh Energy traded, in watt-hours.
    /// @param totalValue Sum of the trades' values.
    /// @param publishedHash Hash of the published file that holds all trades.
    /// @param netHash Hash of the net amounts.
    /// @param executableFrom First second of execution.
    event DayProposed(
        uint32 indexed day,
        bytes32 indexed root,
        uint32 tradeCount,
        uint128 totalWh,
        uint128 totalValue,
        bytes32 publishedHash,
        bytes32 netHash,
        uint256 executableFrom
    );

    /// @notice A proposal was retracted; another may follow.
    /// @param day Days since 1970-01-01.
    /// @param root Merkle root of the retracted trades.
    event DayRetracted(uint32 indexed day, bytes32 indexed root);

    /// @notice A day was executed.
    /// @param day Days since 1970-01-01.
    /// @param root Merkle root of the trades.
    /// @param moved Sum of all credits, which is the sum of all debits.
    event DayExecuted(uint32 indexed day, bytes32 indexed root, uint256 moved);

    /// @notice A day's net amount was added to an account, or taken from it.
    /// @param day Days since 1970-01-01.
    /// @param participant Whose account.
    /// @param amount What was added; negative for what was taken.
    event NetSettled(uint32 indexed day, address indexed participant, int128 amount);

    /// @notice The constructor got no token.
    error ZeroToken();

    /// @notice Participants need time to check a proposal.
    error ZeroDisputeWindow();

    /// @notice There is nothing to deposit or to withdraw.
    error ZeroAmount();

    /// @notice The account does not hold that much.
    /// @param participant Whose account.
    /// @param need What was asked for.
    /// @param have What it holds.
    error NotEnoughFree(address participant, uint128 need, uint128 have);

    /// @notice A day is proposed only after its last second.
    /// @param day Days since 1970-01-01.
    /// @param endsAt First second after it.
    /// @param time Time of the block.
    error DayNotOver(uint32 day, uint256 endsAt, uint256 time);

    /// @notice The day is not in the state that the call needs.
    /// @param day Days since 1970-01-01.
    /// @param state Where it stands.
    error WrongState(uint32 day, State state);

    /// @notice The Merkle root must not be zero.
    /// @param day Days since 1970-01-01.
    error ZeroRoot(uint32 day);

    /// @notice A day without trades needs no settlement.
    /// @param day Days since 1970-01-01.
    error NoTrades(uint32 day);

    /// @notice The proposal is final for now.
    /// @param day Days since 1970-01-01.
    /// @param executableFrom First second at which it could not be retracted.
    /// @param staleFrom First second at which it can be again, unless it is executed.
    error NotRetractable(uint32 day, uint256 executableFrom, uint256 staleFrom);

    /// @notice Execution starts when the dispute window has passed.
    /// @param day Days since 1970-01-01.
    /// @param executableFrom First second of execution.
    /// @param time Time of the block.
    error DisputeWindowOpen(uint32 day, uint256 executableFrom, uint256 time);

    /// @notice The rows are not those that were proposed.
    /// @param day Days since 1970-01-01.
    /// @param netHash Hash proposed.
    /// @param given Hash of the rows given.
    error WrongRows(uint32 day, bytes32 netHash, bytes32 given);

    /// @notice Rows stand in ascending order of their addresses, each above zero and once.
    /// @param day Days since 1970-01-01.
    /// @param row Position of the first row that does not.
    error NotAscending(uint32 day, uint256 row);

    /// @notice What is added and what is taken do not cancel out.
    /// @param day Days since 1970-01-01.
    /// @param sum What is added too much; negative for what is taken too much.
    error NotBalanced(uint32 day, int256 sum);

    /// @notice Netting never moves more than what was traded.
    /// @param day Days since 1970-01-01.
    /// @param moved Sum of all credits.
    /// @param totalValue Sum of the trades' values.
    error MovedAboveTotal(uint32 day, uint256 moved, uint128 totalValue);

    /// @notice The day takes more from a participant than the participant allowed.
    /// @param day Days since 1970-01-01.
    /// @param participant Whose account.
    /// @param need What the day takes.
    /// @param have What it may take.
    error AboveDailyLimit(uint32 day, address participant, uint256 need, uint128 have);

    /// @notice The day takes more from a participant than the account holds.
    /// @param day Days since 1970-01-01.
    /// @param participant Whose account.
    /// @param need What the day takes.
    /// @param have What it holds.
    error AboveFree(uint32 day, address participant, uint256 need, uint128 have);

    /// @param token_ The token in which trades are settled.
    /// @param disputeWindow_ Seconds between a proposal and the first moment of its execution.
    /// @param admin First admin; grants the other roles.
    constructor(EnergyToken token_, uint48 disputeWindow_, address admin)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
    {
        if (address(token_) == address(0)) revert ZeroToken();
        if (disputeWindow_ == 0) revert ZeroDisputeWindow();
        token = token_;
        disputeWindow = disputeWindow_;
    }

    // ------------------------------------------------------------------------------------------------
    // Participants
    // ------------------------------------------------------------------------------------------------

    /// @notice Pay tokens into one's account, out of those that this contract may spend.
    /// @param amount How many, in the smallest unit.
    function deposit(uint128 amount) external whenNotPaused {
        if (amount == 0) revert ZeroAmount();
        // All tokens together fit 128 bits.
        _accounts[msg.sender].free += amount;
        emit Deposited(msg.sender, amount);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Take tokens out of one's account. Nothing stops this, neither a pause nor a proposed day.
    /// @param amount How many, in the smallest unit.
    function withdraw(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint128 free = _accounts[msg.sender].free;
        if (amount > free) revert NotEnoughFree(msg.sender, amount, free);
        _accounts[msg.sender].free = free - amount;
        emit Withdrawn(msg.sender, amount);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @notice Say how much settling one day may take from one's account; it holds at the next execution.
    /// @param amount Most to take, in the smallest unit of the token; zero forbids any debit.
    function setDailyLimit(uint128 amount) external {
        _accounts[msg.sender].dailyLimit = amount;
        emit DailyLimitSet(msg.sender, amount);
    }

    // ------------------------------------------------------------------------------------------------
    // A day
    // ------------------------------------------------------------------------------------------------

    /// @notice Propose the trades of a day that is over.
    /// @param day Days since 1970-01-01; over at (day + 1) * 86400, whatever zone its trades lie in.
    /// @param root Merkle root of the trades.
    /// @param tradeCount Number of trades.
    /// @param totalWh Energy traded, in watt-hours.
    /// @param totalValue Sum of the trades' values.
    /// @param publishedHash Hash of the published file that holds all trades.
    /// @param netHash keccak256(abi.encode(rows)) of the net amounts.
    function propose(
        uint32 day,
        bytes32 root,
        uint32 tradeCount,
        uint128 totalWh,
        uint128 totalValue,
        bytes32 publishedHash,
        bytes32 netHash
    ) external onlyRole(OPERATOR_ROLE) whenNotPaused {
        Day storage d = _days[day];
        if (d.state != State.None) revert WrongState(day, d.state);
        uint256 endsAt = (uint256(day) + 1) * 1 days;
        if (block.timestamp < endsAt) revert DayNotOver(day, endsAt, block.timestamp);
        if (root == bytes32(0)) revert ZeroRoot(day);
        if (tradeCount == 0) revert NoTrades(day);

        _days[day] = Day({
            root: root,
            publishedHash: publishedHash,
            netHash: netHash,
            totalWh: totalWh,
            totalValue: totalValue,
            tradeCount: tradeCount,
            proposedAt: uint48(block.timestamp),
            state: State.Proposed
        });
        uint256 executableFrom = block.timestamp + disputeWindow;
        emit DayProposed(day, root, tradeCount, totalWh, totalValue, publishedHash, netHash, executableFrom);
    }

    /// @notice Take back a proposal, during its dispute window or when it has stayed unexecuted for
    ///         `EXECUTION_WINDOW` after that.
    /// @param day Days since 1970-01-01.
    function retract(uint32 day) external onlyRole(OPERATOR_ROLE) {
        Day storage d = _proposed(day);
        uint256 executableFrom = uint256(d.proposedAt) + disputeWindow;
        uint256 staleFrom = executableFrom + EXECUTION_WINDOW;
        if (block.timestamp >= executableFrom && block.timestamp < staleFrom) {
            revert NotRetractable(day, executableFrom, staleFrom);
        }
        emit DayRetracted(day, d.root);
        delete _days[day];
    }

    /// @notice Settle a day whose dispute window has passed; all of it or nothing. Anyone may call.
    /// @param day Days since 1970-01-01.
    /// @param rows The net amounts that were proposed, in ascending order of address.
    function execute(uint32 day, Net[] calldata rows) external whenNotPaused {
        Day storage d = _proposed(day);
        uint256 executableFrom = uint256(d.proposedAt) + disputeWindow;
        if (block.timestamp < executableFrom) revert DisputeWindowOpen(day, executableFrom, block.timestamp);
        bytes32 given = keccak256(abi.encode(rows));
        if (given != d.netHash) revert WrongRows(day, d.netHash, given);

        d.state = State.Executed;
        address previous;
        int256 sum;
        uint256 moved;
        for (uint256 i; i < rows.length; ++i) {
            address participant = rows[i].participant;
            int128 amount = rows[i].amount;
            if (participant <= previous) revert NotAscending(day, i);
            previous = participant;
            sum += amount;
            uint256 size = SignedMath.abs(amount);
            if (amount < 0) {
                _debit(day, participant, size);
            } else {
                _credit(participant, size);
                moved += size;
            }
            emit NetSettled(day, participant, amount);
        }
        if (sum != 0) revert NotBalanced(day, sum);
        if (moved > d.totalValue) revert MovedAboveTotal(day, moved, d.totalValue);
        emit DayExecuted(day, d.root, moved);
    }

    /// @notice Stop deposits, proposals and execution. Withdrawals, limits and retractions go on.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Resume deposits, proposals and execution.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------

    /// @notice Whether a trade is among those of a day.
    /// @param day Days since 1970-01-01; proposed or executed.
    /// @param trade The trade.
    /// @param proof Siblings from its leaf up to the root.
    /// @return Whether it is.
    function verifyTrade(uint32 day, Trade calldata trade, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        Day storage d = _days[day];
        if (d.state == State.None) revert WrongState(day, State.None);
        return trade.index < d.tradeCount && MerkleProof.verifyCalldata(proof, d.root, _leaf(day, trade));
    }

    /// @notice Everything known about a day; zeros if nothing is proposed.
    /// @param day Days since 1970-01-01.
    /// @return The day.
    function dayOf(uint32 day) external view returns (Day memory) {
        return _days[day];
    }

    /// @notice First second at which a proposed day can be executed.
    /// @param day Days since 1970-01-01.
    /// @return The second; it was earlier for a day that is executed.
    function executableFromOf(uint32 day) external view returns (uint256) {
        Day storage d = _days[day];
        if (d.state == State.None) revert WrongState(day, State.None);
        return uint256(d.proposedAt) + disputeWindow;
    }

    /// @notice A participant's account; zeros for an unknown one.
    /// @param participant Whose account.
    /// @return The account.
    function accountOf(address participant) external view returns (Account memory) {
        return _accounts[participant];
    }

    // ------------------------------------------------------------------------------------------------
    // Internals
    // ------------------------------------------------------------------------------------------------

    /// @dev The day, which must be proposed and not executed.
    function _proposed(uint32 day) private view returns (Day storage d) {
        d = _days[day];
        if (d.state != State.Proposed) revert WrongState(day, d.state);
    }

    /// @dev Take a net amount from an account that allows and holds it.
    function _debit(uint32 day, address participant, uint256 need) private {
        Account memory account = _accounts[participant];
        if (need > account.dailyLimit) revert AboveDailyLimit(day, participant, need, account.dailyLimit);
        if (need > account.free) revert AboveFree(day, participant, need, account.free);
        // It is at most `free`, which has 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        _accounts[participant].free = account.free - uint128(need);
    }

    /// @dev Add a net amount to an account. That the sum is zero sees to it that the tokens are there.
    function _credit(address participant, uint256 size) private {
        // It was an int128.
        // forge-lint: disable-next-line(unsafe-typecast)
        _accounts[participant].free += uint128(size);
    }

    /// @dev Hash of a leaf, twice, so that it cannot be taken for an inner node.
    function _leaf(uint32 day, Trade calldata trade) private pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(abi.encode(day, trade.index, trade.seller, trade.buyer, trade.wh, trade.value))
            )
        );
    }
}
