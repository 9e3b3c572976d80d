// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {DemandResponse} from "../../src/DemandResponse.sol";
import {IncentiveCoin} from "../../src/IncentiveCoin.sol";
import {ResourceRegistry} from "../../src/ResourceRegistry.sol";
import {PaymentTree} from "./PaymentTree.sol";
import {Test} from "./Vm.sol";

/// @notice The three contracts with one account per role, and shorthands for the steps of an event.
abstract contract Fixture is Test {
    using PaymentTree for PaymentTree.Tree;

    uint64 internal constant NOW = 1_700_000_000;
    uint64 internal constant START = NOW + 1 hours;
    uint64 internal constant END = START + 2 hours;
    uint64 internal constant WINDOW = 1 days;
    uint128 internal constant RATE = 0.25e18;

    address internal admin = named("admin");
    address internal registrar = named("registrar");
    address internal operator = named("operator");
    address internal certifier = named("certifier");
    address internal pauser = named("pauser");
    address internal stranger = named("stranger");

    ResourceRegistry internal registry;
    IncentiveCoin internal coin;
    DemandResponse internal dr;

    function setUp() public virtual {
        vm.warp(NOW);
        registry = new ResourceRegistry(admin);
        deploy(new IncentiveCoin("Incentive Coin", "INC", 18, admin));
    }

    function deploy(IncentiveCoin coin_) internal {
        coin = coin_;
        dr = new DemandResponse(registry, coin, admin);
        vm.startPrank(admin);
        registry.grantRole(registry.REGISTRAR_ROLE(), registrar);
        coin.grantRole(coin.MINTER_ROLE(), address(dr));
        dr.grantRole(dr.OPERATOR_ROLE(), operator);
        dr.grantRole(dr.CERTIFIER_ROLE(), certifier);
        dr.grantRole(dr.PAUSER_ROLE(), pauser);
        vm.stopPrank();
    }

    function resourceOf(uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode("resource", number));
    }

    function ownerOf(uint256 number) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("owner", number)))));
    }

    function resourcesUpTo(uint256 count) internal pure returns (bytes32[] memory resources) {
        resources = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            resources[i] = resourceOf(i);
        }
    }

    function one(bytes32 resource) internal pure returns (bytes32[] memory resources) {
        resources = new bytes32[](1);
        resources[0] = resource;
    }

    function registerUpTo(uint256 count) internal {
        ResourceRegistry.Registration[] memory rows = new ResourceRegistry.Registration[](count);
        for (uint256 i; i < count; ++i) {
            rows[i] = ResourceRegistry.Registration(resourceOf(i), ownerOf(i), uint64(3000 + i));
        }
        vm.prank(registrar);
        registry.register(rows);
    }

    function issue(bytes32 eventId) internal {
        vm.prank(operator);
        dr.issue(eventId, START, END, 5000, RATE, WINDOW, keccak256("programme"));
    }

    /// @notice Rows that follow from a seed; about a fifth of the payments are zero.
    function makeRows(uint256 seed, uint256 count)
        internal
        pure
        returns (DemandResponse.Payment[] memory rows)
    {
        rows = new DemandResponse.Payment[](count);
        for (uint256 i; i < count; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint128 reductionWh = dice % 5 == 0 ? 0 : uint128(dice >> 8) % 9000;
            rows[i] = DemandResponse.Payment({
                resource: resourceOf(i),
                wallet: ownerOf(i),
                reductionWh: reductionWh,
                payment: reductionWh * RATE / 1000,
                certificateHash: bytes32(dice)
            });
        }
    }

    function totals(DemandResponse.Payment[] memory rows)
        internal
        pure
        returns (uint128 reductionWh, uint128 payment)
    {
        for (uint256 i; i < rows.length; ++i) {
            reductionWh += rows[i].reductionWh;
            payment += rows[i].payment;
        }
    }

    /// @notice Issue an event, opt `count` registered homes in, and let it end.
    function endedEvent(bytes32 eventId, uint256 count) internal {
        vm.warp(NOW);
        issue(eventId);
        vm.prank(operator);
        dr.optIn(eventId, resourcesUpTo(count));
        vm.warp(END);
    }

    /// @notice Certify the rows of an ended event.
    function certify(bytes32 eventId, DemandResponse.Payment[] memory rows)
        internal
        returns (PaymentTree.Tree memory tree)
    {
        tree = PaymentTree.build(eventId, rows);
        (uint128 reductionWh, uint128 payment) = totals(rows);
        vm.prank(certifier);
        dr.certify(eventId, tree.root(), uint32(rows.length), reductionWh, payment, keccak256("published"));
    }

    /// @notice Take an event of registered homes all the way to the first second of payment.
    function payableEvent(bytes32 eventId, DemandResponse.Payment[] memory rows)
        internal
        returns (PaymentTree.Tree memory tree)
    {
        endedEvent(eventId, rows.length);
        tree = certify(eventId, rows);
        vm.warp(END + WINDOW);
    }

    function checkState(bytes32 eventId, DemandResponse.State expected) internal view {
        checkEq(uint8(dr.stateOf(eventId)), uint8(expected), "state");
    }

    function expectWrongState(bytes32 eventId, DemandResponse.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.WrongState.selector, eventId, state));
    }

    function expectNeedsRole(address account, bytes32 role) internal {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role)
        );
    }
}
