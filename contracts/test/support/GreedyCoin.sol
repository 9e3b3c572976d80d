// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IncentiveCoin} from "../../src/IncentiveCoin.sol";

/// @notice A coin that calls back into the contract that moves it, as no honest coin does.
contract GreedyCoin is IncentiveCoin {
    bytes private _call;
    uint256 public attempts;
    uint256 public successes;

    constructor(address admin) IncentiveCoin("Greedy", "GRD", 18, admin) {}

    function arm(bytes calldata call_) external {
        _call = call_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        callBack();
        return super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        callBack();
        return super.transferFrom(from, to, amount);
    }

    function callBack() private {
        if (_call.length == 0) return;
        (bool ok,) = msg.sender.call(_call);
        ++attempts;
        if (ok) ++successes;
    }
}
