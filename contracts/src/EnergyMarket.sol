// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {EnergyToken} from "./EnergyToken.sol";
import {Signatures} from "./support/Signatures.sol";

/// @title What the market asks a registry of meters
/// @notice `ResourceRegistry` answers it, and tells more after the owner.
interface IMeterRegistry {
    /// @notice Owner of a meter; zero for an unknown one.
    /// @param resource Hash of the meter.
    /// @return owner Wallet of the home.
    function resourceOf(bytes32 resource) external view returns (address owner);
}

/// @title Market of energy between neighbours: offer, buy into escrow, release on metered delivery
/// @notice A prosumer offers energy of a meter over a window [deliverFrom, deliverUntil). Before the window
///         opens, buyers take all of it or parts, and pay into escrow. When it has closed, a meter operator
///         states how much was delivered: the seller is paid for that part and the buyer gets the rest back.
///         Without a statement by `refundFrom`, the buyer gets everything back.
/// @dev A deal is settled once: by a statement in [deliverUntil, refundFrom), or by a refund at `refundFrom`
///      or later. The two never overlap.
///
///      Rounding: a buyer pays wh * pricePerKwh / 1000 rounded up, so that nothing is had for nothing. The
///      seller gets amount * deliveredWh / wh rounded down and the buyer all the rest, so a delivery in full
///      pays the whole amount, and a part never pays more than its share.
///
///      Payments are pushed: a transfer of the energy token runs no code of its receiver and cannot be
///      refused, so neither side of a deal can hold up the other, and nobody has to come back and collect.
///      State is written before tokens move.
contract EnergyMarket is AccessControlDefaultAdminRules, EIP712, Pausable {
    using SafeERC20 for IERC20;

    /// @notice Where a deal stands.
    enum DealState {
        None,
        Open,
        Delivered,
        Refunded
    }

    /// @notice An offer as it stands now; zeros for an unknown one.
    /// @param seller Who offers.
    /// @param deliverFrom First second of delivery; nothing is sold from then on.
    /// @param deliverUntil First second after delivery.
    /// @param pricePerKwh Price of a kilowatt-hour in the smallest unit of the token.
    /// @param offeredWh Energy offered, in watt-hours; a cancellation lowers it to what is sold.
    /// @param soldWh Energy sold so far, in watt-hours.
    /// @param meter Hash of the meter that delivers.
    struct Offer {
        address seller;
        uint48 deliverFrom;
        uint48 deliverUntil;
        // next slot
        uint128 pricePerKwh;
        uint64 offeredWh;
        uint64 soldWh;
        // next slot
        bytes32 meter;
    }

    /// @notice A deal as it stands now; zeros for an unknown one.
    /// @param buyer Who paid into escrow.
    /// @param wh Energy bought, in watt-hours.
    /// @param state Where the deal stands.
    /// @param amount What the buyer paid, in the smallest unit of the token.
    /// @param offerId The offer that it was bought from.
    struct Deal {
        address buyer;
        uint64 wh;
        DealState state;
        // next slot
        uint128 amount;
        uint128 offerId;
    }

    /// @notice Role whose holders sign meter statements.
    bytes32 public constant METER_OPERATOR_ROLE = keccak256("METER_OPERATOR_ROLE");

    /// @notice Role that may pause offers and purchases; only the admin can resume them.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice How long a change of admin waits before it can be accepted.
    uint48 public constant ADMIN_DELAY = 1 days;

    /// @notice EIP-712 type of a meter statement.
    bytes32 public constant DELIVERY_TYPEHASH =
        keccak256("Delivery(uint256 dealId,uint256 deliveredWh,uint256 statementDeadline)");

    /// @notice The token in which energy is paid.
    EnergyToken public immutable token;

    /// @notice Who owns which meter. If zero, anyone may offer energy of any meter, and whoever signs the
    ///         statements answers for whose it is.
    IMeterRegistry public immutable registry;

    /// @notice Seconds after the end of delivery in which a statement settles a deal.
    uint48 public immutable statementWindow;

    /// @notice Number of offers; they are counted from 1.
    uint256 public offerCount;

    /// @notice Number of deals; they are counted from 1.
    uint256 public dealCount;

    mapping(uint256 offerId => Offer) private _offers;
    mapping(uint256 dealId => Deal) private _deals;

    /// @notice Energy was offered.
    /// @param offerId Number of the offer.
    /// @param seller Who offers.
    /// @param meter Hash of the meter that delivers.
    /// @param wh Energy offered, in watt-hours.
    /// @param pricePerKwh Price of a kilowatt-hour in the smallest unit of the token.
    /// @param deliverFrom First second of delivery.
    /// @param deliverUntil First second after delivery.
    event Offered(
        uint256 indexed offerId,
        address indexed seller,
        bytes32 indexed meter,
        uint64 wh,
        uint128 pricePerKwh,
        uint48 deliverFrom,
        uint48 deliverUntil
    );

    /// @notice The unsold part of an offer was taken back.
    /// @param offerId Number of the offer.
    /// @param wh Energy taken back, in watt-hours.
    event OfferCancelled(uint256 indexed offerId, uint64 wh);

    /// @notice Energy was bought and paid into escrow.
    /// @param dealId Number of the deal.
    /// @param offerId Number of the offer.
    /// @param buyer Who bought.
    /// @param wh Energy bought, in watt-hours.
    /// @param amount What was paid, in the smallest unit of the token.
    event Bought(
        uint256 indexed dealId, uint256 indexed offerId, address indexed buyer, uint64 wh, uint128 amount
    );

    /// @notice A meter statement settled a deal.
    /// @param dealId Number of the deal.
    /// @param signer Who signed the statement.
    /// @param deliveredWh Energy delivered, in watt-hours.
    /// @param paid What the seller got, in the smallest unit of the token.
    /// @param returned What the buyer got back.
    event Delivered(
        uint256 indexed dealId, address indexed signer, uint256 deliveredWh, uint256 paid, uint256 returned
    );

    /// @notice No statement came in time, and the buyer got everything back.
    /// @param dealId Number of the deal.
    /// @param buyer Who got it.
    /// @param amount How much, in the smallest unit of the token.
    event Refunded(uint256 indexed dealId, address indexed buyer, uint256 amount);

    /// @notice The constructor got no token.
    error ZeroToken();

    /// @notice A statement needs time to be made.
    error ZeroStatementWindow();

    /// @notice The hash of a meter must not be zero.
    error ZeroMeter();

    /// @notice Energy offered or bought must be at least a watt-hour.
    error ZeroWh();

    /// @notice The price must be at least one unit of the token a kilowatt-hour.
    error ZeroPrice();

    /// @notice Delivery must start after the block that takes the offer.
    /// @param deliverFrom Start asked for.
    /// @param time Time of the block.
    error DeliveryNotInFuture(uint48 deliverFrom, uint256 time);

    /// @notice Delivery must end after its start.
    /// @param deliverFrom Start asked for.
    /// @param deliverUntil End asked for.
    error EmptyWindow(uint48 deliverFrom, uint48 deliverUntil);

    /// @notice Only its owner offers energy of a meter.
    /// @param meter Hash of the meter.
    /// @param owner Who owns it by the registry; zero if it is not registered.
    /// @param caller Who tried.
    error NotMeterOwner(bytes32 meter, address owner, address caller);

    /// @notice There is no such offer.
    /// @param offerId Number given.
    error NoSuchOffer(uint256 offerId);

    /// @notice Only the seller cancels an offer.
    /// @param offerId Number of the offer.
    /// @param seller Who made it.
    /// @param caller Who tried.
    error NotSeller(uint256 offerId, address seller, address caller);

    /// @notice All of the offer is sold or cancelled.
    /// @param offerId Number of the offer.
    error NothingLeft(uint256 offerId);

    /// @notice Delivery has started, so nothing more is sold.
    /// @param offerId Number of the offer.
    /// @param deliverFrom When it started.
    /// @param time Time of the block.
    error DeliveryStarted(uint256 offerId, uint48 deliverFrom, uint256 time);

    /// @notice Nobody buys from themselves.
    /// @param offerId Number of the offer.
    /// @param seller Who made it.
    error SelfPurchase(uint256 offerId, address seller);

    /// @notice The offer costs more than the buyer wants to pay.
    /// @param offerId Number of the offer.
    /// @param pricePerKwh What it costs.
    /// @param maxPricePerKwh What the buyer pays at most.
    error PriceAboveMaximum(uint256 offerId, uint128 pricePerKwh, uint128 maxPricePerKwh);

    /// @notice Less is left than the buyer wants.
    /// @param offerId Number of the offer.
    /// @param left What is left, in watt-hours.
    /// @param wanted What the buyer wants.
    error NotEnoughLeft(uint256 offerId, uint64 left, uint64 wanted);

    /// @notice No token has that many units.
    /// @param amount What the purchase would cost.
    error AmountTooLarge(uint256 amount);

    /// @notice There is no such deal.
    /// @param dealId Number given.
    error NoSuchDeal(uint256 dealId);

    /// @notice The deal has been settled before.
    /// @param dealId Number of the deal.
    /// @param state How it was settled.
    error DealSettled(uint256 dealId, DealState state);

    /// @notice A statement settles a deal only after the end of delivery.
    /// @param dealId Number of the deal.
    /// @param deliverUntil First second after delivery.
    /// @param time Time of the block.
    error DeliveryNotOver(uint256 dealId, uint48 deliverUntil, uint256 time);

    /// @notice It is too late for a statement; the buyer gets everything back.
    /// @param dealId Number of the deal.
    /// @param refundFrom First second at which it was too late.
    /// @param time Time of the block.
    error StatementWindowClosed(uint256 dealId, uint256 refundFrom, uint256 time);

    /// @notice A statement may still come, so there is no refund yet.
    /// @param dealId Number of the deal.
    /// @param refundFrom First second of a refund.
    /// @param time Time of the block.
    error StatementWindowOpen(uint256 dealId, uint256 refundFrom, uint256 time);

    /// @notice The statement itself says that it is no longer good.
    /// @param dealId Number of the deal.
    /// @param statementDeadline First second at which it was too late.
    /// @param time Time of the block.
    error StatementExpired(uint256 dealId, uint256 statementDeadline, uint256 time);

    /// @notice The statement claims more than was sold.
    /// @param dealId Number of the deal.
    /// @param deliveredWh What it claims, in watt-hours.
    /// @param wh What was sold.
    error DeliveredAboveSold(uint256 dealId, uint256 deliveredWh, uint64 wh);

    /// @notice The signer is no meter operator.
    /// @param signer Who was named as the signer.
    error NotMeterOperator(address signer);

    /// @notice The signature is not the signer's, or is for another statement, market or chain.
    /// @param dealId Number of the deal.
    /// @param signer Who was named as the signer.
    error InvalidSignature(uint256 dealId, address signer);

    /// @param token_ The token in which energy is paid.
    /// @param registry_ Who owns which meter; zero to let anyone offer energy of any meter.
    /// @param statementWindow_ Seconds after the end of delivery in which a statement settles a deal.
    /// @param admin First admin; grants the other roles.
    constructor(EnergyToken token_, IMeterRegistry registry_, uint48 statementWindow_, address admin)
        AccessControlDefaultAdminRules(ADMIN_DELAY, admin)
        EIP712("negawatt EnergyMarket", "1")
    {
        if (address(token_) == address(0)) revert ZeroToken();
        if (statementWindow_ == 0) revert ZeroStatementWindow();
        token = token_;
        registry = registry_;
        statementWindow = statementWindow_;
    }

    // ------------------------------------------------------------------------------------------------
    // Before delivery
    // ------------------------------------------------------------------------------------------------

    /// @notice Offer energy over the half-open window [deliverFrom, deliverUntil).
    /// @param meter Hash of the meter that delivers.
    /// @param wh Energy offered, in watt-hours.
    /// @param pricePerKwh Price of a kilowatt-hour in the smallest unit of the token.
    /// @param deliverFrom First second of delivery; after the current block.
    /// @param deliverUntil First second after delivery.
    /// @return offerId Number of the offer.
    function offer(bytes32 meter, uint64 wh, uint128 pricePerKwh, uint48 deliverFrom, uint48 deliverUntil)
        external
        whenNotPaused
        returns (uint256 offerId)
    {
        if (meter == bytes32(0)) revert ZeroMeter();
        if (wh == 0) revert ZeroWh();
        if (pricePerKwh == 0) revert ZeroPrice();
        if (deliverFrom <= block.timestamp) revert DeliveryNotInFuture(deliverFrom, block.timestamp);
        if (deliverUntil <= deliverFrom) revert EmptyWindow(deliverFrom, deliverUntil);
        if (address(registry) != address(0)) {
            address owner = registry.resourceOf(meter);
            if (owner != msg.sender) revert NotMeterOwner(meter, owner, msg.sender);
        }

        offerId = ++offerCount;
        _offers[offerId] = Offer(msg.sender, deliverFrom, deliverUntil, pricePerKwh, wh, 0, meter);
        emit Offered(offerId, msg.sender, meter, wh, pricePerKwh, deliverFrom, deliverUntil);
    }

    /// @notice Take back the unsold part of one's offer. What is sold stays sold.
    /// @param offerId Number of the offer.
    function cancel(uint256 offerId) external {
        Offer storage o = _known(offerId);
        if (o.seller != msg.sender) revert NotSeller(offerId, o.seller, msg.sender);
        uint64 left = o.offeredWh - o.soldWh;
        if (left == 0) revert NothingLeft(offerId);
        o.offeredWh = o.soldWh;
        emit OfferCancelled(offerId, left);
    }

    /// @notice Buy energy of an offer and pay it into escrow, out of tokens that this contract may spend.
    /// @param offerId Number of the offer.
    /// @param wh Energy wanted, in watt-hours; all that is left or less.
    /// @param maxPricePerKwh Most to pay for a kilowatt-hour. Offers are numbered in the order in which they
    ///        are mined, so a number may come to mean another offer until it is confirmed.
    /// @return dealId Number of the deal.
    function buy(uint256 offerId, uint64 wh, uint128 maxPricePerKwh) external returns (uint256 dealId) {
        uint128 amount;
        (dealId, amount) = _buy(offerId, wh, maxPricePerKwh);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Buy energy of an offer with a signed approval, in one transaction.
    /// @dev Anyone who sees the approval can hand it to the token first. The purchase then goes through all
    ///      the same, since the allowance is there.
    /// @param offerId Number of the offer.
    /// @param wh Energy wanted, in watt-hours.
    /// @param maxPricePerKwh Most to pay for a kilowatt-hour.
    /// @param deadline Last second at which the approval is good.
    /// @param v Part of the approval's signature; the approval is for exactly `quote(offerId, wh)`.
    /// @param r Part of the approval's signature.
    /// @param s Part of the approval's signature.
    /// @return dealId Number of the deal.
    function buyWithPermit(
        uint256 offerId,
        uint64 wh,
        uint128 maxPricePerKwh,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (uint256 dealId) {
        uint128 amount;
        (dealId, amount) = _buy(offerId, wh, maxPricePerKwh);
        try token.permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
    }

    // ------------------------------------------------------------------------------------------------
    // After delivery
    // ------------------------------------------------------------------------------------------------

    /// @notice Settle a deal by a meter operator's signed statement. Anyone may hand it in.
    /// @dev A pause does not stop this: sellers would lose what they delivered. A signer who is not to be
    ///      trusted any longer is stopped by taking away the role.
    /// @param dealId Number of the deal.
    /// @param deliveredWh Energy delivered, in watt-hours; at most what was sold.
    /// @param statementDeadline First second at which the statement is no longer good.
    /// @param signer Who signed: a holder of `METER_OPERATOR_ROLE`, an account or an ERC-1271 contract.
    /// @param signature Signature of `deliveryDigest(dealId, deliveredWh, statementDeadline)`.
    function deliver(
        uint256 dealId,
        uint256 deliveredWh,
        uint256 statementDeadline,
        address signer,
        bytes calldata signature
    ) external {
        Deal storage deal = _open(dealId);
        Offer storage o = _offers[deal.offerId];
        uint48 deliverUntil = o.deliverUntil;
        if (block.timestamp < deliverUntil) revert DeliveryNotOver(dealId, deliverUntil, block.timestamp);
        uint256 refundFrom = uint256(deliverUntil) + statementWindow;
        if (block.timestamp >= refundFrom) revert StatementWindowClosed(dealId, refundFrom, block.timestamp);
        if (block.timestamp >= statementDeadline) {
            revert StatementExpired(dealId, statementDeadline, block.timestamp);
        }
        uint64 wh = deal.wh;
        if (deliveredWh > wh) revert DeliveredAboveSold(dealId, deliveredWh, wh);
        if (!hasRole(METER_OPERATOR_ROLE, signer)) revert NotMeterOperator(signer);
        bytes32 digest = deliveryDigest(dealId, deliveredWh, statementDeadline);
        if (!Signatures.valid(signer, digest, signature)) revert InvalidSignature(dealId, signer);

        deal.state = DealState.Delivered;
        uint256 amount = deal.amount;
        uint256 paid = amount * deliveredWh / wh;
        emit Delivered(dealId, signer, deliveredWh, paid, amount - paid);
        if (paid != 0) IERC20(token).safeTransfer(o.seller, paid);
        if (paid != amount) IERC20(token).safeTransfer(deal.buyer, amount - paid);
    }

    /// @notice Give a buyer everything back when no statement came in time. Anyone may call.
    /// @param dealId Number of the deal.
    function refund(uint256 dealId) external {
        Deal storage deal = _open(dealId);
        uint256 refundFrom = uint256(_offers[deal.offerId].deliverUntil) + statementWindow;
        if (block.timestamp < refundFrom) revert StatementWindowOpen(dealId, refundFrom, block.timestamp);

        deal.state = DealState.Refunded;
        emit Refunded(dealId, deal.buyer, deal.amount);
        IERC20(token).safeTransfer(deal.buyer, deal.amount);
    }

    /// @notice Stop new offers and purchases. Cancellations, statements and refunds go on.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Resume offers and purchases.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------
    // Views
    // ------------------------------------------------------------------------------------------------

    /// @notice A batch of offers; zeros for unknown ones.
    /// @param offerIds Numbers of the offers.
    /// @return rows One entry per number, in the order asked.
    function offersOf(uint256[] calldata offerIds) external view returns (Offer[] memory rows) {
        rows = new Offer[](offerIds.length);
        for (uint256 i; i < offerIds.length; ++i) {
            rows[i] = _offers[offerIds[i]];
        }
    }

    /// @notice A batch of deals; zeros for unknown ones.
    /// @param dealIds Numbers of the deals.
    /// @return rows One entry per number, in the order asked.
    function dealsOf(uint256[] calldata dealIds) external view returns (Deal[] memory rows) {
        rows = new Deal[](dealIds.length);
        for (uint256 i; i < dealIds.length; ++i) {
            rows[i] = _deals[dealIds[i]];
        }
    }

    /// @notice What energy of an offer costs: wh * pricePerKwh / 1000, rounded up.
    /// @param offerId Number of the offer.
    /// @param wh Energy wanted, in watt-hours.
    /// @return Amount in the smallest unit of the token.
    function quote(uint256 offerId, uint64 wh) external view returns (uint128) {
        return _amount(_known(offerId).pricePerKwh, wh);
    }

    /// @notice First second at which a deal without a statement is refunded.
    /// @param dealId Number of the deal.
    /// @return The second after which a statement settles nothing.
    function refundFromOf(uint256 dealId) external view returns (uint256) {
        Deal storage deal = _deals[dealId];
        if (deal.state == DealState.None) revert NoSuchDeal(dealId);
        return uint256(_offers[deal.offerId].deliverUntil) + statementWindow;
    }

    /// @notice What a meter operator signs, by EIP-712.
    /// @param dealId Number of the deal.
    /// @param deliveredWh Energy delivered, in watt-hours.
    /// @param statementDeadline First second at which the statement is no longer good.
    /// @return Digest of the statement for this contract on this chain.
    function deliveryDigest(uint256 dealId, uint256 deliveredWh, uint256 statementDeadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(DELIVERY_TYPEHASH, dealId, deliveredWh, statementDeadline))
        );
    }

    // ------------------------------------------------------------------------------------------------
    // Internals
    // ------------------------------------------------------------------------------------------------

    /// @dev Book a purchase; the caller moves the tokens.
    function _buy(uint256 offerId, uint64 wh, uint128 maxPricePerKwh)
        private
        whenNotPaused
        returns (uint256 dealId, uint128 amount)
    {
        Offer storage o = _known(offerId);
        if (wh == 0) revert ZeroWh();
        if (block.timestamp >= o.deliverFrom) {
            revert DeliveryStarted(offerId, o.deliverFrom, block.timestamp);
        }
        if (o.seller == msg.sender) revert SelfPurchase(offerId, msg.sender);
        uint128 pricePerKwh = o.pricePerKwh;
        if (pricePerKwh > maxPricePerKwh) revert PriceAboveMaximum(offerId, pricePerKwh, maxPricePerKwh);
        uint64 left = o.offeredWh - o.soldWh;
        if (left == 0) revert NothingLeft(offerId);
        if (wh > left) revert NotEnoughLeft(offerId, left, wh);
        amount = _amount(pricePerKwh, wh);

        o.soldWh += wh;
        dealId = ++dealCount;
        // Offers are counted one by one, so their numbers fit.
        // forge-lint: disable-next-line(unsafe-typecast)
        _deals[dealId] = Deal(msg.sender, wh, DealState.Open, amount, uint128(offerId));
        emit Bought(dealId, offerId, msg.sender, wh, amount);
    }

    /// @dev What energy costs, rounded up.
    function _amount(uint128 pricePerKwh, uint64 wh) private pure returns (uint128) {
        uint256 amount = (uint256(pricePerKwh) * wh + 999) / 1000;
        if (amount > type(uint128).max) revert AmountTooLarge(amount);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint128(amount);
    }

    /// @dev The offer of that number.
    function _known(uint256 offerId) private view returns (Offer storage o) {
        o = _offers[offerId];
        if (o.seller == address(0)) revert NoSuchOffer(offerId);
    }

    /// @dev The deal of that number, which must not be settled.
    function _open(uint256 dealId) private view returns (Deal storage deal) {
        deal = _deals[dealId];
        DealState state = deal.state;
        if (state == DealState.None) revert NoSuchDeal(dealId);
        if (state != DealState.Open) revert DealSettled(dealId, state);
    }
}
