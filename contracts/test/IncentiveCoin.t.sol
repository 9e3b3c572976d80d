// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {IncentiveCoin} from "../src/IncentiveCoin.sol";
import {Fixture} from "./support/Fixture.sol";

contract IncentiveCoinTest is Fixture {
    function setUp() public override {
        super.setUp();
        bytes32 role = coin.MINTER_ROLE();
        vm.prank(admin);
        coin.grantRole(role, operator);
    }

    function mint(address to, uint256 amount) private {
        vm.prank(operator);
        coin.mint(to, amount);
    }

    function test_theCoinIsCalledAsItsDeployerSaid() public {
        IncentiveCoin other = new IncentiveCoin("Saved Power", "SVP", 6, admin);
        checkEq(keccak256(bytes(other.name())), keccak256("Saved Power"), "name");
        checkEq(keccak256(bytes(other.symbol())), keccak256("SVP"), "symbol");
        checkEq(other.decimals(), 6, "decimals");
        checkEq(other.defaultAdmin(), admin, "admin");
    }

    function test_aMinterCreatesCoins() public {
        mint(stranger, 70);
        checkEq(coin.balanceOf(stranger), 70, "balance");
        checkEq(coin.totalSupply(), 70, "supply");
    }

    function test_onlyAMinterCreatesCoins() public {
        bytes32 role = coin.MINTER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        coin.mint(admin, 1);
    }

    function test_aHolderBurnsOwnCoins() public {
        mint(stranger, 70);
        vm.prank(stranger);
        coin.burn(30);
        checkEq(coin.balanceOf(stranger), 40, "balance");
        checkEq(coin.totalSupply(), 40, "supply");
    }

    function test_nobodyBurnsMoreThanTheyHold() public {
        mint(stranger, 70);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, stranger, 70, 71)
        );
        vm.prank(stranger);
        coin.burn(71);
    }

    function testFuzz_aSignedPermitLetsTheSpenderSpend(uint256 key, uint128 amount) public {
        key = within(key, 1, type(uint128).max);
        address holder = vm.addr(key);
        mint(holder, amount);
        bytes32 message = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                holder,
                stranger,
                uint256(amount),
                coin.nonces(holder),
                uint256(NOW)
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), message));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        coin.permit(holder, stranger, amount, NOW, v, r, s);
        vm.prank(stranger);
        check(coin.transferFrom(holder, stranger, amount), "transfer");
        checkEq(coin.balanceOf(stranger), amount, "balance");
    }
}
