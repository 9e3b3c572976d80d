"""A balanced day is settled on chain in one call, however often it is called."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from energy_desk import MORNING, TOKEN
from forecast_market import DAY, ForecastMarket

from domain.errors import ChainError, NegawattError
from negawatt.market_settlement import settle_balanced_day
from negawatt.trading import balance_market, match_market
from serving.anvil import anvil
from serving.chain import Chain


def a_balanced_day(market: ForecastMarket) -> None:
    market.forecasts()
    match_market(market.workspace, market.settings, DAY, now=market.local(0) - timedelta(hours=6))
    market.readings("A", lambda s: 500 if market.sunny(s) else 0, export=True)
    market.readings("A", lambda s: 0 if market.sunny(s) else 100)
    market.readings("meter-b", lambda s: 500)
    balance_market(market.workspace, market.settings, DAY)


def test_a_day_that_is_not_balanced_is_not_settled(tmp_path):
    market = ForecastMarket(tmp_path / "workspace")
    market.forecasts()
    with pytest.raises(NegawattError, match="is not matched"):
        settle_balanced_day(market.workspace, market.settings, DAY)
    market.match()
    with pytest.raises(NegawattError, match="run `negawatt balance-day` first"):
        settle_balanced_day(market.workspace, market.settings, DAY)


def test_without_accounts_no_chain_is_opened(tmp_path):
    market = ForecastMarket(tmp_path / "workspace")
    a_balanced_day(market)
    nowhere = replace(market.settings, chain="http://127.0.0.1:9")
    assert settle_balanced_day(market.workspace, nowhere, DAY)["state"] == "no trades"


@pytest.mark.stack
def test_a_day_is_settled_once_however_often_it_is_called(tmp_path, monkeypatch):
    with anvil(clock=MORNING, block_seconds=None) as node:
        accounts = Chain(node.url, reader=True).w3.eth.accounts
        market = ForecastMarket(tmp_path / "workspace")
        settings = replace(market.settings, chain=node.url)

        def energy(*words: object, account: int = 0) -> dict:
            return market.json("energy", *words, "--account", account, "--chain", node.url)

        energy("deploy")
        energy("post-rate", 2000)
        energy("buy-tokens", 1, account=2)
        energy("deposit", 1000, account=2)
        energy("limit", 44, account=2)
        market.write("market.toml", market.text, "[settlement]", f"token_units = {TOKEN}")
        header = "participant,site,tariff,load_model,load_site,pv_plants,meter,wallet"
        rows = f"A,x,own,homes,,roof,,{accounts[1]}", f"B,y,own,homes,site-b,,meter-b,{accounts[2]}"
        market.write("participants.csv", header, *rows)
        a_balanced_day(market)

        Chain(node.url).wait_until(datetime.combine(DAY + timedelta(days=1), datetime.min.time(), UTC))
        with monkeypatch.context() as waiting:
            waiting.setattr(Chain, "simulated", False)
            assert settle_balanced_day(market.workspace, settings, DAY)["state"] == "proposed"
            market.json("energy", "retract-day", DAY, "--chain", node.url)
            with pytest.raises(NegawattError, match="2025-06-11 were proposed and retracted: balance the day anew"):
                settle_balanced_day(market.workspace, settings, DAY)
            anew = market.json("energy", "settle-day", market.kept / "trades.csv", "--day", DAY, "--chain", node.url)
            assert anew["state"] == "proposed"

        with pytest.raises(ChainError, match="allows 44000000000000000000 a day and owes 45000000000000000000"):
            settle_balanced_day(market.workspace, settings, DAY)  # 3 kWh at 15; B allows a token less
        energy("limit", 45, account=2)
        first = settle_balanced_day(market.workspace, settings, DAY)
        assert first["state"] == "executed"
        assert first["net"] == {accounts[1].lower(): 45 * TOKEN, accounts[2].lower(): -45 * TOKEN}
        assert sum(first["net"].values()) == 0
        assert [sent["purpose"] for sent in first["transactions"]] == [f"execute {DAY}"]  # proposed the first time
        balances = [energy("balance", account=n)["free"] for n in (1, 2)]
        assert balances == [45 * TOKEN, 955 * TOKEN]

        again = settle_balanced_day(market.workspace, settings, DAY)
        assert again == first | {"transactions": []}
        assert json.loads(json.dumps(first)) == first
        assert [energy("balance", account=n)["free"] for n in (1, 2)] == balances
        by_hand = energy("settle-day", market.kept / "trades.csv", "--day", DAY)
        assert (by_hand["state"], by_hand["root"], by_hand["transactions"]) == ("executed", first["root"], [])

        (market.kept / "trades.csv").write_text("seller,buyer,wh,value\n")
        with pytest.raises(NegawattError, match="is not what the statement speaks of"):
            settle_balanced_day(market.workspace, settings, DAY)
