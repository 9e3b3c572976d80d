// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {EnergyMarket, IMeterRegistry} from "../src/EnergyMarket.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {MicrogridSettlement} from "../src/MicrogridSettlement.sol";
import {EnergyFixture} from "./support/EnergyFixture.sol";

/// @notice What forge reads to know which functions of a handler to call.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

/// @notice Neighbours who offer, buy, cancel, deliver and refund in any order while time goes by.
contract MarketHandler is EnergyFixture {
    uint256 public constant NEIGHBOURS = 6;
    uint256 private constant FUNDS = 1000e18;
    uint48 private constant SHORT_WINDOW = 3 hours;

    uint256 public wrongSuccesses;
    uint256 public settled;
    uint256[] private _offered;
    mapping(uint256 dealId => uint256) public settledTimes;
    mapping(address neighbour => int256) public owed;

    constructor() {
        setUp();
        market = new EnergyMarket(token, IMeterRegistry(address(0)), SHORT_WINDOW, admin);
        bytes32 role = market.METER_OPERATOR_ROLE();
        vm.prank(admin);
        market.grantRole(role, meterOperator);
        for (uint256 i; i < NEIGHBOURS; ++i) {
            fundBuyer(neighbour(i), FUNDS);
            owed[neighbour(i)] = int256(FUNDS);
        }
    }

    function contracts() external view returns (EnergyToken, EnergyMarket) {
        return (token, market);
    }

    function neighbour(uint256 pick) public pure returns (address) {
        return address(uint160(0x1000 + pick % NEIGHBOURS));
    }

    function offeredAt(uint256 offerId) external view returns (uint256) {
        return _offered[offerId - 1];
    }

    function passTime(uint32 seconds_) external {
        vm.warp(block.timestamp + within(seconds_, 1, 2 hours));
    }

    function makeOffer(uint256 who, uint64 wh, uint128 price, uint32 delay, uint32 length) external {
        wh = uint64(within(wh, 1, 20_000));
        uint48 from = uint48(block.timestamp + within(delay, 1, 4 hours));
        uint48 until = from + uint48(within(length, 1, 2 hours));
        vm.prank(neighbour(who));
        market.offer(METER, wh, uint128(within(price, 1, 1e18)), from, until);
        _offered.push(wh);
    }

    function cancelOffer(uint256 who, uint256 pick) external {
        if (market.offerCount() == 0) return;
        uint256 offerId = 1 + pick % market.offerCount();
        EnergyMarket.Offer memory o = offerOf(offerId);
        bool due = o.seller == neighbour(who) && o.offeredWh > o.soldWh;
        vm.prank(neighbour(who));
        try market.cancel(offerId) {
            if (!due) ++wrongSuccesses;
        } catch {
            require(!due, "a cancellation that was due failed");
        }
    }

    function buyEnergy(uint256 who, uint256 pick, uint64 wh) external {
        if (market.offerCount() == 0) return;
        uint256 offerId = 1 + pick % market.offerCount();
        // Mostly an offer that is still for sale.
        for (uint256 i; i < market.offerCount() && pick % 7 != 0; ++i) {
            if (offerOf(offerId).deliverFrom > block.timestamp) break;
            offerId = 1 + offerId % market.offerCount();
        }
        EnergyMarket.Offer memory o = offerOf(offerId);
        wh = uint64(within(wh, 1, uint256(o.offeredWh) + 1));
        uint256 amount = (uint256(wh) * o.pricePerKwh + 999) / 1000;
        bool due = o.seller != neighbour(who) && wh <= o.offeredWh - o.soldWh
            && block.timestamp < o.deliverFrom && amount <= token.balanceOf(neighbour(who));
        vm.prank(neighbour(who));
        try market.buy(offerId, wh, type(uint128).max) {
            if (!due) ++wrongSuccesses;
            owed[neighbour(who)] -= int256(amount);
        } catch {
            require(!due, "a purchase that was due failed");
        }
    }

    /// @dev Mostly a deal that is still open, and for half of those the time of its delivery.
    function pickDeal(uint256 pick, bool late) private returns (uint256 dealId) {
        dealId = 1 + pick % market.dealCount();
        if (pick % 7 == 0) return dealId;
        for (uint256 i; i < market.dealCount(); ++i) {
            if (dealOf(dealId).state == EnergyMarket.DealState.Open) break;
            dealId = 1 + dealId % market.dealCount();
        }
        if (pick % 2 == 0) return dealId;
        uint256 time = market.refundFromOf(dealId);
        if (!late) time -= 1 + pick % SHORT_WINDOW;
        if (time > block.timestamp) vm.warp(time);
    }

    function deliverDeal(uint256 pick, uint64 delivered) external {
        if (market.dealCount() == 0) return;
        uint256 dealId = pickDeal(pick, false);
        EnergyMarket.Deal memory deal = dealOf(dealId);
        EnergyMarket.Offer memory o = offerOf(deal.offerId);
        delivered = uint64(within(delivered, 0, uint256(deal.wh) + 1));
        bool due = deal.state == EnergyMarket.DealState.Open && delivered <= deal.wh
            && block.timestamp >= o.deliverUntil && block.timestamp < uint256(o.deliverUntil) + SHORT_WINDOW;
        uint256 deadline = block.timestamp + 1;
        bytes memory signature = signed(METER_KEY, market.deliveryDigest(dealId, delivered, deadline));
        try market.deliver(dealId, delivered, deadline, meterOperator, signature) {
            if (!due) ++wrongSuccesses;
            uint256 paid = uint256(deal.amount) * delivered / deal.wh;
            owed[o.seller] += int256(paid);
            owed[deal.buyer] += int256(deal.amount - paid);
            ++settledTimes[dealId];
            ++settled;
        } catch {
            require(!due, "a delivery that was due failed");
        }
    }

    function refundDeal(uint256 pick) external {
        if (market.dealCount() == 0) return;
        uint256 dealId = pickDeal(pick, true);
        EnergyMarket.Deal memory deal = dealOf(dealId);
        bool due = deal.state == EnergyMarket.DealState.Open && block.timestamp >= market.refundFromOf(dealId);
        try market.refund(dealId) {
            if (!due) ++wrongSuccesses;
            owed[deal.buyer] += int256(uint256(deal.amount));
            ++settledTimes[dealId];
            ++settled;
        } catch {
            require(!due, "a refund that was due failed");
        }
    }

    function deliverUnsigned(uint256 pick, uint256 key) external {
        if (market.dealCount() == 0) return;
        key = within(key, 1, type(uint128).max);
        if (key == METER_KEY) return;
        uint256 dealId = 1 + pick % market.dealCount();
        uint256 wh = dealOf(dealId).wh;
        bytes memory signature = signed(key, market.deliveryDigest(dealId, wh, DEADLINE));
        try market.deliver(dealId, wh, DEADLINE, meterOperator, signature) {
            ++wrongSuccesses;
        } catch {}
        try market.deliver(dealId, wh, DEADLINE, vm.addr(key), signature) {
            ++wrongSuccesses;
        } catch {}
    }
}

contract MarketInvariantsTest is EnergyFixture {
    MarketHandler private handler;

    function setUp() public override {
        vm.warp(NOW);
        handler = new MarketHandler();
        (token, market) = handler.contracts();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](12);
        selectors[0] = MarketHandler.passTime.selector;
        selectors[1] = selectors[2] = MarketHandler.makeOffer.selector;
        selectors[3] = MarketHandler.cancelOffer.selector;
        selectors[4] = selectors[5] = selectors[6] = MarketHandler.buyEnergy.selector;
        selectors[7] = selectors[8] = MarketHandler.deliverDeal.selector;
        selectors[9] = selectors[10] = MarketHandler.refundDeal.selector;
        selectors[11] = MarketHandler.deliverUnsigned.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    function invariant_escrowIsTheSumOfTheOpenDeals() public view {
        uint256 sum;
        for (uint256 id = 1; id <= market.dealCount(); ++id) {
            EnergyMarket.Deal memory deal = dealOf(id);
            if (deal.state == EnergyMarket.DealState.Open) sum += deal.amount;
        }
        checkEq(token.balanceOf(address(market)), sum, "escrow");
    }

    function invariant_everyNeighbourHoldsWhatTheirDealsSay() public view {
        for (uint256 i; i < handler.NEIGHBOURS(); ++i) {
            int256 owed = handler.owed(handler.neighbour(i));
            check(owed >= 0, "nobody is in debt");
            checkEq(token.balanceOf(handler.neighbour(i)), uint256(owed), "balance");
        }
    }

    function invariant_noDealIsSettledTwice() public view {
        uint256 settled;
        for (uint256 id = 1; id <= market.dealCount(); ++id) {
            bool open = dealOf(id).state == EnergyMarket.DealState.Open;
            checkEq(handler.settledTimes(id), open ? 0 : 1, "times");
            if (!open) ++settled;
        }
        checkEq(settled, handler.settled(), "settled");
    }

    function invariant_noMoreIsSoldThanWasOffered() public view {
        uint256[] memory sold = new uint256[](market.offerCount() + 1);
        for (uint256 id = 1; id <= market.dealCount(); ++id) {
            sold[dealOf(id).offerId] += dealOf(id).wh;
        }
        for (uint256 id = 1; id <= market.offerCount(); ++id) {
            EnergyMarket.Offer memory o = offerOf(id);
            checkEq(o.soldWh, sold[id], "sum of the deals");
            check(o.soldWh <= o.offeredWh, "sold");
            check(o.offeredWh <= handler.offeredAt(id), "offered");
        }
    }

    function invariant_noWrongAttemptSucceeds() public view {
        checkEq(handler.wrongSuccesses(), 0, "wrong successes");
    }
}

/// @notice Microgrids that deposit, withdraw and set limits while days are proposed, retracted and executed.
contract SettlementHandler is EnergyFixture {
    uint256 public constant GRIDS = 5;
    uint32 public constant DAYS = 6;
    uint32 public constant FIRST_DAY = uint32(NOW / 1 days) - DAYS;

    uint256 public wrongSuccesses;
    uint256 public deposited;
    uint256 public withdrawn;
    mapping(uint32 day => uint256) public executions;
    mapping(address grid => int256) public expected;
    mapping(uint32 day => uint256) private _seeds;

    constructor() {
        setUp();
        for (uint256 i; i < GRIDS; ++i) {
            fund(grid(i), 1000e18);
            vm.startPrank(grid(i));
            token.approve(address(settlement), type(uint256).max);
            settlement.deposit(200e18);
            settlement.setDailyLimit(100e18);
            vm.stopPrank();
            deposited += 200e18;
            expected[grid(i)] = 200e18;
        }
    }

    function contracts() external view returns (EnergyToken, MicrogridSettlement) {
        return (token, settlement);
    }

    function grid(uint256 pick) public pure returns (address) {
        return address(uint160(0x2000 + pick % GRIDS));
    }

    function passTime(uint32 seconds_) external {
        vm.warp(block.timestamp + within(seconds_, 1, 1 days));
    }

    function deposit(uint256 who, uint128 amount) external {
        uint256 has = token.balanceOf(grid(who));
        if (has == 0) return;
        amount = uint128(within(amount, 1, has));
        vm.prank(grid(who));
        settlement.deposit(amount);
        deposited += amount;
        expected[grid(who)] += int256(uint256(amount));
    }

    function withdraw(uint256 who, uint128 amount) external {
        uint128 free = settlement.accountOf(grid(who)).free;
        amount = uint128(within(amount, 1, uint256(free) + 1));
        vm.prank(grid(who));
        try settlement.withdraw(amount) {
            if (amount > free) ++wrongSuccesses;
            withdrawn += amount;
            expected[grid(who)] -= int256(uint256(amount));
        } catch {
            require(amount > free, "a withdrawal that was due failed");
        }
    }

    function setLimit(uint256 who, uint128 amount) external {
        vm.prank(grid(who));
        settlement.setDailyLimit(uint128(within(amount, 0, 200e18)));
    }

    /// @dev Net amounts that follow from a seed: five in a circle, each owing the next.
    function rowsOf(uint256 seed) public pure returns (MicrogridSettlement.Net[] memory rows, uint128 total) {
        rows = new MicrogridSettlement.Net[](GRIDS);
        for (uint256 i; i < GRIDS; ++i) {
            rows[i].participant = grid(i);
        }
        for (uint256 i; i < GRIDS; ++i) {
            uint128 value = uint128(uint256(keccak256(abi.encode(seed, i))) % 60e18);
            rows[i].amount -= int128(value);
            rows[(i + 1) % GRIDS].amount += int128(value);
            total += value;
        }
    }

    function proposeDay(uint32 pick, uint256 seed) external {
        uint32 day = FIRST_DAY + pick % DAYS;
        bool due = settlement.dayOf(day).state == MicrogridSettlement.State.None;
        (MicrogridSettlement.Net[] memory rows, uint128 total) = rowsOf(seed);
        vm.prank(operator);
        try settlement.propose(day, bytes32(uint256(1)), 5, 1, total, 0, keccak256(abi.encode(rows))) {
            if (!due) ++wrongSuccesses;
            _seeds[day] = seed;
        } catch {
            require(!due, "a proposal that was due failed");
        }
    }

    function retractDay(uint32 pick) external {
        uint32 day = FIRST_DAY + pick % DAYS;
        MicrogridSettlement.Day memory d = settlement.dayOf(day);
        uint256 from = uint256(d.proposedAt) + DISPUTE_WINDOW;
        bool due = d.state == MicrogridSettlement.State.Proposed
            && (block.timestamp < from || block.timestamp >= from + 3 days);
        vm.prank(operator);
        try settlement.retract(day) {
            if (!due) ++wrongSuccesses;
        } catch {
            require(!due, "a retraction that was due failed");
        }
    }

    /// @dev Mostly a day that is proposed, and for half of those the first second of its execution.
    function pickDay(uint32 pick) private returns (uint32 day) {
        day = pick % DAYS;
        for (uint256 i; i < DAYS && pick % 7 != 0; ++i) {
            if (settlement.dayOf(FIRST_DAY + day).state == MicrogridSettlement.State.Proposed) break;
            day = (day + 1) % DAYS;
        }
        day += FIRST_DAY;
        uint256 time = uint256(settlement.dayOf(day).proposedAt) + DISPUTE_WINDOW;
        if (pick % 2 == 1 && time > block.timestamp) vm.warp(time);
    }

    function executeDay(uint32 pick) external {
        uint32 day = pickDay(pick);
        MicrogridSettlement.Day memory d = settlement.dayOf(day);
        (MicrogridSettlement.Net[] memory rows,) = rowsOf(_seeds[day]);
        bool due = d.state == MicrogridSettlement.State.Proposed
            && block.timestamp >= uint256(d.proposedAt) + DISPUTE_WINDOW;
        for (uint256 i; i < GRIDS; ++i) {
            MicrogridSettlement.Account memory account = settlement.accountOf(grid(i));
            int256 need = -int256(rows[i].amount);
            if (need > int256(uint256(account.free))) due = false;
            if (need > int256(uint256(account.dailyLimit))) due = false;
        }
        try settlement.execute(day, rows) {
            if (!due) ++wrongSuccesses;
            ++executions[day];
            for (uint256 i; i < GRIDS; ++i) {
                expected[grid(i)] += rows[i].amount;
            }
        } catch {
            require(!due, "an execution that was due failed");
        }
    }
}

contract SettlementInvariantsTest is EnergyFixture {
    SettlementHandler private handler;

    function setUp() public override {
        vm.warp(NOW);
        handler = new SettlementHandler();
        (token, settlement) = handler.contracts();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](12);
        selectors[0] = SettlementHandler.passTime.selector;
        selectors[1] = selectors[2] = SettlementHandler.deposit.selector;
        selectors[3] = SettlementHandler.withdraw.selector;
        selectors[4] = SettlementHandler.setLimit.selector;
        selectors[5] = selectors[6] = selectors[7] = SettlementHandler.proposeDay.selector;
        selectors[8] = SettlementHandler.retractDay.selector;
        selectors[9] = selectors[10] = selectors[11] = SettlementHandler.executeDay.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    function invariant_theContractHoldsTheSumOfTheFreeBalances() public view {
        uint256 sum;
        for (uint256 i; i < handler.GRIDS(); ++i) {
            sum += settlement.accountOf(handler.grid(i)).free;
        }
        checkEq(token.balanceOf(address(settlement)), sum, "held");
        checkEq(sum, handler.deposited() - handler.withdrawn(), "put in less taken out");
    }

    function invariant_everyAccountHoldsWhatItsDaysSay() public view {
        for (uint256 i; i < handler.GRIDS(); ++i) {
            int256 expected = handler.expected(handler.grid(i));
            check(expected >= 0, "nobody is in debt");
            checkEq(settlement.accountOf(handler.grid(i)).free, uint256(expected), "free");
        }
    }

    function invariant_noDayIsExecutedTwice() public view {
        for (uint32 i; i < handler.DAYS(); ++i) {
            uint32 day = handler.FIRST_DAY() + i;
            bool executed = settlement.dayOf(day).state == MicrogridSettlement.State.Executed;
            checkEq(handler.executions(day), executed ? 1 : 0, "executions");
        }
    }

    function invariant_noWrongAttemptSucceeds() public view {
        checkEq(handler.wrongSuccesses(), 0, "wrong successes");
    }
}
