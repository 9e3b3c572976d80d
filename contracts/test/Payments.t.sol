// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice A coin that calls back into the contract that pays, as no honest coin does.
contract GreedyCoin is IncentiveCoin {
    bytes private _call;
    uint256 public attempts;
    uint256 public successes;

    constructor(address admin) IncentiveCoin("Greedy", "GRD", 18, admin) {}

    function arm(bytes calldata call_) external {
        _call = call_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        (bool ok,) = msg.sender.call(_call);
        ++attempts;
        if (ok) ++successes;
        return super.transfer(to, amount);
    }
}

/// @notice From certification to the last payment.
contract PaymentsTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for DemandResponse.Payment[];

    bytes32 private constant ID = keccak256("event");
    uint256 private constant HOMES = 300;

    function setUp() public override {
        super.setUp();
        registerUpTo(HOMES);
    }

    function claim(uint256 index, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree)
        private
    {
        dr.claim(ID, uint32(index), rows[index], tree.proof(0, index));
    }

    function payBatch(
        uint256 chunk,
        uint256 level,
        DemandResponse.Payment[] memory rows,
        PaymentTree.Tree memory tree
    ) private {
        dr.payBatch(ID, uint32(chunk), uint8(level), rows.slice(level, chunk), tree.proof(level, chunk));
    }

    function expectInvalidProof() private {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.InvalidProof.selector, ID));
    }

    function checkAllPaidOnce(DemandResponse.Payment[] memory rows) private view {
        (, uint128 payment) = totals(rows);
        DemandResponse.EventView memory ev = dr.eventOf(ID);
        checkEq(uint8(ev.state), uint8(DemandResponse.State.Paid), "state");
        checkEq(ev.paidTotal, payment, "paid total");
        checkEq(ev.paidCount, rows.length, "paid count");
        checkEq(coin.balanceOf(address(dr)), 0, "left in escrow");
        for (uint256 i; i < rows.length; ++i) {
            check(dr.isPaid(ID, i), "bit");
            checkEq(coin.balanceOf(rows[i].wallet), rows[i].payment, "balance of a home");
        }
    }

    // ---- any tree

    function testFuzz_everyLeafOfAnyTreeCanBeClaimed(uint256 seed, uint256 size) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 1, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        for (uint256 i; i < rows.length; ++i) {
            claim(i, rows, tree);
        }
        checkAllPaidOnce(rows);
    }

    function testFuzz_everyNodeOfAnyLevelCanBePaidAsABatch(uint256 seed, uint256 size, uint256 level) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 1, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        level = within(level, 0, dr.MAX_LEVEL());
        for (uint256 chunk; chunk << level < rows.length; ++chunk) {
            payBatch(chunk, level, rows, tree);
        }
        checkAllPaidOnce(rows);
    }

    function testFuzz_noMixOfClaimsAndBatchesPaysAHomeTwice(uint256 seed, uint256 size) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 1, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        bool[] memory paid = new bool[](rows.length);
        for (uint256 turn; turn < 40; ++turn) {
            uint256 dice = uint256(keccak256(abi.encode(seed, "turn", turn)));
            uint256 index = dice % rows.length;
            uint256 level = (dice >> 64) % 9;
            if ((dice >> 128) & 1 == 0) {
                if (paid[index]) {
                    vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyPaid.selector, ID, index));
                }
                claim(index, rows, tree);
                paid[index] = true;
            } else {
                if (markNode(paid, level, index >> level) == 0) {
                    vm.expectRevert(abi.encodeWithSelector(DemandResponse.NothingToPay.selector, ID));
                }
                payBatch(index >> level, level, rows, tree);
            }
        }
        for (uint256 i; i < rows.length; ++i) {
            check(dr.isPaid(ID, i) == paid[i], "bit");
            checkEq(coin.balanceOf(rows[i].wallet), paid[i] ? rows[i].payment : 0, "balance of a home");
            if (!paid[i]) claim(i, rows, tree);
        }
        checkAllPaidOnce(rows);
    }

    /// @dev Mark the leaves of a node and return how many of them were not marked before.
    function markNode(bool[] memory paid, uint256 level, uint256 chunk) private pure returns (uint256 fresh) {
        for (uint256 i = chunk << level; i < (chunk + 1) << level && i < paid.length; ++i) {
            if (!paid[i]) ++fresh;
            paid[i] = true;
        }
    }

    function testFuzz_noFieldOfALeafCanBeChanged(uint256 seed, uint256 size, uint256 field) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 1, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        uint256 index = seed % rows.length;
        bytes32[] memory proof = tree.proof(0, index);
        DemandResponse.Payment memory row = rows[index];
        field %= 5;
        if (field == 0) row.resource = resourceOf(index + 1);
        if (field == 1) row.wallet = stranger;
        if (field == 2) row.reductionWh += 1;
        if (field == 3) row.payment += 1;
        if (field == 4) row.certificateHash = keccak256("forged");
        expectInvalidProof();
        dr.claim(ID, uint32(index), row, proof);

        // `row` is a reference: the batch now holds the changed leaf as well.
        uint256 level = (seed >> 64) % 9;
        DemandResponse.Payment[] memory part = rows.slice(level, index >> level);
        proof = tree.proof(level, index >> level);
        expectInvalidProof();
        dr.payBatch(ID, uint32(index >> level), uint8(level), part, proof);
    }

    function testFuzz_aLeafIsPaidOnlyUnderItsOwnIndex(uint256 seed, uint256 size, uint256 other) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 2, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        uint256 index = seed % rows.length;
        other = (index + within(other, 1, rows.length - 1)) % rows.length;
        bytes32[] memory proof = tree.proof(0, index);
        expectInvalidProof();
        dr.claim(ID, uint32(other), rows[index], proof);
    }

    function testFuzz_aBatchCannotBeReordered(uint256 seed, uint256 size, uint256 other) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 2, 256));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        uint256 index = seed % rows.length;
        other = (index + within(other, 1, rows.length - 1)) % rows.length;
        (rows[index], rows[other]) = (rows[other], rows[index]);
        bytes32[] memory proof = tree.proof(8, 0);
        expectInvalidProof();
        dr.payBatch(ID, 0, 8, rows, proof);
    }

    function testFuzz_aProofCannotBeShortenedOrLengthened(uint256 seed, uint256 size) public {
        DemandResponse.Payment[] memory rows = makeRows(seed, within(size, 2, HOMES));
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        uint256 index = seed % rows.length;
        bytes32[] memory proof = tree.proof(0, index);
        bytes32[] memory longer = new bytes32[](proof.length + 1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i; i < proof.length; ++i) {
            longer[i] = proof[i];
            if (i < shorter.length) shorter[i] = proof[i];
        }
        longer[proof.length] = tree.root();
        expectInvalidProof();
        dr.claim(ID, uint32(index), rows[index], shorter);
        expectInvalidProof();
        dr.claim(ID, uint32(index), rows[index], longer);
    }

    function test_theLeafOfOneEventPaysNothingInAnother() public {
        DemandResponse.Payment[] memory rows = makeRows(1, 4);
        PaymentTree.Tree memory tree = PaymentTree.build(keccak256("another event"), rows);
        payableEvent(ID, rows);
        bytes32[] memory proof = tree.proof(0, 0);
        expectInvalidProof();
        dr.claim(ID, 0, rows[0], proof);
    }

    // ---- one payment

    function test_anyoneCanPushAPaymentAndOnlyTheHomeIsPaid() public {
        DemandResponse.Payment[] memory rows = makeRows(2, 5);
        rows[3].payment = 7e18;
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        bytes32[] memory proof = tree.proof(0, 3);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentMade(ID, 3, rows[3].resource, rows[3].wallet, 7e18);
        vm.prank(stranger);
        dr.claim(ID, 3, rows[3], proof);
        checkEq(coin.balanceOf(rows[3].wallet), 7e18, "home");
        checkEq(coin.balanceOf(stranger), 0, "pusher");
        checkEq(dr.paidBitmap(ID, 0), 8, "bitmap");
        check(dr.isPaid(ID, 3) && !dr.isPaid(ID, 2), "bits");
        checkState(ID, DemandResponse.State.Certified);
    }

    function test_aHomeIsNotPaidTwice() public {
        DemandResponse.Payment[] memory rows = makeRows(3, 5);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        claim(4, rows, tree);
        bytes32[] memory proof = tree.proof(0, 4);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyPaid.selector, ID, 4));
        dr.claim(ID, 4, rows[4], proof);
    }

    function test_noLeafIsBeyondTheCount() public {
        DemandResponse.Payment[] memory rows = makeRows(4, 5);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        bytes32[] memory proof = tree.proof(0, 4);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.IndexOutOfRange.selector, ID, 5, 5));
        dr.claim(ID, 5, rows[4], proof);
    }

    // ---- batches

    function test_aBatchSkipsHomesThatClaimed() public {
        DemandResponse.Payment[] memory rows = makeRows(5, 300);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        claim(0, rows, tree);
        claim(77, rows, tree);
        claim(299, rows, tree);
        payBatch(0, 8, rows, tree);
        payBatch(1, 8, rows, tree);
        checkAllPaidOnce(rows);
        checkEq(dr.paidBitmap(ID, 0), type(uint256).max, "first word");
        checkEq(dr.paidBitmap(ID, 1), (1 << 44) - 1, "second word");
    }

    function test_aBatchThatPaysNobodyFails() public {
        DemandResponse.Payment[] memory rows = makeRows(6, 12);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        payBatch(1, 2, rows, tree);
        bytes32[] memory proof = tree.proof(2, 1);
        DemandResponse.Payment[] memory part = rows.slice(2, 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NothingToPay.selector, ID));
        dr.payBatch(ID, 1, 2, part, proof);
    }

    function test_aBatchHoldsAllTheLeavesOfItsNode() public {
        DemandResponse.Payment[] memory rows = makeRows(7, 13);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        bytes32[] memory proof = tree.proof(2, 3);
        DemandResponse.Payment[] memory part = rows.slice(2, 2);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 1, 4));
        dr.payBatch(ID, 3, 2, part, proof);
        part = rows.slice(2, 3);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 4, 1));
        dr.payBatch(ID, 2, 2, part, proof);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongRowCount.selector, 4, 0));
        dr.payBatch(ID, 2, 2, new DemandResponse.Payment[](0), proof);
    }

    function test_theNodeAfterTheLastDoesNotExist() public {
        DemandResponse.Payment[] memory rows = makeRows(22, 12);
        payableEvent(ID, rows);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.IndexOutOfRange.selector, ID, 12, 12));
        dr.payBatch(ID, 3, 2, rows, new bytes32[](0));
    }

    function test_noNodeIsBeyondTheCount() public {
        DemandResponse.Payment[] memory rows = makeRows(8, 13);
        payableEvent(ID, rows);
        bytes32[] memory proof;
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.IndexOutOfRange.selector, ID, 16, 13));
        dr.payBatch(ID, 4, 2, rows, proof);
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.IndexOutOfRange.selector, ID, uint256(type(uint32).max) << 8, 13
            )
        );
        dr.payBatch(ID, type(uint32).max, 8, rows, proof);
    }

    function test_aBatchHasAtMost256Homes() public {
        DemandResponse.Payment[] memory rows = makeRows(9, 300);
        payableEvent(ID, rows);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.LevelTooHigh.selector, 9));
        dr.payBatch(ID, 0, 9, rows, new bytes32[](0));
    }

    // ---- the end

    function test_theLastPaymentIsFollowedByTheEventBeingPaid() public {
        DemandResponse.Payment[] memory rows = makeRows(10, 2);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        (, uint128 payment) = totals(rows);
        claim(0, rows, tree);
        bytes32[] memory proof = tree.proof(0, 1);
        vm.expectEmit(address(dr));
        emit DemandResponse.PaymentMade(ID, 1, rows[1].resource, rows[1].wallet, rows[1].payment);
        vm.expectEmit(address(dr));
        emit DemandResponse.EventPaid(ID, payment);
        dr.claim(ID, 1, rows[1], proof);
        checkAllPaidOnce(rows);
    }

    function test_payingAPaidOrClosedEventAgainSaysThatItIsPaid() public {
        DemandResponse.Payment[] memory rows = makeRows(11, 3);
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        payBatch(0, 8, rows, tree);
        bytes32[] memory proof = tree.proof(0, 1);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyPaid.selector, ID, 1));
        dr.claim(ID, 1, rows[1], proof);
        vm.prank(operator);
        dr.close(ID);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.NothingToPay.selector, ID));
        dr.payBatch(ID, 0, 8, rows, new bytes32[](0));
    }

    function test_leavesOfZeroCountAsPaidAndMoveNoCoins() public {
        DemandResponse.Payment[] memory rows = makeRows(12, 4);
        for (uint256 i; i < rows.length; ++i) {
            (rows[i].payment, rows[i].wallet) = (0, address(0));
        }
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        claim(2, rows, tree);
        check(dr.isPaid(ID, 2), "bit");
        payBatch(0, 2, rows, tree);
        checkState(ID, DemandResponse.State.Paid);
        checkEq(coin.totalSupply(), 0, "supply");
    }

    // ---- when

    function test_noPaymentBeforeTheDisputeWindowHasPassed() public {
        DemandResponse.Payment[] memory rows = makeRows(13, 2);
        endedEvent(ID, 2);
        vm.warp(END + 5);
        PaymentTree.Tree memory tree = certify(ID, rows);
        bytes32[] memory proof = tree.proof(0, 0);
        vm.warp(END + 5 + WINDOW - 1);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.DisputeWindowOpen.selector, ID, END + 5 + WINDOW)
        );
        dr.claim(ID, 0, rows[0], proof);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.DisputeWindowOpen.selector, ID, END + 5 + WINDOW)
        );
        dr.payBatch(ID, 0, 1, rows, new bytes32[](0));
        vm.warp(END + 5 + WINDOW);
        dr.claim(ID, 0, rows[0], proof);
    }

    function test_onlyACertifiedEventPays() public {
        DemandResponse.Payment[] memory rows = makeRows(14, 1);
        bytes32[] memory proof;
        expectWrongState(ID, DemandResponse.State.None);
        dr.claim(ID, 0, rows[0], proof);
        endedEvent(ID, 1);
        expectWrongState(ID, DemandResponse.State.Ended);
        dr.payBatch(ID, 0, 0, rows, proof);
    }

    function test_nothingIsPaidWhilePaused() public {
        DemandResponse.Payment[] memory rows = makeRows(15, 1);
        payableEvent(ID, rows);
        bytes32[] memory proof;
        vm.prank(pauser);
        dr.pause();
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        dr.claim(ID, 0, rows[0], proof);
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        dr.payBatch(ID, 0, 0, rows, proof);
        vm.prank(admin);
        dr.unpause();
        dr.claim(ID, 0, rows[0], proof);
    }

    // ---- totals that do not fit the leaves

    function certifyTotal(DemandResponse.Payment[] memory rows, uint128 payment)
        private
        returns (PaymentTree.Tree memory tree)
    {
        endedEvent(ID, rows.length);
        tree = PaymentTree.build(ID, rows);
        vm.prank(certifier);
        dr.certify(ID, tree.root(), uint32(rows.length), 0, payment, 0);
        vm.warp(END + WINDOW);
    }

    function test_leavesNeverPayMoreThanTheCertifiedTotal() public {
        DemandResponse.Payment[] memory rows = makeRows(16, 3);
        (, uint128 payment) = totals(rows);
        certifyTotal(rows, payment - 1);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.PaymentsAboveTotal.selector, ID, payment, payment - 1)
        );
        dr.payBatch(ID, 0, 2, rows, new bytes32[](0));
    }

    function test_leavesThatOverflowTogetherStillFailByName() public {
        DemandResponse.Payment[] memory rows = makeRows(17, 2);
        rows[0].payment = rows[1].payment = type(uint128).max;
        certifyTotal(rows, type(uint128).max);
        vm.expectRevert(
            abi.encodeWithSelector(
                DemandResponse.PaymentsAboveTotal.selector,
                ID,
                2 * uint256(type(uint128).max),
                type(uint128).max
            )
        );
        dr.payBatch(ID, 0, 1, rows, new bytes32[](0));
    }

    function test_anEventIsNotPaidWhileItsTotalIsNot() public {
        DemandResponse.Payment[] memory rows = makeRows(18, 3);
        (, uint128 payment) = totals(rows);
        PaymentTree.Tree memory tree = certifyTotal(rows, payment + 1);
        claim(0, rows, tree);
        claim(2, rows, tree);
        bytes32[] memory proof = tree.proof(0, 1);
        vm.expectRevert(
            abi.encodeWithSelector(DemandResponse.PaymentsBelowTotal.selector, ID, payment, payment + 1)
        );
        dr.claim(ID, 1, rows[1], proof);
        checkState(ID, DemandResponse.State.Certified);
    }

    function test_anEventCannotSpendTheEscrowOfAnother() public {
        DemandResponse.Payment[] memory rich = makeRows(19, 3);
        endedEvent("rich", 3);
        certify("rich", rich);
        DemandResponse.Payment[] memory rows = makeRows(20, 2);
        rows[0].payment = 5;
        certifyTotal(rows, 4);
        bytes32[] memory proof = PaymentTree.build(ID, rows).proof(0, 0);
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.PaymentsAboveTotal.selector, ID, 5, 4));
        dr.claim(ID, 0, rows[0], proof);
    }

    // ---- a hostile coin

    function test_aCoinThatCallsBackIsPaidOnce() public {
        GreedyCoin greedy = new GreedyCoin(admin);
        deploy(greedy);
        DemandResponse.Payment[] memory rows = makeRows(21, 3);
        rows[0].payment = rows[1].payment = rows[2].payment = 1e18;
        PaymentTree.Tree memory tree = payableEvent(ID, rows);
        greedy.arm(abi.encodeCall(dr.claim, (ID, 0, rows[0], tree.proof(0, 0))));
        claim(0, rows, tree);
        greedy.arm(abi.encodeCall(dr.payBatch, (ID, 0, 2, rows, new bytes32[](0))));
        payBatch(0, 2, rows, tree);
        checkEq(greedy.attempts(), 3, "attempts");
        checkEq(greedy.successes(), 0, "successes");
        checkAllPaidOnce(rows);
    }
}
