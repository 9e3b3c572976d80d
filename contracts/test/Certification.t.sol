// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";
import {Typed} from "./support/Typed.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @notice An event from its end to the moment at which it is final.
contract CertificationTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for PaymentTree.Leaf;

    bytes32 private constant ID = keccak256("event");
    bytes32 private constant ROOT = keccak256("root");
    bytes32 private constant ANSWER = keccak256("answer");
    uint256 private constant HOMES = 5;

    PaymentTree.Leaf[] private leaves;
    PaymentTree.Tree private tree;

    function setUp() public override {
        super.setUp();
        registerUpTo(HOMES + 1);
        PaymentTree.Leaf[] memory made = makeLeaves(1, HOMES);
        for (uint256 i; i < HOMES; ++i) {
            made[i].payment = uint96((i + 1) * 1e18);
            leaves.push(made[i]);
        }
        tree = PaymentTree.build(ID, made);
    }

    function certifyTotals(uint32 count, uint128 reductionWh, uint96 payment) private {
        vm.prank(certifier);
        dr.certify(ID, ROOT, count, reductionWh, payment, PUBLISHED);
    }

    /// @dev Five homes, their tree certified in the first second after the event.
    function certifyHomes() private {
        endedEvent(ID, HOMES);
        certify(ID, leaves);
    }

    function challengeAsOwner(uint256 number) private {
        vm.prank(ownerOf(number));
        dr.challenge(ID, resourceOf(number), REASON, 0, "");
    }

    function answer(uint256 number) private {
        DemandResponse.OpenLeaf memory leaf = leaves[number].open(number);
        bytes32[] memory proof = tree.proof(0, number);
        vm.prank(certifier);
        dr.answer(ID, resourceOf(number), leaf, proof, ANSWER);
    }

    function withdrawCertification() private {
        vm.prank(certifier);
        dr.withdrawCertification(ID, REASON);
    }

    function expectNoOpenChallenge(uint256 number) private {
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NoOpenChallenge.selector, ID, resourceOf(number))
        );
    }

    function expectAlreadyChallenged(uint256 number) private {
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.AlreadyChallenged.selector, ID, resourceOf(number))
        );
    }

    function expectInvalid(uint256 number) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.InvalidSignature.selector, resourceOf(number), ownerOf(number)
            )
        );
    }

    // ---- certify

    function test_aCertificationIsStoredAndAnnouncedAndMintsNothingYet() public {
        endedEvent(ID, 3);
        vm.warp(END + 7);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventCertified(ID, ROOT, 3, 4000, 1e18, PUBLISHED);
        certifyTotals(3, 4000, 1e18);
        checkState(ID, DemandResponse.State.Certified);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(ev.commitment, ROOT, "root");
        checkEq(ev.certifiedAt, END + 7, "certified at");
        checkEq(ev.payableFrom, END + 7 + DISPUTE, "payable from");
        checkEq(ev.participants, 3, "participants");
        checkEq(ev.unpaid, 1e18, "payment");
        checkEq(ev.claimUntil, 0, "claim until");
        checkEq(coin.totalSupply(), 0, "supply");
    }

    function test_anEventIsCertifiedOnceAndOnlyAfterItsEnd() public {
        expectWrongState(ID, DemandResponse.State.None);
        certifyTotals(0, 0, 0);
        issue(ID);
        optInUpTo(ID, 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.EventNotOver.selector, ID, END, NOW));
        certifyTotals(1, 1, 1);
        vm.warp(END - 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.EventNotOver.selector, ID, END, END - 1));
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

    function test_anEventNobodyJoinedHasNoTotals() public {
        endedEvent(ID, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.TotalsWithoutParticipants.selector, ID));
        certifyTotals(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.TotalsWithoutParticipants.selector, ID));
        certifyTotals(0, 0, 1);
        certifyTotals(0, 0, 0);
    }

    function test_onlyACertifierCertifiesAnswersAndTakesBack() public {
        certifyHomes();
        challengeAsOwner(0);
        bytes32 role = dr.CERTIFIER_ROLE();
        DemandResponse.OpenLeaf memory leaf = leaves[0].open(0);
        bytes32[] memory proof = tree.proof(0, 0);
        vm.startPrank(operator);
        expectNeedsRole(operator, role);
        dr.certify(ID, ROOT, 1, 1, 1, PUBLISHED);
        expectNeedsRole(operator, role);
        dr.answer(ID, resourceOf(0), leaf, proof, ANSWER);
        expectNeedsRole(operator, role);
        dr.withdrawCertification(ID, REASON);
    }

    // ---- challenge

    function test_anOwnerChallengesAndTheEventWaits() public {
        certifyHomes();
        vm.expectEmit(address(dr));
        emit DemandResponse.Challenged(ID, resourceOf(2), tree.root(), REASON);
        challengeAsOwner(2);
        check(dr.hasOpenChallenge(ID, resourceOf(2)), "open");
        check(!dr.hasOpenChallenge(ID, resourceOf(1)), "not that of another home");
        checkEq(dr.eventOf(ID).openChallenges, 1, "open challenges");
        vm.warp(FINAL);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ChallengesOpen.selector, ID, 1));
        dr.finalise(ID);
    }

    function test_anyoneBringsAChallengeThatTheOwnerSigned() public {
        certifyHomes();
        bytes memory signature = challengeOf(ID, 2);
        vm.prank(stranger);
        dr.challenge(ID, resourceOf(2), REASON, LATER, signature);
        check(dr.hasOpenChallenge(ID, resourceOf(2)), "open");
    }

    function test_aContractWalletChallengesAfterItsOwnRules() public {
        address wallet = address(new ContractWallet(ownerOf(9)));
        bytes32 message = Typed.consent("meter of a contract", wallet, 1, true, 0, LATER);
        bytes memory signature = abi.encodePacked(signForRegistry(keyOf(9), message), hex"01");
        register(ResourceRegistry.Consent("meter of a contract", wallet, 1, true, LATER, signature));
        issue(ID);
        vm.prank(operator);
        dr.optIn(ID, one("meter of a contract"));
        vm.warp(END);
        certifyRoot(ID, ROOT, 1);

        bytes memory bare =
            signForEvents(keyOf(9), Typed.challenge(ID, "meter of a contract", ROOT, REASON, LATER));
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.InvalidSignature.selector, bytes32("meter of a contract"), wallet
            )
        );
        dr.challenge(ID, "meter of a contract", REASON, LATER, bare);
        dr.challenge(ID, "meter of a contract", REASON, LATER, abi.encodePacked(bare, hex"01"));
        check(dr.hasOpenChallenge(ID, "meter of a contract"), "open");
    }

    function test_nobodyChallengesForAnother() public {
        certifyHomes();
        bytes32 message = Typed.challenge(ID, resourceOf(2), tree.root(), REASON, LATER);
        bytes memory signature = signForEvents(keyOf(1), message);
        expectInvalid(2);
        dr.challenge(ID, resourceOf(2), REASON, LATER, signature);
        expectInvalid(2);
        vm.prank(ownerOf(1));
        dr.challenge(ID, resourceOf(2), REASON, LATER, "");
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.InvalidSignature.selector, bytes32("unregistered"), address(0)
            )
        );
        dr.challenge(ID, "unregistered", REASON, LATER, signature);
    }

    function test_aSignedChallengeNamesItsReasonsAndItsRoot() public {
        certifyHomes();
        bytes memory signature = challengeOf(ID, 2);
        expectInvalid(2);
        dr.challenge(ID, resourceOf(2), keccak256("other reasons"), LATER, signature);
        withdrawCertification();
        certifyTotals(uint32(HOMES), 1, 1);
        expectInvalid(2);
        dr.challenge(ID, resourceOf(2), REASON, LATER, signature);
    }

    function test_aSignedChallengeIsForOneChainAndCountsUpToItsDeadline() public {
        certifyHomes();
        uint256 here = block.chainid;
        bytes32 message = Typed.challenge(ID, resourceOf(2), tree.root(), REASON, END + 5);
        bytes memory signature = signForEvents(keyOf(2), message);
        vm.chainId(here + 1);
        expectInvalid(2);
        dr.challenge(ID, resourceOf(2), REASON, END + 5, signature);
        vm.chainId(here);
        vm.warp(END + 6);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.SignatureExpired.selector, resourceOf(2), END + 5)
        );
        dr.challenge(ID, resourceOf(2), REASON, END + 5, signature);
        vm.warp(END + 5);
        dr.challenge(ID, resourceOf(2), REASON, END + 5, signature);
    }

    function test_aSignedChallengeIsForOneContract() public {
        certifyHomes();
        bytes memory signature = challengeOf(ID, 2);
        dr = new DemandResponse(registry, coin, admin);
        grantRoles(dr);
        certifyHomes();
        expectInvalid(2);
        dr.challenge(ID, resourceOf(2), REASON, LATER, signature);
    }

    function test_onlyHomesThatTookPartChallenge() public {
        certifyHomes();
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NotOptedIn.selector, ID, resourceOf(HOMES)));
        challengeAsOwner(HOMES);
    }

    function test_aHomeThatWasWithdrawnStillChallenges() public {
        certifyHomes();
        vm.prank(registrar);
        registry.withdraw(resourceOf(2), 0, "");
        challengeAsOwner(2);
    }

    function test_aHomeChallengesACertificationOnce() public {
        certifyHomes();
        bytes memory signature = challengeOf(ID, 2);
        challengeAsOwner(2);
        expectAlreadyChallenged(2);
        challengeAsOwner(2);
        answer(2);
        expectAlreadyChallenged(2);
        challengeAsOwner(2);
        expectAlreadyChallenged(2);
        dr.challenge(ID, resourceOf(2), REASON, LATER, signature);
    }

    function test_challengesComeBeforeTheEndOfTheDisputeWindow() public {
        certifyHomes();
        vm.warp(FINAL);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.DisputeWindowOver.selector, ID, FINAL));
        challengeAsOwner(2);
        vm.warp(FINAL - 1);
        challengeAsOwner(2);
    }

    function test_onlyACertifiedEventIsChallenged() public {
        endedEvent(ID, HOMES);
        expectWrongState(ID, DemandResponse.State.Ended);
        challengeAsOwner(2);
        certify(ID, leaves);
        vm.warp(FINAL);
        dr.finalise(ID);
        expectWrongState(ID, DemandResponse.State.Final);
        challengeAsOwner(2);
    }

    // ---- answer

    function test_theRightLeafAnswersAChallengeAndTheEventBecomesFinal() public {
        certifyHomes();
        challengeAsOwner(2);
        vm.warp(FINAL + 5 days);
        vm.expectEmit(address(dr));
        emit DemandResponse.ChallengeAnswered(ID, resourceOf(2), leaves[2].open(2), ANSWER);
        answer(2);
        check(!dr.hasOpenChallenge(ID, resourceOf(2)), "answered");
        checkEq(dr.eventOf(ID).openChallenges, 0, "open challenges");
        dr.finalise(ID);
    }

    function test_everyChallengeNeedsItsAnswer() public {
        certifyHomes();
        for (uint256 i; i < HOMES; ++i) {
            challengeAsOwner(i);
        }
        vm.warp(FINAL);
        for (uint256 i; i < HOMES; ++i) {
            vm.expectRevert(abi.encodeWithSelector(DemandResponse.ChallengesOpen.selector, ID, HOMES - i));
            dr.finalise(ID);
            answer(i);
        }
        dr.finalise(ID);
    }

    function testFuzz_noOtherLeafAnswersAChallenge(uint256 field) public {
        certifyHomes();
        challengeAsOwner(2);
        DemandResponse.OpenLeaf memory leaf = leaves[2].open(2);
        bytes32[] memory proof = tree.proof(0, 2);
        field %= 6;
        if (field == 0) leaf.index = 3;
        if (field == 1) leaf.payee = bytes32(uint256(leaf.payee) + 1);
        if (field == 2) leaf.reductionWh += 1;
        if (field == 3) leaf.certificateHash = keccak256("forged");
        if (field == 4) (leaf, proof) = (leaves[1].open(1), tree.proof(0, 1));
        if (field == 5) proof[0] = keccak256("forged");
        expectInvalidProof(ID);
        vm.prank(certifier);
        dr.answer(ID, resourceOf(2), leaf, proof, ANSWER);
        check(dr.hasOpenChallenge(ID, resourceOf(2)), "still open");
    }

    function test_onlyAnOpenChallengeIsAnsweredAndOnlyOnce() public {
        certifyHomes();
        expectNoOpenChallenge(2);
        answer(2);
        challengeAsOwner(1);
        expectNoOpenChallenge(2);
        answer(2);
        answer(1);
        expectNoOpenChallenge(1);
        answer(1);
    }

    function test_onlyACertifiedEventIsAnsweredFor() public {
        certifyHomes();
        challengeAsOwner(2);
        withdrawCertification();
        expectWrongState(ID, DemandResponse.State.Ended);
        answer(2);
    }

    // ---- taking back

    function test_aCertificationIsTakenBackWithItsChallenges() public {
        certifyHomes();
        challengeAsOwner(2);
        vm.warp(FINAL);
        vm.expectEmit(address(dr));
        emit DemandResponse.CertificationWithdrawn(ID, tree.root(), REASON);
        withdrawCertification();
        checkState(ID, DemandResponse.State.Ended);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(ev.openChallenges + ev.unpaid, 0, "challenges and payments");
        checkEq(ev.certifiedAt + ev.payableFrom, 0, "times");
        check(!dr.hasOpenChallenge(ID, resourceOf(2)), "cleared");
        expectWrongState(ID, DemandResponse.State.Ended);
        dr.finalise(ID);
    }

    function test_aNewCertificationHasAWholeDisputeWindow() public {
        certifyHomes();
        vm.warp(FINAL);
        withdrawCertification();
        vm.warp(FINAL + 5);
        certify(ID, leaves);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.DisputeWindowOpen.selector, ID, FINAL + 5 + DISPUTE)
        );
        dr.finalise(ID);
    }

    function test_theSameRootCertifiedAgainCanBeChallengedAgain() public {
        certifyHomes();
        challengeAsOwner(1);
        challengeAsOwner(2);
        answer(2);
        withdrawCertification();
        certify(ID, leaves);
        check(!dr.hasOpenChallenge(ID, resourceOf(1)), "the open challenge does not come back");
        expectNoOpenChallenge(1);
        answer(1);
        challengeAsOwner(1);
        challengeAsOwner(2);
        checkEq(dr.eventOf(ID).openChallenges, 2, "open challenges");
        check(dr.hasOpenChallenge(ID, resourceOf(2)), "the answer before does not count");
        answer(1);
        answer(2);
        vm.warp(FINAL);
        dr.finalise(ID);
    }

    function test_anotherRootTakesThePlaceOfTheFirst() public {
        certifyHomes();
        withdrawCertification();
        PaymentTree.Leaf[] memory mended = makeLeaves(2, HOMES);
        mended[3].payment = 5;
        PaymentTree.Tree memory other = certify(ID, mended);
        vm.warp(FINAL);
        dr.finalise(ID);
        bytes32[] memory proof = tree.proof(0, 3);
        expectInvalidProof(ID);
        dr.claim(ID, 3, leaves[3].row(), proof);
        dr.claim(ID, 3, mended[3].row(), other.proof(0, 3));
    }

    function test_onlyACertificationThatIsNotFinalIsTakenBack() public {
        endedEvent(ID, HOMES);
        expectWrongState(ID, DemandResponse.State.Ended);
        withdrawCertification();
        certify(ID, leaves);
        vm.warp(FINAL);
        dr.finalise(ID);
        expectWrongState(ID, DemandResponse.State.Final);
        withdrawCertification();
    }

    // ---- finalise

    function test_anyoneMakesAnEventFinalAndItsCoinsAreMinted() public {
        certifyHomes();
        vm.warp(FINAL + 3);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventFinal(ID, 15e18, UNTIL + 3);
        vm.prank(stranger);
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Final);
        checkEq(dr.eventOf(ID).claimUntil, UNTIL + 3, "claim until");
        checkEq(dr.eventOf(ID).unpaid, 15e18, "unpaid");
        checkEq(coin.balanceOf(address(dr)), 15e18, "escrow");
    }

    function test_noEventIsFinalBeforeItsDisputeWindowHasPassed() public {
        certifyHomes();
        vm.warp(FINAL - 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.DisputeWindowOpen.selector, ID, FINAL));
        dr.finalise(ID);
        vm.warp(FINAL);
        dr.finalise(ID);
    }

    function test_onlyACertifiedEventBecomesFinalAndOnlyOnce() public {
        expectWrongState(ID, DemandResponse.State.None);
        dr.finalise(ID);
        certifyHomes();
        vm.warp(FINAL);
        dr.finalise(ID);
        expectWrongState(ID, DemandResponse.State.Final);
        dr.finalise(ID);
    }

    function test_withoutADisputeWindowAnEventIsFinalAtOnce() public {
        DemandResponse.Terms memory terms = termsOf(DemandResponse.Funding.Mint);
        terms.disputeWindow = 0;
        issue(ID, terms);
        optInUpTo(ID, HOMES);
        vm.warp(END);
        certify(ID, leaves);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.DisputeWindowOver.selector, ID, END));
        challengeAsOwner(0);
        dr.finalise(ID);
    }

    function test_theLongestDisputeWindowDoesNotOverflow() public {
        DemandResponse.Terms memory terms = termsOf(DemandResponse.Funding.Mint);
        (terms.disputeWindow, terms.claimWindow) = (type(uint32).max, type(uint32).max);
        issue(ID, terms);
        optInUpTo(ID, HOMES);
        vm.warp(END);
        certify(ID, leaves);
        uint256 until = uint256(END) + type(uint32).max;
        checkEq(dr.eventOf(ID).payableFrom, until, "payable from");
        vm.warp(until - 1);
        challengeAsOwner(0);
        answer(0);
        vm.warp(until);
        dr.finalise(ID);
        checkEq(dr.eventOf(ID).claimUntil, until + type(uint32).max, "claim until");
    }

    function test_anEventThatPaysNothingIsPaidOnceItIsFinal() public {
        endedEvent(ID, 2);
        certifyTotals(2, 0, 0);
        vm.warp(FINAL);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventFinal(ID, 0, UNTIL);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventPaid(ID);
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Paid);
        checkEq(coin.totalSupply(), 0, "supply");
    }

    function test_anEventNobodyJoinedIsPaidOnceItIsFinal() public {
        endedEvent(ID, 0);
        certifyTotals(0, 0, 0);
        vm.warp(FINAL);
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Paid);
    }

    function test_withoutTheMinterRoleNothingBecomesFinal() public {
        bytes32 role = coin.MINTER_ROLE();
        certifyHomes();
        vm.warp(FINAL);
        vm.prank(admin);
        coin.revokeRole(role, address(dr));
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControl.AccessControlUnauthorizedAccount.selector, address(dr), role
            )
        );
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Certified);
    }

    // ---- treasury

    function certifyOutOfTreasury() private {
        issue(ID, termsOf(DemandResponse.Funding.Treasury));
        optInUpTo(ID, HOMES);
        vm.warp(END);
        certify(ID, leaves);
        vm.warp(FINAL);
    }

    function test_theTreasurySetsCoinsAsideAndMintsNone() public {
        fundTreasury(20e18);
        certifyOutOfTreasury();
        dr.finalise(ID);
        checkEq(dr.treasury(), 5e18, "treasury");
        checkEq(coin.totalSupply(), 20e18, "supply");
        checkEq(coin.balanceOf(address(dr)), 20e18, "escrow");
    }

    function test_anEventWaitsUntilTheTreasuryHoldsEnough() public {
        fundTreasury(15e18 - 1);
        certifyOutOfTreasury();
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.InsufficientTreasury.selector, ID, 15e18, 15e18 - 1)
        );
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Certified);
        fundTreasury(1);
        dr.finalise(ID);
        checkEq(dr.treasury(), 0, "treasury");
    }

    function test_anEventThatPaysNothingNeedsNoTreasury() public {
        issue(ID, termsOf(DemandResponse.Funding.Treasury));
        vm.warp(END);
        certifyTotals(0, 0, 0);
        vm.warp(FINAL);
        dr.finalise(ID);
        checkState(ID, DemandResponse.State.Paid);
    }

    function test_mintedCoinsDoNotTouchTheTreasury() public {
        fundTreasury(20e18);
        certifyHomes();
        vm.warp(FINAL);
        dr.finalise(ID);
        checkEq(dr.treasury(), 20e18, "treasury");
        checkEq(coin.balanceOf(address(dr)), 35e18, "escrow");
    }

    // ---- pause

    function test_nothingIsCertifiedOrMadeFinalWhilePausedButHomesStillChallenge() public {
        endedEvent(ID, HOMES);
        vm.prank(pauser);
        dr.pause();
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        certify(ID, leaves);
        vm.prank(admin);
        dr.unpause();
        certify(ID, leaves);
        vm.prank(pauser);
        dr.pause();
        challengeAsOwner(0);
        answer(0);
        vm.warp(FINAL);
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        dr.finalise(ID);
        withdrawCertification();
    }
}
