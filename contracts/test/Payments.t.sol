// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {Fixture} from "./support/Fixture.sol";
import {GreedyCoin} from "./support/GreedyCoin.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice From the moment at which an event is final to its last coin.
contract PaymentsTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for PaymentTree.Leaf;
    using PaymentTree for PaymentTree.Leaf[];

    bytes32 private constant ID = keccak256("event");
    uint256 private constant HOMES = 300;

    function setUp() public override {
        super.setUp();
        registerUpTo(HOMES);
    }

    function claim(uint256 index, PaymentTree.Leaf[] memory leaves, PaymentTree.Tree memory tree) private {
        dr.claim(ID, uint32(index), leaves[index].row(), tree.proof(0, index));
    }

    function payBatch(
        uint256 chunk,
        uint256 level,
        PaymentTree.Leaf[] memory leaves,
        PaymentTree.Tree memory tree
    ) private {
        dr.payBatch(ID, uint32(chunk), uint8(level), leaves.slice(level, chunk), tree.proof(level, chunk));
    }

    function creditBatch(
        uint256 chunk,
        uint256 level,
        PaymentTree.Leaf[] memory leaves,
        PaymentTree.Tree memory tree
    ) private {
        dr.creditBatch(ID, uint32(chunk), uint8(level), leaves.slice(level, chunk), tree.proof(level, chunk));
    }

    function expectAlreadyPaid(uint256 index) private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyPaid.selector, ID, index));
    }

    function expectNothingToPay() private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NothingToPay.selector, ID));
    }

    function expectAboveTotal(uint256 sum, uint256 unpaid) private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.PaymentsAboveTotal.selector, ID, sum, unpaid));
    }

    function expectOutOfRange(uint256 index, uint256 count) private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.IndexOutOfRange.selector, ID, index, count));
    }

    /// @dev Every wallet has got its payment, by transfer or by credit, and nothing else is left.
    function checkAllPaidOnce(PaymentTree.Leaf[] memory leaves) private {
        checkEq(dr.eventOf(ID).unpaid, 0, "unpaid");
        checkState(ID, DemandResponse.State.Paid);
        for (uint256 i; i < leaves.length; ++i) {
            if (dr.creditOf(leaves[i].wallet) != 0) dr.withdraw(leaves[i].wallet);
            checkEq(coin.balanceOf(leaves[i].wallet), leaves[i].payment, "balance of a home");
        }
        checkEq(coin.balanceOf(address(dr)), 0, "left in escrow");
    }

    // ---- any tree

    function testFuzz_everyLeafOfAnyTreeCanBeClaimed(uint256 seed, uint256 size) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 1, HOMES));
        leaves[0].payment = 1;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        for (uint256 i; i < leaves.length; ++i) {
            claim(i, leaves, tree);
            check(dr.isPaid(ID, i), "bit");
        }
        checkAllPaidOnce(leaves);
    }

    function testFuzz_everyNodeOfAnyLevelCanBePaidAsABatch(
        uint256 seed,
        uint256 size,
        uint256 level,
        bool byCredit
    ) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 1, HOMES));
        leaves[0].payment = 1;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        level = within(level, 0, dr.MAX_LEVEL());
        for (uint256 chunk; chunk << level < leaves.length; ++chunk) {
            if (byCredit) creditBatch(chunk, level, leaves, tree);
            else payBatch(chunk, level, leaves, tree);
        }
        for (uint256 i; i < leaves.length; ++i) {
            check(dr.isPaid(ID, i), "bit");
        }
        checkAllPaidOnce(leaves);
    }

    function testFuzz_noMixOfClaimsAndBatchesPaysAHomeTwice(uint256 seed, uint256 size) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 1, HOMES));
        leaves[0].payment = 1;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        bool[] memory paid = new bool[](leaves.length);
        for (uint256 turn; turn < 40; ++turn) {
            uint256 dice = uint256(keccak256(abi.encode(seed, "turn", turn)));
            uint256 index = dice % leaves.length;
            uint256 level = (dice >> 64) % 9;
            uint256 way = (dice >> 128) % 4;
            if (way < 2) {
                if (paid[index]) expectAlreadyPaid(index);
                claim(index, leaves, tree);
                paid[index] = true;
            } else {
                if (markNode(paid, level, index >> level) == 0) expectNothingToPay();
                if (way == 2) payBatch(index >> level, level, leaves, tree);
                else creditBatch(index >> level, level, leaves, tree);
            }
        }
        uint256 unpaid;
        for (uint256 i; i < leaves.length; ++i) {
            check(dr.isPaid(ID, i) == paid[i], "bit");
            uint256 got = coin.balanceOf(leaves[i].wallet) + dr.creditOf(leaves[i].wallet);
            checkEq(got, paid[i] ? leaves[i].payment : 0, "what a home has got");
            if (!paid[i]) unpaid += leaves[i].payment;
        }
        checkEq(dr.eventOf(ID).unpaid, unpaid, "unpaid");
        for (uint256 i; i < leaves.length; ++i) {
            if (!paid[i]) claim(i, leaves, tree);
        }
        checkAllPaidOnce(leaves);
    }

    /// @dev Mark the leaves of a node and return how many of them were not marked before.
    function markNode(bool[] memory paid, uint256 level, uint256 chunk) private pure returns (uint256 fresh) {
        for (uint256 i = chunk << level; i < (chunk + 1) << level && i < paid.length; ++i) {
            if (!paid[i]) ++fresh;
            paid[i] = true;
        }
    }

    function testFuzz_noFieldOfALeafCanBeChanged(uint256 seed, uint256 size, uint256 field) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 1, HOMES));
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        uint256 index = seed % leaves.length;
        PaymentTree.Leaf memory leaf = leaves[index];
        field %= 5;
        if (field == 0) leaf.resource = resourceOf(index + 1);
        if (field == 1) leaf.wallet = stranger;
        if (field == 2) leaf.reductionWh += 1;
        if (field == 3) leaf.payment += 1;
        if (field == 4) leaf.certificateHash = keccak256("forged");
        DemandResponse.Row memory row = leaf.row();
        bytes32[] memory proof = tree.proof(0, index);
        expectInvalidProof(ID);
        dr.claim(ID, uint32(index), row, proof);

        // `leaf` is a reference: the batch now holds the changed leaf as well.
        uint256 level = (seed >> 64) % 9;
        DemandResponse.Row[] memory part = leaves.slice(level, index >> level);
        proof = tree.proof(level, index >> level);
        expectInvalidProof(ID);
        dr.payBatch(ID, uint32(index >> level), uint8(level), part, proof);
        expectInvalidProof(ID);
        dr.creditBatch(ID, uint32(index >> level), uint8(level), part, proof);
    }

    function testFuzz_aLeafIsPaidOnlyUnderItsOwnIndex(uint256 seed, uint256 size, uint32 other) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 2, HOMES));
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        uint256 index = seed % leaves.length;
        if (other == index) ++other;
        bytes32[] memory proof = tree.proof(0, index);
        DemandResponse.Row memory row = leaves[index].row();
        expectInvalidProof(ID);
        dr.claim(ID, other, row, proof);
        uint32 neighbour = uint32((index + within(other, 1, leaves.length - 1)) % leaves.length);
        expectInvalidProof(ID);
        dr.claim(ID, neighbour, row, proof);
    }

    function testFuzz_aBatchCannotBeReordered(uint256 seed, uint256 size, uint256 other) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 2, 256));
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        uint256 index = seed % leaves.length;
        other = (index + within(other, 1, leaves.length - 1)) % leaves.length;
        (leaves[index], leaves[other]) = (leaves[other], leaves[index]);
        DemandResponse.Row[] memory rows = leaves.slice(8, 0);
        bytes32[] memory proof = tree.proof(8, 0);
        expectInvalidProof(ID);
        dr.payBatch(ID, 0, 8, rows, proof);
        expectInvalidProof(ID);
        dr.creditBatch(ID, 0, 8, rows, proof);
    }

    function testFuzz_aProofCannotBeShortenedOrLengthened(uint256 seed, uint256 size) public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(seed, within(size, 2, HOMES));
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        uint256 index = seed % leaves.length;
        bytes32[] memory proof = tree.proof(0, index);
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i; i < proof.length; ++i) {
            longer[i] = proof[i];
            if (i < shorter.length) shorter[i] = proof[i];
        }
        longer[proof.length] = tree.root();
        DemandResponse.Row memory row = leaves[index].row();
        expectInvalidProof(ID);
        dr.claim(ID, uint32(index), row, shorter);
        expectInvalidProof(ID);
        dr.claim(ID, uint32(index), row, longer);
    }

    function testFuzz_anyWalletIsPaidAnyAmount(address wallet, uint96 payment, uint8 way) public {
        if (wallet == address(0) || wallet == address(dr)) wallet = stranger;
        if (payment == 0) payment = type(uint96).max;
        PaymentTree.Leaf[] memory leaves = makeLeaves(1, 1);
        (leaves[0].wallet, leaves[0].payment) = (wallet, payment);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        if (way % 3 == 0) claim(0, leaves, tree);
        if (way % 3 == 1) payBatch(0, 0, leaves, tree);
        if (way % 3 == 2) creditBatch(0, 0, leaves, tree);
        checkAllPaidOnce(leaves);
    }

    function test_theLeafOfOneEventPaysNothingInAnother() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(1, 4);
        PaymentTree.Tree memory tree = PaymentTree.build(keccak256("another event"), leaves);
        finalEvent(ID, leaves);
        bytes32[] memory proof = tree.proof(0, 0);
        DemandResponse.Row memory row = leaves[0].row();
        expectInvalidProof(ID);
        dr.claim(ID, 0, row, proof);
    }

    function test_anInnerNodeIsNoLeaf() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(1, 4);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        bytes32[] memory above = tree.proof(1, 0);
        DemandResponse.Row memory row = DemandResponse.Row(tree.levels[0][0], tree.levels[0][1]);
        expectInvalidProof(ID);
        dr.claim(ID, 0, row, above);
    }

    // ---- one payment

    function test_anyoneCanPushAPaymentAndOnlyTheHomeIsPaid() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(2, 5);
        leaves[3].payment = 7e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        bytes32[] memory proof = tree.proof(0, 3);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentMade(ID, 3);
        vm.prank(stranger);
        dr.claim(ID, 3, leaves[3].row(), proof);
        checkEq(coin.balanceOf(leaves[3].wallet), 7e18, "home");
        checkEq(coin.balanceOf(stranger), 0, "pusher");
        checkEq(dr.paidBitmap(ID, 0), 8, "bitmap");
        check(dr.isPaid(ID, 3) && !dr.isPaid(ID, 2), "bits");
        checkState(ID, DemandResponse.State.Final);
    }

    function test_aHomeIsNotPaidTwice() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(3, 5);
        leaves[4].payment = 7e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(4, leaves, tree);
        expectAlreadyPaid(4);
        claim(4, leaves, tree);
    }

    function test_noPaymentMovesMoreThanTheLeafSays() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(3, 5);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        bytes32[] memory proof = tree.proof(0, 4);
        DemandResponse.Row memory row = leaves[4].row();
        row.payee = bytes32(uint256(row.payee) + 1);
        expectInvalidProof(ID);
        dr.claim(ID, 4, row, proof);
        row = leaves[4].row();
        row.payee = bytes32(bytes20(stranger)) | bytes32(uint256(leaves[4].payment));
        expectInvalidProof(ID);
        dr.claim(ID, 4, row, proof);
    }

    // ---- batches

    function test_aBatchSkipsHomesThatClaimed() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(5, 300);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(0, leaves, tree);
        claim(77, leaves, tree);
        claim(299, leaves, tree);
        payBatch(0, 8, leaves, tree);
        creditBatch(1, 8, leaves, tree);
        checkEq(dr.paidBitmap(ID, 0), type(uint256).max, "first word");
        checkEq(dr.paidBitmap(ID, 1), (1 << 44) - 1, "second word");
        checkAllPaidOnce(leaves);
    }

    function test_aBatchThatPaysNobodyFails() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(6, 12);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        payBatch(1, 2, leaves, tree);
        expectNothingToPay();
        payBatch(1, 2, leaves, tree);
        expectNothingToPay();
        creditBatch(1, 2, leaves, tree);
        creditBatch(0, 2, leaves, tree);
        expectNothingToPay();
        payBatch(0, 2, leaves, tree);
    }

    function test_aBatchHoldsAllTheLeavesOfItsNode() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(7, 13);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        bytes32[] memory proof = tree.proof(2, 3);
        DemandResponse.Row[] memory part = leaves.slice(2, 2);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 1, 4));
        dr.payBatch(ID, 3, 2, part, proof);
        part = leaves.slice(2, 3);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 4, 1));
        dr.creditBatch(ID, 2, 2, part, proof);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 4, 0));
        dr.payBatch(ID, 2, 2, new DemandResponse.Row[](0), proof);
    }

    function test_noNodeIsBeyondTheCount() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(8, 13);
        finalEvent(ID, leaves);
        DemandResponse.Row[] memory rows = leaves.slice(8, 0);
        bytes32[] memory proof;
        expectOutOfRange(16, 13);
        dr.payBatch(ID, 4, 2, rows, proof);
        expectOutOfRange(13, 13);
        dr.creditBatch(ID, 13, 0, rows, proof);
        expectOutOfRange(uint256(type(uint32).max) << 8, 13);
        dr.payBatch(ID, type(uint32).max, 8, rows, proof);
    }

    function test_aBatchHasAtMost256Homes() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(9, 300);
        finalEvent(ID, leaves);
        DemandResponse.Row[] memory rows = leaves.slice(9, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.LevelTooHigh.selector, 9));
        dr.payBatch(ID, 0, 9, rows, new bytes32[](0));
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.LevelTooHigh.selector, 255));
        dr.creditBatch(ID, 0, 255, rows, new bytes32[](0));
    }

    // ---- credit

    function test_aCreditIsAnnouncedAndWaitsForItsWallet() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(23, 6);
        for (uint256 i; i < 6; ++i) {
            leaves[i].payment = uint96(i);
        }
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(5, leaves, tree);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentsCredited(ID, 1, 2, 1 << 4, 4);
        creditBatch(1, 2, leaves, tree);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentsCredited(ID, 0, 2, 15, 6);
        creditBatch(0, 2, leaves, tree);
        checkEq(dr.creditOf(leaves[4].wallet), 4, "credit");
        checkEq(dr.creditOf(leaves[5].wallet), 0, "no credit for who claimed");
        checkEq(coin.balanceOf(leaves[4].wallet), 0, "no coins yet");
        checkEq(coin.balanceOf(address(dr)), 10, "the coins are here");
        checkState(ID, DemandResponse.State.Paid);
    }

    function test_creditsOfManyEventsAreWithdrawnAtOnce() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(24, 2);
        leaves[0].payment = 3e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        creditBatch(0, 1, leaves, tree);
        leaves[0].payment = 4e18;
        tree = finalEvent("other", leaves);
        dr.creditBatch("other", 0, 1, leaves.slice(1, 0), tree.proof(1, 0));
        address wallet = leaves[0].wallet;
        checkEq(dr.creditOf(wallet), 7e18, "credit");
        vm.expectEmit(address(dr));
        emit DemandResponse.CreditWithdrawn(wallet, 7e18);
        vm.prank(wallet);
        dr.withdraw(wallet);
        checkEq(coin.balanceOf(wallet), 7e18, "balance");
        checkEq(dr.creditOf(wallet), 0, "credit after");
    }

    function test_anyoneWithdrawsACreditToItsWallet() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(25, 2);
        leaves[0].payment = 3e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        creditBatch(0, 1, leaves, tree);
        vm.startPrank(stranger);
        dr.withdraw(leaves[0].wallet);
        checkEq(coin.balanceOf(stranger), 0, "caller");
        checkEq(coin.balanceOf(leaves[0].wallet), 3e18, "wallet");
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NoCredit.selector, leaves[0].wallet));
        dr.withdraw(leaves[0].wallet);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NoCredit.selector, stranger));
        dr.withdraw(stranger);
    }

    function test_aCreditOutlivesTheClaimWindowAndTheEvent() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(26, 3);
        leaves[0].payment = leaves[1].payment = 3e18;
        leaves[2].payment = 0;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        creditBatch(0, 0, leaves, tree);
        vm.warp(UNTIL);
        dr.returnUnclaimed(ID);
        vm.warp(UNTIL + 3650 days);
        dr.withdraw(leaves[0].wallet);
        checkEq(coin.balanceOf(leaves[0].wallet), 3e18, "balance");
        checkEq(coin.totalSupply(), 3e18, "supply");
    }

    // ---- the last payment

    function test_theLastPaymentMakesTheEventPaid() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(10, 2);
        leaves[0].payment = leaves[1].payment = 1e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(0, leaves, tree);
        bytes32[] memory proof = tree.proof(0, 1);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventPaid(ID);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentMade(ID, 1);
        dr.claim(ID, 1, leaves[1].row(), proof);
        checkAllPaidOnce(leaves);
    }

    function test_payingAPaidOrClosedEventAgainSaysThatItIsPaid() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(11, 3);
        leaves[1].payment = 1e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        payBatch(0, 8, leaves, tree);
        expectAlreadyPaid(1);
        claim(1, leaves, tree);
        vm.prank(operator);
        dr.close(ID);
        expectNothingToPay();
        payBatch(0, 8, leaves, tree);
    }

    function test_onlyAPaidEventIsClosed() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(11, 3);
        leaves[1].payment = 1e18;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        expectWrongState(ID, DemandResponse.State.Final);
        vm.prank(operator);
        dr.close(ID);
        payBatch(0, 8, leaves, tree);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventClosed(ID);
        vm.prank(operator);
        dr.close(ID);
        checkState(ID, DemandResponse.State.Closed);
        expectWrongState(ID, DemandResponse.State.Closed);
        vm.prank(operator);
        dr.close(ID);
    }

    function test_leavesOfZeroMoveNoCoinsAndNobodyWaitsForThem() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(12, 4);
        for (uint256 i; i < leaves.length; ++i) {
            (leaves[i].payment, leaves[i].wallet) = (0, address(0));
        }
        (leaves[1].payment, leaves[1].wallet) = (5, stranger);
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(2, leaves, tree);
        check(dr.isPaid(ID, 2), "bit");
        claim(1, leaves, tree);
        checkState(ID, DemandResponse.State.Paid);
        claim(0, leaves, tree);
        payBatch(0, 2, leaves, tree);
        check(dr.isPaid(ID, 3), "bits of a paid event can still be set");
        checkEq(coin.totalSupply(), 5, "supply");
    }

    function test_aPaymentToNobodyFailsAndGoesBackInTheEnd() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(12, 2);
        (leaves[0].payment, leaves[0].wallet) = (5, address(0));
        leaves[1].payment = 7;
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0)));
        payBatch(0, 1, leaves, tree);
        claim(1, leaves, tree);
        vm.warp(UNTIL);
        dr.returnUnclaimed(ID);
        checkEq(coin.totalSupply(), 7, "supply");
    }

    // ---- when

    function test_onlyAFinalEventPays() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(14, 1);
        leaves[0].payment = 1;
        PaymentTree.Tree memory tree = PaymentTree.build(ID, leaves);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NotPayable.selector, ID, DemandResponse.State.None)
        );
        claim(0, leaves, tree);
        endedEvent(ID, 1);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NotPayable.selector, ID, DemandResponse.State.Ended)
        );
        payBatch(0, 0, leaves, tree);
        certify(ID, leaves);
        vm.warp(FINAL);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.NotPayable.selector, ID, DemandResponse.State.Certified)
        );
        creditBatch(0, 0, leaves, tree);
        dr.finalise(ID);
        claim(0, leaves, tree);
    }

    /// @dev Certified, final and first paid in one block; then the last second of the window, then the first after.
    function test_paymentsEndWhereReturningBegins() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(15, 4);
        for (uint256 i; i < 4; ++i) {
            leaves[i].payment = uint96(10 ** i);
        }
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        claim(0, leaves, tree);

        vm.warp(UNTIL - 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ClaimWindowOpen.selector, ID, UNTIL));
        dr.returnUnclaimed(ID);
        claim(1, leaves, tree);

        vm.warp(UNTIL);
        bytes memory over = abi.encodeWithSelector(DemandResponse.ClaimWindowOver.selector, ID, UNTIL);
        vm.expectRevert(over);
        claim(2, leaves, tree);
        vm.expectRevert(over);
        payBatch(1, 1, leaves, tree);
        vm.expectRevert(over);
        creditBatch(1, 1, leaves, tree);
        vm.expectEmit(address(dr));
        emit DemandResponse.UnclaimedReturned(ID, 1100);
        vm.prank(stranger);
        dr.returnUnclaimed(ID);
        checkState(ID, DemandResponse.State.Closed);
        checkEq(coin.totalSupply(), 11, "what was minted in vain is burned");
        vm.expectRevert(over);
        claim(2, leaves, tree);
        expectWrongState(ID, DemandResponse.State.Closed);
        dr.returnUnclaimed(ID);
    }

    function test_unclaimedCoinsOfTheTreasuryGoBackToIt() public {
        fundTreasury(2000);
        PaymentTree.Leaf[] memory leaves = makeLeaves(15, 2);
        (leaves[0].payment, leaves[1].payment) = (300, 700);
        issue(ID, termsOf(DemandResponse.Funding.Treasury));
        optInUpTo(ID, 2);
        vm.warp(END);
        PaymentTree.Tree memory tree = certify(ID, leaves);
        vm.warp(FINAL);
        dr.finalise(ID);
        claim(0, leaves, tree);
        vm.warp(UNTIL);
        dr.returnUnclaimed(ID);
        checkEq(dr.treasury(), 1700, "treasury");
        checkEq(coin.totalSupply(), 2000, "nothing is burned");
        checkEq(coin.balanceOf(address(dr)), 1700, "escrow");
    }

    function test_onlyAFinalEventReturnsWhatIsUnclaimed() public {
        expectWrongState(ID, DemandResponse.State.None);
        dr.returnUnclaimed(ID);
        PaymentTree.Leaf[] memory leaves = makeLeaves(15, 2);
        leaves[0].payment = 1;
        PaymentTree.Tree memory tree = certifiedEvent(ID, leaves);
        vm.warp(UNTIL);
        expectWrongState(ID, DemandResponse.State.Certified);
        dr.returnUnclaimed(ID);
        dr.finalise(ID);
        payBatch(0, 1, leaves, tree);
        vm.warp(UNTIL + CLAIM);
        expectWrongState(ID, DemandResponse.State.Paid);
        dr.returnUnclaimed(ID);
    }

    function test_paymentsAndReturnsAreNeverPaused() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(16, 4);
        for (uint256 i; i < 4; ++i) {
            leaves[i].payment = 1;
        }
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        vm.prank(pauser);
        dr.pause();
        claim(0, leaves, tree);
        payBatch(1, 0, leaves, tree);
        creditBatch(2, 0, leaves, tree);
        dr.withdraw(leaves[2].wallet);
        vm.warp(UNTIL);
        dr.returnUnclaimed(ID);
        checkEq(coin.totalSupply(), 3, "supply");
    }

    // ---- totals that do not fit the leaves

    function finalTotal(PaymentTree.Leaf[] memory leaves, uint96 payment)
        private
        returns (PaymentTree.Tree memory tree)
    {
        endedEvent(ID, leaves.length);
        tree = PaymentTree.build(ID, leaves);
        certifyRoot(ID, tree.root(), payment);
        vm.warp(FINAL);
        dr.finalise(ID);
    }

    function test_leavesNeverPayMoreThanTheCertifiedTotal() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(16, 3);
        (, uint96 payment) = totals(leaves);
        PaymentTree.Tree memory tree = finalTotal(leaves, payment - 1);
        expectAboveTotal(payment, payment - 1);
        payBatch(0, 2, leaves, tree);
        expectAboveTotal(payment, payment - 1);
        creditBatch(0, 2, leaves, tree);
    }

    function test_leavesThatOverflowTogetherStillFailByName() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(17, 2);
        leaves[0].payment = leaves[1].payment = type(uint96).max;
        PaymentTree.Tree memory tree = finalTotal(leaves, type(uint96).max);
        expectAboveTotal(2 * uint256(type(uint96).max), type(uint96).max);
        payBatch(0, 1, leaves, tree);
    }

    function test_aTotalAboveItsLeavesWaitsForTheEndOfTheClaimWindow() public {
        PaymentTree.Leaf[] memory leaves = makeLeaves(18, 3);
        (, uint96 payment) = totals(leaves);
        PaymentTree.Tree memory tree = finalTotal(leaves, payment + 1);
        payBatch(0, 2, leaves, tree);
        checkState(ID, DemandResponse.State.Final);
        checkEq(dr.eventOf(ID).unpaid, 1, "unpaid");
        vm.warp(UNTIL);
        dr.returnUnclaimed(ID);
        checkEq(coin.totalSupply(), payment, "supply");
        checkState(ID, DemandResponse.State.Closed);
    }

    function test_anEventCannotSpendTheEscrowOfAnother() public {
        PaymentTree.Leaf[] memory rich = makeLeaves(19, 3);
        rich[0].payment = 1e18;
        finalEvent("rich", rich);
        PaymentTree.Leaf[] memory leaves = makeLeaves(20, 2);
        leaves[0].payment = 5;
        PaymentTree.Tree memory tree = finalTotal(leaves, 4);
        expectAboveTotal(5, 4);
        claim(0, leaves, tree);
    }

    // ---- treasury

    function test_anyoneFundsTheTreasury() public {
        coin.mint(stranger, 70);
        vm.startPrank(stranger);
        coin.approve(address(dr), 70);
        vm.expectEmit(address(dr));
        emit DemandResponse.TreasuryFunded(stranger, 70);
        dr.fund(70);
        checkEq(dr.treasury(), 70, "treasury");
        checkEq(coin.balanceOf(address(dr)), 70, "escrow");
    }

    function test_nobodyFundsWithCoinsThatWereNotApproved() public {
        coin.mint(stranger, 70);
        vm.prank(stranger);
        coin.approve(address(dr), 69);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(dr), 69, 70)
        );
        vm.prank(stranger);
        dr.fund(70);
        checkEq(dr.treasury(), 0, "treasury");
    }

    function test_theAdminDrawsWhatNoEventNeeds() public {
        fundTreasury(70);
        PaymentTree.Leaf[] memory leaves = makeLeaves(20, 2);
        leaves[0].payment = 500;
        finalEvent(ID, leaves);
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.TreasuryTooSmall.selector, 71, 70));
        dr.draw(stranger, 71);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.ZeroAddress.selector));
        dr.draw(address(0), 1);
        vm.expectEmit(address(dr));
        emit DemandResponse.TreasuryDrawn(stranger, 70);
        dr.draw(stranger, 70);
        checkEq(coin.balanceOf(stranger), 70, "drawn");
        checkEq(dr.treasury(), 0, "treasury");
    }

    function test_onlyTheAdminDraws() public {
        fundTreasury(70);
        expectNeedsRole(operator, dr.DEFAULT_ADMIN_ROLE());
        vm.prank(operator);
        dr.draw(operator, 1);
    }

    // ---- a hostile coin

    function test_aCoinThatCallsBackIsPaidOnce() public {
        GreedyCoin greedy = new GreedyCoin(admin);
        deploy(greedy);
        PaymentTree.Leaf[] memory leaves = makeLeaves(21, 4);
        for (uint256 i; i < 4; ++i) {
            leaves[i].payment = 1e18;
        }
        PaymentTree.Tree memory tree = finalEvent(ID, leaves);
        greedy.arm(abi.encodeCall(dr.claim, (ID, 0, leaves[0].row(), tree.proof(0, 0))));
        claim(0, leaves, tree);
        greedy.arm(abi.encodeCall(dr.payBatch, (ID, 0, 1, leaves.slice(1, 0), tree.proof(1, 0))));
        payBatch(0, 1, leaves, tree);
        creditBatch(2, 0, leaves, tree);
        greedy.arm(abi.encodeCall(dr.withdraw, (leaves[2].wallet)));
        dr.withdraw(leaves[2].wallet);
        greedy.arm(abi.encodeCall(dr.creditBatch, (ID, 0, 2, leaves.slice(2, 0), new bytes32[](0))));
        claim(3, leaves, tree);
        checkEq(greedy.attempts(), 4, "attempts");
        checkEq(greedy.successes(), 0, "successes");
        greedy.arm("");
        checkAllPaidOnce(leaves);
    }

    function test_aCoinThatCallsBackFundsAndDrawsOnce() public {
        GreedyCoin greedy = new GreedyCoin(admin);
        deploy(greedy);
        fundTreasury(70);
        bytes32 role = dr.DEFAULT_ADMIN_ROLE();
        greedy.arm(abi.encodeCall(dr.draw, (stranger, 70)));
        vm.prank(admin);
        dr.draw(stranger, 70);
        checkEq(greedy.successes(), 0, "successes");
        check(!dr.hasRole(role, address(greedy)), "the coin has no role");
        checkEq(dr.treasury() + coin.balanceOf(address(dr)), 0, "all is drawn");
    }
}
