"""`robench slurm`: the script, and a job that a stand-in of sbatch runs on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.runs import NET, files

ROOT = Path(__file__).resolve().parents[2]
SBATCH = """#!{python}
# runs an array one task after another, and notes what it was asked
import os, re, subprocess, sys
text = sys.stdin.read()
with open(os.environ["ASKED"], "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n" + text)
found = re.search(r"--array=(\\d+)-(\\d+)", text)
tasks = range(int(found[1]), int(found[2]) + 1) if found else [None]
for task in tasks:
    names = {{}} if task is None else {{"SLURM_ARRAY_TASK_ID": str(task)}}
    done = subprocess.run(["bash"], input=text, text=True, env={{**os.environ, **names}}, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr)
print("4711;cluster")
"""


@pytest.fixture
def run(robench, tmp_path, monkeypatch):
    """`robench slurm` with a stand-in of sbatch, in a folder with a model."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH.format(python=sys.executable))
    sbatch.chmod(0o755)
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(sbatch.parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return lambda *words: robench("slurm", *words)


CERTIFY = ("certify", "net.py:make", "--data", "two-moons", "--limit", "30", "--eps", "0.1", "--out", "my parts")


def test_the_script_holds_the_command(run):
    script = run(*CERTIFY, "--array", "8", "--sbatch=--time=1:00:00", "--threads", "2").stdout
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    for line in ("--array=1-8", "--cpus-per-task=2", "--requeue", "--time=1:00:00", "--output=my parts/%A-%a.log"):
        assert f"#SBATCH {line}\n" in script
    assert "certify net.py:make --data two-moons --limit 30 --eps 0.1 --out 'my parts'" in script
    assert '--threads 2 --shard "$SLURM_ARRAY_TASK_ID/8"' in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.slow
def test_an_array_writes_the_run_of_one_machine(run, robench, tmp_path):
    result = run(*CERTIFY, "--array", "3", "--submit", "--merge-into", "run")
    assert result.stdout.split("\n")[:2] == ["job: 4711", "merge job: 4711"]
    assert "--dependency=afterok:4711" in (tmp_path / "asked").read_text()
    robench(*CERTIFY[:-1], "one", "--threads", "1")
    assert files(tmp_path / "one") == files(tmp_path / "run")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("train", "--recipe", "hkr"), "`train` does not work in shards"),
        (CERTIFY[:-2], "--out is needed"),
        ((*CERTIFY, "--shard", "1/2"), "--shard is set by the array"),
        ((*CERTIFY, "--epss", "1"), "No such option"),
        ((*CERTIFY, "--dry-run"), "--dry-run is not for an array"),
        ((*CERTIFY, "--merge-into", "run"), "--merge-into is for --submit"),
    ],
)
def test_what_no_task_could_do_is_refused_here(run, words, reason):
    result = run(*words, "--array", "2")
    assert result.code == 2
    assert reason in result.stderr


def test_a_machine_without_slurm_says_so(run, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    result = run(*CERTIFY, "--array", "2", "--submit")
    assert result.code == 2
    assert "there is no `sbatch` here" in result.stderr
