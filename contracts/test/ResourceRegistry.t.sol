// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";
import {Typed} from "./support/Typed.sol";
import {ContractWallet, OddWallet} from "./support/Wallets.sol";

contract ResourceRegistryTest is Fixture {
    bytes32 private constant METER = keccak256("meter");
    bytes private constant NONE = "";

    uint256 private alice = keyOf(100);
    uint256 private bob = keyOf(101);

    function expectInvalid(address signer) private {
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.InvalidSignature.selector, METER, signer));
    }

    function expectExpired(uint256 deadline) private {
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.SignatureExpired.selector, METER, deadline));
    }

    function expectNotRegistered() private {
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.NotRegistered.selector, METER));
    }

    function meterOfAlice() private {
        register(consentOf(alice, METER, 4600, true));
    }

    function checkMeter(address owner, uint32 contractedW, uint16 nonce, bool standing, bool active)
        private
        view
    {
        ResourceRegistry.Resource memory held = registry.resourceOf(METER);
        checkEq(held.owner, owner, "owner");
        checkEq(held.contractedW, contractedW, "contracted power");
        checkEq(held.nonce, nonce, "nonce");
        check(held.standing == standing, "standing");
        check(held.active == active, "active");
    }

    // ---- register

    function test_aConsentRegistersItsOwnerAndPower() public {
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceRegistered(METER, vm.addr(alice), 4600, 0, true);
        meterOfAlice();
        checkMeter(vm.addr(alice), 4600, 1, true, true);
        checkEq(registry.resourceCount(), 1, "count");
    }

    function test_anUnknownResourceIsAllZeros() public view {
        checkMeter(address(0), 0, 0, false, false);
    }

    function test_resourcesAreNumberedInOrderAcrossBatches() public {
        registerUpTo(3);
        meterOfAlice();
        checkEq(registry.resourceOf(METER).number, 3, "number");
        ResourceRegistry.Resource[] memory rows = registry.resourcesOf(resourcesUpTo(4));
        for (uint256 i; i < 3; ++i) {
            checkEq(rows[i].number, i, "number");
            checkEq(rows[i].owner, ownerOf(i), "owner");
            checkEq(rows[i].contractedW, powerOf(i), "contracted power");
        }
        checkEq(rows[3].owner, address(0), "unknown resource");
    }

    function test_anOwnerAgreesToAnotherPowerAndKeepsTheNumber() public {
        registerUpTo(2);
        meterOfAlice();
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceRegistered(METER, vm.addr(alice), 6900, 2, false);
        register(consentOf(alice, METER, 6900, false));
        checkMeter(vm.addr(alice), 6900, 2, false, true);
        checkEq(registry.resourceCount(), 3, "count");
    }

    function test_theZeroHashIsNoResource() public {
        ResourceRegistry.Consent[] memory rows = new ResourceRegistry.Consent[](2);
        rows[0] = consentOf(0);
        rows[1] = consentOf(alice, 0, 4600, true);
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.ZeroResource.selector, 1));
        vm.prank(registrar);
        registry.register(rows);
        checkEq(registry.resourceCount(), 0, "nothing of the batch stays");
    }

    function test_theZeroAddressOwnsNothing() public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        consent.owner = address(0);
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.ZeroOwner.selector, METER));
        register(consent);
    }

    function test_aResourceHasOneOwnerAtATime() public {
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        vm.expectRevert(
            abi.encodeWithSelector(ResourceRegistry.AlreadyRegistered.selector, METER, vm.addr(alice))
        );
        register(consent);
    }

    function test_aConsentCannotStandTwiceInABatch() public {
        ResourceRegistry.Consent[] memory rows = new ResourceRegistry.Consent[](2);
        rows[0] = rows[1] = consentOf(alice, METER, 4600, true);
        expectInvalid(vm.addr(alice));
        vm.prank(registrar);
        registry.register(rows);
    }

    function test_onlyARegistrarRegisters() public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        expectNeedsRole(stranger, registry.REGISTRAR_ROLE());
        vm.prank(stranger);
        registry.register(only(consent));
    }

    // ---- what a consent is good for

    function test_aConsentWorksOnce() public {
        ResourceRegistry.Consent memory first = consentOf(alice, METER, 4600, true);
        register(first);
        register(consentOf(alice, METER, 6900, false));
        expectInvalid(vm.addr(alice));
        register(first);
    }

    function test_aConsentDoesNotOutliveAWithdrawal() public {
        meterOfAlice();
        ResourceRegistry.Consent memory unused = consentOf(alice, METER, 4600, true);
        vm.prank(vm.addr(alice));
        registry.withdraw(METER, 0, NONE);
        expectInvalid(vm.addr(alice));
        register(unused);
        register(consentOf(alice, METER, 4600, true));
        checkMeter(vm.addr(alice), 4600, 3, true, true);
    }

    function test_aConsentCountsUpToItsDeadline() public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        vm.warp(LATER + 1);
        expectExpired(LATER);
        register(consent);
        vm.warp(LATER);
        register(consent);
    }

    function test_aConsentIsForOneChain() public {
        uint256 here = block.chainid;
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        vm.chainId(here + 1);
        expectInvalid(vm.addr(alice));
        register(consent);
        vm.chainId(here);
        register(consent);
    }

    function test_aConsentIsForOneRegistry() public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        bytes32 role = registry.REGISTRAR_ROLE();
        ResourceRegistry other = new ResourceRegistry(admin);
        vm.prank(admin);
        other.grantRole(role, registrar);
        expectInvalid(vm.addr(alice));
        vm.prank(registrar);
        other.register(only(consent));
    }

    function test_aConsentIsItsOwnersOwn() public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        consent.owner = vm.addr(bob);
        expectInvalid(vm.addr(bob));
        register(consent);
    }

    function testFuzz_noFieldOfAConsentCanBeChanged(uint32 contractedW, bool standing, uint256 field) public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, contractedW, standing);
        ResourceRegistry.Consent memory changed = consent;
        field %= 4;
        if (field == 0) changed.resource = keccak256("another meter");
        if (field == 1) changed.contractedW = contractedW ^ 1;
        if (field == 2) changed.standing = !standing;
        if (field == 3) changed.deadline += 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                ResourceRegistry.InvalidSignature.selector, changed.resource, vm.addr(alice)
            )
        );
        register(changed);
    }

    function testFuzz_aResourceKeepsWhatItsOwnerConsentedTo(
        uint256 key,
        bytes32 resource,
        uint32 contractedW,
        bool standing,
        uint256 deadline
    ) public {
        if (resource == 0) resource = METER;
        key = within(key, 1, type(uint248).max);
        deadline = within(deadline, NOW, type(uint256).max - 1);
        bytes32 message = Typed.consent(resource, vm.addr(key), contractedW, standing, 0, deadline);
        register(
            ResourceRegistry.Consent(
                resource, vm.addr(key), contractedW, standing, deadline, signForRegistry(key, message)
            )
        );
        ResourceRegistry.Resource memory held = registry.resourceOf(resource);
        checkEq(held.owner, vm.addr(key), "owner");
        checkEq(held.contractedW, contractedW, "contracted power");
        check(held.standing == standing && held.active, "flags");
    }

    function testFuzz_noBytesPassForASignature(bytes calldata signature) public {
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        if (keccak256(signature) == keccak256(consent.signature)) return;
        consent.signature = signature;
        expectInvalid(vm.addr(alice));
        register(consent);
    }

    function test_theTwinOfASignatureIsNone() public {
        // (r, n - s) with the other v recovers to the same address; only the lower of the two s counts.
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        ResourceRegistry.Consent memory consent = consentOf(alice, METER, 4600, true);
        bytes32 message = Typed.consent(METER, vm.addr(alice), 4600, true, 0, LATER);
        bytes32 separator = Typed.domain(Typed.REGISTRY, block.chainid, address(registry));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(alice, Typed.digest(separator, message));
        consent.signature = abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27));
        expectInvalid(vm.addr(alice));
        register(consent);
    }

    // ---- contract wallets

    function walletConsent(address wallet, bytes memory suffix)
        private
        view
        returns (ResourceRegistry.Consent memory consent)
    {
        bytes32 message = Typed.consent(METER, wallet, 4600, true, 0, LATER);
        bytes memory signature = abi.encodePacked(signForRegistry(alice, message), suffix);
        consent = ResourceRegistry.Consent(METER, wallet, 4600, true, LATER, signature);
    }

    function test_aContractWalletConsentsAfterItsOwnRules() public {
        address wallet = address(new ContractWallet(vm.addr(alice)));
        register(walletConsent(wallet, hex"01"));
        checkMeter(wallet, 4600, 1, true, true);
    }

    function test_aContractWalletRefusesWhatItsRulesForbid() public {
        address wallet = address(new ContractWallet(vm.addr(alice)));
        ResourceRegistry.Consent memory consent = walletConsent(wallet, "");
        expectInvalid(wallet);
        register(consent);
        wallet = address(new ContractWallet(vm.addr(bob)));
        consent = walletConsent(wallet, hex"01");
        expectInvalid(wallet);
        register(consent);
    }

    function test_aContractThatDoesNotAnswerInFullRefuses() public {
        bytes4 yes = IERC1271.isValidSignature.selector;
        OddWallet[5] memory wallets = [
            new OddWallet("", false),
            new OddWallet(abi.encodePacked(yes), false),
            new OddWallet(abi.encode(true), false),
            new OddWallet(abi.encodePacked(yes, bytes28(uint224(1))), false),
            new OddWallet(abi.encode(yes), true)
        ];
        for (uint256 i; i < wallets.length; ++i) {
            ResourceRegistry.Consent memory consent = walletConsent(address(wallets[i]), hex"01");
            expectInvalid(address(wallets[i]));
            register(consent);
        }
        register(walletConsent(address(new OddWallet(abi.encode(yes), false)), hex"01"));
    }

    // ---- transfer

    function handoverOf(uint256 key, address to, uint256 deadline) private view returns (bytes memory) {
        uint256 nonce = registry.resourceOf(METER).nonce;
        return signForRegistry(key, Typed.handover(METER, to, nonce, deadline));
    }

    function test_anOwnerHandsAResourceToOneWhoConsents() public {
        registerUpTo(1);
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, false);
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceTransferred(METER, vm.addr(alice), vm.addr(bob));
        vm.prank(vm.addr(alice));
        registry.transfer(consent, NONE);
        checkMeter(vm.addr(bob), 4600, 2, false, true);
        checkEq(registry.resourceOf(METER).number, 1, "number");
        checkEq(registry.resourceCount(), 2, "count");
    }

    function test_anyoneBringsAHandoverThatBothSigned() public {
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        bytes memory handover = handoverOf(alice, vm.addr(bob), LATER);
        vm.prank(stranger);
        registry.transfer(consent, handover);
        checkMeter(vm.addr(bob), 4600, 2, true, true);
    }

    function test_aHandoverNeedsTheOwnersSignature() public {
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        bytes memory handover = handoverOf(bob, vm.addr(bob), LATER);
        expectInvalid(vm.addr(alice));
        vm.prank(vm.addr(bob));
        registry.transfer(consent, handover);
        expectInvalid(vm.addr(alice));
        vm.prank(registrar);
        registry.transfer(consent, NONE);
    }

    function test_aHandoverNeedsTheNewOwnersConsent() public {
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        consent.signature = handoverOf(alice, vm.addr(bob), LATER);
        expectInvalid(vm.addr(bob));
        vm.prank(vm.addr(alice));
        registry.transfer(consent, NONE);
    }

    function test_aHandoverIsToOneOwner() public {
        meterOfAlice();
        bytes memory handover = handoverOf(alice, vm.addr(bob), LATER);
        ResourceRegistry.Consent memory consent = consentOf(keyOf(7), METER, 4600, true);
        expectInvalid(vm.addr(alice));
        registry.transfer(consent, handover);
    }

    function test_aHandoverWorksOnce() public {
        meterOfAlice();
        bytes memory handover = handoverOf(alice, vm.addr(bob), LATER);
        registry.transfer(consentOf(bob, METER, 4600, true), handover);
        ResourceRegistry.Consent memory back = consentOf(alice, METER, 4600, true);
        vm.prank(vm.addr(bob));
        registry.transfer(back, NONE);
        ResourceRegistry.Consent memory again = consentOf(bob, METER, 4600, true);
        expectInvalid(vm.addr(alice));
        registry.transfer(again, handover);
    }

    function test_aHandoverIsForOneChainAndCountsUpToItsDeadline() public {
        meterOfAlice();
        uint256 here = block.chainid;
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        bytes memory handover = handoverOf(alice, vm.addr(bob), LATER);
        vm.chainId(here + 1);
        expectInvalid(vm.addr(alice));
        registry.transfer(consent, handover);
        vm.chainId(here);
        vm.warp(LATER + 1);
        expectExpired(LATER);
        registry.transfer(consent, handover);
        expectExpired(LATER);
        vm.prank(vm.addr(alice));
        registry.transfer(consent, NONE);
        vm.warp(LATER);
        registry.transfer(consent, handover);
    }

    function test_aHandoverKeepsThePower() public {
        meterOfAlice();
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 9000, true);
        expectInvalid(vm.addr(bob));
        vm.prank(vm.addr(alice));
        registry.transfer(consent, NONE);
    }

    function test_onlyARegisteredResourceIsHandedOverAndOnlyToSomebody() public {
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        expectNotRegistered();
        registry.transfer(consent, NONE);
        meterOfAlice();
        consent.owner = address(0);
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.ZeroOwner.selector, METER));
        vm.prank(vm.addr(alice));
        registry.transfer(consent, NONE);
    }

    // ---- withdraw

    function withdrawalOf(uint256 key, uint256 deadline) private view returns (bytes memory) {
        uint256 nonce = registry.resourceOf(METER).nonce;
        return signForRegistry(key, Typed.withdrawal(METER, nonce, deadline));
    }

    function withdrawAs(address caller) private {
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceWithdrawn(METER, vm.addr(alice), caller);
        vm.prank(caller);
        registry.withdraw(METER, 0, NONE);
        checkMeter(vm.addr(alice), 4600, 2, true, false);
    }

    function test_anOwnerWithdraws() public {
        meterOfAlice();
        withdrawAs(vm.addr(alice));
    }

    function test_aRegistrarWithdraws() public {
        meterOfAlice();
        withdrawAs(registrar);
    }

    function test_anyoneBringsAWithdrawalThatTheOwnerSigned() public {
        meterOfAlice();
        bytes memory signature = withdrawalOf(alice, LATER);
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceWithdrawn(METER, vm.addr(alice), stranger);
        vm.prank(stranger);
        registry.withdraw(METER, LATER, signature);
        checkMeter(vm.addr(alice), 4600, 2, true, false);
    }

    function test_aWithdrawalNeedsTheOwnersSignature() public {
        meterOfAlice();
        bytes memory signature = withdrawalOf(bob, LATER);
        expectInvalid(vm.addr(alice));
        vm.prank(vm.addr(bob));
        registry.withdraw(METER, LATER, signature);
    }

    function test_aSignedWithdrawalIsForOneChainAndCountsUpToItsDeadline() public {
        meterOfAlice();
        uint256 here = block.chainid;
        bytes memory signature = withdrawalOf(alice, LATER);
        vm.chainId(here + 1);
        expectInvalid(vm.addr(alice));
        registry.withdraw(METER, LATER, signature);
        vm.chainId(here);
        vm.warp(LATER + 1);
        expectExpired(LATER);
        registry.withdraw(METER, LATER, signature);
        vm.warp(LATER);
        registry.withdraw(METER, LATER, signature);
    }

    function test_aSignedWithdrawalWorksOnce() public {
        meterOfAlice();
        bytes memory signature = withdrawalOf(alice, LATER);
        registry.withdraw(METER, LATER, signature);
        expectNotRegistered();
        registry.withdraw(METER, LATER, signature);
        meterOfAlice();
        expectInvalid(vm.addr(alice));
        registry.withdraw(METER, LATER, signature);
    }

    function test_aWithdrawnResourceIsNeitherHandedOverNorWithdrawn() public {
        meterOfAlice();
        withdrawAs(vm.addr(alice));
        ResourceRegistry.Consent memory consent = consentOf(bob, METER, 4600, true);
        vm.startPrank(vm.addr(alice));
        expectNotRegistered();
        registry.withdraw(METER, 0, NONE);
        expectNotRegistered();
        registry.transfer(consent, NONE);
    }

    function test_aWithdrawnResourceIsRegisteredAnewByAnyoneWhoConsentsAndKeepsItsNumber() public {
        registerUpTo(1);
        meterOfAlice();
        withdrawAs(registrar);
        register(consentOf(bob, METER, 9000, false));
        checkMeter(vm.addr(bob), 9000, 3, false, true);
        checkEq(registry.resourceOf(METER).number, 1, "number");
        checkEq(registry.resourceCount(), 2, "count");
    }

    // ---- admin

    function test_theAdminChangesInTwoStepsAndNotBeforeTheDelay() public {
        vm.prank(admin);
        registry.beginDefaultAdminTransfer(stranger);
        checkEq(registry.defaultAdmin(), admin, "admin before acceptance");

        uint48 schedule = uint48(NOW + registry.ADMIN_DELAY());
        vm.warp(schedule);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, schedule
            )
        );
        vm.prank(stranger);
        registry.acceptDefaultAdminTransfer();

        vm.warp(schedule + 1);
        vm.prank(stranger);
        registry.acceptDefaultAdminTransfer();
        checkEq(registry.defaultAdmin(), stranger, "admin after acceptance");
    }
}
