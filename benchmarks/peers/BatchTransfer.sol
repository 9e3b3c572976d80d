// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @notice The plain way to pay many wallets at once: transfer after transfer of coins that the caller approved.
contract BatchTransfer {
    function pay(address coin, address[] calldata wallets, uint256[] calldata amounts) external {
        for (uint256 i; i < wallets.length; ++i) {
            (bool ok, bytes memory said) = coin.call(
                abi.encodeWithSignature("transferFrom(address,address,uint256)", msg.sender, wallets[i], amounts[i])
            );
            require(ok && abi.decode(said, (bool)), "transfer failed");
        }
    }
}
