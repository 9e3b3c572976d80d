// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {ReductionExchange} from "../src/ReductionExchange.sol";
import {Fixture} from "./support/Fixture.sol";

/// @notice Homes that trade cover for two events, opt out and in again, and try to get more than they may.
contract ExchangeHandler is Fixture {
    uint256 public constant HOMES = 5;
    uint256 public constant EVENTS = 2;
    uint256 public constant PURSE = 1e24;

    string public fault;
    mapping(uint256 home => uint256) public spent;
    mapping(uint256 home => uint256) public got;
    mapping(uint256 number => mapping(uint256 home => bool)) private _takesPart;
    mapping(uint256 tradeId => bool) private _settled;

    constructor() {
        setUp();
        registerUpTo(HOMES);
        for (uint256 i; i < HOMES; ++i) {
            coin.mint(ownerOf(i), PURSE);
            vm.prank(ownerOf(i));
            coin.approve(address(exchange), type(uint256).max);
        }
        for (uint256 number; number < EVENTS; ++number) {
            DemandResponse.Terms memory terms = termsOf(DemandResponse.Funding.Mint);
            terms.start = uint40(NOW + (number + 1) * 12 hours);
            terms.end = terms.start + 2 hours;
            issue(bytes32(number), terms);
            optInUpTo(bytes32(number), HOMES);
            for (uint256 i; i < HOMES; ++i) {
                _takesPart[number][i] = true;
            }
        }
    }

    function judge(bool due, bool done, string memory what) private {
        if (due != done) fault = string.concat(what, due ? " failed" : " was possible");
    }

    function contracts() external view returns (DemandResponse, IncentiveCoin, ReductionExchange) {
        return (dr, coin, exchange);
    }

    function isOpen(uint256 number) private view returns (bool) {
        return dr.stateOf(bytes32(number)) == DemandResponse.State.Issued;
    }

    function homeOf(bytes32 resource) private pure returns (uint256 home) {
        while (resourceOf(home) != resource) {
            ++home;
        }
    }

    /// @notice Contracted power times two hours.
    function obligationOf(uint256 home) public pure returns (int256) {
        return int256(2 * uint256(powerOf(home)));
    }

    function homeAccount(uint256 home) external pure returns (address) {
        return ownerOf(home);
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + within(time, 1, 20 minutes));
    }

    function cancel(uint256 pick, uint256 dice) external {
        uint256 number = pick % EVENTS;
        if (dice % 16 != 0) return;
        vm.prank(operator);
        try dr.cancel(bytes32(number)) {} catch {}
    }

    function choose(uint256 pick, uint256 home) external {
        uint256 number = pick % EVENTS;
        home %= HOMES;
        if (!isOpen(number)) return;
        bytes32[] memory resource = one(resourceOf(home));
        bool before = _takesPart[number][home];
        vm.prank(ownerOf(home));
        if (before) dr.optOut(bytes32(number), resource);
        else dr.optIn(bytes32(number), resource);
        _takesPart[number][home] = !before;
    }

    function offer(uint256 pick, uint256 home, uint256 caller, uint64 wh, uint256 price) external {
        uint256 number = pick % EVENTS;
        home %= HOMES;
        caller = caller % 8 == 0 ? (home + 1) % HOMES : home;
        wh = uint64(within(wh, 0, 9000));
        bool due = isOpen(number) && _takesPart[number][home] && caller == home && wh != 0;
        vm.prank(ownerOf(caller));
        try exchange.offer(bytes32(number), resourceOf(home), wh, uint128(within(price, 0, 1e18))) {
            judge(due, true, "offering");
        } catch {
            judge(due, false, "offering");
        }
    }

    function withdrawOffer(uint256 pick, uint256 caller) external {
        uint256 count = exchange.offerCount();
        if (count == 0 || caller % 4 != 0) return;
        uint256 id = pick % count;
        address account = ownerOf((caller / 4) % HOMES);
        bool due = exchange.offerOf(id).seller == account;
        vm.prank(account);
        try exchange.withdrawOffer(id) {
            judge(due, true, "taking an offer back");
        } catch {
            judge(due, false, "taking an offer back");
        }
    }

    function buy(uint256 pick, uint256 home, uint64 wh, uint256 cap) external {
        uint256 count = exchange.offerCount();
        if (count == 0) return;
        uint256 id = pick % count;
        home %= HOMES;
        ReductionExchange.Offer memory held = exchange.offerOf(id);
        uint256 number = uint256(held.eventId);
        uint256 seller = homeOf(held.resource);
        wh = uint64(within(wh, 0, uint256(held.wh) + held.wh / 8));
        uint128 maximum = cap % 8 == 0 ? held.pricePerKwh / 2 : held.pricePerKwh;
        // Whether the bounds allow it is what the invariants check; the rest is known here.
        bool due = isOpen(number) && _takesPart[number][home] && _takesPart[number][seller] && home != seller
            && wh != 0 && wh <= held.wh && maximum >= held.pricePerKwh;
        uint256 before = coin.balanceOf(ownerOf(home));
        vm.prank(ownerOf(home));
        try exchange.buy(id, resourceOf(home), wh, maximum) {
            if (!due) fault = "buying was possible";
            spent[home] += before - coin.balanceOf(ownerOf(home));
        } catch (bytes memory reason) {
            if (due && bytes4(reason) != ReductionExchange.BeyondObligation.selector) {
                fault = "buying failed";
            }
        }
    }

    function settle(uint256 pick) external {
        uint256 count = exchange.tradeCount();
        if (count == 0) return;
        uint256 id = pick % count;
        ReductionExchange.Trade memory held = exchange.tradeOf(id);
        uint256 number = uint256(held.eventId);
        uint256 seller = homeOf(held.from);
        uint256 buyer = homeOf(held.to);
        bool due = !_settled[id] && !isOpen(number);
        bool holds = dr.stateOf(held.eventId) != DemandResponse.State.Cancelled && _takesPart[number][seller]
            && _takesPart[number][buyer];
        uint256[] memory ids = new uint256[](1);
        ids[0] = id;
        try exchange.settle(ids) {
            judge(due, true, "settling");
            _settled[id] = true;
            if (holds) got[seller] += held.paid;
            else spent[buyer] -= held.paid;
        } catch {
            judge(due, false, "settling");
        }
    }
}

contract ExchangeInvariantsTest is Fixture {
    ExchangeHandler private handler;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function setUp() public override {
        vm.warp(NOW);
        handler = new ExchangeHandler();
        (dr, coin, exchange) = handler.contracts();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Leaves out the handler's views; names twice what should happen more often.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[11] memory names = [
            ExchangeHandler.offer.selector,
            ExchangeHandler.offer.selector,
            ExchangeHandler.buy.selector,
            ExchangeHandler.buy.selector,
            ExchangeHandler.buy.selector,
            ExchangeHandler.wait.selector,
            ExchangeHandler.wait.selector,
            ExchangeHandler.settle.selector,
            ExchangeHandler.choose.selector,
            ExchangeHandler.cancel.selector,
            ExchangeHandler.withdrawOffer.selector
        ];
        bytes4[] memory selectors = new bytes4[](names.length);
        for (uint256 i; i < names.length; ++i) {
            selectors[i] = names[i];
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev One campaign for all of them: each would otherwise run one of its own. It is longer, to come
    ///      far in the life of an event.
    /// forge-config: default.invariant.runs = 16
    /// forge-config: default.invariant.depth = 120
    function invariant_theExchangeHoldsWhatItOwesAndMovesNoObligationTooFar() public view {
        nothingThatIsForbiddenHappensAndNothingThatIsDueFails();
        itHoldsThePricesOfOpenTrades();
        theShiftsOfAnEventAddUpToNothing();
        tradesLeaveEachObligationBetweenNothingAndTwice();
        everyPurseIsWhatWasSpentAndGot();
    }

    function nothingThatIsForbiddenHappensAndNothingThatIsDueFails() private view {
        string memory fault = handler.fault();
        require(bytes(fault).length == 0, fault);
    }

    function itHoldsThePricesOfOpenTrades() private view {
        uint256 owed;
        for (uint256 i; i < exchange.tradeCount(); ++i) {
            ReductionExchange.Trade memory held = exchange.tradeOf(i);
            if (held.open) owed += held.paid;
        }
        checkEq(coin.balanceOf(address(exchange)), owed, "escrow");
    }

    function theShiftsOfAnEventAddUpToNothing() private view {
        for (uint256 number; number < handler.EVENTS(); ++number) {
            int256 sum;
            for (uint256 i; i < handler.HOMES(); ++i) {
                sum += exchange.shiftOf(bytes32(number), resourceOf(i));
            }
            check(sum == 0, "sum of the shifts");
        }
    }

    function tradesLeaveEachObligationBetweenNothingAndTwice() private view {
        for (uint256 number; number < handler.EVENTS(); ++number) {
            for (uint256 i; i < handler.HOMES(); ++i) {
                int256 shift = exchange.shiftOf(bytes32(number), resourceOf(i));
                check(shift >= -handler.obligationOf(i), "below nothing");
                check(shift <= handler.obligationOf(i), "above twice");
            }
        }
    }

    function everyPurseIsWhatWasSpentAndGot() private view {
        for (uint256 i; i < handler.HOMES(); ++i) {
            uint256 expected = handler.PURSE() - handler.spent(i) + handler.got(i);
            checkEq(coin.balanceOf(handler.homeAccount(i)), expected, "purse");
        }
    }
}
