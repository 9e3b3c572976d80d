// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice Opens events and pays them in any order, and tries to be paid what it should not be.
contract Handler is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for DemandResponse.Payment[];

    uint256 public constant HOMES = 70;
    uint256 private constant EVENTS = 5;

    uint256[] private _counts;
    uint256 public certified;
    uint256 public paid;
    uint256 public wrongSuccesses;
    mapping(address home => uint256) public owed;

    constructor() {
        setUp();
        registerUpTo(HOMES);
        open(7);
    }

    function contracts() external view returns (DemandResponse, IncentiveCoin) {
        return (dr, coin);
    }

    function eventCount() external view returns (uint256) {
        return _counts.length;
    }

    function open(uint256 size) public {
        if (_counts.length == EVENTS) return;
        uint256 number = _counts.length;
        _counts.push(within(size, 1, HOMES));
        DemandResponse.Payment[] memory rows = makeRows(number, _counts[number]);
        payableEvent(bytes32(number), rows);
        (, uint128 payment) = totals(rows);
        certified += payment;
    }

    function claim(uint256 pick, uint256 index) external {
        (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree) = pickEvent(pick);
        index %= rows.length;
        bool before = dr.isPaid(id, index);
        try dr.claim(id, uint32(index), rows[index], tree.proof(0, index)) {
            if (before) ++wrongSuccesses;
            settle(rows[index]);
        } catch {
            require(before, "a claim that was due failed");
        }
    }

    function payBatch(uint256 pick, uint256 index, uint256 level) external {
        (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree) = pickEvent(pick);
        level = within(level, 0, 4);
        uint256 chunk = (index % rows.length) >> level;
        DemandResponse.Payment[] memory part = rows.slice(level, chunk);
        bool[] memory before = new bool[](part.length);
        uint256 due;
        for (uint256 i; i < part.length; ++i) {
            before[i] = dr.isPaid(id, (chunk << level) + i);
            if (!before[i]) ++due;
        }
        try dr.payBatch(id, uint32(chunk), uint8(level), part, tree.proof(level, chunk)) {
            if (due == 0) ++wrongSuccesses;
            for (uint256 i; i < part.length; ++i) {
                if (!before[i]) settle(part[i]);
            }
        } catch {
            require(due == 0, "a batch that was due failed");
        }
    }

    function claimMore(uint256 pick, uint256 index, uint128 extra) external {
        (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree) = pickEvent(pick);
        index %= rows.length;
        DemandResponse.Payment memory row = rows[index];
        row.payment += uint128(within(extra, 1, 1e24));
        try dr.claim(id, uint32(index), row, tree.proof(0, index)) {
            ++wrongSuccesses;
        } catch {}
    }

    function claimForAnother(uint256 pick, uint256 index, address wallet) external {
        (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree) = pickEvent(pick);
        index %= rows.length;
        if (wallet == rows[index].wallet) return;
        rows[index].wallet = wallet;
        try dr.payBatch(id, uint32(index), 0, rows.slice(0, index), tree.proof(0, index)) {
            ++wrongSuccesses;
        } catch {}
    }

    function claimUnderAnotherIndex(uint256 pick, uint256 index, uint32 other) external {
        (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree) = pickEvent(pick);
        index %= rows.length;
        if (other == index) return;
        try dr.claim(id, other, rows[index], tree.proof(0, index)) {
            ++wrongSuccesses;
        } catch {}
    }

    function certifyAgain(uint256 pick, bytes32 root, uint128 payment) external {
        (bytes32 id, DemandResponse.Payment[] memory rows,) = pickEvent(pick);
        vm.prank(certifier);
        try dr.certify(id, root, uint32(rows.length), 0, payment, 0) {
            ++wrongSuccesses;
        } catch {}
    }

    function pickEvent(uint256 pick)
        private
        view
        returns (bytes32 id, DemandResponse.Payment[] memory rows, PaymentTree.Tree memory tree)
    {
        uint256 number = pick % _counts.length;
        id = bytes32(number);
        rows = makeRows(number, _counts[number]);
        tree = PaymentTree.build(id, rows);
    }

    function settle(DemandResponse.Payment memory row) private {
        paid += row.payment;
        owed[row.wallet] += row.payment;
    }
}

contract InvariantsTest is Fixture {
    Handler private handler;

    function setUp() public override {
        vm.warp(NOW);
        handler = new Handler();
        (dr, coin) = handler.contracts();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// @dev Leaves out the handler's inherited `setUp` and its views.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](10);
        selectors[0] = Handler.open.selector;
        selectors[1] = selectors[2] = selectors[3] = Handler.claim.selector;
        selectors[4] = selectors[5] = Handler.payBatch.selector;
        selectors[6] = Handler.claimMore.selector;
        selectors[7] = Handler.claimForAnother.selector;
        selectors[8] = Handler.claimUnderAnotherIndex.selector;
        selectors[9] = Handler.certifyAgain.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    function invariant_coinsExistExactlyForWhatWasCertified() public view {
        checkEq(coin.totalSupply(), handler.certified(), "supply");
    }

    function invariant_escrowIsWhatWasCertifiedAndNotYetPaid() public view {
        checkEq(coin.balanceOf(address(dr)), handler.certified() - handler.paid(), "escrow");
        uint256 left;
        for (uint256 i; i < handler.eventCount(); ++i) {
            DemandResponse.EventView memory ev = dr.eventOf(bytes32(i));
            left += ev.totalPayment - ev.paidTotal;
        }
        checkEq(left, handler.certified() - handler.paid(), "sum over the events");
    }

    function invariant_everyHomeHoldsWhatItsPaidLeavesSay() public view {
        for (uint256 i; i < handler.HOMES(); ++i) {
            checkEq(coin.balanceOf(ownerOf(i)), handler.owed(ownerOf(i)), "balance of a home");
        }
    }

    function invariant_noWrongAttemptSucceeds() public view {
        checkEq(handler.wrongSuccesses(), 0, "wrong successes");
    }

    function invariant_anEventIsPaidOnceAllItsBitsAreSet() public view {
        for (uint256 i; i < handler.eventCount(); ++i) {
            DemandResponse.EventView memory ev = dr.eventOf(bytes32(i));
            uint256 bits;
            for (uint256 word = dr.paidBitmap(bytes32(i), 0); word != 0; word &= word - 1) {
                ++bits;
            }
            checkEq(ev.paidCount, bits, "paid count");
            check((ev.state == DemandResponse.State.Paid) == (bits == ev.count), "state");
        }
    }
}
