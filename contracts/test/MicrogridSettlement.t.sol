// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {EnergyToken} from "../src/EnergyToken.sol";
import {MicrogridSettlement} from "../src/MicrogridSettlement.sol";
import {EnergyFixture} from "./support/EnergyFixture.sol";

contract MicrogridSettlementTest is EnergyFixture {
    /// @dev The last UTC day that is over at `NOW`.
    uint32 private constant DAY = uint32(NOW / 1 days) - 1;
    uint128 private constant DEPOSIT = 100e18;
    bytes32 private constant ROOT = keccak256("root");

    address private a = address(0xa);
    address private b = address(0xb);
    address private c = address(0xc);

    function setUp() public override {
        super.setUp();
        join(a, DEPOSIT, DEPOSIT);
        join(b, DEPOSIT, DEPOSIT);
        join(c, DEPOSIT, DEPOSIT);
    }

    function join(address who, uint128 amount, uint128 limit) private {
        fund(who, amount);
        vm.startPrank(who);
        token.approve(address(settlement), type(uint256).max);
        settlement.deposit(amount);
        settlement.setDailyLimit(limit);
        vm.stopPrank();
    }

    /// @dev A buys for 10, B comes out at +3 and C at +7.
    function someRows() private view returns (MicrogridSettlement.Net[] memory rows) {
        rows = new MicrogridSettlement.Net[](3);
        rows[0] = MicrogridSettlement.Net(a, -10e18);
        rows[1] = MicrogridSettlement.Net(b, 3e18);
        rows[2] = MicrogridSettlement.Net(c, 7e18);
    }

    function propose(uint32 day, MicrogridSettlement.Net[] memory rows) private {
        vm.prank(operator);
        settlement.propose(day, ROOT, 4, 50_000, 12e18, keccak256("file"), keccak256(abi.encode(rows)));
    }

    function free(address who) private view returns (uint256) {
        return settlement.accountOf(who).free;
    }

    function stateOf(uint32 day) private view returns (uint8) {
        return uint8(settlement.dayOf(day).state);
    }

    // ------------------------------------------------------------------------------------------------
    // Accounts
    // ------------------------------------------------------------------------------------------------

    function test_depositsAndWithdrawalsMoveTheFreeBalance() public {
        fund(stranger, 10e18);
        vm.startPrank(stranger);
        token.approve(address(settlement), 10e18);
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.Deposited(stranger, 8e18);
        settlement.deposit(8e18);
        checkEq(free(stranger), 8e18, "free");
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.Withdrawn(stranger, 3e18);
        settlement.withdraw(3e18);
        vm.stopPrank();
        checkEq(free(stranger), 5e18, "free after");
        checkEq(token.balanceOf(stranger), 5e18, "in the wallet");
        checkEq(token.balanceOf(address(settlement)), 3 * uint256(DEPOSIT) + 5e18, "held");
    }

    function test_nothingIsNoAmount() public {
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.ZeroAmount.selector));
        settlement.deposit(0);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.ZeroAmount.selector));
        settlement.withdraw(0);
    }

    function test_aDepositNeedsTokensAndApproval() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(settlement), 0, 1
            )
        );
        vm.prank(stranger);
        settlement.deposit(1);
        checkEq(free(stranger), 0, "free");
    }

    function test_nobodyWithdrawsMoreThanTheirOwn() public {
        vm.expectRevert(
            abi.encodeWithSelector(MicrogridSettlement.NotEnoughFree.selector, a, DEPOSIT + 1, DEPOSIT)
        );
        vm.prank(a);
        settlement.withdraw(DEPOSIT + 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.NotEnoughFree.selector, stranger, uint128(1), uint128(0)
            )
        );
        vm.prank(stranger);
        settlement.withdraw(1);
    }

    function test_aLimitIsSetByItsParticipant() public {
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.DailyLimitSet(a, 5);
        vm.prank(a);
        settlement.setDailyLimit(5);
        checkEq(settlement.accountOf(a).dailyLimit, 5, "limit");
        checkEq(settlement.accountOf(a).free, DEPOSIT, "free");
    }

    // ------------------------------------------------------------------------------------------------
    // Proposals
    // ------------------------------------------------------------------------------------------------

    function test_aProposalIsKeptAndLogged() public {
        bytes32 netHash = keccak256(abi.encode(someRows()));
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.DayProposed(
            DAY, ROOT, 4, 50_000, 12e18, keccak256("file"), netHash, NOW + DISPUTE_WINDOW
        );
        propose(DAY, someRows());
        MicrogridSettlement.Day memory d = settlement.dayOf(DAY);
        checkEq(d.root, ROOT, "root");
        checkEq(d.publishedHash, keccak256("file"), "file");
        checkEq(d.netHash, netHash, "net");
        checkEq(d.totalWh, 50_000, "energy");
        checkEq(d.totalValue, 12e18, "value");
        checkEq(d.tradeCount, 4, "trades");
        checkEq(d.proposedAt, NOW, "time");
        checkEq(uint8(d.state), uint8(MicrogridSettlement.State.Proposed), "state");
        checkEq(settlement.executableFromOf(DAY), NOW + DISPUTE_WINDOW, "executable from");
    }

    function test_onlyAnOperatorProposesAndRetracts() public {
        bytes32 role = settlement.OPERATOR_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        settlement.propose(DAY, ROOT, 1, 1, 1, 0, 0);
        expectNeedsRole(stranger, role);
        vm.prank(stranger);
        settlement.retract(DAY);
    }

    function test_aDayIsProposedAfterItsLastSecond() public {
        uint256 endsAt = (uint256(DAY) + 2) * 1 days;
        vm.warp(endsAt - 1);
        vm.expectRevert(
            abi.encodeWithSelector(MicrogridSettlement.DayNotOver.selector, DAY + 1, endsAt, endsAt - 1)
        );
        propose(DAY + 1, someRows());
        vm.warp(endsAt);
        propose(DAY + 1, someRows());
        uint256 never = (uint256(type(uint32).max) + 1) * 1 days;
        vm.expectRevert(
            abi.encodeWithSelector(MicrogridSettlement.DayNotOver.selector, type(uint32).max, never, endsAt)
        );
        propose(type(uint32).max, someRows());
    }

    function test_aDayIsProposedOnceAtATime() public {
        propose(DAY, someRows());
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.WrongState.selector, DAY, MicrogridSettlement.State.Proposed
            )
        );
        propose(DAY, someRows());
    }

    function test_aProposalNeedsARootAndTrades() public {
        vm.startPrank(operator);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.ZeroRoot.selector, DAY));
        settlement.propose(DAY, 0, 1, 1, 1, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.NoTrades.selector, DAY));
        settlement.propose(DAY, ROOT, 0, 1, 1, 0, 0);
        vm.stopPrank();
    }

    function test_aProposalIsRetractedInItsDisputeWindow() public {
        propose(DAY, someRows());
        vm.warp(NOW + DISPUTE_WINDOW - 1);
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.DayRetracted(DAY, ROOT);
        vm.prank(operator);
        settlement.retract(DAY);
        checkEq(stateOf(DAY), uint8(MicrogridSettlement.State.None), "state");
        checkEq(settlement.dayOf(DAY).root, 0, "root");
        propose(DAY, someRows());
        checkEq(settlement.executableFromOf(DAY), NOW + 2 * DISPUTE_WINDOW - 1, "the window starts anew");
    }

    function test_afterItsDisputeWindowAProposalIsFinalForAWhile() public {
        propose(DAY, someRows());
        uint256 executableFrom = NOW + DISPUTE_WINDOW;
        uint256 staleFrom = executableFrom + 3 days;
        bytes memory refusal = abi.encodeWithSelector(
            MicrogridSettlement.NotRetractable.selector, DAY, executableFrom, staleFrom
        );
        vm.startPrank(operator);
        vm.warp(executableFrom);
        vm.expectRevert(refusal);
        settlement.retract(DAY);
        vm.warp(staleFrom - 1);
        vm.expectRevert(refusal);
        settlement.retract(DAY);
        vm.warp(staleFrom);
        settlement.retract(DAY);
        vm.stopPrank();
    }

    function test_aStaleProposalCanStillBeExecuted() public {
        propose(DAY, someRows());
        vm.warp(NOW + DISPUTE_WINDOW + 30 days);
        settlement.execute(DAY, someRows());
        checkEq(free(c), DEPOSIT + 7e18, "free");
    }

    function test_whatIsNotProposedIsNotRetractedOrExecuted() public {
        bytes memory refusal = abi.encodeWithSelector(
            MicrogridSettlement.WrongState.selector, DAY, MicrogridSettlement.State.None
        );
        vm.expectRevert(refusal);
        vm.prank(operator);
        settlement.retract(DAY);
        vm.expectRevert(refusal);
        settlement.execute(DAY, someRows());
        vm.expectRevert(refusal);
        settlement.executableFromOf(DAY);
        vm.expectRevert(refusal);
        settlement.verifyTrade(DAY, MicrogridSettlement.Trade(0, a, b, 1, 1), new bytes32[](0));
    }

    // ------------------------------------------------------------------------------------------------
    // Execution
    // ------------------------------------------------------------------------------------------------

    function executable(MicrogridSettlement.Net[] memory rows) private {
        vm.warp(NOW);
        propose(DAY, rows);
        vm.warp(NOW + DISPUTE_WINDOW);
    }

    function test_anyoneExecutesADayAfterItsDisputeWindow() public {
        executable(someRows());
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.NetSettled(DAY, a, -10e18);
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.NetSettled(DAY, b, 3e18);
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.NetSettled(DAY, c, 7e18);
        vm.expectEmit(address(settlement));
        emit MicrogridSettlement.DayExecuted(DAY, ROOT, 10e18);
        vm.prank(stranger);
        settlement.execute(DAY, someRows());
        checkEq(free(a), DEPOSIT - 10e18, "a");
        checkEq(free(b), DEPOSIT + 3e18, "b");
        checkEq(free(c), DEPOSIT + 7e18, "c");
        checkEq(stateOf(DAY), uint8(MicrogridSettlement.State.Executed), "state");
        checkEq(token.balanceOf(address(settlement)), 3 * uint256(DEPOSIT), "no token moved");
    }

    function test_aDayIsNotExecutedInItsDisputeWindow() public {
        propose(DAY, someRows());
        uint256 executableFrom = NOW + DISPUTE_WINDOW;
        vm.warp(executableFrom - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.DisputeWindowOpen.selector, DAY, executableFrom, executableFrom - 1
            )
        );
        settlement.execute(DAY, someRows());
    }

    function test_aDayIsSettledOnce() public {
        executable(someRows());
        settlement.execute(DAY, someRows());
        bytes memory refusal = abi.encodeWithSelector(
            MicrogridSettlement.WrongState.selector, DAY, MicrogridSettlement.State.Executed
        );
        vm.expectRevert(refusal);
        settlement.execute(DAY, someRows());
        vm.expectRevert(refusal);
        propose(DAY, someRows());
        vm.expectRevert(refusal);
        vm.prank(operator);
        settlement.retract(DAY);
    }

    function test_otherRowsThanThoseProposedAreRefused() public {
        executable(someRows());
        MicrogridSettlement.Net[] memory rows = someRows();
        rows[1].amount += 1;
        rows[2].amount -= 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.WrongRows.selector,
                DAY,
                keccak256(abi.encode(someRows())),
                keccak256(abi.encode(rows))
            )
        );
        settlement.execute(DAY, rows);
    }

    function test_rowsStandInAscendingOrderWithoutRepetition() public {
        MicrogridSettlement.Net[] memory rows = someRows();
        (rows[0], rows[1]) = (rows[1], rows[0]);
        executable(rows);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.NotAscending.selector, DAY, uint256(1)));
        settlement.execute(DAY, rows);
    }

    function test_nobodyStandsInTwoRows() public {
        MicrogridSettlement.Net[] memory rows = someRows();
        rows[2] = MicrogridSettlement.Net(b, 7e18);
        executable(rows);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.NotAscending.selector, DAY, uint256(2)));
        settlement.execute(DAY, rows);
    }

    function test_theZeroTokenTakesNoPart() public {
        MicrogridSettlement.Net[] memory rows = someRows();
        rows[0] = MicrogridSettlement.Net(address(0), -10e18);
        executable(rows);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.NotAscending.selector, DAY, uint256(0)));
        settlement.execute(DAY, rows);
    }

    function testFuzz_rowsThatDoNotCancelOutAreRefused(int64 extra) public {
        if (extra == 0) extra = 1;
        MicrogridSettlement.Net[] memory rows = someRows();
        rows[2].amount += extra;
        executable(rows);
        if (rows[2].amount < 0 && uint128(-rows[2].amount) > DEPOSIT) return;
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.NotBalanced.selector, DAY, int256(extra)));
        settlement.execute(DAY, rows);
    }

    function test_noMoreIsMovedThanWasTraded() public {
        MicrogridSettlement.Net[] memory rows = new MicrogridSettlement.Net[](2);
        rows[0] = MicrogridSettlement.Net(a, -12e18 - 1);
        rows[1] = MicrogridSettlement.Net(b, 12e18 + 1);
        executable(rows);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.MovedAboveTotal.selector, DAY, uint256(12e18) + 1, uint128(12e18)
            )
        );
        settlement.execute(DAY, rows);
    }

    function test_noMoreIsTakenThanAParticipantAllowed() public {
        executable(someRows());
        vm.prank(a);
        settlement.setDailyLimit(10e18 - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.AboveDailyLimit.selector, DAY, a, uint256(10e18), uint128(10e18 - 1)
            )
        );
        settlement.execute(DAY, someRows());
        vm.prank(a);
        settlement.setDailyLimit(10e18);
        settlement.execute(DAY, someRows());
    }

    function test_whoHasSetNoLimitPaysNothing() public {
        MicrogridSettlement.Net[] memory rows = new MicrogridSettlement.Net[](2);
        rows[0] = MicrogridSettlement.Net(a, 1);
        rows[1] = MicrogridSettlement.Net(stranger, -1);
        executable(rows);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.AboveDailyLimit.selector, DAY, stranger, uint256(1), uint128(0)
            )
        );
        settlement.execute(DAY, rows);
    }

    function test_noMoreIsTakenThanAParticipantHas() public {
        executable(someRows());
        vm.prank(a);
        settlement.withdraw(DEPOSIT - 10e18 + 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.AboveFree.selector, DAY, a, uint256(10e18), uint128(10e18 - 1)
            )
        );
        settlement.execute(DAY, someRows());
        checkEq(free(b), DEPOSIT, "all or nothing");
    }

    function test_aDayThatSomeoneCannotPayIsRetractedAndProposedWithoutThem() public {
        executable(someRows());
        vm.prank(a);
        settlement.withdraw(DEPOSIT);
        vm.warp(NOW + DISPUTE_WINDOW + 3 days);
        vm.prank(operator);
        settlement.retract(DAY);
        MicrogridSettlement.Net[] memory rows = new MicrogridSettlement.Net[](2);
        rows[0] = MicrogridSettlement.Net(b, -2e18);
        rows[1] = MicrogridSettlement.Net(c, 2e18);
        propose(DAY, rows);
        vm.warp(block.timestamp + DISPUTE_WINDOW);
        settlement.execute(DAY, rows);
        checkEq(free(c), DEPOSIT + 2e18, "c");
    }

    function test_someoneWhoNeverDepositedCanBeCredited() public {
        MicrogridSettlement.Net[] memory rows = new MicrogridSettlement.Net[](2);
        rows[0] = MicrogridSettlement.Net(a, -4e18);
        rows[1] = MicrogridSettlement.Net(stranger, 4e18);
        executable(rows);
        settlement.execute(DAY, rows);
        vm.prank(stranger);
        settlement.withdraw(4e18);
        checkEq(token.balanceOf(stranger), 4e18, "in the wallet");
    }

    function test_aDayInWhichEverybodyComesOutEvenIsExecutedToo() public {
        MicrogridSettlement.Net[] memory rows = new MicrogridSettlement.Net[](0);
        executable(rows);
        settlement.execute(DAY, rows);
        checkEq(stateOf(DAY), uint8(MicrogridSettlement.State.Executed), "state");
    }

    function test_theMostNegativeAmountIsJustTooMuch() public {
        MicrogridSettlement.Net[] memory rows = someRows();
        rows[0].amount = type(int128).min;
        executable(rows);
        vm.expectRevert(
            abi.encodeWithSelector(
                MicrogridSettlement.AboveDailyLimit.selector, DAY, a, uint256(2 ** 127), DEPOSIT
            )
        );
        settlement.execute(DAY, rows);
    }

    // ------------------------------------------------------------------------------------------------
    // Pause
    // ------------------------------------------------------------------------------------------------

    function test_aPauseStopsDepositsProposalsAndExecutionButNoWithdrawal() public {
        executable(someRows());
        vm.prank(pauser);
        settlement.pause();
        bytes memory refusal = abi.encodeWithSelector(Pausable.EnforcedPause.selector);
        vm.expectRevert(refusal);
        settlement.execute(DAY, someRows());
        vm.expectRevert(refusal);
        propose(DAY - 1, someRows());
        vm.expectRevert(refusal);
        vm.prank(a);
        settlement.deposit(1);

        vm.startPrank(a);
        settlement.withdraw(DEPOSIT);
        settlement.setDailyLimit(0);
        vm.stopPrank();
        vm.warp(NOW + DISPUTE_WINDOW + 3 days);
        vm.prank(operator);
        settlement.retract(DAY);
    }

    function test_aPauserPausesAndOnlyTheAdminResumes() public {
        bytes32 role = settlement.PAUSER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        settlement.pause();
        vm.prank(pauser);
        settlement.pause();
        expectNeedsRole(pauser, bytes32(0));
        vm.prank(pauser);
        settlement.unpause();
        vm.prank(admin);
        settlement.unpause();
        propose(DAY, someRows());
    }

    function test_aSettlementNeedsATokenAndADisputeWindow() public {
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.ZeroToken.selector));
        new MicrogridSettlement(EnergyToken(address(0)), 1, admin);
        vm.expectRevert(abi.encodeWithSelector(MicrogridSettlement.ZeroDisputeWindow.selector));
        new MicrogridSettlement(token, 0, admin);
    }

    // ------------------------------------------------------------------------------------------------
    // Fuzz
    // ------------------------------------------------------------------------------------------------

    /// @dev Any day's amounts, netted from trades between three: what comes out is the sum that went in.
    function testFuzz_whatADayMovesStaysInTheContract(uint64[6] memory values) public {
        MicrogridSettlement.Net[] memory rows = someRows();
        int128[3] memory net;
        uint128 total;
        for (uint256 i; i < 6; ++i) {
            int128 value = int128(uint128(values[i]));
            net[i % 3] += value;
            net[(i + 1 + i / 3) % 3] -= value;
            total += uint128(value);
        }
        for (uint256 i; i < 3; ++i) {
            rows[i].amount = net[i];
        }
        vm.prank(operator);
        settlement.propose(DAY, ROOT, 6, 1, total, 0, keccak256(abi.encode(rows)));
        vm.warp(NOW + DISPUTE_WINDOW);
        settlement.execute(DAY, rows);
        checkEq(free(a) + free(b) + free(c), 3 * uint256(DEPOSIT), "sum");
        checkEq(int256(free(a)), int256(uint256(DEPOSIT)) + net[0]);
        checkEq(int256(free(b)), int256(uint256(DEPOSIT)) + net[1]);
        checkEq(int256(free(c)), int256(uint256(DEPOSIT)) + net[2]);
    }

    function checkEq(int256 found, int256 expected) private pure {
        require(found == expected, "signed");
    }
}
