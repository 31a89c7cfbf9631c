"""Items of work on processes of this machine, and on Ray: results, errors, and workers that are lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robench.engines.engine import AHEAD, results
from robench.engines.local import Local
from robench.engines.ray_cluster import RayCluster
from robench.errors import ModelError, RunError, SpecError
from tests.engines.works import Squares

ROOT = Path(__file__).resolve().parents[2]


def squares(engine, folder, fates=None, n=12):
    with engine.workers(Squares(folder)) as workers:
        return list(results(workers, [(number, (fates or {}).get(number)) for number in range(n)]))


def values(found):
    return {number: square for number, square, _ in found}


ALL = {number: number**2 for number in range(12)}


def test_each_item_is_done_once_by_few_processes(tmp_path):
    found = squares(Local(2), tmp_path)
    assert len(found) == 12
    assert values(found) == ALL
    assert len({process for *_, process in found}) <= 2
    assert os.getpid() not in {process for *_, process in found}
    assert len(list(tmp_path.glob("started-*"))) <= 2  # what the work holds is loaded once a process


def test_a_killed_worker_is_replaced(tmp_path):
    found = squares(Local(2), tmp_path, {3: "die once", 7: "die once"})
    assert len(found) == 12
    assert values(found) == ALL


def test_an_item_that_kills_every_worker_is_given_up(tmp_path):
    with pytest.raises(RunError, match="killed 3 times") as refusal:
        squares(Local(2), tmp_path, {3: "die"})
    assert "--workers" in refusal.value.hint


def test_an_error_of_a_worker_comes_with_its_hint(tmp_path):
    with pytest.raises(ModelError, match="no 5") as refusal:
        squares(Local(2), tmp_path, {5: "refuse"})
    assert refusal.value.hint == "another one"


class Recorded:
    """Workers that are only counted."""

    count = 3

    def __init__(self):
        self.most, self.numbers = 0, []

    def submit(self, number, item):
        self.numbers.append((number, item))
        self.most = max(self.most, len(self.numbers))

    def wait(self):
        return self.numbers.pop()


def test_few_items_are_in_flight_and_no_more_are_drawn():
    workers, drawn = Recorded(), []

    def items():
        for number in range(50):
            drawn.append(number)
            yield number

    stream = results(workers, items())
    next(stream)
    assert len(drawn) == AHEAD * workers.count
    assert sorted([*stream, *()]) == sorted(set(range(50)) - {AHEAD * workers.count - 1})
    assert workers.most == AHEAD * workers.count


STOPPED = """
import sys, os, signal
from pathlib import Path
from robench.engines.engine import results
from robench.engines.local import Local
from tests.engines.works import Squares
if __name__ == "__main__":
    with Local(2).workers(Squares(Path(sys.argv[1]))) as workers:
        for number, _, process in results(workers, [(0, None), (1, "sleep"), (2, "sleep")]):
            print(number, flush=True)
"""


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_workers_end_with_their_command(tmp_path, signal_name):
    import signal

    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = subprocess.Popen(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "0\n"
    deadline = time.monotonic() + 60
    while len(workers := [int(file.name.split("-")[1]) for file in tmp_path.glob("started-*")]) < 2:
        assert time.monotonic() < deadline, "the second worker has not started"
        time.sleep(0.02)
    command.send_signal(getattr(signal, signal_name))
    command.wait(60)
    command.stdout.close()
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlives its command"
        time.sleep(0.02)


def test_ray_is_asked_for_only_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match="Ray is not installed") as refusal:
        RayCluster().workers(Squares(tmp_path))
    assert refusal.value.hint == "pip install 'robench[ray]'"


def test_nothing_imports_ray_unasked():
    code = "import sys, robench, robench.cli.main, robench.engines.ray_cluster; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
