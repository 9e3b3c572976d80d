// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {DemandResponse} from "../../src/DemandResponse.sol";
import {IncentiveCoin} from "../../src/IncentiveCoin.sol";
import {ReductionExchange} from "../../src/ReductionExchange.sol";
import {ResourceRegistry} from "../../src/ResourceRegistry.sol";
import {PaymentTree} from "./PaymentTree.sol";
import {Typed} from "./Typed.sol";
import {Test} from "./Vm.sol";

/// @notice The contracts with one account per role, owners with keys, and shorthands for the steps of an event.
abstract contract Fixture is Test {
    using PaymentTree for PaymentTree.Tree;

    uint40 internal constant NOW = 1_700_000_000;
    uint40 internal constant START = NOW + 1 hours;
    uint40 internal constant END = START + 2 hours;
    uint32 internal constant DISPUTE = 1 days;
    uint32 internal constant CLAIM = 30 days;
    uint40 internal constant FINAL = END + DISPUTE;
    uint40 internal constant UNTIL = FINAL + CLAIM;
    uint128 internal constant RATE = 0.25e18;
    uint256 internal constant LATER = NOW + 365 days;
    bytes32 internal constant PROGRAMME = keccak256("programme");
    bytes32 internal constant PUBLISHED = keccak256("published");
    bytes32 internal constant REASON = keccak256("reason");

    address internal admin = named("admin");
    address internal registrar = named("registrar");
    address internal operator = named("operator");
    address internal certifier = named("certifier");
    address internal pauser = named("pauser");
    address internal stranger = named("stranger");

    ResourceRegistry internal registry;
    IncentiveCoin internal coin;
    DemandResponse internal dr;
    ReductionExchange internal exchange;

    function setUp() public virtual {
        vm.warp(NOW);
        registry = new ResourceRegistry(admin);
        bytes32 role = registry.REGISTRAR_ROLE();
        vm.prank(admin);
        registry.grantRole(role, registrar);
        deploy(new IncentiveCoin("Incentive Coin", "INC", 18, admin));
    }

    function deploy(IncentiveCoin coin_) internal {
        coin = coin_;
        dr = new DemandResponse(registry, coin, admin);
        exchange = new ReductionExchange(dr);
        grantRoles(dr);
    }

    function grantRoles(DemandResponse to) internal {
        vm.startPrank(admin);
        coin.grantRole(coin.MINTER_ROLE(), address(to));
        coin.grantRole(coin.MINTER_ROLE(), address(this));
        to.grantRole(to.OPERATOR_ROLE(), operator);
        to.grantRole(to.CERTIFIER_ROLE(), certifier);
        to.grantRole(to.PAUSER_ROLE(), pauser);
        vm.stopPrank();
    }

    // ---- homes

    function resourceOf(uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode("resource", number));
    }

    function keyOf(uint256 number) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("owner", number))) >> 1;
    }

    function ownerOf(uint256 number) internal pure returns (address) {
        return vm.addr(keyOf(number));
    }

    /// @notice Where a home is paid. The leaf says so, not the registry: it need not be the owner.
    function walletOf(uint256 number) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("wallet", number)))));
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

    function powerOf(uint256 number) internal pure returns (uint32) {
        return uint32(3000 + number);
    }

    // ---- signatures

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice Sign a message for the registry, as it stands on this chain.
    function signForRegistry(uint256 key, bytes32 message) internal view returns (bytes memory) {
        bytes32 separator = Typed.domain(Typed.REGISTRY, block.chainid, address(registry));
        return sign(key, Typed.digest(separator, message));
    }

    /// @notice Sign a message for the contract of events, as it stands on this chain.
    function signForEvents(uint256 key, bytes32 message) internal view returns (bytes memory) {
        bytes32 separator = Typed.domain(Typed.EVENTS, block.chainid, address(dr));
        return sign(key, Typed.digest(separator, message));
    }

    /// @notice The consent of a key's holder to own a resource, with the resource's present nonce.
    function consentOf(uint256 key, bytes32 resource, uint32 contractedW, bool standing)
        internal
        view
        returns (ResourceRegistry.Consent memory consent)
    {
        address owner = vm.addr(key);
        uint256 nonce = registry.resourceOf(resource).nonce;
        bytes32 message = Typed.consent(resource, owner, contractedW, standing, nonce, LATER);
        consent = ResourceRegistry.Consent(
            resource, owner, contractedW, standing, LATER, signForRegistry(key, message)
        );
    }

    /// @notice The consent of home `number`, whose operator may opt it in.
    function consentOf(uint256 number) internal view returns (ResourceRegistry.Consent memory) {
        return consentOf(keyOf(number), resourceOf(number), powerOf(number), true);
    }

    /// @notice An owner's choice for an event, with the owner's nonce moved on by `ahead`.
    function choiceOf(bytes32 eventId, uint256 number, bool takesPart, uint256 ahead)
        internal
        view
        returns (DemandResponse.Choice memory)
    {
        uint256 nonce = dr.nonces(ownerOf(number)) + ahead;
        bytes32 message = Typed.choice(eventId, resourceOf(number), takesPart, nonce, LATER);
        return
            DemandResponse.Choice(resourceOf(number), takesPart, LATER, signForEvents(keyOf(number), message));
    }

    /// @notice An owner's signature under a challenge of the event's present root.
    function challengeOf(bytes32 eventId, uint256 number) internal view returns (bytes memory) {
        bytes32 root = dr.eventOf(eventId).commitment;
        bytes32 message = Typed.challenge(eventId, resourceOf(number), root, REASON, LATER);
        return signForEvents(keyOf(number), message);
    }

    function only(ResourceRegistry.Consent memory consent)
        internal
        pure
        returns (ResourceRegistry.Consent[] memory rows)
    {
        rows = new ResourceRegistry.Consent[](1);
        rows[0] = consent;
    }

    function only(DemandResponse.Choice memory choice)
        internal
        pure
        returns (DemandResponse.Choice[] memory choices)
    {
        choices = new DemandResponse.Choice[](1);
        choices[0] = choice;
    }

    // ---- steps

    function register(ResourceRegistry.Consent memory consent) internal {
        vm.prank(registrar);
        registry.register(only(consent));
    }

    function registerUpTo(uint256 count) internal {
        ResourceRegistry.Consent[] memory rows = new ResourceRegistry.Consent[](count);
        for (uint256 i; i < count; ++i) {
            rows[i] = consentOf(i);
        }
        vm.prank(registrar);
        registry.register(rows);
    }

    function termsOf(DemandResponse.Funding funding) internal pure returns (DemandResponse.Terms memory) {
        return DemandResponse.Terms({
            start: START,
            end: END,
            disputeWindow: DISPUTE,
            claimWindow: CLAIM,
            funding: funding,
            targetWh: 5000,
            ratePerKwh: RATE,
            programmeHash: PROGRAMME
        });
    }

    function issue(bytes32 eventId, DemandResponse.Terms memory terms) internal {
        vm.prank(operator);
        dr.issue(eventId, terms);
    }

    function issue(bytes32 eventId) internal {
        issue(eventId, termsOf(DemandResponse.Funding.Mint));
    }

    function optInUpTo(bytes32 eventId, uint256 count) internal {
        vm.prank(operator);
        dr.optIn(eventId, resourcesUpTo(count));
    }

    /// @notice Leaves that follow from a seed, one for each of the first homes; about a fifth pay nothing.
    function makeLeaves(uint256 seed, uint256 count)
        internal
        pure
        returns (PaymentTree.Leaf[] memory leaves)
    {
        leaves = new PaymentTree.Leaf[](count);
        for (uint256 i; i < count; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint128 reductionWh = dice % 5 == 0 ? 0 : uint128(dice >> 8) % 9000;
            leaves[i] = PaymentTree.Leaf({
                resource: resourceOf(i),
                wallet: walletOf(i),
                reductionWh: reductionWh,
                payment: uint96(reductionWh * RATE / 1000),
                certificateHash: bytes32(dice)
            });
        }
    }

    function totals(PaymentTree.Leaf[] memory leaves)
        internal
        pure
        returns (uint128 reductionWh, uint96 payment)
    {
        for (uint256 i; i < leaves.length; ++i) {
            reductionWh += leaves[i].reductionWh;
            payment += leaves[i].payment;
        }
    }

    /// @notice Issue an event, opt the first registered homes in, and let it end.
    function endedEvent(bytes32 eventId, uint256 count) internal {
        vm.warp(NOW);
        issue(eventId);
        optInUpTo(eventId, count);
        vm.warp(END);
    }

    /// @notice Certify a root over an ended event, with whatever total.
    function certifyRoot(bytes32 eventId, bytes32 root, uint96 payment) internal {
        uint32 count = dr.eventOf(eventId).participants;
        vm.prank(certifier);
        dr.certify(eventId, root, count, 4000, payment, PUBLISHED);
    }

    /// @notice Certify the leaves of an ended event.
    function certify(bytes32 eventId, PaymentTree.Leaf[] memory leaves)
        internal
        returns (PaymentTree.Tree memory tree)
    {
        tree = PaymentTree.build(eventId, leaves);
        (uint128 reductionWh, uint96 payment) = totals(leaves);
        vm.prank(certifier);
        dr.certify(eventId, tree.root(), uint32(leaves.length), reductionWh, payment, PUBLISHED);
    }

    /// @notice Take an event of registered homes to the end of its dispute window.
    function certifiedEvent(bytes32 eventId, PaymentTree.Leaf[] memory leaves)
        internal
        returns (PaymentTree.Tree memory tree)
    {
        endedEvent(eventId, leaves.length);
        tree = certify(eventId, leaves);
        vm.warp(FINAL);
    }

    /// @notice Take an event of registered homes all the way to the first second of payment.
    function finalEvent(bytes32 eventId, PaymentTree.Leaf[] memory leaves)
        internal
        returns (PaymentTree.Tree memory tree)
    {
        tree = certifiedEvent(eventId, leaves);
        dr.finalise(eventId);
    }

    /// @notice Put freshly minted coins into the treasury.
    function fundTreasury(uint256 amount) internal {
        coin.mint(address(this), amount);
        coin.approve(address(dr), amount);
        dr.fund(amount);
    }

    // ---- expectations

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

    function expectInvalidProof(bytes32 eventId) internal {
        vm.expectRevert(abi.encodeWithSelector(DemandResponse.InvalidProof.selector, eventId));
    }
}
