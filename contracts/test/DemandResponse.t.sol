// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {Typed} from "./support/Typed.sol";

/// @notice An event from its issue to its start.
contract DemandResponseTest is Fixture {
    bytes32 private constant ID = keccak256("event");

    function setUp() public override {
        super.setUp();
        registerUpTo(5);
    }

    function terms() private pure returns (DemandResponse.Terms memory) {
        return termsOf(DemandResponse.Funding.Mint);
    }

    function participants() private view returns (uint32) {
        return dr.eventOf(ID).participants;
    }

    function isIn(uint256 number) private view returns (bool) {
        return dr.optedIn(ID, one(resourceOf(number)))[0];
    }

    function expectNotOwner(uint256 number, address caller) private {
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NotResourceOwner.selector, resourceOf(number), caller)
        );
    }

    function expectNotRegistered(uint256 number) private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NotRegistered.selector, resourceOf(number)));
    }

    function expectAlreadyIn(uint256 number) private {
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.AlreadyOptedIn.selector, ID, resourceOf(number))
        );
    }

    function expectInvalid(uint256 number) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.InvalidSignature.selector, resourceOf(number), ownerOf(number)
            )
        );
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
        emit DemandResponse.EventIssued(ID, terms());
        issue(ID);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(ev.start, START, "start");
        checkEq(ev.end, END, "end");
        checkEq(ev.targetWh, 5000, "target");
        checkEq(ev.disputeWindow, DISPUTE, "dispute window");
        checkEq(ev.claimWindow, CLAIM, "claim window");
        checkEq(ev.commitment, PROGRAMME, "programme");
        checkEq(ev.participants + ev.openChallenges + ev.unpaid, 0, "nothing yet");
        checkEq(ev.certifiedAt + ev.payableFrom + ev.claimUntil, 0, "no times yet");
        checkEq(uint8(ev.funding), 0, "funding");
        checkEq(uint8(ev.state), 1, "state");
    }

    function test_anEventMayBeFundedByTheTreasury() public {
        issue(ID, termsOf(DemandResponse.Funding.Treasury));
        checkEq(uint8(dr.eventOf(ID).funding), 1, "funding");
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
        DemandResponse.Terms memory short = terms();
        short.end = START;
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.EmptyWindow.selector, START, START));
        issue(ID, short);
        short.end = START + 1;
        issue(ID, short);
    }

    function test_targetClaimWindowAndProgrammeAreNeverZero() public {
        for (uint256 field; field < 3; ++field) {
            DemandResponse.Terms memory bad = terms();
            if (field == 0) bad.targetWh = 0;
            if (field == 1) bad.claimWindow = 0;
            if (field == 2) bad.programmeHash = 0;
            vm.expectRevert(abi.encodeWithSelector(DemandResponse.ZeroTerm.selector, ID));
            issue(ID, bad);
        }
        DemandResponse.Terms memory bare = terms();
        (bare.disputeWindow, bare.ratePerKwh) = (0, 0);
        issue(ID, bare);
    }

    function test_onlyAnOperatorIssuesCancelsAndCloses() public {
        bytes32 role = dr.OPERATOR_ROLE();
        vm.startPrank(certifier);
        expectNeedsRole(certifier, role);
        dr.issue(ID, terms());
        expectNeedsRole(certifier, role);
        dr.cancel(ID);
        expectNeedsRole(certifier, role);
        dr.close(ID);
    }

    function testFuzz_anEventKeepsWhatItWasIssuedWith(
        uint40 start,
        uint40 end,
        uint32 disputeWindow,
        uint32 claimWindow,
        bool treasury,
        uint64 targetWh,
        bytes32 programmeHash
    ) public {
        start = uint40(within(start, NOW + 1, type(uint40).max - 1));
        end = uint40(within(end, start + 1, type(uint40).max));
        if (claimWindow == 0) claimWindow = 1;
        if (targetWh == 0) targetWh = 1;
        if (programmeHash == 0) programmeHash = PROGRAMME;
        DemandResponse.Funding funding =
            treasury ? DemandResponse.Funding.Treasury : DemandResponse.Funding.Mint;
        issue(
            ID,
            DemandResponse.Terms(
                start, end, disputeWindow, claimWindow, funding, targetWh, RATE, programmeHash
            )
        );
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        check(ev.start == start && ev.end == end, "window");
        check(ev.disputeWindow == disputeWindow && ev.claimWindow == claimWindow, "later windows");
        check(ev.funding == funding && ev.targetWh == targetWh, "funding and target");
        checkEq(ev.commitment, programmeHash, "programme");
        checkState(ID, DemandResponse.State.Issued);
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
        checkEq(uint8(DemandResponse.State.Final), 5, "final");
        checkEq(uint8(DemandResponse.State.Paid), 6, "paid");
        checkEq(uint8(DemandResponse.State.Closed), 7, "closed");
        checkEq(uint8(DemandResponse.State.Cancelled), 8, "cancelled");
        checkEq(uint8(DemandResponse.Funding.Mint), 0, "mint");
        checkEq(uint8(DemandResponse.Funding.Treasury), 1, "treasury");
    }

    function test_anEventIsCancelledOnlyBeforeItStarts() public {
        expectWrongState(ID, DemandResponse.State.None);
        vm.prank(operator);
        dr.cancel(ID);

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

    // ---- opt in

    function test_anOwnerOptsTheirHomeIn() public {
        issue(ID);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedIn(ID, resourceOf(2), ownerOf(2));
        vm.prank(ownerOf(2));
        dr.optIn(ID, one(resourceOf(2)));
        checkEq(participants(), 1, "participants");
        bool[] memory flags = dr.optedIn(ID, resourcesUpTo(7));
        for (uint256 i; i < 7; ++i) {
            check(flags[i] == (i == 2), "only that home is in");
        }
    }

    function test_anOperatorOptsHomesInWhoseOwnersAllowedIt() public {
        issue(ID);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedIn(ID, resourceOf(0), operator);
        optInUpTo(ID, 5);
        checkEq(participants(), 5, "participants");
        check(!dr.optedIn(ID, one("unregistered"))[0], "an unregistered home is not in");
    }

    function test_withoutStandingPermissionOnlyTheOwnerOptsIn() public {
        register(consentOf(keyOf(3), resourceOf(3), powerOf(3), false));
        issue(ID);
        bytes32[] memory home = one(resourceOf(3));
        expectNotOwner(3, operator);
        vm.prank(operator);
        dr.optIn(ID, home);
        expectNotOwner(3, operator);
        optInUpTo(ID, 5);
        checkEq(participants(), 0, "all of them or none");
        vm.prank(ownerOf(3));
        dr.optIn(ID, home);
        check(isIn(3), "in");
    }

    function test_aStandingPermissionIsForOperatorsAlone() public {
        issue(ID);
        bytes32[] memory homes = resourcesUpTo(2);
        expectNotOwner(0, certifier);
        vm.prank(certifier);
        dr.optIn(ID, homes);
        expectNotOwner(1, ownerOf(0));
        vm.prank(ownerOf(0));
        dr.optIn(ID, homes);
    }

    function test_aHomeIsInOneEventAndNotInAnother() public {
        issue(ID);
        issue("other");
        optInUpTo(ID, 5);
        check(!dr.optedIn("other", one(resourceOf(0)))[0], "not in the other event");
        checkEq(dr.eventOf("other").participants, 0, "participants of the other");
    }

    function test_anUnregisteredHomeCannotOptIn() public {
        issue(ID);
        expectNotRegistered(5);
        optInUpTo(ID, 6);
    }

    function test_aWithdrawnHomeCannotOptIn() public {
        issue(ID);
        vm.prank(ownerOf(4));
        registry.withdraw(resourceOf(4), 0, "");
        expectNotRegistered(4);
        optInUpTo(ID, 5);
        expectNotRegistered(4);
        vm.prank(ownerOf(4));
        dr.optIn(ID, one(resourceOf(4)));
    }

    function test_aHomeThatIsWithdrawnLaterStaysIn() public {
        issue(ID);
        optInUpTo(ID, 5);
        vm.prank(registrar);
        registry.withdraw(resourceOf(4), 0, "");
        check(isIn(4), "still in");
        checkEq(participants(), 5, "participants");
    }

    function test_aHomeOptsInOnce() public {
        issue(ID);
        optInUpTo(ID, 2);
        expectAlreadyIn(0);
        optInUpTo(ID, 3);
        bytes32[] memory twice = new bytes32[](2);
        twice[0] = twice[1] = resourceOf(4);
        expectAlreadyIn(4);
        vm.prank(operator);
        dr.optIn(ID, twice);
        checkEq(participants(), 2, "participants");
    }

    function test_homesOptInOnlyBeforeTheStart() public {
        expectWrongState(ID, DemandResponse.State.None);
        optInUpTo(ID, 1);
        issue(ID);
        vm.warp(START);
        expectWrongState(ID, DemandResponse.State.Active);
        optInUpTo(ID, 1);
        vm.warp(START - 1);
        optInUpTo(ID, 1);
    }

    // ---- opt out

    function test_anOwnerOptsOut() public {
        issue(ID);
        optInUpTo(ID, 5);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedOut(ID, resourceOf(1), ownerOf(1));
        vm.prank(ownerOf(1));
        dr.optOut(ID, one(resourceOf(1)));
        check(!isIn(1) && isIn(0) && isIn(2), "only that home is out");
        checkEq(participants(), 4, "participants");
    }

    function test_afterAnOwnersNoOnlyTheOwnerOptsInAgain() public {
        issue(ID);
        optInUpTo(ID, 5);
        bytes32[] memory home = one(resourceOf(1));
        vm.prank(ownerOf(1));
        dr.optOut(ID, home);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.OwnerOptedOut.selector, ID, resourceOf(1)));
        vm.prank(operator);
        dr.optIn(ID, home);
        vm.prank(ownerOf(1));
        dr.optIn(ID, home);
        check(isIn(1), "in again");
        checkEq(participants(), 5, "participants");
    }

    function test_aNoBeforeAnyYesKeepsOperatorsOut() public {
        issue(ID);
        vm.prank(ownerOf(1));
        dr.optOut(ID, one(resourceOf(1)));
        checkEq(participants(), 0, "participants");
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.OwnerOptedOut.selector, ID, resourceOf(1)));
        optInUpTo(ID, 2);
    }

    function test_aNoIsForOneEvent() public {
        issue(ID);
        issue("other");
        vm.prank(ownerOf(1));
        dr.optOut(ID, one(resourceOf(1)));
        optInUpTo("other", 2);
        check(dr.optedIn("other", one(resourceOf(1)))[0], "in the other event");
    }

    function test_nobodyOptsTheHomeOfAnotherOut() public {
        issue(ID);
        optInUpTo(ID, 5);
        bytes32[] memory homes = resourcesUpTo(2);
        expectNotOwner(0, operator);
        vm.prank(operator);
        dr.optOut(ID, homes);
        expectNotOwner(1, ownerOf(0));
        vm.prank(ownerOf(0));
        dr.optOut(ID, homes);
        checkEq(participants(), 5, "participants");
    }

    function test_homesOptOutOnlyBeforeTheStart() public {
        issue(ID);
        optInUpTo(ID, 5);
        bytes32[] memory home = one(resourceOf(0));
        vm.warp(START);
        expectWrongState(ID, DemandResponse.State.Active);
        vm.prank(ownerOf(0));
        dr.optOut(ID, home);
        vm.warp(START - 1);
        vm.prank(ownerOf(0));
        dr.optOut(ID, home);
    }

    // ---- signed choices

    function test_anyoneBringsSignedChoices() public {
        register(consentOf(keyOf(3), resourceOf(3), powerOf(3), false));
        issue(ID);
        optInUpTo(ID, 1);
        DemandResponse.Choice[] memory choices = new DemandResponse.Choice[](3);
        choices[0] = choiceOf(ID, 3, true, 0);
        choices[1] = choiceOf(ID, 0, false, 0);
        choices[2] = choiceOf(ID, 3, false, 1);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedIn(ID, resourceOf(3), stranger);
        vm.expectEmit(address(dr));
        emit DemandResponse.OptedOut(ID, resourceOf(0), stranger);
        vm.prank(stranger);
        dr.choose(ID, choices);
        check(!isIn(0) && !isIn(3), "both are out");
        checkEq(participants(), 0, "participants");
        checkEq(dr.nonces(ownerOf(3)), 2, "nonce");
    }

    function test_aSignedNoKeepsOperatorsOutAndASignedYesOverridesIt() public {
        issue(ID);
        dr.choose(ID, only(choiceOf(ID, 0, false, 0)));
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.OwnerOptedOut.selector, ID, resourceOf(0)));
        optInUpTo(ID, 1);
        dr.choose(ID, only(choiceOf(ID, 0, true, 0)));
        check(isIn(0), "in");
    }

    function test_aChoiceWorksOnce() public {
        issue(ID);
        DemandResponse.Choice[] memory yes = only(choiceOf(ID, 0, true, 0));
        dr.choose(ID, yes);
        expectInvalid(0);
        dr.choose(ID, yes);
        vm.prank(ownerOf(0));
        dr.optOut(ID, one(resourceOf(0)));
        expectInvalid(0);
        dr.choose(ID, yes);
        check(!isIn(0), "out");
    }

    function test_choicesComeInTheOrderOfTheirNonces() public {
        issue(ID);
        DemandResponse.Choice[] memory second = only(choiceOf(ID, 0, false, 1));
        expectInvalid(0);
        dr.choose(ID, second);
        dr.choose(ID, only(choiceOf(ID, 0, true, 0)));
        dr.choose(ID, second);
        check(!isIn(0), "out");
    }

    function test_aYesAfterAYesFails() public {
        issue(ID);
        optInUpTo(ID, 1);
        DemandResponse.Choice[] memory yes = only(choiceOf(ID, 0, true, 0));
        expectAlreadyIn(0);
        dr.choose(ID, yes);
    }

    function test_aChoiceIsForOneEvent() public {
        issue(ID);
        issue("other");
        DemandResponse.Choice[] memory yes = only(choiceOf("other", 0, true, 0));
        expectInvalid(0);
        dr.choose(ID, yes);
    }

    function test_aChoiceCountsUpToItsDeadline() public {
        issue(ID);
        bytes32 message = Typed.choice(ID, resourceOf(0), true, 0, NOW + 5);
        DemandResponse.Choice[] memory yes =
            only(DemandResponse.Choice(resourceOf(0), true, NOW + 5, signForEvents(keyOf(0), message)));
        vm.warp(NOW + 6);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.SignatureExpired.selector, resourceOf(0), NOW + 5)
        );
        dr.choose(ID, yes);
        vm.warp(NOW + 5);
        dr.choose(ID, yes);
    }

    function test_aChoiceIsForOneChain() public {
        issue(ID);
        uint256 here = block.chainid;
        DemandResponse.Choice[] memory yes = only(choiceOf(ID, 0, true, 0));
        vm.chainId(here + 1);
        expectInvalid(0);
        dr.choose(ID, yes);
        vm.chainId(here);
        dr.choose(ID, yes);
    }

    function test_aChoiceIsForOneContract() public {
        DemandResponse.Choice[] memory yes = only(choiceOf(ID, 0, true, 0));
        dr = new DemandResponse(registry, coin, admin);
        grantRoles(dr);
        issue(ID);
        expectInvalid(0);
        dr.choose(ID, yes);
    }

    function test_aChoiceIsTheOwnersOwn() public {
        issue(ID);
        bytes32 message = Typed.choice(ID, resourceOf(0), true, 0, LATER);
        DemandResponse.Choice[] memory yes =
            only(DemandResponse.Choice(resourceOf(0), true, LATER, signForEvents(keyOf(1), message)));
        expectInvalid(0);
        dr.choose(ID, yes);
    }

    function test_afterAHandoverTheNewOwnerChooses() public {
        issue(ID);
        DemandResponse.Choice[] memory stale = only(choiceOf(ID, 0, true, 0));
        ResourceRegistry.Consent memory consent = consentOf(keyOf(9), resourceOf(0), powerOf(0), false);
        vm.prank(ownerOf(0));
        registry.transfer(consent, "");
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.InvalidSignature.selector, resourceOf(0), ownerOf(9))
        );
        dr.choose(ID, stale);
        bytes32 message = Typed.choice(ID, resourceOf(0), true, 0, LATER);
        dr.choose(
            ID, only(DemandResponse.Choice(resourceOf(0), true, LATER, signForEvents(keyOf(9), message)))
        );
        check(isIn(0), "in");
    }

    function test_choicesNeedARegisteredHomeAndAnEventThatHasNotStarted() public {
        DemandResponse.Choice[] memory yes = only(choiceOf(ID, 0, true, 0));
        expectWrongState(ID, DemandResponse.State.None);
        dr.choose(ID, yes);
        issue(ID);
        vm.warp(START);
        expectWrongState(ID, DemandResponse.State.Active);
        dr.choose(ID, yes);
        vm.warp(START - 1);
        vm.prank(registrar);
        registry.withdraw(resourceOf(0), 0, "");
        expectNotRegistered(0);
        dr.choose(ID, yes);
        yes = only(choiceOf(ID, 7, true, 0));
        expectNotRegistered(7);
        dr.choose(ID, yes);
    }

    function testFuzz_noFieldOfAChoiceCanBeChanged(bool takesPart, uint32 wait, uint256 field) public {
        issue(ID);
        uint256 deadline = NOW + 1 + uint256(wait);
        bytes32 message = Typed.choice(ID, resourceOf(0), takesPart, 0, deadline);
        DemandResponse.Choice memory choice =
            DemandResponse.Choice(resourceOf(0), takesPart, deadline, signForEvents(keyOf(0), message));
        DemandResponse.Choice memory changed =
            DemandResponse.Choice(choice.resource, takesPart, deadline, choice.signature);
        field %= 3;
        if (field == 0) changed.resource = resourceOf(1);
        if (field == 1) changed.takesPart = !takesPart;
        if (field == 2) changed.deadline -= 1;
        expectInvalid(field == 0 ? 1 : 0);
        dr.choose(ID, only(changed));
        dr.choose(ID, only(choice));
        check(isIn(0) == takesPart, "as chosen");
    }

    // ---- pause and roles

    function test_nothingIsIssuedWhilePausedButHomesStillChoose() public {
        issue(ID);
        vm.prank(pauser);
        dr.pause();
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        issue("other");
        optInUpTo(ID, 2);
        vm.prank(ownerOf(1));
        dr.optOut(ID, one(resourceOf(1)));
        dr.choose(ID, only(choiceOf(ID, 1, true, 0)));
        vm.prank(admin);
        dr.unpause();
        issue("other");
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

    function test_theAdminChangesInTwoStepsAndNotBeforeTheDelay() public {
        vm.prank(admin);
        dr.beginDefaultAdminTransfer(stranger);
        uint48 schedule = uint48(NOW + dr.ADMIN_DELAY());
        vm.warp(schedule);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, schedule
            )
        );
        vm.prank(stranger);
        dr.acceptDefaultAdminTransfer();
        vm.warp(schedule + 1);
        vm.prank(stranger);
        dr.acceptDefaultAdminTransfer();
        checkEq(dr.defaultAdmin(), stranger, "admin after acceptance");
    }
}

/// @notice Opting in over several words of the bitmap.
contract OptInTest is Fixture {
    bytes32 private constant ID = keccak256("event");
    uint256 private constant HOMES = 600;

    bytes32[] private homes;

    function setUp() public override {
        super.setUp();
        uint256 key = keyOf(0);
        ResourceRegistry.Consent[] memory rows = new ResourceRegistry.Consent[](HOMES);
        for (uint256 i; i < HOMES; ++i) {
            homes.push(keccak256(abi.encode("one of many", i)));
            rows[i] = consentOf(key, homes[i], 1, true);
        }
        vm.prank(registrar);
        registry.register(rows);
    }

    /// @dev Homes in any order, over several words of the bitmap, in batches of any size.
    function testFuzz_exactlyTheHomesThatOptedInAreIn(uint256 seed, uint256 step, uint256 batch) public {
        bool[] memory joined = new bool[](HOMES);
        uint256 count = within(seed, 1, HOMES);
        uint256 stride = 1 + 30 * (step % 20); // coprime to 600, so it visits every home once
        batch = within(batch, 1, 100);
        issue(ID);
        for (uint256 done; done < count;) {
            bytes32[] memory part = new bytes32[](batch < count - done ? batch : count - done);
            for (uint256 i; i < part.length; ++i) {
                uint256 home = (done++ * stride) % HOMES;
                part[i] = homes[home];
                joined[home] = true;
            }
            vm.prank(operator);
            dr.optIn(ID, part);
        }

        checkEq(dr.eventOf(ID).participants, count, "participants");
        bool[] memory flags = dr.optedIn(ID, homes);
        for (uint256 i; i < HOMES; ++i) {
            check(flags[i] == joined[i], "opted in");
        }
    }

    /// @dev Homes of three words in one batch: each is held against the word it belongs to.
    function test_aNoCountsInEveryWordOfTheBitmap() public {
        issue(ID);
        bytes32[] memory batch = new bytes32[](3);
        uint256[3] memory numbers = [uint256(4), 300, 599];
        for (uint256 refused; refused < 3; ++refused) {
            for (uint256 i; i < 3; ++i) {
                batch[i] = homes[numbers[i] - refused];
            }
            vm.prank(ownerOf(0));
            dr.optOut(ID, one(batch[refused]));
            vm.expectRevert(abi.encodeWithSelector(DemandResponse.OwnerOptedOut.selector, ID, batch[refused]));
            vm.prank(operator);
            dr.optIn(ID, batch);
        }
        checkEq(dr.eventOf(ID).participants, 0, "all of them or none");
        batch[2] = homes[598];
        vm.prank(operator);
        dr.optIn(ID, batch);
        check(!dr.optedIn(ID, one(homes[597]))[0] && dr.optedIn(ID, one(homes[598]))[0], "the last word");
        check(!dr.optedIn(ID, one(homes[300]))[0] && dr.optedIn(ID, one(homes[298]))[0], "the middle word");
    }
}
