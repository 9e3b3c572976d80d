// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {EnergyMarket} from "../src/EnergyMarket.sol";
import {MicrogridSettlement} from "../src/MicrogridSettlement.sol";
import {EnergyFixture} from "./support/EnergyFixture.sol";

/// @notice The contracts agree with days and statements made by an independent script; see
///         scripts/trade-vectors.js.
contract EnergyVectorsTest is EnergyFixture {
    string private json;

    function setUp() public override {
        super.setUp();
        json = vm.readFile("test/vectors/trades.json");
    }

    function dayPath(uint256 number) private pure returns (string memory) {
        return string.concat(".days[", vm.toString(number), "]");
    }

    function uintAt(string memory at, string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(at, key));
    }

    function wordAt(string memory at, string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(at, key));
    }

    function readTrade(string memory at) private view returns (MicrogridSettlement.Trade memory trade) {
        trade.index = uint32(uintAt(at, ".index"));
        trade.seller = vm.parseJsonAddress(json, string.concat(at, ".seller"));
        trade.buyer = vm.parseJsonAddress(json, string.concat(at, ".buyer"));
        trade.wh = uint128(uintAt(at, ".wh"));
        trade.value = uint128(uintAt(at, ".value"));
    }

    function readNet(string memory at) private view returns (MicrogridSettlement.Net[] memory rows) {
        uint256 count;
        while (vm.keyExistsJson(json, string.concat(at, ".net[", vm.toString(count), "]"))) ++count;
        rows = new MicrogridSettlement.Net[](count);
        for (uint256 i; i < count; ++i) {
            string memory row = string.concat(at, ".net[", vm.toString(i), "]");
            rows[i].participant = vm.parseJsonAddress(json, string.concat(row, ".participant"));
            rows[i].amount = int128(cheats.parseJsonInt(json, string.concat(row, ".amount")));
        }
    }

    /// @dev Propose a day of the file as it stands there.
    function proposeDay(string memory at) private returns (uint32 day) {
        day = uint32(uintAt(at, ".day"));
        vm.prank(operator);
        settlement.propose(
            day,
            wordAt(at, ".root"),
            uint32(uintAt(at, ".count")),
            uint128(uintAt(at, ".totalWh")),
            uint128(uintAt(at, ".totalValue")),
            wordAt(at, ".publishedHash"),
            wordAt(at, ".netHash")
        );
    }

    function test_theFileHoldsTheDaysThatMatter() public view {
        uint256[6] memory sizes = [uint256(1), 2, 3, 5, 8, 13];
        for (uint256 d; d < sizes.length; ++d) {
            checkEq(uintAt(dayPath(d), ".count"), sizes[d], "count");
        }
        check(!vm.keyExistsJson(json, dayPath(sizes.length)), "no further day");
    }

    function test_everyTradeOfTheFileIsVerifiedAndNoOther() public {
        for (uint256 d; d < 6; ++d) {
            string memory at = dayPath(d);
            uint32 day = proposeDay(at);
            uint256 count = uintAt(at, ".count");
            for (uint256 i; i < count; ++i) {
                string memory row = string.concat(at, ".trades[", vm.toString(i), "]");
                MicrogridSettlement.Trade memory trade = readTrade(row);
                bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(row, ".proof"));
                check(settlement.verifyTrade(day, trade, proof), "a trade of the file");
                checkLies(day, trade, proof);
            }
        }
    }

    /// @dev A change of any field, or of the day, makes another leaf.
    function checkLies(uint32 day, MicrogridSettlement.Trade memory trade, bytes32[] memory proof) private {
        for (uint256 field; field < 5; ++field) {
            MicrogridSettlement.Trade memory lie =
                MicrogridSettlement.Trade(trade.index, trade.seller, trade.buyer, trade.wh, trade.value);
            if (field == 0) lie.index += 1;
            if (field == 1) lie.seller = stranger;
            if (field == 2) lie.buyer = stranger;
            if (field == 3) lie.wh ^= 1;
            if (field == 4) lie.value ^= 1;
            check(!settlement.verifyTrade(day, lie, proof), "a lie");
        }
        bytes32 root = settlement.dayOf(day).root;
        uint32 another = day - 10_000;
        if (settlement.dayOf(another).root == 0) {
            vm.prank(operator);
            settlement.propose(another, root, 20, 1, 1, 0, 0);
        }
        check(!settlement.verifyTrade(another, trade, proof), "the day is in the leaf");
    }

    function test_aLeafAboveTheCountIsNoTrade() public {
        string memory row = string.concat(dayPath(1), ".trades[1]");
        uint32 day = uint32(uintAt(dayPath(1), ".day"));
        bytes32 root = wordAt(dayPath(1), ".root");
        vm.prank(operator);
        settlement.propose(day, root, 1, 1, 1, 0, 0);
        bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(row, ".proof"));
        check(!settlement.verifyTrade(day, readTrade(row), proof), "index 1 of 1");
    }

    function test_everyDayOfTheFileIsExecutedByItsNetAmounts() public {
        for (uint256 d; d < 6; ++d) {
            EnergyFixture.setUp(); // each day with contracts of its own
            uint32 day = proposeDay(dayPath(d));
            MicrogridSettlement.Net[] memory rows = readNet(dayPath(d));
            uint128 most = uint128(token.MAX_SUPPLY());
            vm.prank(rater);
            token.postRate(most);
            for (uint256 i; i < rows.length; ++i) {
                if (rows[i].amount < 0) pay(rows[i].participant, uint128(-rows[i].amount));
            }
            vm.warp(NOW + DISPUTE_WINDOW);
            settlement.execute(day, rows);
            for (uint256 i; i < rows.length; ++i) {
                uint256 expected = rows[i].amount > 0 ? uint128(rows[i].amount) : 0;
                checkEq(settlement.accountOf(rows[i].participant).free, expected, "free balance");
            }
        }
    }

    /// @dev Deposit exactly an amount, and allow it. An ether buys all the tokens that there can be.
    function pay(address who, uint128 amount) private {
        uint256 most = token.MAX_SUPPLY();
        uint256 value = (uint256(amount) * 1 ether + most - 1) / most;
        cheats.deal(who, value);
        vm.prank(who);
        token.buy{value: value}(amount);
        vm.startPrank(who);
        token.approve(address(settlement), amount);
        settlement.deposit(amount);
        settlement.setDailyLimit(amount);
        vm.stopPrank();
    }

    function test_everyStatementOfTheFileHasItsDigestAndItsSignature() public {
        string memory at = ".delivery";
        address where = vm.parseJsonAddress(json, ".delivery.contract");
        cheats.etch(where, address(market).code);
        cheats.chainId(uintAt(at, ".chainId"));
        EnergyMarket there = EnergyMarket(where);
        uint256 key = uint256(wordAt(at, ".key"));
        checkEq(vm.addr(key), vm.parseJsonAddress(json, ".delivery.signer"), "signer");
        checkEq(there.DELIVERY_TYPEHASH(), wordAt(at, ".typeHash"), "type");
        for (uint256 i; i < 3; ++i) {
            string memory row = string.concat(".delivery.statements[", vm.toString(i), "]");
            bytes32 digest = there.deliveryDigest(
                uintAt(row, ".dealId"), uintAt(row, ".deliveredWh"), uintAt(row, ".statementDeadline")
            );
            checkEq(digest, wordAt(row, ".digest"), "digest");
            bytes memory signature = cheats.parseJsonBytes(json, string.concat(row, ".signature"));
            checkEq(keccak256(signed(key, digest)), keccak256(signature), "signature");
        }
        check(!vm.keyExistsJson(json, ".delivery.statements[3]"), "no further statement");
    }

    function test_theDomainIsTheOneOfTheFile() public view {
        (, string memory name, string memory version,,,,) = market.eip712Domain();
        checkEq(
            keccak256(bytes(name)), keccak256(bytes(cheats.parseJsonString(json, ".delivery.name"))), "name"
        );
        checkEq(
            keccak256(bytes(version)),
            keccak256(bytes(cheats.parseJsonString(json, ".delivery.version"))),
            "version"
        );
    }
}
