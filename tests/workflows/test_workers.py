"""Workers of an engine write the run that one process writes; also when they, their nodes or their command are lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robench import workflows
from robench.engines.local import Local
from robench.errors import ModelError
from robench.specs.suite import read_suite
from robench.workflows import DataRef, Execution, ModelRef
from robench.workflows.parcel import packed
from tests.workflows.runs import NET, same

ROOT = Path(__file__).resolve().parents[2]
DATA = DataRef("two-moons", limit=60)
EPS = ["0.1", "1/4", "1"]
HERE = Execution(threads=1)
TWO = Execution(threads=1, engine=Local(2), batch_size=10)
CALLS = {
    "certify": lambda net, **more: workflows.certify(net, DATA, eps=EPS, **more),
    "attack": lambda net, **more: workflows.attack(net, DATA, eps=EPS, **more),
}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(NET)
    return f"{file}:make"


@pytest.mark.slow
def test_two_workers_write_the_run_of_one_process(net, tmp_path):
    for command, call in CALLS.items():
        call(net, out=tmp_path / "one" / command, execution=HERE)
        outcome = call(net, out=tmp_path / "two" / command, execution=TWO)
        assert outcome.summary["reused"] == 0
        same(tmp_path / "one" / command, tmp_path / "two" / command)


def test_workers_go_on_where_one_process_stopped(net, tmp_path):
    workflows.certify(net, DataRef("two-moons", limit=25), eps=EPS, out=tmp_path / "run", execution=HERE)
    outcome = CALLS["certify"](net, out=tmp_path / "run", execution=TWO)
    assert outcome.summary["reused"] == 25
    CALLS["certify"](net, out=tmp_path / "one", execution=HERE)
    same(tmp_path / "one", tmp_path / "run")


UNEQUAL = """
import multiprocessing, torch
from torch import nn
def make():
    torch.manual_seed(multiprocessing.parent_process() is not None)
    return nn.Linear(2, 1)
"""


@pytest.mark.slow
def test_a_worker_that_reads_another_model_is_refused(tmp_path):
    (tmp_path / "net.py").write_text(UNEQUAL)
    with pytest.raises(ModelError, match="a worker reads another model"):
        workflows.certify(f"{tmp_path}/net.py:make", DATA, eps=EPS, out=tmp_path / "run", execution=TWO)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "error"


def test_a_worker_that_does_not_see_the_model_gets_its_files(tmp_path):
    zoo = ROOT / "zoo" / "two-moons-hkr"
    shutil.copytree(zoo, tmp_path / "here" / "two-moons-hkr")
    named = ModelRef(tmp_path / "here" / "two-moons-hkr")
    identity = named.load().identity
    parcel = packed(named)
    assert parcel.unpacked() == named
    shutil.rmtree(tmp_path / "here")
    assert parcel.unpacked() != named
    assert parcel.unpacked().load().identity == identity


def test_a_factory_is_not_packed(net):
    assert packed(ModelRef(net)).files == {}


@pytest.mark.slow
def test_a_bench_by_workers_is_that_of_one_process(tmp_path):
    suite = read_suite("two-moons").trained_for(1).at_most(20)
    one = workflows.bench(suite=suite, out=tmp_path / "one", execution=HERE)
    two = workflows.bench(suite=suite, out=tmp_path / "two", execution=TWO)
    assert one.summary["models"] == two.summary["models"]
    records = sorted(file.relative_to(one.folder) for file in one.folder.rglob("records.jsonl"))
    weights = sorted(file.relative_to(one.folder) for file in one.folder.glob("models/*/*.safetensors"))
    assert records
    assert weights
    for name in (*records, *weights):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name


COMMAND = """
from robench import workflows
from robench.engines.local import Local
import sys
if __name__ == "__main__":
    execution = workflows.Execution(threads=1, engine=Local(2), batch_size=4)
    data = workflows.DataRef("two-moons", limit=60)
    workflows.attack(sys.argv[1], data, eps=["0.1", "1/4", "1"], out=sys.argv[2], execution=execution)
"""


def killed(net, folder, which):
    """Start an attack by workers, and kill the command or a worker when there are some records."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = folder.parent / "command.py"
    script.write_text(COMMAND)
    command = subprocess.Popen([sys.executable, script, net, folder], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 120
    while not (folder / "records.jsonl").exists() or not (folder / "records.jsonl").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim = command.pid
    if which == "worker":
        children = subprocess.run(["pgrep", "-P", str(command.pid), "-f", "spawn_main"], capture_output=True, text=True)
        victim = int(children.stdout.split()[0])
    os.kill(victim, signal.SIGKILL)
    return command.wait(120)


@pytest.mark.slow
def test_a_killed_command_is_resumed(net, tmp_path):
    assert killed(net, tmp_path / "run", "command") == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    outcome = CALLS["attack"](net, out=tmp_path / "run", execution=TWO)
    assert 0 < outcome.summary["reused"] < 60
    CALLS["attack"](net, out=tmp_path / "one", execution=HERE)
    same(tmp_path / "one", tmp_path / "run")


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(net, tmp_path):
    assert killed(net, tmp_path / "run", "worker") == 0
    CALLS["attack"](net, out=tmp_path / "one", execution=HERE)
    same(tmp_path / "one", tmp_path / "run")
