// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";

import {ResourceRegistry} from "../src/ResourceRegistry.sol";
import {Fixture} from "./support/Fixture.sol";

contract ResourceRegistryTest is Fixture {
    function rowOf(bytes32 resource, address owner)
        private
        pure
        returns (ResourceRegistry.Registration[] memory rows)
    {
        rows = new ResourceRegistry.Registration[](1);
        rows[0] = ResourceRegistry.Registration(resource, owner, 4600);
    }

    function test_aRegisteredResourceIsFoundWithItsOwnerAndPower() public {
        registerUpTo(3);
        (address owner, uint64 contractedW) = registry.resourceOf(resourceOf(2));
        checkEq(owner, ownerOf(2), "owner");
        checkEq(contractedW, 3002, "contracted power");
        check(registry.isRegistered(resourceOf(2)), "is registered");
        checkEq(registry.resourceCount(), 3, "count");
    }

    function test_anUnknownResourceHasNoOwner() public view {
        (address owner, uint64 contractedW) = registry.resourceOf(resourceOf(0));
        checkEq(owner, address(0), "owner");
        checkEq(contractedW, 0, "contracted power");
        check(!registry.isRegistered(resourceOf(0)), "is not registered");
    }

    function test_aRegistrationIsAnnounced() public {
        vm.expectEmit(address(registry));
        emit ResourceRegistry.ResourceRegistered(resourceOf(0), ownerOf(0), 4600, 0);
        vm.prank(registrar);
        registry.register(rowOf(resourceOf(0), ownerOf(0)));
    }

    function test_resourcesAreNumberedInOrderAcrossBatches() public {
        registerUpTo(3);
        vm.prank(registrar);
        registry.register(rowOf("late", ownerOf(9)));
        checkEq(registry.resourcesOf(one("late"))[0].number, 3, "number");
        ResourceRegistry.Resource[] memory rows = registry.resourcesOf(resourcesUpTo(4));
        for (uint256 i; i < 3; ++i) {
            checkEq(rows[i].number, i, "number");
            checkEq(rows[i].owner, ownerOf(i), "owner");
            checkEq(rows[i].contractedW, 3000 + i, "contracted power");
        }
        checkEq(rows[3].owner, address(0), "unknown resource");
    }

    function test_aBatchCanBeAskedWhichOfItsResourcesAreKnown() public {
        registerUpTo(2);
        bool[] memory flags = registry.registered(resourcesUpTo(4));
        check(flags.length == 4 && flags[0] && flags[1] && !flags[2] && !flags[3], "flags");
    }

    function test_aResourceCannotBeRegisteredTwice() public {
        registerUpTo(1);
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.AlreadyRegistered.selector, resourceOf(0)));
        vm.prank(registrar);
        registry.register(rowOf(resourceOf(0), stranger));
    }

    function test_aResourceCannotStandTwiceInABatch() public {
        ResourceRegistry.Registration[] memory rows = new ResourceRegistry.Registration[](2);
        rows[0] = rows[1] = rowOf(resourceOf(7), ownerOf(7))[0];
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.AlreadyRegistered.selector, resourceOf(7)));
        vm.prank(registrar);
        registry.register(rows);
        check(!registry.isRegistered(resourceOf(7)), "nothing of the batch stays");
    }

    function test_theZeroHashIsNoResource() public {
        ResourceRegistry.Registration[] memory rows = new ResourceRegistry.Registration[](2);
        rows[0] = rowOf(resourceOf(0), ownerOf(0))[0];
        rows[1] = rowOf(0, ownerOf(1))[0];
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.ZeroResource.selector, 1));
        vm.prank(registrar);
        registry.register(rows);
    }

    function test_theZeroAddressOwnsNothing() public {
        vm.expectRevert(abi.encodeWithSelector(ResourceRegistry.ZeroOwner.selector, resourceOf(0)));
        vm.prank(registrar);
        registry.register(rowOf(resourceOf(0), address(0)));
    }

    function test_onlyARegistrarRegisters() public {
        bytes32 role = registry.REGISTRAR_ROLE();
        expectNeedsRole(stranger, role);
        vm.prank(stranger);
        registry.register(rowOf(resourceOf(0), ownerOf(0)));
    }

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

    function testFuzz_aResourceKeepsWhatItWasRegisteredWith(
        bytes32 resource,
        address owner,
        uint64 contractedW
    ) public {
        if (resource == 0 || owner == address(0)) return;
        ResourceRegistry.Registration[] memory rows = new ResourceRegistry.Registration[](1);
        rows[0] = ResourceRegistry.Registration(resource, owner, contractedW);
        vm.prank(registrar);
        registry.register(rows);
        (address foundOwner, uint64 foundPower) = registry.resourceOf(resource);
        checkEq(foundOwner, owner, "owner");
        checkEq(foundPower, contractedW, "contracted power");
    }
}
