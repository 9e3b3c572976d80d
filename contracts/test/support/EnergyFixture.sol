// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {EnergyMarket, IMeterRegistry} from "../../src/EnergyMarket.sol";
import {EnergyToken} from "../../src/EnergyToken.sol";
import {MicrogridSettlement} from "../../src/MicrogridSettlement.sol";
import {Test} from "./Vm.sol";

/// @notice More cheatcodes of forge, which only the tests of energy trades use.
interface EnergyCheats {
    function deal(address account, uint256 balance) external;
    function chainId(uint256 id) external;
    function etch(address target, bytes calldata code) external;
    function expectRevert() external;
    function parseJsonInt(string calldata json, string calldata key) external pure returns (int256);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
}

/// @notice Names the owner of every meter it was told about, as `ResourceRegistry` does.
contract MeterRegistryStub is IMeterRegistry {
    mapping(bytes32 meter => address) public owners;

    function setOwner(bytes32 meter, address owner) external {
        owners[meter] = owner;
    }

    /// @dev `ResourceRegistry` answers with more words than the first.
    function resourceOf(bytes32 resource) external view returns (address) {
        address owner = owners[resource];
        assembly ("memory-safe") {
            mstore(0, owner)
            mstore(32, 3000)
            return(0, 64)
        }
    }
}

/// @notice The three contracts of energy trades with one account per role, and shorthands for their steps.
abstract contract EnergyFixture is Test {
    uint48 internal constant NOW = 1_750_000_000;
    uint48 internal constant FROM = NOW + 1 hours;
    uint48 internal constant UNTIL = FROM + 2 hours;
    uint48 internal constant STATEMENT_WINDOW = 1 days;
    uint48 internal constant REFUND_FROM = UNTIL + STATEMENT_WINDOW;
    uint48 internal constant DISPUTE_WINDOW = 6 hours;
    uint128 internal constant RATE = 2000e18;
    /// @dev 0.2 tokens a kilowatt-hour.
    uint128 internal constant PRICE = 0.2e18;
    uint256 internal constant DEADLINE = NOW + 30 days;
    uint256 internal constant METER_KEY = 0xA11CE;
    bytes32 internal constant METER = keccak256("meter");

    EnergyCheats internal constant cheats = EnergyCheats(address(vm));

    address internal admin = named("admin");
    address internal treasurer = named("treasurer");
    address internal rater = named("rater");
    address internal pauser = named("pauser");
    address internal operator = named("operator");
    address internal stranger = named("stranger");
    address internal seller = named("seller");
    address internal buyer = named("buyer");
    address internal meterOperator = vm.addr(METER_KEY);

    EnergyToken internal token;
    EnergyMarket internal market;
    MicrogridSettlement internal settlement;

    function setUp() public virtual {
        vm.warp(NOW);
        token = new EnergyToken("Energy Token", "NRG", 18, admin);
        market = new EnergyMarket(token, IMeterRegistry(address(0)), STATEMENT_WINDOW, admin);
        settlement = new MicrogridSettlement(token, DISPUTE_WINDOW, admin);
        vm.startPrank(admin);
        token.grantRole(token.RATE_ROLE(), rater);
        token.grantRole(token.TREASURER_ROLE(), treasurer);
        token.grantRole(token.PAUSER_ROLE(), pauser);
        market.grantRole(market.METER_OPERATOR_ROLE(), meterOperator);
        market.grantRole(market.PAUSER_ROLE(), pauser);
        settlement.grantRole(settlement.OPERATOR_ROLE(), operator);
        settlement.grantRole(settlement.PAUSER_ROLE(), pauser);
        vm.stopPrank();
        vm.prank(rater);
        token.postRate(RATE);
    }

    /// @notice Give an account tokens, as anyone gets them: for ether. Exact for multiples of 2000.
    function fund(address who, uint256 amount) internal {
        uint256 value = amount * 1 ether / RATE;
        cheats.deal(who, who.balance + value);
        vm.prank(who);
        token.buy{value: value}(amount);
    }

    /// @notice Give an account tokens, and let the market spend them.
    function fundBuyer(address who, uint256 amount) internal {
        fund(who, amount);
        vm.prank(who);
        token.approve(address(market), type(uint256).max);
    }

    function offer(uint64 wh) internal returns (uint256) {
        vm.prank(seller);
        return market.offer(METER, wh, PRICE, FROM, UNTIL);
    }

    function offerOf(uint256 id) internal view returns (EnergyMarket.Offer memory) {
        return offerOf(market, id);
    }

    function offerOf(EnergyMarket where, uint256 id) internal view returns (EnergyMarket.Offer memory) {
        uint256[] memory ids = new uint256[](1);
        ids[0] = id;
        return where.offersOf(ids)[0];
    }

    function dealOf(uint256 id) internal view returns (EnergyMarket.Deal memory) {
        uint256[] memory ids = new uint256[](1);
        ids[0] = id;
        return market.dealsOf(ids)[0];
    }

    /// @notice The meter operator's signature of a statement for the market.
    function statement(uint256 dealId, uint256 deliveredWh) internal view returns (bytes memory) {
        return signed(METER_KEY, market.deliveryDigest(dealId, deliveredWh, DEADLINE));
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function deliver(uint256 dealId, uint256 deliveredWh) internal {
        market.deliver(dealId, deliveredWh, DEADLINE, meterOperator, statement(dealId, deliveredWh));
    }

    function expectNeedsRole(address account, bytes32 role) internal {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role)
        );
    }
}
