// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {IncentiveCoin} from "./IncentiveCoin.sol";
import {ResourceRegistry} from "./ResourceRegistry.sol";
import {Signatures} from "./support/Signatures.sol";

/// @title Demand-response events: issue, opt in, certify, dispute, finalise, pay
/// @notice An operator issues an event, homes opt in before it starts, and a certifier commits to the measured
///         reductions after it ends. Homes may challenge that while the dispute window is open; the certifier has
///         to answer each challenge or take the certification back. Then the event becomes final, and anyone may
///         push the payments.
/// @dev A certification is the root of a Merkle tree with one leaf per participant, in index order.
///
///      leaf   = keccak256(keccak256(abi.encode(eventId, index, payee, detail)))
///      payee  = the wallet's 20 bytes, then the payment in 12 bytes
///      detail = keccak256(abi.encode(resource, reductionWh, certificateHash))
///
///      Each level pairs the neighbours 2i and 2i + 1 and hashes the pair smaller first; an odd last node moves
///      up unchanged. So node `c` of level `k` is the root over the leaves [c * 2^k, (c + 1) * 2^k), cut at the
///      number of leaves, and a batch can prove up to 256 payments with a single path.
///
///      The preimage of a leaf is 32 bytes and that of an inner node 64, so neither can pass for the other.
///      Pairs are sorted, so a path alone does not tell the place of a leaf: the index is inside the leaf,
///      and the bitmap of payments goes by that index.
///
///      What an event was issued and certified with stands in the log; storage holds what the rules need. That
///      keeps a certification below 50,000 gas, whatever the number of homes.
contract DemandResponse is AccessControlDefaultAdminRules, EIP712, Nonces, Pausable {
    using SafeERC20 for IERC20;

    /// @notice Where an event stands. `Active` and `Ended` follow from the clock and are never stored.
    enum State {
        None,
        Issued,
        Active,
        Ended,
        Certified,
        Final,
        Paid,
        Closed,
        Cancelled
    }

    /// @notice Where the coins of an event come from: minted when it becomes final, or out of the treasury.
    enum Funding {
        Mint,
        Treasury
    }

    /// @notice What an event is issued with.
    /// @param start First second of the event.
    /// @param end First second after the event.
    /// @param disputeWindow Seconds between certification and the first moment at which it may become final.
    /// @param claimWindow Seconds for which payments can be claimed, from the moment the event became final.
    /// @param funding Where the coins come from.
    /// @param targetWh Reduction the operator asks for, in watt-hours.
    /// @param ratePerKwh Price of a kilowatt-hour in the smallest unit of the coin.
    /// @param programmeHash Hash of the programme's rules.
    struct Terms {
        uint40 start;
        uint40 end;
        uint32 disputeWindow;
        uint32 claimWindow;
        Funding funding;
        uint64 targetWh;
        uint128 ratePerKwh;
        bytes32 programmeHash;
    }

    /// @notice The part of a leaf that pays; the event and the index complete it.
    /// @param payee Who is paid, and how much: a wallet's 20 bytes, then the payment in 12 bytes.
    /// @param detail Hash of the resource, its reduction and its certificate.
    struct Row {
        bytes32 payee;
        bytes32 detail;
    }

    /// @notice A leaf with what its detail hides.
    /// @param index Index of the leaf.
    /// @param payee Who is paid, and how much.
    /// @param reductionWh Certified reduction in watt-hours.
    /// @param certificateHash Hash of the home's certificate.
    struct OpenLeaf {
        uint32 index;
        bytes32 payee;
        uint256 reductionWh;
        bytes32 certificateHash;
    }

    /// @notice What an owner chooses for one event.
    /// @param resource Hash of the meter.
    /// @param takesPart Whether it opts in or out.
    /// @param deadline Last second at which the signature counts.
    /// @param signature The owner's, over `Choice(bytes32 eventId,bytes32 resource,bool takesPart,uint256
    ///        nonce,uint256 deadline)`, with the owner's next nonce.
    struct Choice {
        bytes32 resource;
        bool takesPart;
        uint256 deadline;
        bytes signature;
    }

    /// @notice What storage holds of an event.
    /// @param start First second of the event.
    /// @param end First second after the event.
    /// @param disputeWindow Seconds between certification and the first moment at which it may become final.
    /// @param claimWindow Seconds for which payments can be claimed.
    /// @param participants Number of resources that take part.
    /// @param certifiedAt Time of the certification; zero before.
    /// @param openChallenges Challenges that wait for an answer.
    /// @param state Where the event stands now.
    /// @param funding Where the coins come from.
    /// @param payableFrom First second at which the event may become final; zero before the certification.
    /// @param claimUntil First second at which payments are no longer possible; zero before the event is final.
    /// @param unpaid Certified payments that have not been made, in the smallest unit of the coin.
    /// @param targetWh Reduction the operator asked for, in watt-hours.
    /// @param commitment Hash of the programme's rules; from the certification on, the Merkle root.
    struct EventView {
        uint40 start;
        uint40 end;
        uint32 disputeWindow;
        uint32 claimWindow;
        uint32 participants;
        uint40 certifiedAt;
        uint16 openChallenges;
        State state;
        Funding funding;
        uint256 payableFrom;
        uint40 claimUntil;
        uint96 unpaid;
        uint64 targetWh;
        bytes32 commitment;
    }

    /// @dev Three slots, packed by who touches what: a payment needs the second and the third alone. None of them
    ///      is zero once the event is issued, so that a certification only changes them.
    struct Event {
        uint40 start;
        uint40 end;
        uint32 disputeWindow;
        uint32 claimWindow;
        uint32 participants;
        uint40 certifiedAt;
        uint16 openChallenges;
        State state;
        Funding funding;
        uint8 round;
        // next slot
        uint96 unpaid;
        uint40 claimUntil;
        uint64 targetWh;
        // next slot
        bytes32 commitment;
        // next slots: which leaves are paid, 256 to a word
        uint256[16_777_216] paid;
    }

    /// @notice Role that issues, cancels and closes events, and opts in homes that allowed it.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    /// @notice Role that certifies reductions and answers challenges.
    bytes32 public constant CERTIFIER_ROLE = keccak256("CERTIFIER_ROLE");

    /// @notice Role that may pause issuing, certifying and finalising; only the admin can resume.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice Highest tree level that a batch of payments may cover: 256 leaves, one word of the bitmap.
    uint8 public constant MAX_LEVEL = 8;

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @dev Words of an event's bitmap: an index has at most 32 bits.
    uint256 private constant WORDS = 16_777_216;

    bytes32 private constant CHOICE_TYPE =
        keccak256("Choice(bytes32 eventId,bytes32 resource,bool takesPart,uint256 nonce,uint256 deadline)");
    bytes32 private constant CHALLENGE_TYPE = keccak256(
        "Challenge(bytes32 eventId,bytes32 resource,bytes32 root,bytes32 reasonHash,uint256 deadline)"
    );

    /// @notice Where resources are registered.
    ResourceRegistry public immutable registry;

    /// @notice The coin in which homes are paid. To mint, this contract needs its minter role.
    IncentiveCoin public immutable coin;

    /// @notice Coins that wait here for events funded by the treasury.
    uint256 public treasury;

    /// @notice Coins that were paid to a wallet by credit and wait to be withdrawn to it.
    mapping(address wallet => uint256) public creditOf;

    mapping(bytes32 eventId => Event) private _events;
    /// @dev One bit per resource, by its serial number in the registry.
    mapping(bytes32 eventId => mapping(uint256 word => uint256)) private _optedIn;
    /// @dev Likewise: owners who said no, whom an operator can't opt in again.
    mapping(bytes32 eventId => mapping(uint256 word => uint256)) private _optedOut;
    /// @dev By event and resource: the certification that was challenged last, and the one whose challenge was
    ///      answered last. A certification is told by its root and its round, so that one that is taken back and
    ///      made again, even with the same root, can be challenged again.
    mapping(bytes32 eventId => mapping(bytes32 resource => bytes32)) private _challenged;
    mapping(bytes32 eventId => mapping(bytes32 resource => bytes32)) private _answered;

    /// @notice An event was issued.
    /// @param eventId Identifier of the event.
    /// @param terms What it was issued with.
    event EventIssued(bytes32 indexed eventId, Terms terms);

    /// @notice A resource takes part in an event.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param by Who opted in: the owner, an operator whom the owner allowed to, or who brought the signature.
    event OptedIn(bytes32 indexed eventId, bytes32 indexed resource, address by);

    /// @notice A resource does not take part in an event after all.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param by The owner, or who brought the owner's signature.
    event OptedOut(bytes32 indexed eventId, bytes32 indexed resource, address by);

    /// @notice The reductions of an event were certified; its dispute window is open.
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
        uint96 totalPayment,
        bytes32 publishedHash
    );

    /// @notice A home disputes its certification.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param root The root that is disputed.
    /// @param reasonHash Hash of the home's reasons.
    event Challenged(
        bytes32 indexed eventId, bytes32 indexed resource, bytes32 indexed root, bytes32 reasonHash
    );

    /// @notice The certifier answered a challenge: the home's leaf is in the tree, with these values.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param leaf The home's leaf.
    /// @param answerHash Hash of the certifier's answer.
    event ChallengeAnswered(
        bytes32 indexed eventId, bytes32 indexed resource, OpenLeaf leaf, bytes32 answerHash
    );

    /// @notice A certification was taken back before it became final; the event can be certified anew.
    /// @param eventId Identifier of the event.
    /// @param root The root that counts no more.
    /// @param reasonHash Hash of the reasons.
    event CertificationWithdrawn(bytes32 indexed eventId, bytes32 indexed root, bytes32 reasonHash);

    /// @notice A certification is final: its coins are here, and payment has begun.
    /// @param eventId Identifier of the event.
    /// @param totalPayment Sum of the payments.
    /// @param claimUntil First second at which payments are no longer possible.
    event EventFinal(bytes32 indexed eventId, uint96 totalPayment, uint40 claimUntil);

    /// @notice A leaf was paid to its wallet. To whom and how much, the coin's Transfer says, which is the next log.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    event PaymentMade(bytes32 indexed eventId, uint256 index);

    /// @notice The leaves of a node that were not paid yet were credited to their wallets.
    /// @param eventId Identifier of the event.
    /// @param chunk Position of the node in its level.
    /// @param level Level of the node.
    /// @param leaves Which leaves of the bitmap's word were credited.
    /// @param sum Sum of their payments.
    event PaymentsCredited(
        bytes32 indexed eventId, uint32 indexed chunk, uint8 level, uint256 leaves, uint256 sum
    );

    /// @notice A wallet's credit was moved to it.
    /// @param wallet Who was paid.
    /// @param amount Amount in the smallest unit of the coin.
    event CreditWithdrawn(address indexed wallet, uint256 amount);

    /// @notice Every payment of an event has been made.
    /// @param eventId Identifier of the event.
    event EventPaid(bytes32 indexed eventId);

    /// @notice What nobody claimed in time was burned, or went back to the treasury; the event is closed.
    /// @param eventId Identifier of the event.
    /// @param amount Amount in the smallest unit of the coin.
    event UnclaimedReturned(bytes32 indexed eventId, uint256 amount);

    /// @notice An event was closed.
    /// @param eventId Identifier of the event.
    event EventClosed(bytes32 indexed eventId);

    /// @notice An event was cancelled before its start.
    /// @param eventId Identifier of the event.
    event EventCancelled(bytes32 indexed eventId);

    /// @notice Coins were put into the treasury.
    /// @param from Whose coins they were.
    /// @param amount Amount in the smallest unit of the coin.
    event TreasuryFunded(address indexed from, uint256 amount);

    /// @notice Coins that no event needs were taken out of the treasury.
    /// @param to Who received them.
    /// @param amount Amount in the smallest unit of the coin.
    event TreasuryDrawn(address indexed to, uint256 amount);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();

    /// @notice An event of this name was issued before.
    /// @param eventId Identifier of the event.
    error AlreadyIssued(bytes32 eventId);

    /// @notice An event must start after the block that issues it: this one's start is past.
    /// @param start Start asked for.
    /// @param time Time of the block.
    error StartNotInFuture(uint40 start, uint256 time);

    /// @notice An event must end after its start.
    /// @param start Start asked for.
    /// @param end End asked for.
    error EmptyWindow(uint40 start, uint40 end);

    /// @notice Target, claim window and programme hash must not be zero.
    /// @param eventId Identifier of the event.
    error ZeroTerm(bytes32 eventId);

    /// @notice The event is not in the state that this needs.
    /// @param eventId Identifier of the event.
    /// @param state Where the event stands.
    error WrongState(bytes32 eventId, State state);

    /// @notice The event is not over yet, so it can't be certified.
    /// @param eventId Identifier of the event.
    /// @param end First second after the event.
    /// @param time Time of the block.
    error EventNotOver(bytes32 eventId, uint40 end, uint256 time);

    /// @notice The resource is not registered, or was withdrawn.
    /// @param resource Hash of the meter.
    error NotRegistered(bytes32 resource);

    /// @notice Only the owner may choose this for the resource, or an operator whom the owner's consent allows to.
    /// @param resource Hash of the meter.
    /// @param caller Who tried.
    error NotResourceOwner(bytes32 resource, address caller);

    /// @notice The owner opted out of this event: only the owner can opt in again.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error OwnerOptedOut(bytes32 eventId, bytes32 resource);

    /// @notice The resource takes part already, or stands twice in the batch.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error AlreadyOptedIn(bytes32 eventId, bytes32 resource);

    /// @notice The resource does not take part in this event.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error NotOptedIn(bytes32 eventId, bytes32 resource);

    /// @notice The signature's deadline has passed: ask its signer for a new one.
    /// @param resource Hash of the meter.
    /// @param deadline Last second at which it counted.
    error SignatureExpired(bytes32 resource, uint256 deadline);

    /// @notice The signature is not the owner's, was used before, or was given for other values, another
    ///         contract or another chain.
    /// @param resource Hash of the meter.
    /// @param signer Whose signature is needed.
    error InvalidSignature(bytes32 resource, address signer);

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

    /// @notice The dispute window is over: the certification can't be challenged any more.
    /// @param eventId Identifier of the event.
    /// @param until First second at which challenges were too late.
    error DisputeWindowOver(bytes32 eventId, uint256 until);

    /// @notice The dispute window is still open: payments can't start yet.
    /// @param eventId Identifier of the event.
    /// @param until First second at which the event may become final.
    error DisputeWindowOpen(bytes32 eventId, uint256 until);

    /// @notice The resource has challenged this certification before.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error AlreadyChallenged(bytes32 eventId, bytes32 resource);

    /// @notice There is no challenge of this resource that waits for an answer.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error NoOpenChallenge(bytes32 eventId, bytes32 resource);

    /// @notice Challenges wait for an answer: the certifier has to answer them or take the certification back.
    /// @param eventId Identifier of the event.
    /// @param open How many.
    error ChallengesOpen(bytes32 eventId, uint16 open);

    /// @notice The treasury holds too little for this event: put coins in, then finalise again.
    /// @param eventId Identifier of the event.
    /// @param need Sum of the event's payments.
    /// @param have Coins in the treasury.
    error InsufficientTreasury(bytes32 eventId, uint256 need, uint256 have);

    /// @notice The treasury holds less than that.
    /// @param need Amount asked for.
    /// @param have Coins in the treasury.
    error TreasuryTooSmall(uint256 need, uint256 have);

    /// @notice Payments are possible only while the event is final and its claim window open.
    /// @param eventId Identifier of the event.
    /// @param state Where the event stands.
    error NotPayable(bytes32 eventId, State state);

    /// @notice The claim window is over.
    /// @param eventId Identifier of the event.
    /// @param until First second at which payments were too late.
    error ClaimWindowOver(bytes32 eventId, uint40 until);

    /// @notice The claim window is still open: what is unclaimed belongs to the homes.
    /// @param eventId Identifier of the event.
    /// @param until First second at which it can be returned.
    error ClaimWindowOpen(bytes32 eventId, uint40 until);

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

    /// @notice The values and the proof do not lead to the certified root: an amount, a wallet, the index or the
    ///         proof is not what was certified.
    /// @param eventId Identifier of the event.
    error InvalidProof(bytes32 eventId);

    /// @notice This was paid before.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    error AlreadyPaid(bytes32 eventId, uint256 index);

    /// @notice The coin did not say that it moved a payment.
    error TransferFailed();

    /// @notice Every payment of the batch was made before.
    /// @param eventId Identifier of the event.
    error NothingToPay(bytes32 eventId);

    /// @notice The leaves add up to more than the certified total.
    /// @param eventId Identifier of the event.
    /// @param sum What would have been paid.
    /// @param unpaid What is left of the certified total.
    error PaymentsAboveTotal(bytes32 eventId, uint256 sum, uint96 unpaid);

    /// @notice The wallet has no credit to withdraw.
    /// @param wallet Whose credit was asked for.
    error NoCredit(address wallet);

    /// @param registry_ Where resources are registered.
    /// @param coin_ The coin in which homes are paid.
    /// @param admin First admin; grants the other roles.
    constructor(ResourceRegistry registry_, IncentiveCoin coin_, address admin)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
        EIP712("negawatt DemandResponse", "1")
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
    /// @param terms What it is issued with.
    function issue(bytes32 eventId, Terms calldata terms) external onlyRole(OPERATOR_ROLE) whenNotPaused {
        Event storage ev = _events[eventId];
        if (ev.state != State.None) revert AlreadyIssued(eventId);
        if (terms.start <= block.timestamp) revert StartNotInFuture(terms.start, block.timestamp);
        if (terms.end <= terms.start) revert EmptyWindow(terms.start, terms.end);
        if (terms.targetWh == 0 || terms.claimWindow == 0 || terms.programmeHash == bytes32(0)) {
            revert ZeroTerm(eventId);
        }
        ev.start = terms.start;
        ev.end = terms.end;
        ev.disputeWindow = terms.disputeWindow;
        ev.claimWindow = terms.claimWindow;
        ev.state = State.Issued;
        ev.funding = terms.funding;
        ev.targetWh = terms.targetWh;
        ev.commitment = terms.programmeHash;
        emit EventIssued(eventId, terms);
    }

    /// @notice Let resources take part in an event that has not started; all of them or none.
    /// @dev Callable by the owner of all the resources, or by an operator if all the owners' consents allow it.
    /// @param eventId Identifier of the event.
    /// @param resources Hashes of the meters.
    function optIn(bytes32 eventId, bytes32[] calldata resources) external {
        _requireState(eventId, State.Issued);
        bool operator = hasRole(OPERATOR_ROLE, msg.sender);
        ResourceRegistry.Resource[] memory rows = registry.resourcesOf(resources);
        mapping(uint256 => uint256) storage bits = _optedIn[eventId];

        // Serial numbers of a batch tend to be neighbours, so the word at hand is written only when it changes.
        uint256 word;
        uint256 flags = bits[0];
        uint256 refused = _optedOut[eventId][0];
        for (uint256 i; i < rows.length; ++i) {
            bytes32 resource = resources[i];
            ResourceRegistry.Resource memory row = rows[i];
            if (!row.active) revert NotRegistered(resource);

            if (row.number >> 8 != word) {
                bits[word] = flags;
                word = row.number >> 8;
                flags = bits[word];
                refused = _optedOut[eventId][word];
            }
            uint256 bit = 1 << (row.number & 255);
            if (row.owner != msg.sender) {
                if (!operator || !row.standing) revert NotResourceOwner(resource, msg.sender);
                if (refused & bit != 0) revert OwnerOptedOut(eventId, resource);
            }
            if (flags & bit != 0) revert AlreadyOptedIn(eventId, resource);
            flags |= bit;
            emit OptedIn(eventId, resource, msg.sender);
        }
        bits[word] = flags;
        _events[eventId].participants += uint32(rows.length);
    }

    /// @notice Take the caller's resources out of an event that has not started; all of them or none.
    /// @param eventId Identifier of the event.
    /// @param resources Hashes of the meters.
    function optOut(bytes32 eventId, bytes32[] calldata resources) external {
        _requireState(eventId, State.Issued);
        for (uint256 i; i < resources.length; ++i) {
            ResourceRegistry.Resource memory row = registry.resourceOf(resources[i]);
            if (row.owner != msg.sender) revert NotResourceOwner(resources[i], msg.sender);
            _choose(eventId, resources[i], row.number, false);
        }
    }

    /// @notice Bring owners' signed choices on chain, before the event starts; all of them or none.
    /// @dev Anyone may; so a home needs no ether. Each signature uses up its owner's next nonce.
    /// @param eventId Identifier of the event.
    /// @param choices The choices.
    function choose(bytes32 eventId, Choice[] calldata choices) external {
        _requireState(eventId, State.Issued);
        for (uint256 i; i < choices.length; ++i) {
            Choice calldata choice = choices[i];
            ResourceRegistry.Resource memory row = registry.resourceOf(choice.resource);
            if (!row.active) revert NotRegistered(choice.resource);
            bytes32 hash = keccak256(
                abi.encode(
                    CHOICE_TYPE,
                    eventId,
                    choice.resource,
                    choice.takesPart,
                    _useNonce(row.owner),
                    choice.deadline
                )
            );
            _requireSignature(choice.resource, row.owner, hash, choice.deadline, choice.signature);
            _choose(eventId, choice.resource, row.number, choice.takesPart);
        }
    }

    /// @notice Cancel an event that has not started.
    /// @param eventId Identifier of the event.
    function cancel(bytes32 eventId) external onlyRole(OPERATOR_ROLE) {
        _requireState(eventId, State.Issued);
        _events[eventId].state = State.Cancelled;
        emit EventCancelled(eventId);
    }

    // ------------------------------------------------------------------------------------------------
    // Certification and dispute
    // ------------------------------------------------------------------------------------------------

    /// @notice Commit to the reductions of an ended event. The dispute window opens.
    /// @param eventId Identifier of the event.
    /// @param root Merkle root of the payments; not zero, and never used if there are no leaves.
    /// @param count Number of leaves; one per participant.
    /// @param totalReductionWh Sum of the reductions in watt-hours.
    /// @param totalPayment Sum of the payments in the smallest unit of the coin.
    /// @param publishedHash Hash of the published file that holds all leaves.
    function certify(
        bytes32 eventId,
        bytes32 root,
        uint32 count,
        uint128 totalReductionWh,
        uint96 totalPayment,
        bytes32 publishedHash
    ) external onlyRole(CERTIFIER_ROLE) whenNotPaused {
        Event storage ev = _events[eventId];
        if (ev.state != State.Issued) revert WrongState(eventId, ev.state);
        if (block.timestamp < ev.end) revert EventNotOver(eventId, ev.end, block.timestamp);
        if (root == bytes32(0)) revert ZeroRoot(eventId);
        if (count != ev.participants) revert CountMismatch(eventId, ev.participants, count);
        if (count == 0 && (totalReductionWh != 0 || totalPayment != 0)) {
            revert TotalsWithoutParticipants(eventId);
        }
        ev.certifiedAt = uint40(block.timestamp);
        ev.state = State.Certified;
        ev.unpaid = totalPayment;
        ev.commitment = root;
        emit EventCertified(eventId, root, count, totalReductionWh, totalPayment, publishedHash);
    }

    /// @notice Dispute a certification, while its dispute window is open. The event can't become final before
    ///         the certifier has answered or taken the certification back.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter; it must take part in the event.
    /// @param reasonHash Hash of the home's reasons.
    /// @param deadline Last second at which the signature counts.
    /// @param signature The owner's, over `Challenge(bytes32 eventId,bytes32 resource,bytes32 root,bytes32
    ///        reasonHash,uint256 deadline)`; ignored when the owner calls.
    function challenge(
        bytes32 eventId,
        bytes32 resource,
        bytes32 reasonHash,
        uint256 deadline,
        bytes calldata signature
    ) external {
        _requireState(eventId, State.Certified);
        Event storage ev = _events[eventId];
        bytes32 root = ev.commitment;
        uint256 until = uint256(ev.certifiedAt) + ev.disputeWindow;
        if (block.timestamp >= until) revert DisputeWindowOver(eventId, until);
        ResourceRegistry.Resource memory row = registry.resourceOf(resource);
        if (row.owner != msg.sender) {
            bytes32 hash =
                keccak256(abi.encode(CHALLENGE_TYPE, eventId, resource, root, reasonHash, deadline));
            _requireSignature(resource, row.owner, hash, deadline, signature);
        }
        if (!_takesPart(eventId, row)) revert NotOptedIn(eventId, resource);
        bytes32 certification = _certification(ev);
        if (_challenged[eventId][resource] == certification) revert AlreadyChallenged(eventId, resource);
        _challenged[eventId][resource] = certification;
        ++ev.openChallenges;
        emit Challenged(eventId, resource, root, reasonHash);
    }

    /// @notice Answer a challenge: prove which leaf the home has, and say where the reasons stand.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @param leaf Its leaf.
    /// @param proof Siblings from the leaf up to the root.
    /// @param answerHash Hash of the answer.
    function answer(
        bytes32 eventId,
        bytes32 resource,
        OpenLeaf calldata leaf,
        bytes32[] calldata proof,
        bytes32 answerHash
    ) external onlyRole(CERTIFIER_ROLE) {
        _requireState(eventId, State.Certified);
        Event storage ev = _events[eventId];
        if (!hasOpenChallenge(eventId, resource)) revert NoOpenChallenge(eventId, resource);
        bytes32 detail = keccak256(abi.encode(resource, leaf.reductionWh, leaf.certificateHash));
        _requireProof(eventId, ev, _leaf(eventId, leaf.index, leaf.payee, detail), proof);
        _answered[eventId][resource] = _certification(ev);
        --ev.openChallenges;
        emit ChallengeAnswered(eventId, resource, leaf, answerHash);
    }

    /// @notice Take a certification back that is not final, with all the challenges against it. The event can be
    ///         certified anew, and a new dispute window opens then.
    /// @param eventId Identifier of the event.
    /// @param reasonHash Hash of the reasons.
    function withdrawCertification(bytes32 eventId, bytes32 reasonHash) external onlyRole(CERTIFIER_ROLE) {
        _requireState(eventId, State.Certified);
        Event storage ev = _events[eventId];
        ev.state = State.Issued;
        ev.certifiedAt = 0;
        ev.openChallenges = 0;
        ev.unpaid = 0;
        ++ev.round;
        emit CertificationWithdrawn(eventId, ev.commitment, reasonHash);
    }

    /// @notice Make a certification final once its dispute window has passed and every challenge is answered:
    ///         its coins are minted, or set aside out of the treasury, and payment begins. Anyone may call.
    /// @param eventId Identifier of the event.
    function finalise(bytes32 eventId) external whenNotPaused {
        _requireState(eventId, State.Certified);
        Event storage ev = _events[eventId];
        uint256 until = uint256(ev.certifiedAt) + ev.disputeWindow;
        if (block.timestamp < until) revert DisputeWindowOpen(eventId, until);
        if (ev.openChallenges != 0) revert ChallengesOpen(eventId, ev.openChallenges);

        uint96 total = ev.unpaid;
        uint40 claimUntil = uint40(block.timestamp) + ev.claimWindow;
        ev.claimUntil = claimUntil;
        ev.state = total == 0 ? State.Paid : State.Final;
        emit EventFinal(eventId, total, claimUntil);
        if (total == 0) {
            emit EventPaid(eventId);
        } else if (ev.funding == Funding.Mint) {
            coin.mint(address(this), total);
        } else {
            uint256 have = treasury;
            if (have < total) revert InsufficientTreasury(eventId, total, have);
            treasury = have - total;
        }
    }

    // ------------------------------------------------------------------------------------------------
    // Payment. Nothing here can be paused: what is final belongs to the homes.
    // ------------------------------------------------------------------------------------------------

    /// @notice Pay one leaf. Anyone may call; the wallet in the leaf is paid.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    /// @param row The leaf.
    /// @param proof Siblings from the leaf up to the root.
    function claim(bytes32 eventId, uint256 index, Row calldata row, bytes32[] calldata proof) external {
        (Event storage ev, uint256 left) = _payable(eventId);
        bytes32 leaf;
        assembly ("memory-safe") {
            // _leaf(eventId, index, row.payee, row.detail): in the calldata the words stand as they are hashed.
            let free := mload(0x40)
            calldatacopy(free, 0x04, 0x80)
            mstore(0, keccak256(free, 0x80))
            leaf := keccak256(0, 0x20)
        }
        _requireProof(eventId, ev, leaf, proof);
        uint256 word = index >> 8;
        uint256 paid = ev.paid[word];
        uint256 bit = 1 << (index & 255);
        if (paid & bit != 0) revert AlreadyPaid(eventId, index);
        ev.paid[word] = paid | bit;
        bytes32 payee = row.payee;
        _book(eventId, ev, left, _paymentOf(payee));
        _pay(eventId, index, payee);
    }

    /// @notice Pay all the leaves of one tree node that have not been paid yet, into their wallets. Anyone may call.
    /// @param eventId Identifier of the event.
    /// @param chunk Position of the node in its level.
    /// @param level Level of the node; leaves are level 0. At most `MAX_LEVEL`.
    /// @param rows All the leaves of the node, in index order: min(2^level, count - chunk * 2^level) of them.
    /// @param proof Siblings from the node up to the root.
    function payBatch(
        bytes32 eventId,
        uint32 chunk,
        uint8 level,
        Row[] calldata rows,
        bytes32[] calldata proof
    ) external {
        (Event storage ev, uint256 left) = _payable(eventId);
        (uint256 first, uint256 due, uint256 sum) = _mark(eventId, ev, chunk, level, rows, proof);
        _book(eventId, ev, left, sum);
        for (uint256 i; i < rows.length; ++i) {
            if (due & (1 << ((first + i) & 255)) != 0) _pay(eventId, first + i, rows[i].payee);
        }
    }

    /// @notice Credit all the leaves of one tree node that have not been paid yet. Anyone may call; `withdraw`
    ///         brings a wallet all its credit at once. Of all ways to push, this takes the least gas.
    /// @param eventId Identifier of the event.
    /// @param chunk Position of the node in its level.
    /// @param level Level of the node; leaves are level 0. At most `MAX_LEVEL`.
    /// @param rows All the leaves of the node, in index order: min(2^level, count - chunk * 2^level) of them.
    /// @param proof Siblings from the node up to the root.
    function creditBatch(
        bytes32 eventId,
        uint32 chunk,
        uint8 level,
        Row[] calldata rows,
        bytes32[] calldata proof
    ) external {
        (Event storage ev, uint256 left) = _payable(eventId);
        (uint256 first, uint256 due, uint256 sum) = _mark(eventId, ev, chunk, level, rows, proof);
        _book(eventId, ev, left, sum);
        _credit(first, due, rows);
        emit PaymentsCredited(eventId, chunk, level, due, sum);
    }

    /// @notice Move all of a wallet's credit to it. Anyone may call; only the wallet receives.
    /// @param wallet Whose credit.
    function withdraw(address wallet) external {
        uint256 amount = creditOf[wallet];
        if (amount == 0) revert NoCredit(wallet);
        creditOf[wallet] = 0;
        emit CreditWithdrawn(wallet, amount);
        IERC20(coin).safeTransfer(wallet, amount);
    }

    /// @notice Once the claim window is over, return what nobody claimed: minted coins are burned, those of the
    ///         treasury go back to it. Anyone may call.
    /// @param eventId Identifier of the event.
    function returnUnclaimed(bytes32 eventId) external {
        _requireState(eventId, State.Final);
        Event storage ev = _events[eventId];
        if (block.timestamp < ev.claimUntil) revert ClaimWindowOpen(eventId, ev.claimUntil);
        uint256 amount = ev.unpaid;
        ev.unpaid = 0;
        ev.state = State.Closed;
        emit UnclaimedReturned(eventId, amount);
        if (ev.funding == Funding.Mint) coin.burn(amount);
        else treasury += amount;
    }

    /// @notice Close a paid event.
    /// @param eventId Identifier of the event.
    function close(bytes32 eventId) external onlyRole(OPERATOR_ROLE) {
        _requireState(eventId, State.Paid);
        _events[eventId].state = State.Closed;
        emit EventClosed(eventId);
    }

    // ------------------------------------------------------------------------------------------------
    // Treasury and pause
    // ------------------------------------------------------------------------------------------------

    /// @notice Put coins of the caller, who approved them, into the treasury.
    /// @param amount Amount in the smallest unit of the coin.
    function fund(uint256 amount) external {
        treasury += amount;
        emit TreasuryFunded(msg.sender, amount);
        IERC20(coin).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Take coins out of the treasury that no final event needs.
    /// @param to Who receives them.
    /// @param amount Amount in the smallest unit of the coin.
    function draw(address to, uint256 amount) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (to == address(0)) revert ZeroAddress();
        uint256 have = treasury;
        if (have < amount) revert TreasuryTooSmall(amount, have);
        treasury = have - amount;
        emit TreasuryDrawn(to, amount);
        IERC20(coin).safeTransfer(to, amount);
    }

    /// @notice Stop issuing, certifying and finalising. Homes can still choose, challenge and be paid.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Resume.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------

    /// @notice Where an event stands at the time of the block.
    /// @param eventId Identifier of the event.
    /// @return 0 none, 1 issued, 2 active, 3 ended, 4 certified, 5 final, 6 paid, 7 closed, 8 cancelled.
    function stateOf(bytes32 eventId) public view returns (State) {
        Event storage ev = _events[eventId];
        State state = ev.state;
        if (state != State.Issued || block.timestamp < ev.start) return state;
        return block.timestamp < ev.end ? State.Active : State.Ended;
    }

    /// @notice What storage holds of an event; zeros for an unknown one. The rest stands in the log.
    /// @param eventId Identifier of the event.
    /// @return The event.
    function eventOf(bytes32 eventId) external view returns (EventView memory) {
        Event storage ev = _events[eventId];
        return EventView({
            start: ev.start,
            end: ev.end,
            disputeWindow: ev.disputeWindow,
            claimWindow: ev.claimWindow,
            participants: ev.participants,
            certifiedAt: ev.certifiedAt,
            openChallenges: ev.openChallenges,
            state: stateOf(eventId),
            funding: ev.funding,
            payableFrom: ev.certifiedAt == 0 ? 0 : uint256(ev.certifiedAt) + ev.disputeWindow,
            claimUntil: ev.claimUntil,
            unpaid: ev.unpaid,
            targetWh: ev.targetWh,
            commitment: ev.commitment
        });
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
            flags[i] = _takesPart(eventId, rows[i]);
        }
    }

    /// @notice Whether a resource's challenge waits for an answer.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @return Whether it does.
    function hasOpenChallenge(bytes32 eventId, bytes32 resource) public view returns (bool) {
        Event storage ev = _events[eventId];
        bytes32 certification = _certification(ev);
        return ev.state == State.Certified && _challenged[eventId][resource] == certification
            && _answered[eventId][resource] != certification;
    }

    /// @notice Whether a leaf has been paid.
    /// @param eventId Identifier of the event.
    /// @param index Index of the leaf.
    /// @return Whether it has.
    function isPaid(bytes32 eventId, uint256 index) external view returns (bool) {
        return _wordOf(eventId, index >> 8) & (1 << (index & 255)) != 0;
    }

    /// @notice One word of the bitmap of paid leaves.
    /// @param eventId Identifier of the event.
    /// @param word Which word; it covers the leaves [256 * word, 256 * word + 256).
    /// @return The word; its lowest bit is the leaf of the lowest index.
    function paidBitmap(bytes32 eventId, uint256 word) external view returns (uint256) {
        return _wordOf(eventId, word);
    }

    // ------------------------------------------------------------------------------------------------
    // Internals
    // ------------------------------------------------------------------------------------------------

    /// @dev Revert unless the event stands where the call needs it.
    function _requireState(bytes32 eventId, State wanted) private view {
        State state = stateOf(eventId);
        if (state != wanted) revert WrongState(eventId, state);
    }

    /// @dev What tells one certification of an event from another.
    function _certification(Event storage ev) private view returns (bytes32) {
        return keccak256(abi.encode(ev.commitment, ev.round));
    }

    /// @dev Whether a resource takes part in an event.
    function _takesPart(bytes32 eventId, ResourceRegistry.Resource memory row) private view returns (bool) {
        return row.owner != address(0) && _optedIn[eventId][row.number >> 8] & (1 << (row.number & 255)) != 0;
    }

    /// @dev Write down an owner's choice.
    function _choose(bytes32 eventId, bytes32 resource, uint256 number, bool takesPart) private {
        uint256 bit = 1 << (number & 255);
        mapping(uint256 => uint256) storage bits = _optedIn[eventId];
        bool before = bits[number >> 8] & bit != 0;
        if (takesPart) {
            if (before) revert AlreadyOptedIn(eventId, resource);
            bits[number >> 8] |= bit;
            ++_events[eventId].participants;
            emit OptedIn(eventId, resource, msg.sender);
        } else {
            // An owner may also say no before anyone has said yes.
            if (before) {
                bits[number >> 8] &= ~bit;
                --_events[eventId].participants;
            }
            _optedOut[eventId][number >> 8] |= bit;
            emit OptedOut(eventId, resource, msg.sender);
        }
    }

    /// @dev Revert unless the signer signed the struct hash, in time.
    function _requireSignature(
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

    /// @dev The event, if its payments can be made. Whether it is final shows in `claimUntil`, which shares a
    ///      slot with what a payment changes.
    function _payable(bytes32 eventId) private view returns (Event storage ev, uint256 left) {
        ev = _events[eventId];
        assembly ("memory-safe") {
            left := sload(add(ev.slot, 1))
        }
        uint40 until = uint40(left >> 96);
        if (block.timestamp >= until) {
            if (until == 0) revert NotPayable(eventId, stateOf(eventId));
            revert ClaimWindowOver(eventId, until);
        }
    }

    /// @dev A word of an event's bitmap; those that no event can have are zero.
    function _wordOf(bytes32 eventId, uint256 word) private view returns (uint256) {
        return word < WORDS ? _events[eventId].paid[word] : 0;
    }

    /// @dev Prove the leaves of a node and mark them paid. `due` has the bits of those that were not.
    function _mark(
        bytes32 eventId,
        Event storage ev,
        uint32 chunk,
        uint8 level,
        Row[] calldata rows,
        bytes32[] calldata proof
    ) private returns (uint256 first, uint256 due, uint256 sum) {
        first = _firstIndex(eventId, ev.participants, chunk, level, rows.length);
        // The node is aligned and covers at most 256 leaves, so all its bits lie in a single word.
        uint256 word = ev.paid[first >> 8];
        due = (type(uint256).max >> (256 - rows.length)) << (first & 255) & ~word;
        bytes32 node;
        (node, sum) = _node(eventId, first, due, rows);
        _requireProof(eventId, ev, node, proof);
        if (due == 0) revert NothingToPay(eventId);
        ev.paid[first >> 8] = word | due;
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
    function _leaf(bytes32 eventId, uint256 index, bytes32 payee, bytes32 detail)
        private
        pure
        returns (bytes32 hash)
    {
        // keccak256(bytes.concat(keccak256(abi.encode(eventId, index, payee, detail)))), for half of the gas.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, eventId)
            mstore(add(free, 0x20), index)
            mstore(add(free, 0x40), payee)
            mstore(add(free, 0x60), detail)
            mstore(0, keccak256(free, 0x80))
            hash := keccak256(0, 0x20)
        }
    }

    /// @dev Root over neighbouring leaves, folded level by level in place, and the sum of those payments that are
    ///      due. In assembly, since all homes of a batch pass here: Solidity takes twice the gas.
    function _node(bytes32 eventId, uint256 first, uint256 due, Row[] calldata rows)
        private
        pure
        returns (bytes32 root, uint256 sum)
    {
        assembly ("memory-safe") {
            // The preimage of a leaf (as in `_leaf`), then the nodes, all beyond the memory in use.
            let leaf := mload(0x40)
            let nodes := add(leaf, 0x80)
            mstore(leaf, eventId)
            let row := rows.offset
            due := shr(and(first, 255), due)
            for { let i := 0 } lt(i, rows.length) { i := add(i, 1) } {
                mstore(add(leaf, 0x20), add(first, i))
                calldatacopy(add(leaf, 0x40), row, 0x40)
                mstore(0, keccak256(leaf, 0x80))
                mstore(add(nodes, shl(5, i)), keccak256(0, 0x20))
                // 256 payments of 96 bits each fit.
                if and(shr(i, due), 1) {
                    sum := add(sum, and(calldataload(row), 0xffffffffffffffffffffffff))
                }
                row := add(row, 0x40)
            }
            for { let width := rows.length } gt(width, 1) { width := shr(1, add(width, 1)) } {
                let to := nodes
                let odd := add(nodes, shl(6, shr(1, width)))
                for { let from := nodes } lt(from, odd) { from := add(from, 0x40) } {
                    let a := mload(from)
                    let b := mload(add(from, 0x20))
                    let place := shl(5, gt(a, b))
                    mstore(place, a)
                    mstore(xor(place, 0x20), b)
                    mstore(to, keccak256(0, 0x40))
                    to := add(to, 0x20)
                }
                if and(width, 1) { mstore(to, mload(odd)) }
            }
            root := mload(nodes)
        }
    }

    /// @dev Revert unless the siblings lead from a node to the certified root. Says what `MerkleProof` says, in
    ///      half of its gas.
    function _requireProof(bytes32 eventId, Event storage ev, bytes32 node, bytes32[] calldata proof)
        private
        view
    {
        assembly ("memory-safe") {
            let end := add(proof.offset, shl(5, proof.length))
            for { let at := proof.offset } lt(at, end) { at := add(at, 0x20) } {
                let place := shl(5, gt(node, calldataload(at)))
                mstore(place, node)
                mstore(xor(place, 0x20), calldataload(at))
                node := keccak256(0, 0x40)
            }
        }
        if (node != ev.commitment) revert InvalidProof(eventId);
    }

    /// @dev Add the payments that are due to the credits of their wallets.
    function _credit(uint256 first, uint256 due, Row[] calldata rows) private {
        assembly ("memory-safe") {
            // creditOf[wallet] += payment, for each row that is due. The slot of a wallet's credit is the hash of
            // the wallet and the mapping's slot. No sum overflows: all credits together are coins that exist, and
            // their supply has 256 bits.
            let row := rows.offset
            mstore(0x20, creditOf.slot)
            for { due := shr(and(first, 255), due) } due { due := shr(1, due) } {
                let payee := calldataload(row)
                let payment := and(payee, 0xffffffffffffffffffffffff)
                if mul(and(due, 1), payment) {
                    mstore(0, shr(96, payee))
                    let slot := keccak256(0, 0x40)
                    sstore(slot, add(sload(slot), payment))
                }
                row := add(row, 0x40)
            }
        }
    }

    /// @dev Take payments off what the event has left, before any coin moves. The last one makes it paid.
    function _book(bytes32 eventId, Event storage ev, uint256 left, uint256 sum) private {
        uint96 unpaid = uint96(left);
        assembly ("memory-safe") {
            // ev.unpaid = unpaid - sum, the lowest 96 bits of the word. Undone below if there is too little.
            sstore(add(ev.slot, 1), sub(left, sum))
        }
        if (sum >= unpaid) {
            if (sum > unpaid) revert PaymentsAboveTotal(eventId, sum, unpaid);
            if (sum != 0) {
                ev.state = State.Paid;
                emit EventPaid(eventId);
            }
        }
    }

    /// @dev Transfer a payment that has been booked. Zero payments move nothing.
    function _pay(bytes32 eventId, uint256 index, bytes32 payee) private {
        bytes32 topic = PaymentMade.selector;
        bytes4 transfer = IERC20.transfer.selector;
        bytes4 failure = TransferFailed.selector;
        IncentiveCoin token = coin;
        assembly ("memory-safe") {
            let payment := and(payee, 0xffffffffffffffffffffffff)
            if payment {
                // emit PaymentMade(eventId, index);
                mstore(0, index)
                log2(0, 0x20, topic, eventId)
                // if (!token.transfer(wallet, payment)) revert TransferFailed();
                let at := mload(0x40)
                mstore(at, transfer)
                mstore(add(at, 0x04), shr(96, payee))
                mstore(add(at, 0x24), payment)
                let done := call(gas(), token, 0, at, 0x44, 0, 0x20)
                if iszero(and(done, and(eq(mload(0), 1), gt(returndatasize(), 0x1f)))) {
                    if iszero(done) {
                        returndatacopy(at, 0, returndatasize())
                        revert(at, returndatasize())
                    }
                    mstore(0, failure)
                    revert(0, 0x04)
                }
            }
        }
    }

    function _paymentOf(bytes32 payee) private pure returns (uint256) {
        return uint256(payee) & type(uint96).max;
    }
}
