"""Damaged inputs of every kind: none ends with exit 3, a traceback, or a number that the input does not hold."""

import random
import resource
import signal
import traceback
from collections import Counter
from pathlib import Path

import pytest

from robench.runs import environment
from tests.fuzz.kinds import KINDS
from tests.fuzz.seeds import build

SEED = 20
MEMORY = 3 << 30
"""Bytes that a case may take beyond what the process holds already."""
SECONDS = 60
SHARE = 50
"""The default suite runs one in so many of the slow suite's cases."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return build(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(autouse=True)
def bounded(monkeypatch, blank_figures):
    """Little memory and time; nothing that is not reading: no git, no drawing."""

    def late(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    monkeypatch.setattr(environment, "_git_state", lambda: None)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def failures(kind, numbers, seeds, folder):
    """What went wrong, by case number, and how many cases of each mutation there were."""
    make, _ = KINDS[kind]
    found, counts = [], Counter()
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        signal.alarm(SECONDS)
        try:
            counts[make(random.Random(f"{SEED} {kind} {number}"), seeds, place)] += 1
        except Exception:
            found.append(f"{kind} {number}: {traceback.format_exc(limit=-6)}")
        finally:
            signal.alarm(0)
    return found, counts


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_inputs(kind, seeds, tmp_path):
    found, _ = failures(kind, range(0, KINDS[kind][1], SHARE), seeds, tmp_path)
    assert not found, "\n".join(found[:3])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_damaged_inputs(kind, seeds, tmp_path, record_property):
    found, counts = failures(kind, range(KINDS[kind][1]), seeds, tmp_path)
    record_property("counts", dict(counts))
    assert not found, f"{len(found)} failed\n" + "\n".join(found[:5])


def test_the_numbers_are_those_promised():
    assert sum(n for _, n in KINDS.values()) >= 10_000
    assert sum(len(range(0, n, SHARE)) for _, n in KINDS.values()) >= 200
