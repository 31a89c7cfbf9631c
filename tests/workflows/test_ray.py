"""Ray: several nodes write the run that one process writes, also when one of them is lost on the way."""

from __future__ import annotations

import functools
import os
import threading
import time
from pathlib import Path

import pytest

from robench import workflows
from robench.engines.engine import results
from robench.engines.ray_cluster import RayCluster
from robench.errors import ModelError, RunError, SpecError
from robench.workflows import DataRef, Execution
from tests.engines.works import Squares
from tests.workflows.runs import NET, same

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]
DATA = DataRef("two-moons", limit=60)
HERE = Execution(threads=1)
attack = functools.partial(workflows.attack, data=DATA, eps=["0.1", "1/4", "1"])


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(NET)
    return f"{file}:make"


@pytest.fixture(scope="module")
def one(net, tmp_path_factory):
    """What one process writes."""
    return attack(net, out=tmp_path_factory.mktemp("one") / "run", execution=HERE).folder


@pytest.fixture
def nodes(monkeypatch):
    """Three nodes of one worker each, and the address of their head."""
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def on(cluster):
    return Execution(threads=1, batch_size=4, engine=RayCluster(address=cluster.address))


def test_three_nodes_write_the_run_of_one_process(net, one, nodes, tmp_path):
    outcome = attack(net, out=tmp_path / "run", execution=on(nodes))
    assert outcome.summary["n"] == 60
    same(one, outcome.folder)


def test_a_node_that_is_lost_changes_nothing(net, one, nodes, tmp_path):
    def lose():
        records = tmp_path / "run" / "records.jsonl"
        while not (records.exists() and records.read_bytes()):
            time.sleep(0.01)
        nodes.remove_node(nodes.others[1], allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    outcome = attack(net, out=tmp_path / "run", execution=on(nodes))
    thread.join()
    same(one, outcome.folder)


def test_ray_starts_on_this_machine_and_ends_with_the_work(net, one, tmp_path, monkeypatch):
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    outcome = attack(net, out=tmp_path / "run", execution=Execution(threads=1, engine=RayCluster(count=2)))
    same(one, outcome.folder)
    assert not ray.is_initialized()


def test_errors_and_lost_workers(nodes, tmp_path):
    def squares(fates):
        with RayCluster(address=nodes.address).workers(Squares(tmp_path)) as workers:
            assert workers.count == 3
            return list(results(workers, [(number, fates.get(number)) for number in range(9)]))

    assert {number: square for number, square, _ in squares({2: "die once"})} == {n: n * n for n in range(9)}
    with pytest.raises(ModelError, match="no 5") as refusal:
        squares({5: "refuse"})
    assert refusal.value.hint == "another one"
    with pytest.raises(RunError, match="was lost 3 times"):
        squares({3: "die"})


def test_what_cannot_be_is_refused(nodes, tmp_path):
    with pytest.raises(SpecError, match="no worker has room"):
        RayCluster(address=nodes.address, threads=64).workers(Squares(tmp_path)).__enter__()
    with pytest.raises(SpecError, match="no worker has room"):
        RayCluster(address=nodes.address).workers(Squares(tmp_path, gpu=True)).__enter__()


def test_no_cluster_at_an_address(tmp_path):
    with pytest.raises(SpecError, match="no Ray cluster at `127"):
        RayCluster(address="127.0.0.1:1").workers(Squares(tmp_path)).__enter__()
    assert not ray.is_initialized()
