"""Properties are about results, not about time: a busy machine fails none of them. Spark starts once."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A Spark of two cores in this process."""
    from batch.session import open_session

    session = open_session("local[2]", log=tmp_path_factory.mktemp("spark") / "spark.log")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def geth_network(tmp_path_factory):
    """A private network of two geth nodes, a block a second; who takes a node down brings it up again."""
    from geth_desk import a_network

    with a_network(tmp_path_factory.mktemp("geth") / "chain") as network:
        yield network


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A Kafka broker; use topics of your own names, and who kills it brings it up again."""
    from kafka_desk import a_kafka

    with a_kafka(tmp_path_factory.mktemp("kafka") / "kafka") as server:
        yield server


@pytest.fixture(scope="session")
def hbase(tmp_path_factory):
    """An HBase with its Thrift server; use tables of your own names, and who kills it brings it up again."""
    from hbase_desk import an_hbase

    with an_hbase(tmp_path_factory.mktemp("hbase") / "hbase") as server:
        yield server


@pytest.fixture(scope="session")
def heavydb(tmp_path_factory):
    """Address, with password, of a HeavyDB: that of HEAVYDB_URL, else a stand-in; use tables of your own names."""
    from heavydb_desk import a_heavydb, given_heavydb

    if given := given_heavydb():
        yield given
        return
    with a_heavydb(tmp_path_factory.mktemp("heavydb") / "heavydb") as server:
        yield server.client_url
