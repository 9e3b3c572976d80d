// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {EnergyMarket, IMeterRegistry} from "../src/EnergyMarket.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {EnergyFixture, MeterRegistryStub} from "./support/EnergyFixture.sol";

/// @notice A contract that signs by ERC-1271: it takes what one account signs, or answers as it is told.
contract ContractSigner is IERC1271 {
    address public immutable key;
    uint256 public mood;

    constructor(address key_) {
        key = key_;
    }

    function setMood(uint256 mood_) external {
        mood = mood_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (mood == 1) return 0xffffffff;
        if (mood == 2) revert("no");
        if (mood == 3) {
            assembly ("memory-safe") {
                return(0, 4)
            }
        }
        address signer =
            ecrecover(hash, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer == key ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

contract EnergyMarketTest is EnergyFixture {
    uint64 private constant WH = 5000;
    /// @dev 2000 Wh at 0.2 a kWh.
    uint256 private constant AMOUNT = 0.4e18;

    function setUp() public override {
        super.setUp();
        fundBuyer(buyer, 10e18);
    }

    /// @dev An offer of 5000 Wh with a deal over 2000 of them.
    function openDeal() private returns (uint256 offerId, uint256 dealId) {
        offerId = offer(WH);
        vm.prank(buyer);
        dealId = market.buy(offerId, 2000, PRICE);
    }

    // ------------------------------------------------------------------------------------------------
    // Offers
    // ------------------------------------------------------------------------------------------------

    function test_anOfferIsKeptAndLogged() public {
        vm.expectEmit(address(market));
        emit EnergyMarket.Offered(1, seller, METER, WH, PRICE, FROM, UNTIL);
        uint256 offerId = offer(WH);
        checkEq(offerId, 1, "number");
        checkEq(market.offerCount(), 1, "count");
        EnergyMarket.Offer memory o = offerOf(offerId);
        checkEq(o.seller, seller, "seller");
        checkEq(o.meter, METER, "meter");
        checkEq(o.offeredWh, WH, "offered");
        checkEq(o.soldWh, 0, "sold");
        checkEq(o.pricePerKwh, PRICE, "price");
        checkEq(o.deliverFrom, FROM, "from");
        checkEq(o.deliverUntil, UNTIL, "until");
    }

    function test_anOfferThatMakesNoSenseIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroMeter.selector));
        market.offer(0, WH, PRICE, FROM, UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroWh.selector));
        market.offer(METER, 0, PRICE, FROM, UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroPrice.selector));
        market.offer(METER, WH, 0, FROM, UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.DeliveryNotInFuture.selector, NOW, uint256(NOW)));
        market.offer(METER, WH, PRICE, NOW, UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.EmptyWindow.selector, FROM, FROM));
        market.offer(METER, WH, PRICE, FROM, FROM);
        checkEq(market.offerCount(), 0, "count");
    }

    function test_withARegistryOnlyTheOwnerOffersAMetersEnergy() public {
        MeterRegistryStub meters = new MeterRegistryStub();
        EnergyMarket strict = new EnergyMarket(token, meters, STATEMENT_WINDOW, admin);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.NotMeterOwner.selector, METER, address(0), seller)
        );
        vm.prank(seller);
        strict.offer(METER, WH, PRICE, FROM, UNTIL);

        meters.setOwner(METER, seller);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NotMeterOwner.selector, METER, seller, stranger));
        vm.prank(stranger);
        strict.offer(METER, WH, PRICE, FROM, UNTIL);
        vm.prank(seller);
        strict.offer(METER, WH, PRICE, FROM, UNTIL);
        checkEq(offerOf(strict, 1).seller, seller, "seller");
    }

    function test_aSellerTakesBackWhatIsUnsold() public {
        (uint256 offerId, uint256 dealId) = openDeal();
        vm.expectEmit(address(market));
        emit EnergyMarket.OfferCancelled(offerId, 3000);
        vm.prank(seller);
        market.cancel(offerId);
        checkEq(offerOf(offerId).offeredWh, 2000, "what is sold stays");

        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NothingLeft.selector, offerId));
        vm.prank(buyer);
        market.buy(offerId, 1, PRICE);
        vm.warp(UNTIL);
        deliver(dealId, 2000);
        checkEq(token.balanceOf(seller), AMOUNT, "the deal that was made is settled");
    }

    function test_onlyItsSellerCancelsAnOffer() public {
        uint256 offerId = offer(WH);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NotSeller.selector, offerId, seller, stranger));
        vm.prank(stranger);
        market.cancel(offerId);
    }

    function test_anOfferIsCancelledOnce() public {
        uint256 offerId = offer(WH);
        vm.startPrank(seller);
        market.cancel(offerId);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NothingLeft.selector, offerId));
        market.cancel(offerId);
        vm.stopPrank();
    }

    function test_unknownNumbersAreNamed() public {
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchOffer.selector, uint256(1)));
        market.cancel(1);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchOffer.selector, uint256(0)));
        market.buy(0, 1, PRICE);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchOffer.selector, uint256(2)));
        market.quote(2, 1);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchDeal.selector, uint256(1)));
        market.refund(1);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchDeal.selector, uint256(0)));
        market.deliver(0, 1, DEADLINE, meterOperator, "");
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NoSuchDeal.selector, uint256(7)));
        market.refundFromOf(7);
        checkEq(offerOf(9).seller, address(0), "an unknown offer is all zeros");
        checkEq(uint8(dealOf(9).state), 0, "an unknown deal is in no state");
    }

    // ------------------------------------------------------------------------------------------------
    // Purchases
    // ------------------------------------------------------------------------------------------------

    function test_aBuyerPaysIntoEscrow() public {
        uint256 offerId = offer(WH);
        vm.expectEmit(address(market));
        emit EnergyMarket.Bought(1, offerId, buyer, 2000, uint128(AMOUNT));
        vm.prank(buyer);
        uint256 dealId = market.buy(offerId, 2000, PRICE);
        checkEq(token.balanceOf(address(market)), AMOUNT, "escrow");
        checkEq(token.balanceOf(buyer), 10e18 - AMOUNT, "buyer");
        EnergyMarket.Deal memory deal = dealOf(dealId);
        checkEq(deal.buyer, buyer, "buyer");
        checkEq(deal.wh, 2000, "energy");
        checkEq(deal.amount, AMOUNT, "amount");
        checkEq(deal.offerId, offerId, "offer");
        checkEq(uint8(deal.state), uint8(EnergyMarket.DealState.Open), "state");
        checkEq(offerOf(offerId).soldWh, 2000, "sold");
        checkEq(market.refundFromOf(dealId), REFUND_FROM, "refund from");
    }

    function test_anOfferIsSoldInPartsAndNeverMore() public {
        uint256 offerId = offer(WH);
        vm.startPrank(buyer);
        market.buy(offerId, 4999, PRICE);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.NotEnoughLeft.selector, offerId, uint64(1), uint64(2))
        );
        market.buy(offerId, 2, PRICE);
        market.buy(offerId, 1, PRICE);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NothingLeft.selector, offerId));
        market.buy(offerId, 1, PRICE);
        vm.stopPrank();
        checkEq(offerOf(offerId).soldWh, WH, "sold");
    }

    function test_aPurchaseOfNothingIsRefused() public {
        uint256 offerId = offer(WH);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroWh.selector));
        vm.prank(buyer);
        market.buy(offerId, 0, PRICE);
    }

    function test_nobodyPaysMoreThanTheirMaximum() public {
        uint256 offerId = offer(WH);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.PriceAboveMaximum.selector, offerId, PRICE, PRICE - 1)
        );
        vm.prank(buyer);
        market.buy(offerId, 1, PRICE - 1);
    }

    function test_nobodyBuysFromThemselves() public {
        uint256 offerId = offer(WH);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.SelfPurchase.selector, offerId, seller));
        vm.prank(seller);
        market.buy(offerId, 1, PRICE);
    }

    function test_nothingIsSoldOnceDeliveryHasStarted() public {
        uint256 offerId = offer(WH);
        vm.warp(FROM - 1);
        vm.prank(buyer);
        market.buy(offerId, 1, PRICE);
        vm.warp(FROM);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.DeliveryStarted.selector, offerId, FROM, uint256(FROM))
        );
        vm.prank(buyer);
        market.buy(offerId, 1, PRICE);
    }

    function test_aBuyerWithoutTokensOrApprovalBuysNothing() public {
        uint256 offerId = offer(WH);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(market), 0, AMOUNT
            )
        );
        vm.prank(stranger);
        market.buy(offerId, 2000, PRICE);
        checkEq(offerOf(offerId).soldWh, 0, "sold");
        checkEq(market.dealCount(), 0, "deals");
    }

    function test_anAmountAbove128BitsIsRefused() public {
        vm.prank(seller);
        uint256 offerId = market.offer(METER, type(uint64).max, type(uint128).max, FROM, UNTIL);
        uint256 amount = (uint256(type(uint64).max) * type(uint128).max + 999) / 1000;
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.AmountTooLarge.selector, amount));
        vm.prank(buyer);
        market.buy(offerId, type(uint64).max, type(uint128).max);
    }

    function test_aPriceThatDoesNotDivideIsRoundedUp() public {
        vm.prank(seller);
        uint256 offerId = market.offer(METER, WH, 3, FROM, UNTIL);
        checkEq(market.quote(offerId, 1), 1, "0.003 units");
        checkEq(market.quote(offerId, 333), 1, "0.999 units");
        checkEq(market.quote(offerId, 334), 2, "1.002 units");
        checkEq(market.quote(offerId, 1000), 3, "3 units");
    }

    function permitDigest(address owner, uint256 value, uint256 deadline) private view returns (bytes32) {
        bytes32 message = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                owner,
                address(market),
                value,
                token.nonces(owner),
                deadline
            )
        );
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), message));
    }

    function test_aSignedApprovalBuysInOneTransaction() public {
        uint256 key = 0xB0B;
        address holder = vm.addr(key);
        fund(holder, 1e18);
        uint256 offerId = offer(WH);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, permitDigest(holder, AMOUNT, NOW));
        vm.prank(holder);
        uint256 dealId = market.buyWithPermit(offerId, 2000, PRICE, NOW, v, r, s);
        checkEq(dealOf(dealId).buyer, holder, "buyer");
        checkEq(token.balanceOf(address(market)), AMOUNT, "escrow");
        checkEq(token.allowance(holder, address(market)), 0, "allowance");
    }

    function test_anApprovalThatSomeoneElseHandedInFirstStillBuys() public {
        uint256 key = 0xB0B;
        address holder = vm.addr(key);
        fund(holder, 1e18);
        uint256 offerId = offer(WH);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, permitDigest(holder, AMOUNT, NOW));
        vm.prank(stranger);
        token.permit(holder, address(market), AMOUNT, NOW, v, r, s);
        vm.prank(holder);
        market.buyWithPermit(offerId, 2000, PRICE, NOW, v, r, s);
        checkEq(token.balanceOf(address(market)), AMOUNT, "escrow");
    }

    function test_anApprovalForAnotherAmountBuysNothing() public {
        uint256 key = 0xB0B;
        address holder = vm.addr(key);
        fund(holder, 1e18);
        uint256 offerId = offer(WH);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, permitDigest(holder, AMOUNT - 1, NOW));
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(market), 0, AMOUNT
            )
        );
        vm.prank(holder);
        market.buyWithPermit(offerId, 2000, PRICE, NOW, v, r, s);
    }

    // ------------------------------------------------------------------------------------------------
    // Statements
    // ------------------------------------------------------------------------------------------------

    function test_deliveryInFullPaysTheSellerEverything() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 2000);
        vm.expectEmit(address(market));
        emit EnergyMarket.Delivered(dealId, meterOperator, 2000, AMOUNT, 0);
        vm.prank(stranger);
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
        checkEq(token.balanceOf(seller), AMOUNT, "seller");
        checkEq(token.balanceOf(buyer), 10e18 - AMOUNT, "buyer");
        checkEq(token.balanceOf(address(market)), 0, "escrow");
        checkEq(uint8(dealOf(dealId).state), uint8(EnergyMarket.DealState.Delivered), "state");
    }

    function test_deliveryInPartPaysItsShareAndReturnsTheRest() public {
        (, uint256 dealId) = openDeal();
        vm.warp(REFUND_FROM - 1);
        deliver(dealId, 500);
        checkEq(token.balanceOf(seller), 0.1e18, "a quarter of 0.4");
        checkEq(token.balanceOf(buyer), 9.9e18, "buyer");
        checkEq(token.balanceOf(address(market)), 0, "escrow");
    }

    function test_aStatementOfNothingReturnsEverything() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        deliver(dealId, 0);
        checkEq(token.balanceOf(seller), 0, "seller");
        checkEq(token.balanceOf(buyer), 10e18, "buyer");
        checkEq(uint8(dealOf(dealId).state), uint8(EnergyMarket.DealState.Delivered), "state");
    }

    function testFuzz_everyShareIsRoundedInFavourOfTheBuyerAndNothingIsLost(
        uint64 wh,
        uint64 delivered,
        uint128 price
    ) public {
        wh = uint64(within(wh, 1, 1e9));
        delivered = uint64(within(delivered, 0, wh));
        price = uint128(within(price, 1, 9e9));
        vm.prank(seller);
        uint256 offerId = market.offer(METER, wh, price, FROM, UNTIL);
        uint256 before = token.balanceOf(buyer);
        vm.prank(buyer);
        uint256 dealId = market.buy(offerId, wh, price);
        uint256 amount = before - token.balanceOf(buyer);
        check(amount * 1000 >= uint256(wh) * price, "not sold below the price");
        check(amount * 1000 < uint256(wh) * price + 1000, "nor a unit above it");

        vm.warp(UNTIL);
        deliver(dealId, delivered);
        uint256 paid = token.balanceOf(seller);
        check(paid * wh <= amount * delivered, "no more than the share");
        check((paid + 1) * wh > amount * delivered, "nor a unit less than it");
        checkEq(token.balanceOf(buyer), before - paid, "the rest goes back");
        checkEq(token.balanceOf(address(market)), 0, "escrow");
    }

    function test_aStatementSettlesNothingBeforeTheEndOfDelivery() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL - 1);
        bytes memory signature = statement(dealId, 2000);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.DeliveryNotOver.selector, dealId, UNTIL, uint256(UNTIL) - 1)
        );
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_aStatementComesTooLateInTheFirstSecondOfTheRefund() public {
        (, uint256 dealId) = openDeal();
        vm.warp(REFUND_FROM);
        bytes memory signature = statement(dealId, 2000);
        vm.expectRevert(
            abi.encodeWithSelector(
                EnergyMarket.StatementWindowClosed.selector,
                dealId,
                uint256(REFUND_FROM),
                uint256(REFUND_FROM)
            )
        );
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_anExpiredStatementSettlesNothing() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        uint256 deadline = UNTIL;
        bytes memory signature = signed(METER_KEY, market.deliveryDigest(dealId, 2000, deadline));
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.StatementExpired.selector, dealId, deadline, uint256(UNTIL))
        );
        market.deliver(dealId, 2000, deadline, meterOperator, signature);

        signature = signed(METER_KEY, market.deliveryDigest(dealId, 2000, deadline + 1));
        market.deliver(dealId, 2000, deadline + 1, meterOperator, signature);
    }

    function test_noMoreIsDeliveredThanWasSold() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 2001);
        vm.expectRevert(
            abi.encodeWithSelector(
                EnergyMarket.DeliveredAboveSold.selector, dealId, uint256(2001), uint64(2000)
            )
        );
        market.deliver(dealId, 2001, DEADLINE, meterOperator, signature);
    }

    function test_onlyAMeterOperatorsStatementCounts() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        uint256 key = 0xBAD;
        bytes memory signature = signed(key, market.deliveryDigest(dealId, 2000, DEADLINE));
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NotMeterOperator.selector, vm.addr(key)));
        market.deliver(dealId, 2000, DEADLINE, vm.addr(key), signature);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, meterOperator));
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_theZeroTokenSignsNothing() public {
        (, uint256 dealId) = openDeal();
        bytes32 role = market.METER_OPERATOR_ROLE();
        vm.prank(admin);
        market.grantRole(role, address(0));
        vm.warp(UNTIL);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, address(0)));
        market.deliver(dealId, 2000, DEADLINE, address(0), new bytes(65));
    }

    function test_aChangedStatementIsNotWhatWasSigned() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 1000);
        bytes memory refusal =
            abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, meterOperator);
        vm.expectRevert(refusal);
        market.deliver(dealId, 1001, DEADLINE, meterOperator, signature);
        vm.expectRevert(refusal);
        market.deliver(dealId, 1000, DEADLINE + 1, meterOperator, signature);
        vm.expectRevert(refusal);
        market.deliver(dealId, 1000, DEADLINE, meterOperator, "");
        signature[10] ^= 0x01;
        vm.expectRevert(refusal);
        market.deliver(dealId, 1000, DEADLINE, meterOperator, signature);
    }

    function test_aStatementIsForOneDealOnly() public {
        (uint256 offerId, uint256 dealId) = openDeal();
        vm.prank(buyer);
        uint256 other = market.buy(offerId, 2000, PRICE);
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 2000);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, other, meterOperator));
        market.deliver(other, 2000, DEADLINE, meterOperator, signature);
    }

    function test_aStatementSettlesADealOnce() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 500);
        market.deliver(dealId, 500, DEADLINE, meterOperator, signature);
        bytes memory refusal = abi.encodeWithSelector(
            EnergyMarket.DealSettled.selector, dealId, EnergyMarket.DealState.Delivered
        );
        vm.expectRevert(refusal);
        market.deliver(dealId, 500, DEADLINE, meterOperator, signature);
        bytes memory another = statement(dealId, 2000);
        vm.expectRevert(refusal);
        market.deliver(dealId, 2000, DEADLINE, meterOperator, another);
        vm.warp(REFUND_FROM);
        vm.expectRevert(refusal);
        market.refund(dealId);
    }

    function test_aStatementForAnotherChainIsNotForThisOne() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        cheats.chainId(4242);
        bytes memory signature = statement(dealId, 2000);
        cheats.chainId(31337);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, meterOperator));
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
        cheats.chainId(4242);
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_aStatementForAnotherMarketIsNotForThisOne() public {
        (, uint256 dealId) = openDeal();
        EnergyMarket other = new EnergyMarket(token, IMeterRegistry(address(0)), STATEMENT_WINDOW, admin);
        vm.warp(UNTIL);
        bytes memory signature = signed(METER_KEY, other.deliveryDigest(dealId, 2000, DEADLINE));
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, meterOperator));
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_aSignersRoleIsLookedAtWhenTheStatementIsHandedIn() public {
        (, uint256 dealId) = openDeal();
        vm.warp(UNTIL);
        bytes memory signature = statement(dealId, 2000);
        bytes32 role = market.METER_OPERATOR_ROLE();
        vm.prank(admin);
        market.revokeRole(role, meterOperator);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.NotMeterOperator.selector, meterOperator));
        market.deliver(dealId, 2000, DEADLINE, meterOperator, signature);
    }

    function test_aContractSignsByErc1271() public {
        (, uint256 dealId) = openDeal();
        ContractSigner wallet = new ContractSigner(vm.addr(0xC0DE));
        bytes32 role = market.METER_OPERATOR_ROLE();
        vm.prank(admin);
        market.grantRole(role, address(wallet));
        vm.warp(UNTIL);
        bytes memory signature = signed(0xC0DE, market.deliveryDigest(dealId, 2000, DEADLINE));
        bytes memory refusal =
            abi.encodeWithSelector(EnergyMarket.InvalidSignature.selector, dealId, address(wallet));
        for (uint256 mood = 1; mood <= 3; ++mood) {
            wallet.setMood(mood);
            vm.expectRevert(refusal);
            market.deliver(dealId, 2000, DEADLINE, address(wallet), signature);
        }
        wallet.setMood(0);
        bytes memory foreign = statement(dealId, 2000);
        vm.expectRevert(refusal);
        market.deliver(dealId, 2000, DEADLINE, address(wallet), foreign);
        market.deliver(dealId, 2000, DEADLINE, address(wallet), signature);
        checkEq(token.balanceOf(seller), AMOUNT, "seller");
    }

    // ------------------------------------------------------------------------------------------------
    // Refunds and pause
    // ------------------------------------------------------------------------------------------------

    function test_withoutAStatementTheBuyerGetsEverythingBack() public {
        (, uint256 dealId) = openDeal();
        vm.warp(REFUND_FROM);
        vm.expectEmit(address(market));
        emit EnergyMarket.Refunded(dealId, buyer, AMOUNT);
        vm.prank(stranger);
        market.refund(dealId);
        checkEq(token.balanceOf(buyer), 10e18, "buyer");
        checkEq(token.balanceOf(address(market)), 0, "escrow");
        vm.expectRevert(
            abi.encodeWithSelector(EnergyMarket.DealSettled.selector, dealId, EnergyMarket.DealState.Refunded)
        );
        market.refund(dealId);
    }

    function test_thereIsNoRefundWhileAStatementMayCome() public {
        (, uint256 dealId) = openDeal();
        vm.warp(REFUND_FROM - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                EnergyMarket.StatementWindowOpen.selector,
                dealId,
                uint256(REFUND_FROM),
                uint256(REFUND_FROM) - 1
            )
        );
        market.refund(dealId);
    }

    function testFuzz_atAnySecondAtMostOneWayOutIsOpen(uint48 time) public {
        (, uint256 dealId) = openDeal();
        vm.warp(within(time, NOW, REFUND_FROM + 10 days));
        bytes memory signature = statement(dealId, 2000);
        uint256 ways;
        try market.deliver(dealId, 2000, DEADLINE, meterOperator, signature) {
            ++ways;
        } catch {}
        try market.refund(dealId) {
            ++ways;
        } catch {}
        checkEq(ways, block.timestamp < UNTIL ? 0 : 1, "ways out");
    }

    function test_aPauseStopsOffersAndPurchasesAndNothingElse() public {
        (uint256 offerId, uint256 dealId) = openDeal();
        vm.prank(buyer);
        uint256 late = market.buy(offerId, 1000, PRICE);
        vm.prank(pauser);
        market.pause();
        bytes memory refusal = abi.encodeWithSelector(Pausable.EnforcedPause.selector);
        vm.expectRevert(refusal);
        market.offer(METER, WH, PRICE, FROM, UNTIL);
        vm.expectRevert(refusal);
        vm.prank(buyer);
        market.buy(offerId, 1, PRICE);
        vm.expectRevert(refusal);
        vm.prank(buyer);
        market.buyWithPermit(offerId, 1, PRICE, NOW, 27, 0, 0);

        vm.prank(seller);
        market.cancel(offerId);
        vm.warp(UNTIL);
        deliver(dealId, 2000);
        vm.warp(REFUND_FROM);
        market.refund(late);
        checkEq(token.balanceOf(address(market)), 0, "escrow");
    }

    function test_aPauserPausesAndOnlyTheAdminResumes() public {
        bytes32 role = market.PAUSER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        market.pause();
        vm.prank(pauser);
        market.pause();
        expectNeedsRole(pauser, bytes32(0));
        vm.prank(pauser);
        market.unpause();
        vm.prank(admin);
        market.unpause();
        offer(WH);
    }

    function test_tokensSentByMistakeDisturbNothing() public {
        (, uint256 dealId) = openDeal();
        vm.prank(buyer);
        check(token.transfer(address(market), 5), "transfer");
        vm.warp(UNTIL);
        deliver(dealId, 1999);
        checkEq(token.balanceOf(address(market)), 5, "escrow");
    }

    function test_aMarketNeedsATokenAndTimeForStatements() public {
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroToken.selector));
        new EnergyMarket(EnergyToken(address(0)), IMeterRegistry(address(0)), 1, admin);
        vm.expectRevert(abi.encodeWithSelector(EnergyMarket.ZeroStatementWindow.selector));
        new EnergyMarket(token, IMeterRegistry(address(0)), 0, admin);
    }
}
