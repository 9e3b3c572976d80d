// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice Takes events through their lives in any order, and tries what must not be possible. It keeps books of
///         its own, from nothing but which of its calls succeeded.
contract EventHandler is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for PaymentTree.Leaf;
    using PaymentTree for PaymentTree.Leaf[];

    uint256 public constant HOMES = 12;
    uint256 public constant EVENTS = 3;
    uint256 private constant STATES = 9;

    /// @dev `seen` is the state last observed; from `seed` follow the leaves of the certification.
    struct Book {
        DemandResponse.State seen;
        DemandResponse.Funding funding;
        uint256 seed;
        uint256 total;
        bool[] joined;
        bool[] challenged;
        bool[] paid;
    }

    Book[] private _books;
    bool[STATES][STATES] private _allowed;

    uint256 public treasuryMinted;
    uint256 public eventsMinted;
    uint256 public burned;
    uint256 public drawn;
    string public fault;
    mapping(uint256 home => uint256) public earned;
    mapping(uint256 home => uint256) public received;

    constructor() {
        setUp();
        registerUpTo(HOMES);
        allow(DemandResponse.State.None, DemandResponse.State.Issued);
        allow(DemandResponse.State.Issued, DemandResponse.State.Active);
        allow(DemandResponse.State.Issued, DemandResponse.State.Cancelled);
        allow(DemandResponse.State.Active, DemandResponse.State.Ended);
        allow(DemandResponse.State.Ended, DemandResponse.State.Certified);
        allow(DemandResponse.State.Certified, DemandResponse.State.Ended);
        allow(DemandResponse.State.Certified, DemandResponse.State.Final);
        // An event of zero payments is paid as soon as it is final.
        allow(DemandResponse.State.Certified, DemandResponse.State.Paid);
        allow(DemandResponse.State.Final, DemandResponse.State.Paid);
        allow(DemandResponse.State.Final, DemandResponse.State.Closed);
        allow(DemandResponse.State.Paid, DemandResponse.State.Closed);
        issueEvent(0, HOMES);
    }

    /// @dev Note what state each event is in, before and after everything that happens.
    modifier observed() {
        observe();
        _;
        observe();
    }

    function observe() private {
        for (uint256 i; i < _books.length; ++i) {
            DemandResponse.State state = dr.stateOf(bytes32(i));
            DemandResponse.State seen = _books[i].seen;
            if (state == seen) continue;
            if (!_allowed[uint8(seen)][uint8(state)]) fault = "a state was skipped";
            if (state == DemandResponse.State.Paid && seen == DemandResponse.State.Certified) {
                if (_books[i].total != 0) fault = "an event was paid before it was final";
            }
            _books[i].seen = state;
        }
    }

    function allow(DemandResponse.State from, DemandResponse.State to) private {
        _allowed[uint8(from)][uint8(to)] = true;
    }

    /// @dev Whether a call should have succeeded, and whether it did.
    function judge(bool due, bool done, string memory what) private {
        if (due != done) fault = string.concat(what, due ? " failed" : " was possible");
    }

    function contracts() external view returns (DemandResponse, IncentiveCoin) {
        return (dr, coin);
    }

    function eventCount() external view returns (uint256) {
        return _books.length;
    }

    function bookOf(uint256 number) external view returns (Book memory) {
        return _books[number];
    }

    // ---- the clock

    /// @dev Never by more than the shortest event, so that no state passes unseen.
    function wait(uint256 time) public observed {
        vm.warp(block.timestamp + within(time, 1, 1 hours));
    }

    // ---- the life of an event

    function issueEvent(uint256 dice, uint256 homes) public observed {
        if (_books.length == EVENTS) return;
        uint256 number = _books.length;
        DemandResponse.Terms memory terms;
        terms.start = uint40(block.timestamp + 1 + dice % 1 hours);
        terms.end = terms.start + 1 hours;
        terms.disputeWindow = dice % 3 == 0 ? 0 : 1 hours;
        terms.claimWindow = 5 hours;
        terms.funding = dice % 2 == 0 ? DemandResponse.Funding.Mint : DemandResponse.Funding.Treasury;
        (terms.targetWh, terms.programmeHash) = (1, PROGRAMME);
        issue(bytes32(number), terms);

        _books.push();
        Book storage book = _books[number];
        book.funding = terms.funding;
        homes = within(homes, 0, HOMES);
        optInUpTo(bytes32(number), homes);
        for (uint256 i; i < HOMES; ++i) {
            book.joined.push(i < homes);
            book.challenged.push(false);
            book.paid.push(false);
        }
    }

    function choose(uint256 pick, uint256 home, bool takesPart) external observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        home %= HOMES;
        bool due = state == DemandResponse.State.Issued && (!takesPart || !book.joined[home]);
        bytes32[] memory resource = one(resourceOf(home));
        vm.prank(ownerOf(home));
        if (takesPart) {
            try dr.optIn(bytes32(number), resource) {
                book.joined[home] = true;
                judge(due, true, "opting in");
            } catch {
                judge(due, false, "opting in");
            }
        } else {
            try dr.optOut(bytes32(number), resource) {
                book.joined[home] = false;
                judge(due, true, "opting out");
            } catch {
                judge(due, false, "opting out");
            }
        }
    }

    function cancel(uint256 pick, uint256 dice) external observed {
        (uint256 number,, DemandResponse.State state) = pickEvent(pick);
        bool due = state == DemandResponse.State.Issued;
        if (due && dice % 8 != 0) return; // else few events would ever start
        vm.prank(operator);
        try dr.cancel(bytes32(number)) {
            judge(due, true, "cancelling");
        } catch {
            judge(due, false, "cancelling");
        }
    }

    function certifyEvent(uint256 pick, uint256 seed, bool zero) public observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        uint256 before = book.seed;
        book.seed = zero ? 0 : seed | 1;
        (PaymentTree.Leaf[] memory leaves,) = leavesOf(number);
        // A root is needed even where there is nobody to pay.
        bytes32 root = leaves.length == 0 ? REASON : PaymentTree.build(bytes32(number), leaves).root();
        (uint128 reductionWh, uint96 payment) = totals(leaves);
        bool due = state == DemandResponse.State.Ended;
        vm.prank(certifier);
        try dr.certify(bytes32(number), root, uint32(leaves.length), reductionWh, payment, PUBLISHED) {
            judge(due, true, "certifying");
            book.total = payment;
        } catch {
            judge(due, false, "certifying");
            book.seed = before;
        }
    }

    function challenge(uint256 pick, uint256 home) external observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        home %= HOMES;
        bool due = state == DemandResponse.State.Certified && book.joined[home] && !book.challenged[home]
            && block.timestamp < dr.eventOf(bytes32(number)).payableFrom;
        vm.prank(ownerOf(home));
        try dr.challenge(bytes32(number), resourceOf(home), REASON, 0, "") {
            judge(due, true, "challenging");
            book.challenged[home] = true;
        } catch {
            judge(due, false, "challenging");
        }
    }

    function answer(uint256 pick, uint256 home, bool wrong) public observed {
        (uint256 number,, DemandResponse.State state) = pickEvent(pick);
        (PaymentTree.Leaf[] memory leaves, uint256[] memory homes) = leavesOf(number);
        if (homes.length == 0) return;
        uint256 index = home % homes.length;
        home = homes[index];
        DemandResponse.OpenLeaf memory leaf = leaves[index].open(index);
        if (wrong) leaf.reductionWh += 1;
        bytes32[] memory proof = PaymentTree.build(bytes32(number), leaves).proof(0, index);
        bool due = state == DemandResponse.State.Certified && !wrong
            && dr.hasOpenChallenge(bytes32(number), resourceOf(home));
        vm.prank(certifier);
        try dr.answer(bytes32(number), resourceOf(home), leaf, proof, PUBLISHED) {
            judge(due, true, "answering");
        } catch {
            judge(due, false, "answering");
        }
    }

    function takeBack(uint256 pick, uint256 dice) external observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        bool due = state == DemandResponse.State.Certified;
        if (due && dice % 2 != 0) return; // else few events would ever be final
        vm.prank(certifier);
        try dr.withdrawCertification(bytes32(number), REASON) {
            judge(due, true, "taking back");
            book.total = 0;
            for (uint256 i; i < HOMES; ++i) {
                book.challenged[i] = false;
            }
        } catch {
            judge(due, false, "taking back");
        }
    }

    function finalise(uint256 pick) public observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        DemandResponse.EventView memory ev = dr.eventOf(bytes32(number));
        bool minted = book.funding == DemandResponse.Funding.Mint;
        bool due = state == DemandResponse.State.Certified && block.timestamp >= ev.payableFrom
            && openChallenges(number) == 0 && (minted || dr.treasury() >= book.total);
        try dr.finalise(bytes32(number)) {
            judge(due, true, "finalising");
            if (minted) eventsMinted += book.total;
        } catch {
            judge(due, false, "finalising");
        }
    }

    function close(uint256 pick) external observed {
        (uint256 number,, DemandResponse.State state) = pickEvent(pick);
        vm.prank(operator);
        try dr.close(bytes32(number)) {
            judge(state == DemandResponse.State.Paid, true, "closing");
        } catch {
            judge(state == DemandResponse.State.Paid, false, "closing");
        }
    }

    function returnUnclaimed(uint256 pick) external observed {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        DemandResponse.EventView memory ev = dr.eventOf(bytes32(number));
        bool due = state == DemandResponse.State.Final && block.timestamp >= ev.claimUntil;
        try dr.returnUnclaimed(bytes32(number)) {
            judge(due, true, "returning");
            if (book.funding == DemandResponse.Funding.Mint) burned += ev.unpaid;
        } catch {
            judge(due, false, "returning");
        }
    }

    /// @dev The next right step of an event, so that some come far.
    function advance(uint256 pick, uint256 dice) external {
        (uint256 number, Book storage book, DemandResponse.State state) = pickEvent(pick);
        if (state == DemandResponse.State.Issued || state == DemandResponse.State.Active) wait(dice);
        if (state == DemandResponse.State.Ended) certifyEvent(pick, dice, false);
        if (state == DemandResponse.State.Certified) {
            fund(book.total);
            (, uint256[] memory homes) = leavesOf(number);
            for (uint256 i; i < homes.length; ++i) {
                if (dr.hasOpenChallenge(bytes32(number), resourceOf(homes[i]))) answer(pick, i, false);
            }
            if (block.timestamp < dr.eventOf(bytes32(number)).payableFrom) wait(dice);
            else finalise(pick);
        }
    }

    // ---- payment

    /// @dev Way 0 claims one leaf, way 1 pays a node, way 2 credits it.
    function pay(uint256 pick, uint256 index, uint256 level, uint8 way) external observed {
        (uint256 number, Book storage book,) = pickEvent(pick);
        (PaymentTree.Leaf[] memory leaves, uint256[] memory homes) = leavesOf(number);
        if (leaves.length == 0) return;
        way %= 3;
        level = way == 0 ? 0 : within(level, 0, 4);
        uint256 chunk = (index % leaves.length) >> level;
        uint256 fresh;
        for (uint256 i = chunk << level; i < (chunk + 1) << level && i < leaves.length; ++i) {
            if (!book.paid[i]) ++fresh;
        }
        bool done = push(number, chunk, level, way, leaves);
        judge(fresh != 0 && payableNow(number), done, "paying");
        if (!done) return;
        for (uint256 i = chunk << level; i < (chunk + 1) << level && i < leaves.length; ++i) {
            if (book.paid[i]) continue;
            book.paid[i] = true;
            earned[homes[i]] += leaves[i].payment;
            if (way != 2) received[homes[i]] += leaves[i].payment;
        }
    }

    function push(uint256 number, uint256 chunk, uint256 level, uint8 way, PaymentTree.Leaf[] memory leaves)
        private
        returns (bool done)
    {
        bytes32 id = bytes32(number);
        bytes32[] memory proof = PaymentTree.build(id, leaves).proof(level, chunk);
        DemandResponse.Row[] memory rows = leaves.slice(level, chunk);
        bytes memory call = abi.encodeCall(dr.claim, (id, uint32(chunk), rows[0], proof));
        if (way == 1) call = abi.encodeCall(dr.payBatch, (id, uint32(chunk), uint8(level), rows, proof));
        if (way == 2) call = abi.encodeCall(dr.creditBatch, (id, uint32(chunk), uint8(level), rows, proof));
        (done,) = address(dr).call(call);
    }

    function payWrongly(uint256 pick, uint256 index, uint256 field, bytes32 noise) external observed {
        (uint256 number,,) = pickEvent(pick);
        (PaymentTree.Leaf[] memory leaves,) = leavesOf(number);
        if (leaves.length == 0) return;
        index %= leaves.length;
        bytes32[] memory proof = PaymentTree.build(bytes32(number), leaves).proof(0, index);
        DemandResponse.Row memory row = leaves[index].row();
        uint32 under = uint32(index);
        field %= 5;
        if (field == 0) row.payee = bytes32(uint256(row.payee) ^ within(uint256(noise), 1, 1e27));
        if (field == 1) row.payee = bytes32(uint256(row.payee) ^ (1 << 96));
        if (field == 2) row.detail = noise;
        if (field == 3) under = uint32(index + within(uint256(noise), 1, 300));
        if (field == 4) proof = one(noise);
        try dr.claim(bytes32(number), under, row, proof) {
            fault = "paying wrongly was possible";
        } catch {}
    }

    function withdraw(uint256 home) external observed {
        home %= HOMES;
        uint256 credit = earned[home] - received[home];
        try dr.withdraw(walletOf(home)) {
            judge(credit != 0, true, "withdrawing");
            received[home] += credit;
        } catch {
            judge(credit != 0, false, "withdrawing");
        }
    }

    // ---- treasury

    function fund(uint256 amount) public observed {
        amount = within(amount, 0, 1e20);
        fundTreasury(amount);
        treasuryMinted += amount;
    }

    function draw(uint256 amount) external observed {
        amount = within(amount, 0, 1e20);
        bool due = amount <= dr.treasury();
        vm.prank(admin);
        try dr.draw(stranger, amount) {
            judge(due, true, "drawing");
            drawn += amount;
        } catch {
            judge(due, false, "drawing");
        }
    }

    // ---- what the books say

    function pickEvent(uint256 pick)
        private
        view
        returns (uint256 number, Book storage book, DemandResponse.State state)
    {
        number = pick % _books.length;
        book = _books[number];
        state = dr.stateOf(bytes32(number));
    }

    function participants(Book storage book) private view returns (uint256 count) {
        for (uint256 i; i < book.joined.length; ++i) {
            if (book.joined[i]) ++count;
        }
    }

    /// @notice The leaves of an event, and the home of each; the seed 0 stands for payments of zero.
    function leavesOf(uint256 number)
        public
        view
        returns (PaymentTree.Leaf[] memory leaves, uint256[] memory homes)
    {
        Book storage book = _books[number];
        homes = new uint256[](participants(book));
        uint256 count;
        for (uint256 i; i < HOMES; ++i) {
            if (book.joined[i]) homes[count++] = i;
        }
        leaves = makeLeaves(book.seed, count);
        for (uint256 i; i < count; ++i) {
            if (book.seed == 0) (leaves[i].payment, leaves[i].reductionWh) = (0, 0);
            (leaves[i].resource, leaves[i].wallet) = (resourceOf(homes[i]), walletOf(homes[i]));
        }
    }

    function payableNow(uint256 number) private view returns (bool) {
        uint40 until = dr.eventOf(bytes32(number)).claimUntil;
        return until != 0 && block.timestamp < until;
    }

    function openChallenges(uint256 number) public view returns (uint256 count) {
        for (uint256 i; i < HOMES; ++i) {
            if (dr.hasOpenChallenge(bytes32(number), resourceOf(i))) ++count;
        }
    }

    function wallet(uint256 home) external pure returns (address) {
        return walletOf(home);
    }
}

contract EventInvariantsTest is Fixture {
    EventHandler private handler;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function setUp() public override {
        vm.warp(NOW);
        handler = new EventHandler();
        (dr, coin) = handler.contracts();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Leaves out the handler's views; names twice what should happen more often.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[20] memory names = [
            EventHandler.advance.selector,
            EventHandler.advance.selector,
            EventHandler.advance.selector,
            EventHandler.advance.selector,
            EventHandler.advance.selector,
            EventHandler.pay.selector,
            EventHandler.pay.selector,
            EventHandler.wait.selector,
            EventHandler.issueEvent.selector,
            EventHandler.choose.selector,
            EventHandler.cancel.selector,
            EventHandler.certifyEvent.selector,
            EventHandler.challenge.selector,
            EventHandler.answer.selector,
            EventHandler.takeBack.selector,
            EventHandler.finalise.selector,
            EventHandler.close.selector,
            EventHandler.returnUnclaimed.selector,
            EventHandler.payWrongly.selector,
            EventHandler.withdraw.selector
        ];
        bytes4[] memory selectors = new bytes4[](names.length + 2);
        for (uint256 i; i < names.length; ++i) {
            selectors[i] = names[i];
        }
        selectors[names.length] = EventHandler.fund.selector;
        selectors[names.length + 1] = EventHandler.draw.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @dev One campaign for all of them: each would otherwise run one of its own. It is longer, to come
    ///      far in the life of an event.
    /// forge-config: default.invariant.runs = 16
    /// forge-config: default.invariant.depth = 120
    function invariant_theContractsAgreeWithTheBooks() public view {
        nothingThatIsForbiddenHappensAndNothingThatIsDueFails();
        coinsExistExactlyForWhatIsFinalAndForTheTreasury();
        theContractHoldsTreasuryCreditsAndWhatFinalEventsOwe();
        everyHomeGetsItsPaidLeavesOnce();
        anEventOwesItsTotalLessWhatItHasPaid();
        participantsAndChallengesAreCountedRight();
    }

    function nothingThatIsForbiddenHappensAndNothingThatIsDueFails() private view {
        string memory fault = handler.fault();
        require(bytes(fault).length == 0, fault);
    }

    function coinsExistExactlyForWhatIsFinalAndForTheTreasury() private view {
        uint256 minted = handler.treasuryMinted() + handler.eventsMinted();
        checkEq(coin.totalSupply(), minted - handler.burned(), "supply");
    }

    function theContractHoldsTreasuryCreditsAndWhatFinalEventsOwe() private view {
        uint256 owed = dr.treasury();
        for (uint256 i; i < handler.eventCount(); ++i) {
            DemandResponse.EventView memory ev = dr.eventOf(bytes32(i));
            if (ev.state == DemandResponse.State.Final) owed += ev.unpaid;
        }
        for (uint256 i; i < handler.HOMES(); ++i) {
            owed += dr.creditOf(handler.wallet(i));
        }
        checkEq(coin.balanceOf(address(dr)), owed, "escrow");
    }

    function everyHomeGetsItsPaidLeavesOnce() private view {
        for (uint256 i; i < handler.HOMES(); ++i) {
            checkEq(coin.balanceOf(handler.wallet(i)), handler.received(i), "balance of a home");
            checkEq(
                dr.creditOf(handler.wallet(i)), handler.earned(i) - handler.received(i), "credit of a home"
            );
        }
    }

    function anEventOwesItsTotalLessWhatItHasPaid() private view {
        for (uint256 i; i < handler.eventCount(); ++i) {
            DemandResponse.EventView memory ev = dr.eventOf(bytes32(i));
            EventHandler.Book memory book = handler.bookOf(i);
            uint256 paid;
            if (ev.claimUntil != 0) {
                (PaymentTree.Leaf[] memory leaves,) = handler.leavesOf(i);
                for (uint256 k; k < leaves.length; ++k) {
                    check(dr.isPaid(bytes32(i), k) == book.paid[k], "bit");
                    if (book.paid[k]) paid += leaves[k].payment;
                }
            } else {
                checkEq(dr.paidBitmap(bytes32(i), 0), 0, "nothing is paid before the event is final");
            }
            if (ev.state == DemandResponse.State.Closed) checkEq(ev.unpaid, 0, "unpaid of a closed event");
            else checkEq(ev.unpaid, book.total - paid, "unpaid");
            if (ev.state == DemandResponse.State.Paid) checkEq(ev.unpaid, 0, "unpaid of a paid event");
        }
    }

    function participantsAndChallengesAreCountedRight() private view {
        for (uint256 i; i < handler.eventCount(); ++i) {
            DemandResponse.EventView memory ev = dr.eventOf(bytes32(i));
            EventHandler.Book memory book = handler.bookOf(i);
            uint256 count;
            for (uint256 k; k < book.joined.length; ++k) {
                if (book.joined[k]) ++count;
            }
            checkEq(ev.participants, count, "participants");
            if (ev.state == DemandResponse.State.Certified) {
                checkEq(ev.openChallenges, handler.openChallenges(i), "open challenges");
            } else {
                checkEq(ev.openChallenges, 0, "no challenge waits");
            }
        }
    }
}
