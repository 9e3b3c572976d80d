// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";

/// @notice An event from issue to certification.
contract DemandResponseTest is Fixture {
    bytes32 private constant ID = keccak256("event");
    bytes32 private constant ROOT = keccak256("root");
    bytes32 private constant PUBLISHED = keccak256("published");

    function setUp() public override {
        super.setUp();
        registerUpTo(5);
    }

    function optIn(uint256 count) private {
        vm.prank(operator);
        dr.optIn(ID, resourcesUpTo(count));
    }

    function certifyTotals(uint32 count, uint128 reductionWh, uint128 payment) private {
        vm.prank(certifier);
        dr.certify(ID, ROOT, count, reductionWh, payment, PUBLISHED);
    }

    // ---- construction

    function test_theContractsItStandsOnMustExist() public {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ZeroAddress.selector));
        new DemandResponse(ResourceRegistry(address(0)), coin, admin);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ZeroAddress.selector));
        new DemandResponse(registry, IncentiveCoin(address(0)), admin);
    }

    // ---- issue

    function test_anIssuedEventIsStoredAndAnnounced() public {
        vm.expectEmit(address(dr));
        emit DemandResponse.EventIssued(ID, START, END, 5000, RATE, WINDOW, keccak256("programme"));
        issue(ID);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(ev.start, START, "start");
        checkEq(ev.end, END, "end");
        checkEq(ev.targetWh, 5000, "target");
        checkEq(ev.ratePerKwh, RATE, "rate");
        checkEq(ev.disputeWindow, WINDOW, "dispute window");
        checkEq(ev.programmeHash, keccak256("programme"), "programme");
        checkEq(ev.root, 0, "root");
        checkEq(ev.certifiedAt, 0, "certified at");
        checkEq(uint8(ev.state), 1, "state");
    }

    function test_anIdentifierIsUsedOnce() public {
        issue(ID);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyIssued.selector, ID));
        issue(ID);
    }

    function test_aCancelledIdentifierStaysUsed() public {
        issue(ID);
        vm.prank(operator);
        dr.cancel(ID);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyIssued.selector, ID));
        issue(ID);
    }

    function test_anEventCannotStartInTheBlockThatIssuesIt() public {
        vm.warp(START);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.StartNotInFuture.selector, START, START));
        issue(ID);
        vm.warp(START - 1);
        issue(ID);
    }

    function test_anEventLastsAtLeastASecond() public {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.EmptyWindow.selector, START, START));
        vm.prank(operator);
        dr.issue(ID, START, START, 5000, RATE, WINDOW, 0);
        vm.prank(operator);
        dr.issue(ID, START, START + 1, 5000, RATE, WINDOW, 0);
    }

    function test_onlyAnOperatorIssuesCancelsAndCloses() public {
        bytes32 role = dr.OPERATOR_ROLE();
        vm.startPrank(certifier);
        expectNeedsRole(certifier, role);
        dr.issue(ID, START, END, 5000, RATE, WINDOW, 0);
        expectNeedsRole(certifier, role);
        dr.cancel(ID);
        expectNeedsRole(certifier, role);
        dr.close(ID);
    }

    // ---- state

    function test_theStateFollowsTheClockOverAHalfOpenWindow() public {
        checkState(ID, DemandResponse.State.None);
        issue(ID);
        checkState(ID, DemandResponse.State.Issued);
        vm.warp(START - 1);
        checkState(ID, DemandResponse.State.Issued);
        vm.warp(START);
        checkState(ID, DemandResponse.State.Active);
        vm.warp(END - 1);
        checkState(ID, DemandResponse.State.Active);
        vm.warp(END);
        checkState(ID, DemandResponse.State.Ended);
        checkEq(uint8(dr.eventOf(ID).state), 3, "the view tells the same state");
    }

    function test_statesHaveTheNumbersThatClientsRelyOn() public pure {
        checkEq(uint8(DemandResponse.State.None), 0, "none");
        checkEq(uint8(DemandResponse.State.Issued), 1, "issued");
        checkEq(uint8(DemandResponse.State.Active), 2, "active");
        checkEq(uint8(DemandResponse.State.Ended), 3, "ended");
        checkEq(uint8(DemandResponse.State.Certified), 4, "certified");
        checkEq(uint8(DemandResponse.State.Paid), 5, "paid");
        checkEq(uint8(DemandResponse.State.Closed), 6, "closed");
        checkEq(uint8(DemandResponse.State.Cancelled), 7, "cancelled");
    }

    // ---- cancel and close

    function test_anEventIsCancelledOnlyBeforeItStarts() public {
        issue(ID);
        vm.warp(START);
        expectWrongState(ID, DemandResponse.State.Active);
        vm.prank(operator);
        dr.cancel(ID);

        vm.warp(START - 1);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventCancelled(ID);
        vm.prank(operator);
        dr.cancel(ID);
        vm.warp(END);
        checkState(ID, DemandResponse.State.Cancelled);
    }

    function test_onlyAPaidEventIsClosed() public {
        endedEvent(ID, 0);
        expectWrongState(ID, DemandResponse.State.Ended);
        vm.prank(operator);
        dr.close(ID);

        certifyTotals(0, 0, 0);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventClosed(ID);
        vm.prank(operator);
        dr.close(ID);
        checkState(ID, DemandResponse.State.Closed);
    }

    // ---- opt in

    function test_anOwnerOptsTheirHomeIn() public {
        issue(ID);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedIn(ID, resourceOf(2), ownerOf(2));
        vm.prank(ownerOf(2));
        dr.optIn(ID, one(resourceOf(2)));
        checkEq(dr.participants(ID), 1, "participants");
        bool[] memory flags = dr.optedIn(ID, resourcesUpTo(7));
        for (uint256 i; i < 7; ++i) {
            check(flags[i] == (i == 2), "only that home is in");
        }
    }

    function test_anOperatorOptsHomesInOnTheirOwnersBehalf() public {
        issue(ID);
        optIn(5);
        checkEq(dr.participants(ID), 5, "participants");
        check(!dr.optedIn(ID, one("unregistered"))[0], "an unregistered home is not in");
    }

    function test_aHomeIsInOneEventAndNotInAnother() public {
        issue(ID);
        issue("other");
        optIn(5);
        check(!dr.optedIn("other", one(resourceOf(0)))[0], "not in the other event");
    }

    function test_nobodyOptsInTheHomeOfAnother() public {
        issue(ID);
        bytes32[] memory resources = resourcesUpTo(2);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NotResourceOwner.selector, resourceOf(1), ownerOf(0))
        );
        vm.prank(ownerOf(0));
        dr.optIn(ID, resources);
    }

    function test_anUnregisteredHomeCannotOptIn() public {
        issue(ID);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NotRegistered.selector, resourceOf(5)));
        optIn(6);
    }

    function test_aHomeOptsInOnce() public {
        issue(ID);
        optIn(2);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyOptedIn.selector, ID, resourceOf(0)));
        optIn(3);
        bytes32[] memory twice = new bytes32[](2);
        twice[0] = twice[1] = resourceOf(4);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyOptedIn.selector, ID, resourceOf(4)));
        vm.prank(operator);
        dr.optIn(ID, twice);
        checkEq(dr.participants(ID), 2, "participants");
    }

    function test_homesOptInOnlyBeforeTheStart() public {
        expectWrongState(ID, DemandResponse.State.None);
        optIn(1);
        issue(ID);
        vm.warp(START);
        expectWrongState(ID, DemandResponse.State.Active);
        optIn(1);
        vm.warp(START - 1);
        optIn(1);
    }

    function registerMany(uint256 homes) private returns (bytes32[] memory resources) {
        resources = new bytes32[](homes);
        ResourceRegistry.Registration[] memory rows = new ResourceRegistry.Registration[](homes);
        for (uint256 i; i < homes; ++i) {
            resources[i] = keccak256(abi.encode("one of many", i));
            rows[i] = ResourceRegistry.Registration(resources[i], ownerOf(i), 1);
        }
        vm.prank(registrar);
        registry.register(rows);
    }

    /// @dev Homes in any order, over several words of the bitmap, in batches of any size.
    function testFuzz_exactlyTheHomesThatOptedInAreIn(uint256 seed, uint256 step, uint256 batch) public {
        bytes32[] memory homes = registerMany(600);
        bool[] memory joined = new bool[](homes.length);
        uint256 count = within(seed, 1, homes.length);
        uint256 stride = 1 + 30 * (step % 20); // coprime to 600, so it visits every home once
        batch = within(batch, 1, 100);
        issue(ID);
        for (uint256 done; done < count;) {
            bytes32[] memory part = new bytes32[](batch < count - done ? batch : count - done);
            for (uint256 i; i < part.length; ++i) {
                uint256 home = (done++ * stride) % homes.length;
                part[i] = homes[home];
                joined[home] = true;
            }
            vm.prank(operator);
            dr.optIn(ID, part);
        }

        checkEq(dr.participants(ID), count, "participants");
        bool[] memory flags = dr.optedIn(ID, homes);
        for (uint256 i; i < homes.length; ++i) {
            check(flags[i] == joined[i], "opted in");
        }
    }

    // ---- certify

    function test_aCertificationIsStoredAnnouncedAndPutInEscrow() public {
        endedEvent(ID, 3);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventCertified(ID, ROOT, 3, 4000, 1e18, PUBLISHED);
        certifyTotals(3, 4000, 1e18);
        checkState(ID, DemandResponse.State.Certified);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(ev.root, ROOT, "root");
        checkEq(ev.publishedHash, PUBLISHED, "published");
        checkEq(ev.certifiedAt, END, "certified at");
        checkEq(ev.count, 3, "count");
        checkEq(ev.totalReductionWh, 4000, "reduction");
        checkEq(ev.totalPayment, 1e18, "payment");
        checkEq(ev.paidCount + ev.paidTotal, 0, "paid");
        checkEq(coin.balanceOf(address(dr)), 1e18, "escrow");
    }

    function test_anEventIsCertifiedOnceAndOnlyAfterItsEnd() public {
        expectWrongState(ID, DemandResponse.State.None);
        certifyTotals(0, 0, 0);
        issue(ID);
        optIn(1);
        expectWrongState(ID, DemandResponse.State.Issued);
        certifyTotals(1, 1, 1);
        vm.warp(END - 1);
        expectWrongState(ID, DemandResponse.State.Active);
        certifyTotals(1, 1, 1);
        vm.warp(END);
        certifyTotals(1, 1, 1);
        expectWrongState(ID, DemandResponse.State.Certified);
        certifyTotals(1, 1, 1);
    }

    function test_aCancelledEventIsNotCertified() public {
        issue(ID);
        vm.prank(operator);
        dr.cancel(ID);
        vm.warp(END);
        expectWrongState(ID, DemandResponse.State.Cancelled);
        certifyTotals(0, 0, 0);
    }

    function test_aCertificationNeedsARoot() public {
        endedEvent(ID, 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ZeroRoot.selector, ID));
        vm.prank(certifier);
        dr.certify(ID, 0, 1, 1, 1, PUBLISHED);
    }

    function test_aCertificationCoversExactlyTheParticipants() public {
        endedEvent(ID, 3);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.CountMismatch.selector, ID, 3, 2));
        certifyTotals(2, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.CountMismatch.selector, ID, 3, 4));
        certifyTotals(4, 1, 1);
    }

    function test_anEventNobodyJoinedIsPaidAtOnce() public {
        endedEvent(ID, 0);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventCertified(ID, ROOT, 0, 0, 0, PUBLISHED);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventPaid(ID, 0);
        certifyTotals(0, 0, 0);
        checkState(ID, DemandResponse.State.Paid);
    }

    function test_anEventNobodyJoinedHasNoTotals() public {
        endedEvent(ID, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.TotalsWithoutParticipants.selector, ID));
        certifyTotals(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.TotalsWithoutParticipants.selector, ID));
        certifyTotals(0, 0, 1);
    }

    function test_anEventOfZeroPaymentsIsCertifiedAndMintsNothing() public {
        endedEvent(ID, 2);
        certifyTotals(2, 0, 0);
        checkState(ID, DemandResponse.State.Certified);
        checkEq(coin.totalSupply(), 0, "supply");
    }

    function test_onlyACertifierCertifies() public {
        endedEvent(ID, 1);
        bytes32 role = dr.CERTIFIER_ROLE();
        expectNeedsRole(operator, role);
        vm.prank(operator);
        dr.certify(ID, ROOT, 1, 1, 1, PUBLISHED);
    }

    // ---- pause

    function test_nothingIsCertifiedWhilePaused() public {
        endedEvent(ID, 1);
        vm.prank(pauser);
        dr.pause();
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        certifyTotals(1, 1, 1);
        vm.prank(admin);
        dr.unpause();
        certifyTotals(1, 1, 1);
    }

    function test_aPauserPausesAndTheAdminResumes() public {
        bytes32 role = dr.PAUSER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        dr.pause();
        vm.prank(pauser);
        dr.pause();
        role = dr.DEFAULT_ADMIN_ROLE();
        expectNeedsRole(pauser, role);
        vm.prank(pauser);
        dr.unpause();
        vm.prank(admin);
        dr.unpause();
        check(!dr.paused(), "resumed");
    }
}
