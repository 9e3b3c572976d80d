from __future__ import annotations

import socket

import pytest

from infra.daemons import ServiceError
from infra.spark_cluster import SparkCluster


def test_a_cluster_is_what_its_folder_says(tmp_path):
    made = SparkCluster.create(tmp_path / "spark", workers=3)
    assert SparkCluster.load(tmp_path / "spark") == made
    assert made.parts == ["master", "worker-1", "worker-2", "worker-3", "connect"]
    assert len(set(made.ports.values())) == 6
    assert made.url == f"spark://127.0.0.1:{made.ports['master']}"
    assert made.connect_url == f"sc://127.0.0.1:{made.ports['connect']}"


def test_ports_can_be_chosen(tmp_path):
    made = SparkCluster.create(tmp_path / "spark", port=7077, connect_port=15002)
    assert (made.url, made.connect_url) == ("spark://127.0.0.1:7077", "sc://127.0.0.1:15002")


def test_a_folder_holds_one_cluster(tmp_path):
    SparkCluster.create(tmp_path / "spark")
    with pytest.raises(ServiceError, match="holds a Spark cluster already"):
        SparkCluster.create(tmp_path / "spark")


def test_where_there_is_none_the_command_is_named(tmp_path):
    with pytest.raises(ServiceError, match=r"no Spark cluster in .*: start one with `negawatt stack up spark`"):
        SparkCluster.load(tmp_path / "spark")


def test_a_broken_file_is_named(tmp_path):
    made = SparkCluster.create(tmp_path / "spark")
    (made.folder / "cluster.json").write_text("{}")
    with pytest.raises(ServiceError, match=r"cluster.json can't be read \("):
        SparkCluster.load(made.folder)


def test_without_a_connect_server_there_is_no_address_of_one(tmp_path):
    made = SparkCluster.create(tmp_path / "spark", connect=False)
    assert "connect" not in made.parts
    with pytest.raises(ServiceError, match="was made without a Connect server"):
        _ = made.connect_url


def test_a_part_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    made = SparkCluster.create(tmp_path / "spark", workers=1)
    with pytest.raises(ServiceError, match="no 'worker-2' in this Spark cluster: there are master, "):
        made.kill("worker-2")


def test_what_does_not_run_is_neither_killed_nor_stopped(tmp_path):
    made = SparkCluster.create(tmp_path / "spark")
    assert not made.kill("worker-1")
    assert made.down() == []
    assert made.workers_alive() == 0
    made.down(erase=True)
    assert not made.folder.exists()


def test_a_port_that_another_program_holds_is_named_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = SparkCluster.create(tmp_path / "spark", port=port)
        with pytest.raises(ServiceError, match=f"port {port} of Spark's master is taken by another program"):
            made.up()
