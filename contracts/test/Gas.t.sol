// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/DemandResponse.sol";
import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {PaymentTree} from "./support/PaymentTree.sol";

/// @notice What the transactions of an event cost: 21,000, the calldata, and the call from a cold start. Each test
///         makes the one call that `setUp` prepared, holds its cost against a limit, and tells it with `-vv`.
/// @dev `.gas-snapshot` holds the gas of these tests, that of the call and some of reading the prepared calldata;
///      `forge snapshot --check --match-contract Gas` compares with it.
contract GasTest is Fixture {
    using PaymentTree for PaymentTree.Tree;
    using PaymentTree for PaymentTree.Leaf;
    using PaymentTree for PaymentTree.Leaf[];

    // 1,024 leaves make proofs of ten siblings; a batch of 256 is proved by the last two of them.
    uint256 private constant HOMES = 1024;
    uint256 private constant BATCH = 256;

    bytes32 private constant CLAIMED = keccak256("homes claim");
    bytes32 private constant PUSHED = keccak256("batches are pushed");
    bytes32 private constant CERTIFIED = keccak256("waits to become final");
    bytes32 private constant ENDED = keccak256("waits to be certified");
    bytes32 private constant ISSUED = keccak256("homes opt in");

    mapping(address prepared => uint256) private _tokens;

    event Gas(string what, uint256 gas);

    /// @dev The wallets of the first batch hold coins, those of the second have credit, all others have nothing.
    function setUp() public override {
        super.setUp();
        registerUpTo(HOMES);
        PaymentTree.Leaf[] memory leaves = makeLeaves(1, HOMES);
        for (uint256 i; i < HOMES; ++i) {
            leaves[i].payment = uint96(1e18 + i * 1e15);
            if (i < BATCH) coin.mint(leaves[i].wallet, 1e18);
        }
        PaymentTree.Tree memory tree = finalEvent("before", leaves);
        dr.creditBatch("before", 1, 8, leaves.slice(8, 1), tree.proof(8, 1));

        prepareClaims(leaves);
        prepareBatches(leaves);
        prepareSteps(leaves);
        prepareHomes();
    }

    /// @dev Others have claimed before, as it is for all homes but one in 256.
    function prepareClaims(PaymentTree.Leaf[] memory leaves) private {
        PaymentTree.Tree memory tree = finalEvent(CLAIMED, leaves);
        dr.claim(CLAIMED, 1, leaves[1].row(), tree.proof(0, 1));
        dr.claim(CLAIMED, 513, leaves[513].row(), tree.proof(0, 513));
        keep("claim warm", abi.encodeCall(dr.claim, (CLAIMED, 0, leaves[0].row(), tree.proof(0, 0))));
        keep("claim new", abi.encodeCall(dr.claim, (CLAIMED, 512, leaves[512].row(), tree.proof(0, 512))));
        keep("withdraw", abi.encodeCall(dr.withdraw, (leaves[BATCH].wallet)));
    }

    function prepareBatches(PaymentTree.Leaf[] memory leaves) private {
        PaymentTree.Tree memory tree = finalEvent(PUSHED, leaves);
        for (uint32 chunk; chunk < 3; ++chunk) {
            bytes32[] memory proof = tree.proof(8, chunk);
            DemandResponse.Row[] memory rows = leaves.slice(8, chunk);
            keep(payName(chunk), abi.encodeCall(dr.payBatch, (PUSHED, chunk, 8, rows, proof)));
            keep(creditName(chunk), abi.encodeCall(dr.creditBatch, (PUSHED, chunk, 8, rows, proof)));
        }
    }

    function prepareSteps(PaymentTree.Leaf[] memory leaves) private {
        certifiedEvent(CERTIFIED, leaves);
        keep("finalise", abi.encodeCall(dr.finalise, (CERTIFIED)));

        endedEvent(ENDED, HOMES);
        bytes32 root = PaymentTree.build(ENDED, leaves).root();
        (uint128 reductionWh, uint96 payment) = totals(leaves);
        keep(
            "certify",
            abi.encodeCall(dr.certify, (ENDED, root, uint32(HOMES), reductionWh, payment, PUBLISHED))
        );
        vm.warp(FINAL);
    }

    /// @dev A hundred new homes register; 256 opt in to an event that 768 others take part in already.
    function prepareHomes() private {
        ResourceRegistry.Consent[] memory consents = new ResourceRegistry.Consent[](100);
        for (uint256 i; i < 100; ++i) {
            consents[i] = consentOf(HOMES + i);
        }
        keep("register", abi.encodeCall(registry.register, (consents)));

        DemandResponse.Terms memory terms = termsOf(DemandResponse.Funding.Mint);
        (terms.start, terms.end) = (FINAL + 1 hours, FINAL + 2 hours);
        issue(ISSUED, terms);
        bytes32[] memory first = new bytes32[](BATCH);
        bytes32[] memory others = new bytes32[](HOMES - BATCH);
        for (uint256 i; i < HOMES; ++i) {
            if (i < BATCH) first[i] = resourceOf(i);
            else others[i - BATCH] = resourceOf(i);
        }
        vm.prank(operator);
        dr.optIn(ISSUED, others);
        keep("optIn", abi.encodeCall(dr.optIn, (ISSUED, first)));
        DemandResponse.Choice[] memory choices = new DemandResponse.Choice[](BATCH);
        for (uint256 i; i < BATCH; ++i) {
            choices[i] = choiceOf(ISSUED, i, true, 0);
        }
        keep("choose", abi.encodeCall(dr.choose, (ISSUED, choices)));
    }

    function payName(uint256 chunk) private pure returns (string memory) {
        return string.concat("payBatch ", vm.toString(chunk));
    }

    function creditName(uint256 chunk) private pure returns (string memory) {
        return string.concat("creditBatch ", vm.toString(chunk));
    }

    // ---- measuring

    /// @dev Keep calldata as the code of an account, where a test reads it for next to nothing; and its tokens, of
    ///      which a zero byte counts as one and any other as four.
    function keep(string memory name, bytes memory data) private {
        vm.etch(named(name), data);
        uint256 tokens;
        for (uint256 i; i < data.length; ++i) {
            tokens += data[i] == 0 ? 1 : 4;
        }
        _tokens[named(name)] = tokens;
    }

    /// @dev Send the prepared calldata, and return the gas of the whole transaction, divided by its homes.
    function measure(string memory name, address sender, address target, uint256 homes)
        private
        returns (uint256 gas)
    {
        bytes memory data = named(name).code;
        vm.prank(sender);
        (bool done,) = target.call(data);
        uint256 call = vm.lastCallGas().gasTotalUsed;
        check(done, "the call");
        uint256 tokens = _tokens[named(name)];
        gas = 21_000 + 4 * tokens + call;
        // No transaction costs less than ten a token (EIP-7623).
        if (gas < 21_000 + 10 * tokens) gas = 21_000 + 10 * tokens;
        gas = (gas + homes - 1) / homes;
        emit Gas(name, gas);
    }

    // ---- a certification, whatever the number of homes

    function test_aCertificationCostsAtMost50000() public {
        checkAtMost(measure("certify", certifier, address(dr), 1), 50_000, "certify");
    }

    function test_makingAnEventFinalCostsAtMost56000() public {
        checkAtMost(measure("finalise", stranger, address(dr), 1), 56_000, "finalise");
    }

    // ---- a payment

    /// @dev 21,000, 7,008 of calldata, 12,300 for three slots of the event, 2,012 for the log, and 15,452 for the
    ///      coin leave little to save: all that the contract computes, the proof with it, is below 4,000.
    function test_aClaimForAWalletWithCoinsCostsAtMost60000() public {
        checkAtMost(measure("claim warm", stranger, address(dr), 1), 60_000, "claim");
    }

    function test_aClaimForANewWalletCostsAtMost77100() public {
        checkAtMost(measure("claim new", stranger, address(dr), 1), 77_100, "claim");
    }

    function test_theWithdrawalOfACreditToANewWalletCostsAtMost62000() public {
        checkAtMost(measure("withdraw", stranger, address(dr), 1), 62_000, "withdraw");
    }

    // ---- batches of 256, a home

    function test_aBatchCreditsAWalletWithCreditForAtMost7000() public {
        checkAtMost(measure("creditBatch 1", stranger, address(dr), BATCH), 7000, "creditBatch");
    }

    function test_aBatchCreditsANewWalletForAtMost24100() public {
        checkAtMost(measure("creditBatch 2", stranger, address(dr), BATCH), 24_100, "creditBatch");
    }

    function test_aBatchPaysAWalletWithCoinsForAtMost12000() public {
        checkAtMost(measure("payBatch 0", stranger, address(dr), BATCH), 12_000, "payBatch");
    }

    function test_aBatchPaysANewWalletForAtMost29100() public {
        checkAtMost(measure("payBatch 2", stranger, address(dr), BATCH), 29_100, "payBatch");
    }

    // ---- homes

    function test_aHomeIsRegisteredForAtMost36100InABatchOf100() public {
        checkAtMost(measure("register", registrar, address(registry), 100), 36_100, "register");
    }

    function test_aHomeOptsInForAtMost7400InABatchOf256() public {
        checkAtMost(measure("optIn", operator, address(dr), BATCH), 7400, "optIn");
    }

    function test_aHomesSignedChoiceCostsAtMost38200InABatchOf256() public {
        checkAtMost(measure("choose", stranger, address(dr), BATCH), 38_200, "choose");
    }
}
