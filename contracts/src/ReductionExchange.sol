// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {DemandResponse} from "./DemandResponse.sol";
import {ResourceRegistry} from "./ResourceRegistry.sol";

/// @title Exchange of obligations before an event
/// @notice A home that expects to reduce more than it undertook sells cover; a home that expects to fall short
///         buys it. Each traded watt-hour moves from the buyer's obligation to the seller's. Certification reads
///         the trades: what a home is paid for, and what it is penalised for, follows its obligation after them.
/// @dev The sum of all obligations of an event never changes. The price waits here until the event has started;
///      then it goes to the seller if both homes take part, else back to the buyer, and the trade is void.
///      Without an owner, roles or pause: nobody can take what it holds.
contract ReductionExchange {
    using SafeERC20 for IERC20;

    /// @notice An offer of cover.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the seller's meter.
    /// @param seller Who is paid.
    /// @param wh Cover that is left, in watt-hours.
    /// @param pricePerKwh In the smallest unit of the coin.
    struct Offer {
        bytes32 eventId;
        bytes32 resource;
        address seller;
        uint64 wh;
        uint128 pricePerKwh;
    }

    /// @notice A trade.
    /// @param eventId Identifier of the event.
    /// @param from Hash of the seller's meter: its obligation grows.
    /// @param to Hash of the buyer's meter: its obligation shrinks.
    /// @param seller Who is paid.
    /// @param buyer Who has paid.
    /// @param wh Traded watt-hours.
    /// @param paid What waits for the seller, in the smallest unit of the coin.
    /// @param open Whether it still waits.
    struct Trade {
        bytes32 eventId;
        bytes32 from;
        bytes32 to;
        address seller;
        address buyer;
        uint64 wh;
        uint128 paid;
        bool open;
    }

    /// @notice The events whose obligations are traded.
    DemandResponse public immutable events;

    /// @notice Where resources are registered.
    ResourceRegistry public immutable registry;

    /// @notice The coin in which cover is paid.
    IERC20 public immutable coin;

    /// @dev What a home's trades move for one event. Sales and purchases stand apart: either may be void later, so
    ///      each is bounded by itself, and whatever remains leaves an obligation between nothing and twice.
    struct Position {
        uint128 soldWh;
        uint128 boughtWh;
    }

    Offer[] private _offers;
    Trade[] private _trades;
    mapping(bytes32 eventId => mapping(bytes32 resource => Position)) private _positions;

    /// @notice Cover was offered.
    /// @param offerId Number of the offer.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the seller's meter.
    /// @param wh Cover in watt-hours.
    /// @param pricePerKwh In the smallest unit of the coin.
    event CoverOffered(
        uint256 indexed offerId,
        bytes32 indexed eventId,
        bytes32 indexed resource,
        uint64 wh,
        uint128 pricePerKwh
    );

    /// @notice What was left of an offer was taken back.
    /// @param offerId Number of the offer.
    event OfferWithdrawn(uint256 indexed offerId);

    /// @notice Cover was bought.
    /// @param tradeId Number of the trade.
    /// @param eventId Identifier of the event.
    /// @param offerId Number of the offer.
    /// @param from Hash of the seller's meter.
    /// @param to Hash of the buyer's meter.
    /// @param wh Traded watt-hours.
    /// @param paid What the buyer paid, in the smallest unit of the coin.
    event CoverTraded(
        uint256 indexed tradeId,
        bytes32 indexed eventId,
        uint256 indexed offerId,
        bytes32 from,
        bytes32 to,
        uint64 wh,
        uint128 paid
    );

    /// @notice A trade holds: its price went to the seller.
    /// @param tradeId Number of the trade.
    /// @param seller Who was paid.
    /// @param paid Amount in the smallest unit of the coin.
    event TradeSettled(uint256 indexed tradeId, address indexed seller, uint128 paid);

    /// @notice A trade is void, since a side took no part in the event or the event was cancelled: its price went
    ///         back, and the obligations are as they were.
    /// @param tradeId Number of the trade.
    /// @param buyer Who got the price back.
    /// @param paid Amount in the smallest unit of the coin.
    event TradeVoided(uint256 indexed tradeId, address indexed buyer, uint128 paid);

    /// @notice The constructor got a zero address.
    error ZeroAddress();

    /// @notice Cover is traded between an event's issue and its start.
    /// @param eventId Identifier of the event.
    /// @param state Where the event stands.
    error NotTradable(bytes32 eventId, DemandResponse.State state);

    /// @notice Only its owner trades for a resource; an offer falls with the ownership of the one who made it.
    /// @param resource Hash of the meter.
    /// @param trader Who tried to trade, or made the offer.
    error NotResourceOwner(bytes32 resource, address trader);

    /// @notice The resource does not take part in this event.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    error NotOptedIn(bytes32 eventId, bytes32 resource);

    /// @notice Cover of no watt-hours can't be traded.
    error ZeroCover();

    /// @notice There is no such offer.
    /// @param offerId Number given.
    error UnknownOffer(uint256 offerId);

    /// @notice Only the seller may take an offer back.
    /// @param offerId Number of the offer.
    /// @param caller Who tried.
    error NotSeller(uint256 offerId, address caller);

    /// @notice The offer has less cover left than that.
    /// @param offerId Number of the offer.
    /// @param need Watt-hours asked for.
    /// @param have Watt-hours left.
    error OfferTooSmall(uint256 offerId, uint64 need, uint64 have);

    /// @notice The offer costs more than the buyer allowed.
    /// @param offerId Number of the offer.
    /// @param price Price of a kilowatt-hour.
    /// @param maximum The most the buyer allowed.
    error PriceTooHigh(uint256 offerId, uint128 price, uint128 maximum);

    /// @notice A home can't buy cover from itself.
    /// @param resource Hash of the meter.
    error SameResource(bytes32 resource);

    /// @notice A home can sell, and can buy, at most as much cover as its own obligation: trades move it down to
    ///         nothing or up to twice, whichever of them are void in the end.
    /// @param resource Hash of the meter.
    /// @param shift What it would have sold in all; negative, what it would have bought. In watt-hours.
    /// @param obligation What the home undertook for this event, in watt-hours.
    error BeyondObligation(bytes32 resource, int256 shift, uint256 obligation);

    /// @notice There is no such trade.
    /// @param tradeId Number given.
    error UnknownTrade(uint256 tradeId);

    /// @notice The trade was settled or voided before.
    /// @param tradeId Number of the trade.
    error AlreadySettled(uint256 tradeId);

    /// @notice Trades are settled once the event has started or was cancelled.
    /// @param tradeId Number of the trade.
    error EventNotStarted(uint256 tradeId);

    /// @param events_ The events whose obligations are traded; its coin pays for cover.
    constructor(DemandResponse events_) {
        if (address(events_) == address(0)) revert ZeroAddress();
        events = events_;
        registry = events_.registry();
        coin = events_.coin();
    }

    /// @notice Offer cover: the caller's home undertakes to reduce that much more, for a price.
    /// @param eventId Identifier of the event, which has not started.
    /// @param resource Hash of the seller's meter, which takes part in the event.
    /// @param wh Cover in watt-hours.
    /// @param pricePerKwh In the smallest unit of the coin; may be zero.
    /// @return offerId Number of the offer.
    function offer(bytes32 eventId, bytes32 resource, uint64 wh, uint128 pricePerKwh)
        external
        returns (uint256 offerId)
    {
        _requireTrader(eventId, resource, msg.sender);
        if (wh == 0) revert ZeroCover();
        offerId = _offers.length;
        _offers.push(Offer(eventId, resource, msg.sender, wh, pricePerKwh));
        emit CoverOffered(offerId, eventId, resource, wh, pricePerKwh);
    }

    /// @notice Take back what is left of an offer.
    /// @param offerId Number of the offer.
    function withdrawOffer(uint256 offerId) external {
        Offer storage held = _offer(offerId);
        if (msg.sender != held.seller) revert NotSeller(offerId, msg.sender);
        held.wh = 0;
        emit OfferWithdrawn(offerId);
    }

    /// @notice Buy cover with coins that the caller approved; they wait here until the event has started.
    /// @param offerId Number of the offer.
    /// @param resource Hash of the buyer's meter, which takes part in the event.
    /// @param wh Watt-hours to buy.
    /// @param maxPricePerKwh The most the buyer pays, in the smallest unit of the coin.
    /// @return tradeId Number of the trade.
    function buy(uint256 offerId, bytes32 resource, uint64 wh, uint128 maxPricePerKwh)
        external
        returns (uint256 tradeId)
    {
        Offer storage held = _offer(offerId);
        bytes32 eventId = held.eventId;
        _requireTrader(eventId, resource, msg.sender);
        if (wh == 0) revert ZeroCover();
        if (resource == held.resource) revert SameResource(resource);
        // The home may have another owner by now, who undertook nothing, or may have opted out.
        _requireTrader(eventId, held.resource, held.seller);
        if (wh > held.wh) revert OfferTooSmall(offerId, wh, held.wh);
        if (held.pricePerKwh > maxPricePerKwh) {
            revert PriceTooHigh(offerId, held.pricePerKwh, maxPricePerKwh);
        }
        held.wh -= wh;
        _sell(eventId, held.resource, wh);
        _buy(eventId, resource, wh);

        // Rounded up, so that no cover is free unless it was offered free.
        uint256 price = (uint256(wh) * held.pricePerKwh + 999) / 1000;
        // forge-lint: disable-next-line(unsafe-typecast)
        uint128 paid = uint128(price);
        if (paid != price) revert PriceTooHigh(offerId, held.pricePerKwh, maxPricePerKwh);
        tradeId = _trades.length;
        _trades.push(Trade(eventId, held.resource, resource, held.seller, msg.sender, wh, paid, true));
        emit CoverTraded(tradeId, eventId, offerId, held.resource, resource, wh, paid);
        coin.safeTransferFrom(msg.sender, address(this), paid);
    }

    /// @notice Settle trades of events that have started or were cancelled. Anyone may call.
    /// @param tradeIds Numbers of the trades; all of them or none.
    function settle(uint256[] calldata tradeIds) external {
        for (uint256 i; i < tradeIds.length; ++i) {
            _settle(tradeIds[i]);
        }
    }

    /// @notice By how much trades move a home's obligation. Until its event has started, and the trades are
    ///         settled, they may still be void.
    /// @param eventId Identifier of the event.
    /// @param resource Hash of the meter.
    /// @return Watt-hours; negative where it bought cover.
    function shiftOf(bytes32 eventId, bytes32 resource) external view returns (int256) {
        Position storage held = _positions[eventId][resource];
        return int256(uint256(held.soldWh)) - int256(uint256(held.boughtWh));
    }

    /// @notice Number of offers made.
    /// @return The number.
    function offerCount() external view returns (uint256) {
        return _offers.length;
    }

    /// @notice Number of trades made.
    /// @return The number.
    function tradeCount() external view returns (uint256) {
        return _trades.length;
    }

    /// @notice An offer.
    /// @param offerId Number of the offer.
    /// @return The offer.
    function offerOf(uint256 offerId) external view returns (Offer memory) {
        return _offer(offerId);
    }

    /// @notice A trade.
    /// @param tradeId Number of the trade.
    /// @return The trade.
    function tradeOf(uint256 tradeId) external view returns (Trade memory) {
        if (tradeId >= _trades.length) revert UnknownTrade(tradeId);
        return _trades[tradeId];
    }

    /// @dev Revert unless the trader owns the resource, and it takes part in an event that has not started.
    function _requireTrader(bytes32 eventId, bytes32 resource, address trader) private view {
        DemandResponse.State state = events.stateOf(eventId);
        if (state != DemandResponse.State.Issued) revert NotTradable(eventId, state);
        if (registry.resourceOf(resource).owner != trader) revert NotResourceOwner(resource, trader);
        if (!_takesPart(eventId, resource)) revert NotOptedIn(eventId, resource);
    }

    function _takesPart(bytes32 eventId, bytes32 resource) private view returns (bool) {
        bytes32[] memory one = new bytes32[](1);
        one[0] = resource;
        return events.optedIn(eventId, one)[0];
    }

    function _sell(bytes32 eventId, bytes32 resource, uint64 wh) private {
        Position storage held = _positions[eventId][resource];
        uint128 sold = held.soldWh + wh;
        uint256 obligation = _obligationWh(eventId, resource);
        if (sold > obligation) revert BeyondObligation(resource, int256(uint256(sold)), obligation);
        held.soldWh = sold;
    }

    function _buy(bytes32 eventId, bytes32 resource, uint64 wh) private {
        Position storage held = _positions[eventId][resource];
        uint128 bought = held.boughtWh + wh;
        uint256 obligation = _obligationWh(eventId, resource);
        if (bought > obligation) revert BeyondObligation(resource, -int256(uint256(bought)), obligation);
        held.boughtWh = bought;
    }

    /// @dev What a home undertook for an event: its contracted power over the whole window.
    function _obligationWh(bytes32 eventId, bytes32 resource) private view returns (uint256) {
        DemandResponse.EventView memory ev = events.eventOf(eventId);
        return uint256(registry.resourceOf(resource).contractedW) * (ev.end - ev.start) / 1 hours;
    }

    /// @dev Release or refund one trade.
    function _settle(uint256 tradeId) private {
        if (tradeId >= _trades.length) revert UnknownTrade(tradeId);
        Trade storage trade = _trades[tradeId];
        if (!trade.open) revert AlreadySettled(tradeId);
        DemandResponse.State state = events.stateOf(trade.eventId);
        if (state == DemandResponse.State.Issued) revert EventNotStarted(tradeId);
        trade.open = false;
        bool holds = state != DemandResponse.State.Cancelled && _takesPart(trade.eventId, trade.from)
            && _takesPart(trade.eventId, trade.to);
        if (holds) {
            emit TradeSettled(tradeId, trade.seller, trade.paid);
            coin.safeTransfer(trade.seller, trade.paid);
        } else {
            _positions[trade.eventId][trade.from].soldWh -= trade.wh;
            _positions[trade.eventId][trade.to].boughtWh -= trade.wh;
            emit TradeVoided(tradeId, trade.buyer, trade.paid);
            coin.safeTransfer(trade.buyer, trade.paid);
        }
    }

    /// @dev An offer that exists.
    function _offer(uint256 offerId) private view returns (Offer storage) {
        if (offerId >= _offers.length) revert UnknownOffer(offerId);
        return _offers[offerId];
    }
}
