"""Passes by attack, and the rule that spares attacks, on real ensembles; a resumed run costs and says the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robench import workflows
from robench.attacks.batch import AttackedBatch
from robench.attacks.passes import PassCounter
from robench.progress import NoProgress
from robench.records.record import AttackStatus
from robench.runs.folder import RunFolder
from robench.specs.data import DataSpec
from robench.statistics.sparing import spared_counts
from tests.attacks.nets import certificates, digits, lipschitz_net
from tests.attacks.runs import attack

CHEAP = {"deepfool": {}, "fgsm": {}, "pgd": {"steps": 10}, "cw": {"steps": 30}}
EPS = ("0.1", "0.25", "0.5", "0.75", "1", "1.25", "1.5", "2")


@pytest.fixture(scope="module")
def case():
    data = digits((0, 8))
    model = lipschitz_net(1, data, steps=80)
    return model, data.take(40), certificates(model, data)


@pytest.fixture
def asked(monkeypatch):
    """What every attack was asked: the pairs (n, K), in the order of the ensemble."""
    seen = {"promising": [], "open": []}

    def watched(self):
        pairs = promising(self)
        seen["promising"].append(pairs)
        seen["open"].append(self.open())
        return pairs

    promising = AttackedBatch.promising
    monkeypatch.setattr(AttackedBatch, "promising", watched)
    return seen


def test_the_records_tell_which_pairs_were_spared(case, asked):
    records = attack(*case, attacks=CHEAP, eps=EPS)
    stands = np.array([[r.robust_at(float(t)) and r.certified_radius <= float(t) for t in EPS] for r in records])
    kept_back = np.logical_or.reduce(
        [was & ~pairs for was, pairs in zip(asked["open"], asked["promising"], strict=True)]
    )
    counts = (kept_back & stands).sum(axis=0)
    assert spared_counts(records, EPS) == dict(zip(EPS, counts.tolist(), strict=True))
    assert kept_back.any()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_number_of_spared_pairs_does_not_depend_on_the_batches(case, batch_size):
    model, data, proofs = case
    data = data.take(14)
    whole = attack(model, data, proofs, attacks=CHEAP, eps=EPS)
    parts = attack(model, data, proofs, attacks=CHEAP, eps=EPS, batch_size=batch_size)
    assert spared_counts(parts, EPS) == spared_counts(whole, EPS)


def test_nothing_is_spared_under_full(case, asked):
    records = attack(*case, full=True, attacks=CHEAP, eps=EPS)
    assert not asked["promising"]
    for record in records:
        open_somewhere = record.correct and record.certified_radius <= 2.0
        ran = [outcome.status is not AttackStatus.NOT_RUN for outcome in record.attacks.values()]
        assert all(ran) if open_somewhere else not any(ran[1:])


@pytest.mark.parametrize("full", [False, True])
def test_passes_of_the_attacks_and_of_the_preparation_are_all_passes(case, full):
    model, data, proofs = case
    passes = PassCounter()
    records = attack(model, data, proofs, full=full, attacks=CHEAP, eps=EPS, passes=passes)
    # each image is predicted in float64 and its margin differentiated once, before any attack
    assert passes.forward - sum(passes.by_attack[f"{name} forward"] for name in CHEAP) == 2 * len(records)
    assert passes.backward - sum(passes.by_attack[f"{name} backward"] for name in CHEAP) == len(records)
    assert set(passes.amounts()) > set(passes.to_dict())


@pytest.mark.parametrize("images", [1, 3, 5])
def test_copies_that_fill_a_batch_are_padding(case, images):
    model, data, _ = case
    passes = PassCounter()
    attack(model, data.take(images), full=True, attacks={"cw": {"steps": 30}}, eps=("3",), passes=passes)
    correct = passes.by_attack["cw backward"] / 30
    assert correct in range(images + 1)  # one backward pass a step, for images that are attacked and for no copies


class Stop(NoProgress):
    """Stops a run when so many images are done."""

    def __init__(self, images: int) -> None:
        self.left = images

    def advance(self, steps: int = 1, **facts: str) -> None:
        self.left -= steps
        if steps and self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def run_it(tmp_path_factory):
    """Attack 16 images in batches of 8."""
    folder = tmp_path_factory.mktemp("model") / "hkr"
    workflows.train(workflows.train_spec("hkr", DataSpec(name="digits"), epochs=6), folder)
    model = workflows.ModelRef(ref=str(folder))

    def call(out, full, progress=None):
        execution = workflows.Execution(batch_size=8, device="cpu", progress=progress or NoProgress())
        data = workflows.DataRef(spec=DataSpec(name="digits"), limit=16)
        return workflows.attack(
            model, data, eps=["0.1,0.25,0.5"], attacks=CHEAP, full=full, out=out, execution=execution
        )

    return call


def said(outcome):
    return {key: value for key, value in outcome.summary.items() if key not in ("seconds", "reused")}


@pytest.mark.parametrize("full", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_stopped_run_goes_on_to_the_same_summary(run_it, tmp_path, full):
    whole = run_it(tmp_path / "whole", full)
    with pytest.raises(KeyboardInterrupt):
        run_it(tmp_path / "part", full, Stop(8))
    assert len((tmp_path / "part" / "records.jsonl").read_text().splitlines()) == 8
    resumed = run_it(tmp_path / "part", full)
    assert resumed.summary["reused"] == 8
    assert said(resumed) == said(whole)
    assert said(run_it(tmp_path / "part", full)) == said(whole)


@pytest.mark.slow
def test_a_run_stopped_within_a_batch_says_the_same_and_sums_what_was_spent(run_it, tmp_path, monkeypatch):
    whole = run_it(tmp_path / "whole", False)
    append, written = RunFolder.append, []

    def failing(self, record):
        if len(written) == 11:
            raise KeyboardInterrupt
        written.append(record)
        append(self, record)

    monkeypatch.setattr(RunFolder, "append", failing)
    with pytest.raises(KeyboardInterrupt):
        run_it(tmp_path / "part", False)
    monkeypatch.undo()
    resumed = run_it(tmp_path / "part", False)
    cost = ("forward", "backward")
    for name, facts in whole.summary["budget"].items():
        assert {key: resumed.summary["budget"][name][key] for key in facts if key not in cost} == {
            key: value for key, value in facts.items() if key not in cost
        }
    others = ("budget", "passes")
    assert {key: value for key, value in said(resumed).items() if key not in others} == {
        key: value for key, value in said(whole).items() if key not in others
    }
    lines = [json.loads(line) for line in (tmp_path / "part" / "effort.jsonl").read_text().splitlines()]
    for way in cost:
        assert resumed.summary["passes"][way] == sum(line[way] for line in lines)
        for name in CHEAP:
            assert resumed.summary["budget"][name][way] == sum(line[f"{name} {way}"] for line in lines)
