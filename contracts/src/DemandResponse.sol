// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {IncentiveCoin} from "./IncentiveCoin.sol";
import {ResourceRegistry} from "./ResourceRegistry.sol";

/// @title Demand-response events: issue, opt in, certify, pay
/// @notice An operator issues an event, homes opt in before it starts, a certifier commits to the measured
///         reductions after it ends, and anyone may then push the payments.
/// @dev A certification is the root of a Merkle tree with one leaf per participant, in index order.
///
///      leaf = keccak256(keccak256(abi.encode(eventId, index, resource, wallet, reductionWh, payment,
///      certificateHash))), all seven as 32-byte words. Each level pairs the neighbours 2i and 2i + 1 and
///      hashes the pair smaller first; an odd last node moves up unchanged. So node `c` of level `k` is the
///      root over the leaves [c * 2^k, (c + 1) * 2^k), cut at the number of leaves, and `payBatch` can prove
///      up to 256 payments with a single path.
///
///      The preimage of a leaf is 32 bytes and that of an inner node 64, so neither can pass for the other.
///      Pairs are sorted, so a path alone does not tell the place of a leaf: the index is inside the leaf,
///      and the bitmap of payments goes by that index.
contract DemandResponse is AccessControlDefaultAdminRules, Pausable {
    using SafeERC20 for IERC20;

    /// @notice Where an event stands. `Active` and `Ended` follow from the clock and are never stored.
    enum State {
        None,
        Issued,
        Active,
        Ended,
        Certified,
        Paid,
        Closed,
        Cancelled
    }

    /// @notice The part of a leaf that a caller hands over; the event and the index complete it.
    /// @param resource Hash of the meter.
    /// @param wallet Who is paid.
    /// @param reductionWh Certified reduction in watt-hours.
    /// @param payment Amount in the smallest unit of the coin; may be zero.
    /// @param certificateHash Hash of the home's certificate.
    struct Payment {
        bytes32 resource;
        address wallet;
        uint128 reductionWh;
        uint128 payment;
        bytes32 certificateHash;
    }

    /// @notice Everything known about an event.
    /// @param start First second of the event.
    /// @param end First second after the event.
    /// @param targetWh Reduction the operator asked for, in watt-hours.
    /// @param ratePerKwh Price of a kilowatt-hour in the smallest unit of the coin.
    /// @param disputeWindow Seconds between certification and the first payment.
    /// @param programmeHash Hash of the programme's rules.
    /// @param root Merkle root of the payments.
    /// @param publishedHash Hash of the published file that holds all leaves.
    /// @param certifiedAt Time of certification; zero before.
    /// @param count Number of leaves.
    /// @param paidCount Number of leaves paid.
    /// @param totalReductionWh Sum of the certified reductions.
    /// @param totalPayment Sum of the certified payments.
    /// @param paidTotal Sum paid so far.
    /// @param state Where the event stands now.
    struct EventView {
        uint64 start;
        uint64 end;
        uint64 targetWh;
        uint128 ratePerKwh;
        uint64 disputeWindow;
        bytes32 programmeHash;
        bytes32 root;
        bytes32 publishedHash;
        uint64 certifiedAt;
        uint32 count;
        uint32 paidCount;
        uint128 totalReductionWh;
        uint128 totalPayment;
        uint128 paidTotal;
        State state;
    }

    /// @dev Ordered for packing: what a payment reads and writes shares as few slots as possible.
    struct Event {
        uint64 start;
        uint64 end;
        uint64 targetWh;
        uint64 disputeWindow;
        // next slot
        uint128 ratePerKwh;
        uint32 participants;
        uint32 count;
        State state;
        // next slot
        uint128 paidTotal;
        uint64 certifiedAt;
        uint32 paidCount;
        // next slot
        uint128 totalReductionWh;
        uint128 totalPayment;
        // one slot each
        bytes32 programmeHash;
        bytes32 root;
        bytes32 publishedHash;
    }

    /// @notice Role that issues, cancels and closes events, and opts homes in on their behalf.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    /// @notice Role that certifies reductions.
    bytes32 public constant CERTIFIER_ROLE = keccak256("CERTIFIER_ROLE");

    /// @notice Role that may pause certification and payment; only the admin can resume.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice Highest tree level that a batch of payments may cover: 256 leaves, one word of the bitmap.
    uint8 public constant MAX_LEVEL = 8;

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @notice Where resources are registered.
    ResourceRegistry public immutable registry;

    /// @notice The coin in which homes are paid. This contract needs its minter role.
    IncentiveCoin public immutable coin;

    mapping(bytes32 eventId => Event) private _events;
    /// @dev One bit per resource, by its serial number in the registry.
    mapping(bytes32 eventId => mapping(uint256 word => uint256)) private _optedIn;
    /// @dev One bit per leaf, by its index.
    mapping(bytes32 eventId => mapping(uint256 word => uint256)) private _paid;

    /// @notice An event was issued.
    /// @param eventId Identifier of the event.
    /// @param start First second of the event.
    /// @param end First second after the event.
    /// @param targetWh Reduction asked for, in watt-hours.
    /// @param ratePerKwh Price of a kilowatt-hour in the smallest unit of the coin.
    /// @param disputeWindow Seconds between certification and the first payment.
    /// @param programmeHash Hash of the programme's rules.
    event EventIssued(
        bytes32 indexed eventId,
        uint64 start,
        uint64 end,
        uint64 targetWh,
        uint128 ratePerKwh,
        uint64 disputeWindow,
        bytes32 programmeHash
    );

    /// @notice A resource takes part in an event.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param by Who opted in: the owner, or an operator on the owner's behalf.
    event OptedIn(bytes32 indexed eventId, bytes32 indexed resource, address by);

    /// @notice The reductions of an event were certified, and the payments put in escrow.
    /// @param eventId Identifier of the event.
    /// @param root Merkle root of the payments.
    /// @param count Number of leaves.
    /// @param totalReductionWh Sum of the reductions.
    /// @param totalPayment Sum of the payments.
    /// @param publishedHash Hash of the published file that holds all leaves.
    event EventCertified(
        bytes32 indexed eventId,
        bytes32 indexed root,
        uint32 count,
        uint128 totalReductionWh,
        uint128 totalPayment,
        bytes32 publishedHash
    );

    /// @notice A leaf was paid; also emitted for a leaf whose payment is zero.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    /// @param resource Hash of the meter.
    /// @param wallet Who was paid.
    /// @param payment Amount in the smallest unit of the coin.
    event PaymentMade(
        bytes32 indexed eventId,
        uint256 index,
        bytes32 indexed resource,
        address indexed wallet,
        uint256 payment
    );

    /// @notice Every leaf of an event has been paid.
    /// @param eventId Identifier of the event.
    /// @param totalPayment Sum paid.
    event EventPaid(bytes32 indexed eventId, uint128 totalPayment);

    /// @notice A paid event was closed.
    /// @param eventId Identifier of the event.
    event EventClosed(bytes32 indexed eventId);

    /// @notice An event was cancelled before its start.
    /// @param eventId Identifier of the event.
    event EventCancelled(bytes32 indexed eventId);

    /// @notice The constructor got a zero address.
    error ZeroAddress();

    /// @notice The identifier is taken.
    /// @param eventId Identifier of the event.
    error AlreadyIssued(bytes32 eventId);

    /// @notice An event must start after the block that issues it.
    /// @param start Start asked for.
    /// @param time Time of the block.
    error StartNotInFuture(uint64 start, uint256 time);

    /// @notice An event must end after its start.
    /// @param start Start asked for.
    /// @param end End asked for.
    error EmptyWindow(uint64 start, uint64 end);

    /// @notice The event is not in the state that the call needs.
    /// @param eventId Identifier of the event.
    /// @param state Where the event stands.
    error WrongState(bytes32 eventId, State state);

    /// @notice The resource is not in the registry.
    /// @param resource Hash of the meter.
    error NotRegistered(bytes32 resource);

    /// @notice Only its owner or an operator may opt a resource in.
    /// @param resource Hash of the meter.
    /// @param caller Who tried.
    error NotResourceOwner(bytes32 resource, address caller);

    /// @notice The resource takes part already, or stands twice in the batch.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error AlreadyOptedIn(bytes32 eventId, bytes32 resource);

    /// @notice The Merkle root must not be zero.
    /// @param eventId Identifier of the event.
    error ZeroRoot(bytes32 eventId);

    /// @notice A certification needs exactly one leaf per participant.
    /// @param eventId Identifier of the event.
    /// @param participants Number of resources that opted in.
    /// @param count Number of leaves given.
    error CountMismatch(bytes32 eventId, uint32 participants, uint32 count);

    /// @notice An event without participants has nothing to reduce and nothing to pay.
    /// @param eventId Identifier of the event.
    error TotalsWithoutParticipants(bytes32 eventId);

    /// @notice Payments start when the dispute window has passed.
    /// @param eventId Identifier of the event.
    /// @param until First second at which payment is possible.
    error DisputeWindowOpen(bytes32 eventId, uint256 until);

    /// @notice There is no leaf with this index.
    /// @param eventId Identifier of the event.
    /// @param index Index given, or first index of the node given.
    /// @param count Number of leaves.
    error IndexOutOfRange(bytes32 eventId, uint256 index, uint32 count);

    /// @notice A batch covers at most `MAX_LEVEL` levels.
    /// @param level Level given.
    error LevelTooHigh(uint8 level);

    /// @notice A batch must hold all the leaves of its node.
    /// @param expected Number of leaves of the node.
    /// @param given Number of rows given.
    error WrongRowCount(uint256 expected, uint256 given);

    /// @notice The rows and the proof do not lead to the certified root.
    /// @param eventId Identifier of the event.
    error InvalidProof(bytes32 eventId);

    /// @notice The leaf has been paid before.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    error AlreadyPaid(bytes32 eventId, uint256 index);

    /// @notice Every leaf of the batch has been paid before.
    /// @param eventId Identifier of the event.
    error NothingToPay(bytes32 eventId);

    /// @notice The leaves add up to more than the certified total.
    /// @param eventId Identifier of the event.
    /// @param sum What would have been paid.
    /// @param totalPayment The certified total.
    error PaymentsAboveTotal(bytes32 eventId, uint256 sum, uint128 totalPayment);

    /// @notice All the leaves together add up to less than the certified total.
    /// @param eventId Identifier of the event.
    /// @param sum What would have been paid.
    /// @param totalPayment The certified total.
    error PaymentsBelowTotal(bytes32 eventId, uint256 sum, uint128 totalPayment);

    /// @param registry_ Where resources are registered.
    /// @param coin_ The coin in which homes are paid.
    /// @param admin First admin; grants the other roles.
    constructor(ResourceRegistry registry_, IncentiveCoin coin_, address admin)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
    {
        if (address(registry_) == address(0) || address(coin_) == address(0)) revert ZeroAddress();
        registry = registry_;
        coin = coin_;
    }

    // ------------------------------------------------------------------------------------------------
    // Before the event
    // ------------------------------------------------------------------------------------------------

    /// @notice Issue an event over the half-open window [start, end).
    /// @param eventId Identifier of the event; must be new.
    /// @param start First second of the event; after the current block.
    /// @param end First second after the event.
    /// @param targetWh Reduction asked for, in watt-hours.
    /// @param ratePerKwh Price of a kilowatt-hour in the smallest unit of the coin.
    /// @param disputeWindow Seconds between certification and the first payment.
    /// @param programmeHash Hash of the programme's rules.
    function issue(
        bytes32 eventId,
        uint64 start,
        uint64 end,
        uint64 targetWh,
        uint128 ratePerKwh,
        uint64 disputeWindow,
        bytes32 programmeHash
    ) external onlyRole(OPERATOR_ROLE) {
        Event storage ev = _events[eventId];
        if (ev.state != State.None) revert AlreadyIssued(eventId);
        if (start <= block.timestamp) revert StartNotInFuture(start, block.timestamp);
        if (end <= start) revert EmptyWindow(start, end);

        ev.start = start;
        ev.end = end;
        ev.targetWh = targetWh;
        ev.disputeWindow = disputeWindow;
        ev.ratePerKwh = ratePerKwh;
        ev.state = State.Issued;
        ev.programmeHash = programmeHash;
        emit EventIssued(eventId, start, end, targetWh, ratePerKwh, disputeWindow, programmeHash);
    }

    /// @notice Let resources take part in an event that has not started; all of them or none.
    /// @dev Callable by the owner of all the resources, or by an operator on the owners' behalf.
    /// @param eventId Identifier of the event.
    /// @param resources Hashes of the meters.
    function optIn(bytes32 eventId, bytes32[] calldata resources) external {
        _requireState(eventId, State.Issued);
        bool onBehalf = hasRole(OPERATOR_ROLE, msg.sender);
        ResourceRegistry.Resource[] memory rows = registry.resourcesOf(resources);
        mapping(uint256 => uint256) storage bits = _optedIn[eventId];

        // Serial numbers of a batch tend to be neighbours, so the word at hand is written only when it changes.
        uint256 word;
        uint256 flags = bits[0];
        for (uint256 i; i < rows.length; ++i) {
            bytes32 resource = resources[i];
            address owner = rows[i].owner;
            if (owner == address(0)) revert NotRegistered(resource);
            if (owner != msg.sender && !onBehalf) revert NotResourceOwner(resource, msg.sender);

            uint256 number = rows[i].number;
            if (number >> 8 != word) {
                bits[word] = flags;
                word = number >> 8;
                flags = bits[word];
            }
            uint256 bit = 1 << (number & 255);
            if (flags & bit != 0) revert AlreadyOptedIn(eventId, resource);
            flags |= bit;
            emit OptedIn(eventId, resource, msg.sender);
        }
        bits[word] = flags;
        _events[eventId].participants += uint32(rows.length);
    }

    /// @notice Cancel an event that has not started.
    /// @param eventId Identifier of the event.
    function cancel(bytes32 eventId) external onlyRole(OPERATOR_ROLE) {
        _requireState(eventId, State.Issued);
        _events[eventId].state = State.Cancelled;
        emit EventCancelled(eventId);
    }

    // ------------------------------------------------------------------------------------------------
    // After the event
    // ------------------------------------------------------------------------------------------------

    /// @notice Commit to the reductions of an ended event and mint its payments into escrow.
    /// @dev An event without participants has no leaves and no payments: it is paid at once, and its root,
    ///      which must still not be zero, is never used.
    /// @param eventId Identifier of the event.
    /// @param root Merkle root of the payments.
    /// @param count Number of leaves; one per participant.
    /// @param totalReductionWh Sum of the reductions in watt-hours.
    /// @param totalPayment Sum of the payments in the smallest unit of the coin.
    /// @param publishedHash Hash of the published file that holds all leaves.
    function certify(
        bytes32 eventId,
        bytes32 root,
        uint32 count,
        uint128 totalReductionWh,
        uint128 totalPayment,
        bytes32 publishedHash
    ) external onlyRole(CERTIFIER_ROLE) whenNotPaused {
        _requireState(eventId, State.Ended);
        Event storage ev = _events[eventId];
        if (root == bytes32(0)) revert ZeroRoot(eventId);
        if (count != ev.participants) revert CountMismatch(eventId, ev.participants, count);
        if (count == 0 && (totalReductionWh != 0 || totalPayment != 0)) {
            revert TotalsWithoutParticipants(eventId);
        }

        ev.root = root;
        ev.publishedHash = publishedHash;
        ev.certifiedAt = uint64(block.timestamp);
        ev.totalReductionWh = totalReductionWh;
        ev.totalPayment = totalPayment;
        ev.count = count;
        ev.state = State.Certified;
        emit EventCertified(eventId, root, count, totalReductionWh, totalPayment, publishedHash);

        if (count == 0) {
            ev.state = State.Paid;
            emit EventPaid(eventId, 0);
        } else if (totalPayment != 0) {
            coin.mint(address(this), totalPayment);
        }
    }

    /// @notice Pay one leaf. Anyone may call; the wallet in the leaf is paid.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    /// @param row The leaf.
    /// @param proof Siblings from the leaf up to the root.
    function claim(bytes32 eventId, uint32 index, Payment calldata row, bytes32[] calldata proof)
        external
        whenNotPaused
    {
        Event storage ev = _payable(eventId);
        uint32 count = ev.count;
        if (index >= count) revert IndexOutOfRange(eventId, index, count);
        if (!MerkleProof.verifyCalldata(proof, ev.root, _leaf(eventId, index, row))) {
            revert InvalidProof(eventId);
        }

        uint256 word = _paid[eventId][index >> 8];
        uint256 bit = 1 << (index & 255);
        if (word & bit != 0) revert AlreadyPaid(eventId, index);
        _paid[eventId][index >> 8] = word | bit;
        bool complete = _book(eventId, ev, 1, row.payment);
        _pay(eventId, index, row);
        if (complete) emit EventPaid(eventId, ev.totalPayment);
    }

    /// @notice Pay all the leaves of one tree node that have not been paid yet. Anyone may call.
    /// @param eventId Identifier of the event.
    /// @param chunk Position of the node in its level.
    /// @param level Level of the node; leaves are level 0. At most `MAX_LEVEL`.
    /// @param rows All the leaves of the node, in index order: min(2^level, count - chunk * 2^level) of them.
    /// @param proof Siblings from the node up to the root.
    function payBatch(
        bytes32 eventId,
        uint32 chunk,
        uint8 level,
        Payment[] calldata rows,
        bytes32[] calldata proof
    ) external whenNotPaused {
        Event storage ev = _payable(eventId);
        uint256 first = _firstIndex(eventId, ev.count, chunk, level, rows.length);
        if (!MerkleProof.verifyCalldata(proof, ev.root, _node(eventId, first, rows))) {
            revert InvalidProof(eventId);
        }

        // The node is aligned and covers at most 256 leaves, so all its bits lie in a single word.
        uint256 before = _paid[eventId][first >> 8];
        uint256 word = before;
        uint256 sum;
        uint32 number;
        for (uint256 i; i < rows.length; ++i) {
            uint256 bit = 1 << ((first + i) & 255);
            if (word & bit != 0) continue;
            word |= bit;
            sum += rows[i].payment;
            ++number;
        }
        if (number == 0) revert NothingToPay(eventId);

        _paid[eventId][first >> 8] = word;
        bool complete = _book(eventId, ev, number, sum);
        for (uint256 i; i < rows.length; ++i) {
            if (before & (1 << ((first + i) & 255)) == 0) _pay(eventId, first + i, rows[i]);
        }
        if (complete) emit EventPaid(eventId, ev.totalPayment);
    }

    /// @notice Close a paid event.
    /// @param eventId Identifier of the event.
    function close(bytes32 eventId) external onlyRole(OPERATOR_ROLE) {
        _requireState(eventId, State.Paid);
        _events[eventId].state = State.Closed;
        emit EventClosed(eventId);
    }

    /// @notice Stop certification and payment.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Resume certification and payment.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------

    /// @notice Where an event stands at the time of the block.
    /// @param eventId Identifier of the event.
    /// @return 0 none, 1 issued, 2 active, 3 ended, 4 certified, 5 paid, 6 closed, 7 cancelled.
    function stateOf(bytes32 eventId) public view returns (State) {
        Event storage ev = _events[eventId];
        State state = ev.state;
        if (state != State.Issued || block.timestamp < ev.start) return state;
        return block.timestamp < ev.end ? State.Active : State.Ended;
    }

    /// @notice Everything known about an event; zeros for an unknown one.
    /// @param eventId Identifier of the event.
    /// @return The event.
    function eventOf(bytes32 eventId) external view returns (EventView memory) {
        Event storage ev = _events[eventId];
        return EventView({
            start: ev.start,
            end: ev.end,
            targetWh: ev.targetWh,
            ratePerKwh: ev.ratePerKwh,
            disputeWindow: ev.disputeWindow,
            programmeHash: ev.programmeHash,
            root: ev.root,
            publishedHash: ev.publishedHash,
            certifiedAt: ev.certifiedAt,
            count: ev.count,
            paidCount: ev.paidCount,
            totalReductionWh: ev.totalReductionWh,
            totalPayment: ev.totalPayment,
            paidTotal: ev.paidTotal,
            state: stateOf(eventId)
        });
    }

    /// @notice Number of resources that take part in an event.
    /// @param eventId Identifier of the event.
    /// @return The number.
    function participants(bytes32 eventId) external view returns (uint32) {
        return _events[eventId].participants;
    }

    /// @notice Which of a batch of resources take part in an event, so that a client can resume.
    /// @param eventId Identifier of the event.
    /// @param resources Hashes of the meters.
    /// @return flags One flag per hash, in the order asked; false for an unregistered resource.
    function optedIn(bytes32 eventId, bytes32[] calldata resources)
        external
        view
        returns (bool[] memory flags)
    {
        ResourceRegistry.Resource[] memory rows = registry.resourcesOf(resources);
        flags = new bool[](rows.length);
        for (uint256 i; i < rows.length; ++i) {
            uint256 number = rows[i].number;
            flags[i] =
                rows[i].owner != address(0) && _optedIn[eventId][number >> 8] & (1 << (number & 255)) != 0;
        }
    }

    /// @notice Whether a leaf has been paid.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    /// @return Whether it has.
    function isPaid(bytes32 eventId, uint256 index) external view returns (bool) {
        return _paid[eventId][index >> 8] & (1 << (index & 255)) != 0;
    }

    /// @notice One word of the bitmap of paid leaves.
    /// @param eventId Identifier of the event.
    /// @param word Which word; it covers the leaves [256 * word, 256 * word + 256).
    /// @return The word; its lowest bit is the leaf of the lowest index.
    function paidBitmap(bytes32 eventId, uint256 word) external view returns (uint256) {
        return _paid[eventId][word];
    }

    // ------------------------------------------------------------------------------------------------
    // Internals
    // ------------------------------------------------------------------------------------------------

    /// @dev Revert unless the event stands where the call needs it.
    function _requireState(bytes32 eventId, State wanted) private view {
        State state = stateOf(eventId);
        if (state != wanted) revert WrongState(eventId, state);
    }

    /// @dev The event, if it is certified and its dispute window has passed. A paid or closed event is let
    ///      through as well, so that paying again fails for its own reason, `AlreadyPaid` or `NothingToPay`.
    function _payable(bytes32 eventId) private view returns (Event storage ev) {
        ev = _events[eventId];
        State state = stateOf(eventId);
        if (state != State.Certified && state != State.Paid && state != State.Closed) {
            revert WrongState(eventId, state);
        }
        uint256 until = uint256(ev.certifiedAt) + ev.disputeWindow;
        if (block.timestamp < until) revert DisputeWindowOpen(eventId, until);
    }

    /// @dev First leaf of a node, after checking that the node exists and has as many leaves as rows given.
    function _firstIndex(bytes32 eventId, uint32 count, uint32 chunk, uint8 level, uint256 given)
        private
        pure
        returns (uint256 first)
    {
        if (level > MAX_LEVEL) revert LevelTooHigh(level);
        first = uint256(chunk) << level;
        if (first >= count) revert IndexOutOfRange(eventId, first, count);
        uint256 width = uint256(1) << level;
        uint256 expected = count - first < width ? count - first : width;
        if (given != expected) revert WrongRowCount(expected, given);
    }

    /// @dev Hash of a leaf, twice, so that it cannot be taken for an inner node.
    function _leaf(bytes32 eventId, uint256 index, Payment calldata row) private pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                keccak256(
                    abi.encode(
                        eventId,
                        index,
                        row.resource,
                        row.wallet,
                        row.reductionWh,
                        row.payment,
                        row.certificateHash
                    )
                )
            )
        );
    }

    /// @dev Root over neighbouring leaves, folded level by level in place.
    function _node(bytes32 eventId, uint256 first, Payment[] calldata rows) private pure returns (bytes32) {
        uint256 width = rows.length;
        bytes32[] memory nodes = new bytes32[](width);
        for (uint256 i; i < width; ++i) {
            nodes[i] = _leaf(eventId, first + i, rows[i]);
        }
        while (width > 1) {
            uint256 pairs = width >> 1;
            for (uint256 i; i < pairs; ++i) {
                nodes[i] = Hashes.commutativeKeccak256(nodes[2 * i], nodes[2 * i + 1]);
            }
            if (width & 1 == 1) nodes[pairs] = nodes[width - 1];
            width = pairs + (width & 1);
        }
        return nodes[0];
    }

    /// @dev Add payments to the event's sums and hold them against the certified total. Tells whether these
    ///      were the last ones; the event is then paid.
    function _book(bytes32 eventId, Event storage ev, uint32 number, uint256 amount)
        private
        returns (bool complete)
    {
        uint128 totalPayment = ev.totalPayment;
        uint256 sum = ev.paidTotal + amount;
        if (sum > totalPayment) revert PaymentsAboveTotal(eventId, sum, totalPayment);
        uint32 paidCount = ev.paidCount + number;
        // The sum is at most `totalPayment`, which has 128 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        ev.paidTotal = uint128(sum);
        ev.paidCount = paidCount;
        complete = paidCount == ev.count;
        if (complete) {
            if (sum != totalPayment) revert PaymentsBelowTotal(eventId, sum, totalPayment);
            ev.state = State.Paid;
        }
    }

    /// @dev Transfer a payment that has been booked. Zero payments move nothing.
    function _pay(bytes32 eventId, uint256 index, Payment calldata row) private {
        emit PaymentMade(eventId, index, row.resource, row.wallet, row.payment);
        if (row.payment != 0) IERC20(coin).safeTransfer(row.wallet, row.payment);
    }
}
