// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {ReductionExchange} from "../src/ReductionExchange.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {GreedyCoin} from "./support/GreedyCoin.sol";

/// @notice Cover from its offer to the release of its price. Home 0 sells and home 1 buys.
contract ReductionExchangeTest is Fixture {
    bytes32 private constant ID = keccak256("event");
    uint64 private constant WH = 1500;
    uint128 private constant PRICE = 0.1e18;
    uint256 private constant PAID = 0.15e18;
    uint256 private constant PURSE = 100e18;
    uint128 private constant ANY_PRICE = type(uint128).max;

    function setUp() public override {
        super.setUp();
        registerUpTo(5);
        issue(ID);
        optInUpTo(ID, 4);
        fillPurses();
    }

    function fillPurses() private {
        for (uint256 i; i < 5; ++i) {
            coin.mint(ownerOf(i), PURSE);
            vm.prank(ownerOf(i));
            coin.approve(address(exchange), type(uint256).max);
        }
    }

    /// @dev Contracted power times two hours.
    function obligationOf(uint256 number) private pure returns (uint256) {
        return 2 * uint256(powerOf(number));
    }

    function offer(uint256 number, uint64 wh, uint128 price) private returns (uint256) {
        vm.prank(ownerOf(number));
        return exchange.offer(ID, resourceOf(number), wh, price);
    }

    function buy(uint256 number, uint256 offerId, uint64 wh, uint128 maximum) private returns (uint256) {
        vm.prank(ownerOf(number));
        return exchange.buy(offerId, resourceOf(number), wh, maximum);
    }

    /// @dev Home 0 sells to home 1.
    function trade() private returns (uint256) {
        return buy(1, offer(0, WH, PRICE), WH, PRICE);
    }

    function optOut(uint256 number) private {
        vm.prank(ownerOf(number));
        dr.optOut(ID, one(resourceOf(number)));
    }

    function cancel() private {
        vm.prank(operator);
        dr.cancel(ID);
    }

    function settle(uint256 tradeId) private {
        uint256[] memory ids = new uint256[](1);
        ids[0] = tradeId;
        exchange.settle(ids);
    }

    function checkShift(uint256 number, int256 expected) private view {
        check(exchange.shiftOf(ID, resourceOf(number)) == expected, "shift");
    }

    function purseOf(uint256 number) private view returns (uint256) {
        return coin.balanceOf(ownerOf(number));
    }

    function expectBeyond(uint256 number, int256 shift) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                ReductionExchange.BeyondObligation.selector, resourceOf(number), shift, obligationOf(number)
            )
        );
    }

    function expectNotOwner(uint256 number, address trader) private {
        vm.expectRevert(
            abi.encodeWithSelector(ReductionExchange.NotResourceOwner.selector, resourceOf(number), trader)
        );
    }

    function expectNotOptedIn(uint256 number) private {
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.NotOptedIn.selector, ID, resourceOf(number)));
    }

    function expectNotTradable(bytes32 eventId, DemandResponse.State state) private {
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.NotTradable.selector, eventId, state));
    }

    function expectUnknownOffer(uint256 offerId) private {
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.UnknownOffer.selector, offerId));
    }

    // ---- construction

    function test_itTradesForOneContractOfEventsAndPaysInItsCoin() public {
        checkEq(address(exchange.events()), address(dr), "events");
        checkEq(address(exchange.registry()), address(registry), "registry");
        checkEq(address(exchange.coin()), address(coin), "coin");
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.ZeroAddress.selector));
        new ReductionExchange(DemandResponse(address(0)));
    }

    // ---- offer

    function test_anOfferIsStoredAndAnnouncedAndMovesNothing() public {
        vm.expectEmit(address(exchange));
        emit ReductionExchange.CoverOffered(0, ID, resourceOf(0), WH, PRICE);
        checkEq(offer(0, WH, PRICE), 0, "offer");
        ReductionExchange.Offer memory held = exchange.offerOf(0);
        checkEq(held.eventId, ID, "event");
        checkEq(held.resource, resourceOf(0), "resource");
        checkEq(held.seller, ownerOf(0), "seller");
        checkEq(held.wh, WH, "watt-hours");
        checkEq(held.pricePerKwh, PRICE, "price");
        checkEq(exchange.offerCount(), 1, "offers");
        checkShift(0, 0);
    }

    function test_onlyTheOwnerOffers() public {
        expectNotOwner(0, operator);
        vm.prank(operator);
        exchange.offer(ID, resourceOf(0), WH, PRICE);
        expectNotOwner(0, ownerOf(1));
        vm.prank(ownerOf(1));
        exchange.offer(ID, resourceOf(0), WH, PRICE);
    }

    function test_onlyAHomeThatTakesPartOffers() public {
        expectNotOptedIn(4);
        offer(4, WH, PRICE);
    }

    function test_anOfferOfNothingIsNone() public {
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.ZeroCover.selector));
        offer(0, 0, PRICE);
    }

    function test_coverIsOfferedOnlyBeforeTheStart() public {
        vm.warp(START);
        expectNotTradable(ID, DemandResponse.State.Active);
        offer(0, WH, PRICE);
        vm.warp(START - 1);
        offer(0, WH, PRICE);
        cancel();
        expectNotTradable(ID, DemandResponse.State.Cancelled);
        offer(0, WH, PRICE);
        expectNotTradable("unknown", DemandResponse.State.None);
        vm.prank(ownerOf(0));
        exchange.offer("unknown", resourceOf(0), WH, PRICE);
    }

    function test_aSellerTakesAnOfferBack() public {
        uint256 id = offer(0, WH, PRICE);
        buy(1, id, 500, PRICE);
        vm.expectEmit(address(exchange));
        emit ReductionExchange.OfferWithdrawn(id);
        vm.prank(ownerOf(0));
        exchange.withdrawOffer(id);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.OfferTooSmall.selector, id, 1, 0));
        buy(1, id, 1, PRICE);
        checkShift(0, 500);
    }

    function test_onlyTheSellerTakesAnOfferBack() public {
        uint256 id = offer(0, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.NotSeller.selector, id, ownerOf(1)));
        vm.prank(ownerOf(1));
        exchange.withdrawOffer(id);
    }

    function test_whatWasNeverOfferedIsUnknown() public {
        expectUnknownOffer(0);
        exchange.offerOf(0);
        expectUnknownOffer(0);
        exchange.withdrawOffer(0);
        expectUnknownOffer(7);
        buy(1, 7, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.UnknownTrade.selector, 0));
        exchange.tradeOf(0);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.UnknownTrade.selector, 3));
        settle(3);
    }

    // ---- buy

    function test_aTradeMovesBothObligationsAndItsPriceWaits() public {
        uint256 id = offer(0, WH, PRICE);
        vm.expectEmit(address(exchange));
        emit ReductionExchange.CoverTraded(0, ID, id, resourceOf(0), resourceOf(1), 1000, 0.1e18);
        checkEq(buy(1, id, 1000, PRICE), 0, "trade");
        ReductionExchange.Trade memory held = exchange.tradeOf(0);
        checkEq(held.eventId, ID, "event");
        checkEq(held.from, resourceOf(0), "from");
        checkEq(held.to, resourceOf(1), "to");
        checkEq(held.seller, ownerOf(0), "seller");
        checkEq(held.buyer, ownerOf(1), "buyer");
        checkEq(held.wh, 1000, "watt-hours");
        checkEq(held.paid, 0.1e18, "paid");
        check(held.open, "open");
        checkEq(exchange.tradeCount(), 1, "trades");
        checkEq(exchange.offerOf(id).wh, 500, "left of the offer");
        checkShift(0, 1000);
        checkShift(1, -1000);
        checkEq(purseOf(0), PURSE, "seller's purse");
        checkEq(purseOf(1), PURSE - 0.1e18, "buyer's purse");
        checkEq(coin.balanceOf(address(exchange)), 0.1e18, "escrow");
    }

    function test_anOfferIsBoughtPieceByPiece() public {
        uint256 id = offer(0, WH, PRICE);
        buy(1, id, 500, PRICE);
        buy(2, id, 700, PRICE);
        buy(1, id, 300, PRICE);
        checkShift(0, 1500);
        checkShift(1, -800);
        checkShift(2, -700);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.OfferTooSmall.selector, id, 1, 0));
        buy(3, id, 1, PRICE);
    }

    function test_aBuyerBuysNoMoreThanIsOffered() public {
        uint256 id = offer(0, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.OfferTooSmall.selector, id, WH + 1, WH));
        buy(1, id, WH + 1, PRICE);
    }

    function test_aBuyerPaysNoMoreThanAllowed() public {
        uint256 id = offer(0, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.PriceTooHigh.selector, id, PRICE, PRICE - 1));
        buy(1, id, WH, PRICE - 1);
    }

    function test_aBuyerNeedsTheCoins() public {
        uint256 id = offer(0, 1000, uint128(PURSE + 1));
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientBalance.selector, ownerOf(1), PURSE, PURSE + 1
            )
        );
        buy(1, id, 1000, ANY_PRICE);
    }

    function test_onlyTheOwnerOfAHomeThatTakesPartBuys() public {
        uint256 id = offer(0, WH, PRICE);
        expectNotOwner(1, ownerOf(2));
        vm.prank(ownerOf(2));
        exchange.buy(id, resourceOf(1), WH, PRICE);
        expectNotOptedIn(4);
        buy(4, id, WH, PRICE);
    }

    function test_aHomeBuysNothingFromItselfAndNoNothing() public {
        uint256 id = offer(0, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.SameResource.selector, resourceOf(0)));
        buy(0, id, WH, PRICE);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.ZeroCover.selector));
        buy(1, id, 0, PRICE);
    }

    function test_coverIsBoughtOnlyBeforeTheStart() public {
        uint256 id = offer(0, WH, PRICE);
        vm.warp(START);
        expectNotTradable(ID, DemandResponse.State.Active);
        buy(1, id, WH, PRICE);
        vm.warp(START - 1);
        buy(1, id, 1, PRICE);
        cancel();
        expectNotTradable(ID, DemandResponse.State.Cancelled);
        buy(1, id, 1, PRICE);
    }

    function test_nobodyBuysFromAHomeThatOptedOut() public {
        uint256 id = offer(0, WH, PRICE);
        optOut(0);
        expectNotOptedIn(0);
        buy(1, id, WH, PRICE);
    }

    function test_anOfferDoesNotBindTheNextOwnerOfTheHome() public {
        uint256 id = offer(0, WH, PRICE);
        ResourceRegistry.Consent memory consent = consentOf(keyOf(9), resourceOf(0), powerOf(0), false);
        vm.prank(ownerOf(0));
        registry.transfer(consent, "");
        expectNotOwner(0, ownerOf(0));
        buy(1, id, WH, PRICE);
        checkShift(0, 0);
    }

    // ---- price

    function test_aPriceIsRoundedUpToTheSmallestUnit() public {
        uint256 id = offer(0, 3000, 1);
        buy(1, id, 1, 1); // 1 Wh at 1 a kWh: 0.001, rounded up
        buy(1, id, 999, 1); // 0.999
        buy(1, id, 1000, 1); // 1 exactly
        id = offer(0, 1001, 1);
        buy(1, id, 1001, 1); // 1.001
        checkEq(exchange.tradeOf(0).paid, 1, "1 Wh");
        checkEq(exchange.tradeOf(1).paid, 1, "999 Wh");
        checkEq(exchange.tradeOf(2).paid, 1, "1000 Wh");
        checkEq(exchange.tradeOf(3).paid, 2, "1001 Wh");
        checkEq(coin.balanceOf(address(exchange)), 5, "escrow");
    }

    function testFuzz_noCoverIsFreeUnlessItWasOfferedFree(uint64 wh, uint128 price) public {
        wh = uint64(within(wh, 1, obligationOf(0)));
        price = uint128(within(price, 0, PURSE / 10));
        uint256 id = buy(1, offer(0, wh, price), wh, price);
        uint256 paid = exchange.tradeOf(id).paid;
        check(paid * 1000 >= uint256(wh) * price, "not below the price");
        check(paid == 0 || (paid - 1) * 1000 < uint256(wh) * price, "less than a unit above it");
        check((paid == 0) == (price == 0), "free only if offered free");
    }

    function test_freeCoverIsTradedAndSettledWithoutCoins() public {
        uint256 id = buy(1, offer(0, WH, 0), WH, 0);
        vm.warp(START);
        settle(id);
        checkShift(1, -int256(uint256(WH)));
        checkEq(purseOf(1), PURSE, "buyer's purse");
    }

    function test_aPriceBeyondAllCoinsFailsByName() public {
        uint256 id = offer(0, 2000, ANY_PRICE);
        vm.expectRevert(
            abi.encodeWithSelector(ReductionExchange.PriceTooHigh.selector, id, ANY_PRICE, ANY_PRICE)
        );
        buy(1, id, 2000, ANY_PRICE);
    }

    // ---- bounds

    function test_aBuyersObligationGoesDownToNothingAndNoFurther() public {
        // Home 1 undertook 3001 W for 2 h: 6002 Wh. Homes 2 and 0 offer more than that together.
        uint256 id = offer(2, 6004, 0);
        buy(1, id, 6002, 0);
        checkShift(1, -6002);
        expectBeyond(1, -6003);
        buy(1, id, 1, 0);
    }

    function test_aSellersObligationGoesUpToTwiceAndNoFurther() public {
        uint256 id = offer(0, 7000, 0);
        buy(2, id, 6000, 0);
        checkShift(0, 6000);
        expectBeyond(0, 6001);
        buy(1, id, 1, 0);
    }

    function test_aSaleMakesNoRoomForAPurchaseSinceItMayBeVoid() public {
        buy(2, offer(1, 4000, 0), 4000, 0);
        checkShift(1, 4000);
        uint256 id = offer(0, 6000, 0);
        buy(1, id, 6000, 0);
        checkShift(1, -2000);
        id = offer(3, 6006, 0);
        expectBeyond(1, -6003);
        buy(1, id, 3, 0);
        buy(1, id, 2, 0);
        // The sale falls: what home 1 bought still leaves it no less than nothing to do.
        optOut(2);
        vm.warp(START);
        settle(0);
        checkShift(1, -6002);
        checkShift(2, 0);
    }

    function testFuzz_theObligationIsPowerTimesTimeRoundedDown(uint32 contractedW, uint40 duration) public {
        duration = uint40(within(duration, 1, 7 days));
        contractedW = uint32(within(contractedW, 3600, type(uint32).max));
        register(consentOf(keyOf(0), resourceOf(0), contractedW, true));
        register(consentOf(keyOf(1), resourceOf(1), type(uint32).max, true));
        DemandResponse.Terms memory terms = termsOf(DemandResponse.Funding.Mint);
        terms.end = START + duration;
        issue("short", terms);
        optInUpTo("short", 2);
        uint256 obligation = uint256(contractedW) * duration / 3600;
        vm.prank(ownerOf(0));
        uint256 id = exchange.offer("short", resourceOf(0), uint64(obligation + 1), 0);
        vm.expectRevert(
            abi.encodeWithSelector(
                ReductionExchange.BeyondObligation.selector, resourceOf(0), obligation + 1, obligation
            )
        );
        buy(1, id, uint64(obligation + 1), 0);
        if (obligation != 0) buy(1, id, uint64(obligation), 0);
    }

    // ---- settle

    function test_aTradeHoldsOnceTheEventHasStartedWithBothHomes() public {
        uint256 id = trade();
        vm.warp(START - 1);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.EventNotStarted.selector, id));
        settle(id);
        vm.warp(START);
        vm.expectEmit(address(exchange));
        emit ReductionExchange.TradeSettled(id, ownerOf(0), uint128(PAID));
        vm.prank(stranger);
        settle(id);
        checkEq(purseOf(0), PURSE + PAID, "seller's purse");
        checkEq(purseOf(1), PURSE - PAID, "buyer's purse");
        checkShift(0, int256(uint256(WH)));
        checkShift(1, -int256(uint256(WH)));
        check(!exchange.tradeOf(id).open, "settled");
    }

    function checkVoid(uint256 id) private {
        vm.expectEmit(address(exchange));
        emit ReductionExchange.TradeVoided(id, ownerOf(1), uint128(PAID));
        settle(id);
        checkEq(purseOf(0), PURSE, "seller's purse");
        checkEq(purseOf(1), PURSE, "buyer's purse");
        checkShift(0, 0);
        checkShift(1, 0);
        checkEq(coin.balanceOf(address(exchange)), 0, "escrow");
    }

    function test_aTradeIsVoidIfTheSellerOptedOut() public {
        uint256 id = trade();
        optOut(0);
        vm.warp(START);
        checkVoid(id);
    }

    function test_aTradeIsVoidIfTheBuyerOptedOut() public {
        uint256 id = trade();
        optOut(1);
        vm.warp(START);
        checkVoid(id);
    }

    function test_aTradeIsVoidIfTheEventWasCancelledAndSettledAtOnce() public {
        uint256 id = trade();
        cancel();
        checkVoid(id);
    }

    function test_aTradeHoldsIfAHomeCameBackBeforeTheStart() public {
        uint256 id = trade();
        optOut(0);
        vm.prank(ownerOf(0));
        dr.optIn(ID, one(resourceOf(0)));
        vm.warp(START);
        settle(id);
        checkEq(purseOf(0), PURSE + PAID, "seller's purse");
    }

    function test_aTradeIsSettledOnceAndAtAnyTime() public {
        uint256 id = trade();
        vm.warp(END + 365 days);
        settle(id);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.AlreadySettled.selector, id));
        settle(id);
    }

    function test_manyTradesAreSettledTogetherOrNoneIs() public {
        uint256[] memory ids = new uint256[](3);
        uint256 offerId = offer(0, WH, PRICE);
        for (uint256 i; i < 3; ++i) {
            ids[i] = buy(1 + i, offerId, 500, PRICE);
        }
        optOut(2);
        vm.warp(START);
        uint256[] memory twice = new uint256[](2);
        vm.expectRevert(abi.encodeWithSelector(ReductionExchange.AlreadySettled.selector, 0));
        exchange.settle(twice);
        exchange.settle(ids);
        checkEq(purseOf(0), PURSE + 0.1e18, "seller's purse");
        checkEq(purseOf(2), PURSE, "purse of who opted out");
        checkShift(0, 1000);
        checkShift(2, 0);
        checkEq(coin.balanceOf(address(exchange)), 0, "escrow");
    }

    function test_whoTradedIsPaidAlthoughTheHomeHasAnotherOwner() public {
        uint256 id = trade();
        ResourceRegistry.Consent memory consent = consentOf(keyOf(9), resourceOf(0), powerOf(0), false);
        vm.prank(ownerOf(0));
        registry.transfer(consent, "");
        vm.warp(START);
        settle(id);
        checkEq(purseOf(0), PURSE + PAID, "seller's purse");
        checkEq(purseOf(9), 0, "next owner's purse");
    }

    // ---- a hostile coin

    function test_aCoinThatCallsBackGetsNothingTwice() public {
        GreedyCoin greedy = new GreedyCoin(admin);
        deploy(greedy);
        issue(ID);
        optInUpTo(ID, 4);
        fillPurses();
        uint256 offerId = offer(0, WH, PRICE);
        greedy.arm(abi.encodeCall(exchange.buy, (offerId, resourceOf(1), WH, PRICE)));
        uint256 id = buy(1, offerId, WH, PRICE);
        uint256 other = buy(2, offer(0, WH, PRICE), WH, PRICE);
        uint256[] memory ids = new uint256[](1);
        ids[0] = id;
        greedy.arm(abi.encodeCall(exchange.settle, (ids)));
        vm.warp(START);
        settle(id);
        checkEq(greedy.attempts(), 3, "attempts");
        checkEq(greedy.successes(), 0, "successes");
        checkEq(coin.balanceOf(address(exchange)), PAID, "what waits for the other trade");
        greedy.arm("");
        settle(other);
        checkEq(coin.balanceOf(address(exchange)), 0, "escrow");
    }
}
