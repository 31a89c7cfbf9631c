"""An attack run that is killed at random moments and resumed says, byte for byte, what an uninterrupted one says."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from robench.data import load
from robench.progress import NoProgress
from robench.runs.adversarials import read_adversarials
from robench.specs.data import DataSpec
from robench.training import recipes
from robench.workflows.training import fit

KILLS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "digits"
    data = DataSpec(name="digits")
    train, validation = (
        load(data, s, data_dir=None, limit=None, progress=NoProgress()) for s in ("train", "validation")
    )
    spec = recipes.build_spec(
        "hkr", data=data, input_shape=train.shape, classes=10, arch=None, epochs=3, seed=0, changes=None
    )
    fit(spec, train, validation, out=folder, device=torch.device("cpu"), progress=NoProgress())
    return folder


def command(model, out, limit):
    return [
        sys.executable, "-m", "robench", "attack", str(model), "--data", "digits", "--limit", str(limit),
        "--eps", "0.25,0.5,0.75,1,1.5", "--out", str(out), "--batch-size", "8", "--device", "cpu", "-q",
    ]  # fmt: skip


@pytest.mark.slow
def test_twenty_kills_change_nothing(model, tmp_path):
    whole = tmp_path / "whole"
    started = time.monotonic()
    subprocess.run(command(model, whole, 120), check=True)
    seconds = time.monotonic() - started
    moments = random.Random(0)
    kills = attempt = 0
    while kills < KILLS:
        attempt += 1
        killed = tmp_path / f"killed{attempt}"
        while kills < KILLS:
            process = subprocess.Popen(command(model, killed, 120))
            time.sleep(moments.uniform(0.0, 1.0) * seconds)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        subprocess.run(command(model, killed, 120), check=True)
        assert (killed / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
        one, other = read_adversarials(killed), read_adversarials(whole)
        assert one.keys() == other.keys()
        assert all((one[index] == other[index]).all() for index in one)


@pytest.mark.slow
def test_ctrl_c_exits_130_and_a_larger_limit_computes_only_what_is_new(model, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    process = subprocess.Popen(command(model, out, 200))
    while not (out / "records.jsonl").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    before = (out / "records.jsonl").read_bytes()
    subprocess.run(command(model, out, 200), check=True)
    assert (out / "records.jsonl").read_bytes().startswith(before)
    subprocess.run(command(model, out, 220), check=True)
    subprocess.run(command(model, whole, 220), check=True)
    assert (out / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
