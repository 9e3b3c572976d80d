// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {EnergyToken} from "../src/EnergyToken.sol";
import {EnergyFixture} from "./support/EnergyFixture.sol";

/// @notice A treasurer that, when it receives ether, asks for more.
contract GreedyTreasurer {
    EnergyToken private immutable _token;
    uint256 public refusals;

    constructor(EnergyToken token) {
        _token = token;
    }

    function take(uint256 amount) external {
        _token.withdrawEther(payable(address(this)), amount);
    }

    receive() external payable {
        try _token.withdrawEther(payable(address(this)), msg.value) {}
        catch {
            ++refusals;
        }
    }
}

contract EnergyTokenTest is EnergyFixture {
    function test_theTokenIsCalledAsItsDeployerSaid() public {
        EnergyToken other = new EnergyToken("Neighbour Power", "NBP", 6, admin);
        checkEq(keccak256(bytes(other.name())), keccak256("Neighbour Power"), "name");
        checkEq(keccak256(bytes(other.symbol())), keccak256("NBP"), "symbol");
        checkEq(other.decimals(), 6, "decimals");
        checkEq(other.defaultAdmin(), admin, "admin");
        checkEq(other.totalSupply(), 0, "supply");
    }

    function test_theRateIsPostedByItsRoleAlone() public {
        bytes32 role = token.RATE_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        token.postRate(1);
    }

    function test_aPostedRateIsLogged() public {
        vm.expectEmit(address(token));
        emit EnergyToken.RatePosted(77, rater);
        vm.prank(rater);
        token.postRate(77);
        checkEq(token.tokensPerEther(), 77, "rate");
    }

    function test_etherBuysTokensAtThePostedRate() public {
        cheats.deal(buyer, 1 ether);
        vm.expectEmit(address(token));
        emit EnergyToken.Bought(buyer, 0.5 ether, 1000e18);
        vm.prank(buyer);
        checkEq(token.buy{value: 0.5 ether}(1000e18), 1000e18, "bought");
        checkEq(token.balanceOf(buyer), 1000e18, "balance");
        checkEq(token.totalSupply(), 1000e18, "supply");
        checkEq(address(token).balance, 0.5 ether, "proceeds");
    }

    function testFuzz_aPurchaseIsRoundedDownAndNeverMore(uint96 value, uint128 rate) public {
        vm.prank(rater);
        token.postRate(rate);
        cheats.deal(buyer, value);
        uint256 expected = uint256(value) * rate / 1 ether;
        bytes memory refusal;
        if (rate == 0) {
            refusal = abi.encodeWithSelector(EnergyToken.SaleClosed.selector);
        } else if (expected == 0) {
            refusal = abi.encodeWithSelector(EnergyToken.NothingBought.selector, value, rate);
        } else if (expected > token.MAX_SUPPLY()) {
            refusal = abi.encodeWithSelector(EnergyToken.SupplyTooLarge.selector, expected);
        }
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(buyer);
        token.buy{value: value}(0);
        checkEq(token.balanceOf(buyer), refusal.length == 0 ? expected : 0, "balance");
    }

    function test_aRateOfZeroClosesTheSale() public {
        vm.prank(rater);
        token.postRate(0);
        cheats.deal(buyer, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(EnergyToken.SaleClosed.selector));
        vm.prank(buyer);
        token.buy{value: 1 ether}(0);
    }

    function test_aBuyerWhoWouldGetLessThanTheMinimumGetsTheEtherBack() public {
        cheats.deal(buyer, 1 ether);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyToken.BelowMinimum.selector, uint256(2000e18), uint256(2000e18) + 1)
        );
        vm.prank(buyer);
        token.buy{value: 1 ether}(2000e18 + 1);
        checkEq(buyer.balance, 1 ether, "ether");
    }

    function test_etherThatBuysNothingIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(EnergyToken.NothingBought.selector, uint256(0), RATE));
        token.buy(0);
        vm.prank(rater);
        token.postRate(1e17);
        cheats.deal(buyer, 9);
        vm.expectRevert(abi.encodeWithSelector(EnergyToken.NothingBought.selector, uint256(9), uint128(1e17)));
        vm.prank(buyer);
        token.buy{value: 9}(0);
    }

    function test_theSupplyNeverOutgrowsASignedSumOf128Bits() public {
        uint256 most = token.MAX_SUPPLY();
        checkEq(most, 2 ** 127 - 1, "limit");
        vm.prank(rater);
        token.postRate(uint128(most));
        cheats.deal(buyer, 2 ether);
        vm.prank(buyer);
        token.buy{value: 1 ether}(most);
        vm.prank(rater);
        token.postRate(1 ether);
        vm.expectRevert(abi.encodeWithSelector(EnergyToken.SupplyTooLarge.selector, most + 1));
        vm.prank(buyer);
        token.buy{value: 1}(0);
    }

    function test_plainEtherIsRefused() public {
        cheats.deal(buyer, 2 ether);
        vm.prank(buyer);
        (bool taken,) = address(token).call{value: 1 ether}("");
        check(!taken, "without data");
        vm.prank(buyer);
        (taken,) = address(token).call{value: 1 ether}(hex"12345678");
        check(!taken, "with data of no function");
        checkEq(buyer.balance, 2 ether, "ether");
    }

    function test_aTreasurerTakesTheProceeds() public {
        fund(buyer, 2000e18);
        vm.expectEmit(address(token));
        emit EnergyToken.EtherWithdrawn(stranger, 0.4 ether, treasurer);
        vm.prank(treasurer);
        token.withdrawEther(payable(stranger), 0.4 ether);
        checkEq(stranger.balance, 0.4 ether, "received");
        checkEq(address(token).balance, 0.6 ether, "left");
    }

    function test_onlyATreasurerTakesTheProceeds() public {
        bytes32 role = token.TREASURER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        token.withdrawEther(payable(admin), 0);
    }

    function test_moreThanThereIsCannotBeTaken() public {
        fund(buyer, 2000e18);
        vm.expectRevert(
            abi.encodeWithSelector(
                EnergyToken.NotEnoughEther.selector, uint256(1 ether), uint256(1 ether) + 1
            )
        );
        vm.prank(treasurer);
        token.withdrawEther(payable(treasurer), 1 ether + 1);
    }

    function test_proceedsDoNotGoToTheZeroReceiver() public {
        vm.expectRevert(abi.encodeWithSelector(EnergyToken.ZeroReceiver.selector));
        vm.prank(treasurer);
        token.withdrawEther(payable(address(0)), 0);
    }

    function test_aReceiverThatRefusesEtherIsNamed() public {
        fund(buyer, 2000e18);
        vm.expectRevert(
            abi.encodeWithSelector(EnergyToken.EtherRefused.selector, address(market), uint256(1 ether))
        );
        vm.prank(treasurer);
        token.withdrawEther(payable(address(market)), 1 ether);
    }

    function test_aTreasurerThatCallsBackGetsNoMoreThanThereIs() public {
        GreedyTreasurer greedy = new GreedyTreasurer(token);
        bytes32 role = token.TREASURER_ROLE();
        vm.prank(admin);
        token.grantRole(role, address(greedy));
        fund(buyer, 5000e18);
        greedy.take(1 ether);
        checkEq(address(greedy).balance, 2 ether, "taken in two steps");
        checkEq(address(token).balance, 0.5 ether, "left");
        checkEq(greedy.refusals(), 1, "the third step asked for more than was left");
    }

    function test_aPauseStopsTheSaleAndNothingElse() public {
        fund(buyer, 4000e18);
        vm.prank(pauser);
        token.pause();
        cheats.deal(stranger, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
        vm.prank(stranger);
        token.buy{value: 1 ether}(0);

        vm.prank(buyer);
        check(token.transfer(stranger, 1), "transfer");
        vm.prank(treasurer);
        token.withdrawEther(payable(treasurer), 1);
        vm.prank(rater);
        token.postRate(1);
        vm.prank(buyer);
        token.burn(1);
    }

    function test_aPauserPausesAndOnlyTheAdminResumes() public {
        bytes32 role = token.PAUSER_ROLE();
        expectNeedsRole(admin, role);
        vm.prank(admin);
        token.pause();
        vm.prank(pauser);
        token.pause();
        expectNeedsRole(pauser, bytes32(0));
        vm.prank(pauser);
        token.unpause();
        vm.prank(admin);
        token.unpause();
        fund(buyer, 2000e18);
    }

    function test_aHolderBurnsOwnTokens() public {
        fund(buyer, 2000);
        vm.prank(buyer);
        token.burn(300);
        checkEq(token.balanceOf(buyer), 1700, "balance");
        checkEq(token.totalSupply(), 1700, "supply");
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, buyer, 1700, 1701)
        );
        vm.prank(buyer);
        token.burn(1701);
    }

    function test_theAdminChangesInTwoStepsADayApart() public {
        vm.prank(admin);
        token.beginDefaultAdminTransfer(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector,
                uint48(NOW + 1 days)
            )
        );
        vm.prank(stranger);
        token.acceptDefaultAdminTransfer();
        vm.warp(NOW + 1 days + 1);
        vm.prank(stranger);
        token.acceptDefaultAdminTransfer();
        checkEq(token.defaultAdmin(), stranger, "admin");
    }
}
