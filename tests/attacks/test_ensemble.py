"""The attack ensemble: one answer however it is run, as good as running everything, sound against certificates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from robench.attacks.passes import PassCounter
from robench.errors import DataError, ModelError
from robench.numerics import distance_upper
from robench.records.crosscheck import contradictions
from robench.records.record import AttackStatus, to_line
from robench.runs.adversarials import read_adversarials
from robench.statistics.attacked import attack_summary
from tests.attacks.nets import Model, certificates, conv_net, digits, lipschitz_net, scaled
from tests.attacks.runs import EPS, attack, robust

CHEAP = {"deepfool": {}, "fgsm": {}, "pgd": {"steps": 10}, "cw": {"steps": 30, "binary_search_steps": 1}}


@pytest.fixture(scope="module")
def binary():
    data = digits((0, 8))
    return lipschitz_net(1, data, steps=80), data.take(60)


@pytest.fixture(scope="module")
def multi():
    data = digits()
    return lipschitz_net(10, data, steps=120), data.take(40)


@pytest.fixture(scope="module")
def plain():
    return conv_net(digits(), steps=60), digits(n=40)


def lines(records):
    return [to_line(record) for record in records]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [pytest.param("binary", marks=pytest.mark.slow), "plain"])
def test_records_do_not_depend_on_batch_size_or_shards(kind, threads, request):
    model, data = request.getfixturevalue(kind)
    data = data.take(6)
    proofs = certificates(model, data) if kind == "binary" else {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = lines(attack(model, data, proofs, batch_size=500, attacks=CHEAP))
        for batch_size in (1, 4):  # of six images
            assert lines(attack(model, data, proofs, batch_size=batch_size, attacks=CHEAP)) == whole
        shards = [
            lines(
                attack(
                    model, data, proofs, attacks=CHEAP, skip=set(data.index.tolist()) - set(data.index[i::3].tolist())
                )
            )
            for i in range(3)
        ]
    finally:
        torch.set_num_threads(before)
    assert sorted(line for shard in shards for line in shard) == sorted(whole)


def test_no_adversarial_is_nearer_than_its_certificate(binary, multi):
    for model, data in (binary, multi):
        proofs = certificates(model, data)
        data = data.take(30)
        records = attack(model, data, proofs, full=True, attacks=CHEAP)
        assert contradictions(proofs.values(), records) == ()


def test_inflated_certificates_are_contradicted(binary, tmp_path):
    model, data = binary
    proofs = {i: replace(c, radius_pairwise=c.radius_pairwise * 1.05) for i, c in certificates(model, data).items()}
    records = attack(model, data, proofs, folder=tmp_path, attacks=CHEAP)
    found = contradictions(proofs.values(), records)
    assert found
    adversarials = read_adversarials(tmp_path)
    for item in found:
        row = int(np.flatnonzero(data.index == item.index)[0])
        assert distance_upper(data.inputs[row], adversarials[item.index]) == item.distance < item.radius


def test_every_adversarial_gives_its_distance_and_its_class(multi, tmp_path):
    model, data = multi
    double = torch.nn.Sequential(*model.module).double()
    records = attack(model, data, certificates(model, data), folder=tmp_path, batch_size=16, attacks=CHEAP)
    model.module.float()
    adversarials = read_adversarials(tmp_path)
    broken = [record for record in records if record.correct and record.distance is not None]
    assert sorted(adversarials) == sorted(record.index for record in broken)
    double.double()
    for record in broken:
        row = int(np.flatnonzero(data.index == record.index)[0])
        point = adversarials[record.index]
        assert point.dtype == np.float32
        assert point.min() >= 0.0
        assert point.max() <= 1.0
        assert distance_upper(data.inputs[row], point) == record.distance
        predicted = int(double(torch.from_numpy(point[None]).double()).argmax())
        assert predicted != record.label
        assert predicted == record.attacks[record.attack].predicted
    model.module.float()


def test_the_ensemble_answers_as_running_everything_does(binary, multi):
    for model, data in (binary, multi):
        data = data.take(20)
        proofs = certificates(model, data)
        spent, spent_full = PassCounter(), PassCounter()
        attacks = {**CHEAP, "cw": {"steps": 120, "binary_search_steps": 1}}
        quick = attack(model, data, proofs, passes=spent, attacks=attacks)
        full = attack(model, data, proofs, full=True, passes=spent_full, attacks=attacks)
        for text in EPS:
            assert robust(quick, float(text)) <= robust(full, float(text)) + 1
        assert spent.forward + spent.backward < 0.9 * (spent_full.forward + spent_full.backward)


@pytest.mark.parametrize("kind", [pytest.param("multi", marks=pytest.mark.slow), "plain"])
def test_logit_scale_changes_no_answer(kind, request):
    model, data = request.getfixturevalue(kind)
    data = data.take(12)
    runs = [attack(scaled(model, factor), data, attacks=CHEAP) for factor in (0.01, 1.0, 1000.0)]
    answers = [[robust(records, float(text)) for text in EPS] for records in runs]
    assert max(np.ptp(np.array(answers), axis=0)) <= 1


def test_misclassified_and_certified_images_are_not_attacked(binary):
    model, data = binary
    labels = data.labels.copy()
    labels[0] = 1 - labels[0]
    data = replace(data, labels=labels)
    proofs = certificates(model, data)
    records = attack(model, data, proofs, eps=("0.01", "0.02"))
    assert records[0].distance == 0.0
    assert records[0].attack is None
    for record in records:
        ran = {outcome.status for outcome in record.attacks.values()} != {AttackStatus.NOT_RUN}
        if not record.correct or record.certified_radius > 0.02:
            assert not ran or int(record.input_sha256[:8], 16) % 20 == 0
        else:
            assert ran
    assert not records[0].robust_at(0.0)


def test_curves_never_rise_and_the_summary_counts_them(multi):
    model, data = multi
    proofs = certificates(model, data)
    passes = PassCounter()
    records = attack(model, data, proofs, attacks=CHEAP, passes=passes)
    settings = {"audited": True, "certificates": list(proofs.values())}
    summary = attack_summary(records, EPS, full=False, **settings)
    assert set(summary["n_robust"]) == {"combined"}  # a single attack of an ensemble has no robust accuracy
    assert all(
        count <= summary["budget"][name]["given"] for name in CHEAP for count in summary["n_broke"][name].values()
    )
    summary = attack_summary(records, EPS, full=True, **settings)
    for column in summary["n_robust"].values():
        values = list(column.values())
        assert values == sorted(values, reverse=True)
    for text in EPS:
        combined = summary["n_robust"]["combined"][text]
        assert combined <= min(summary["n_robust"][name][text] for name in CHEAP)
        assert summary["n_certified"]["pairwise"][text] <= combined
    assert summary["violations"] == 0
    assert passes.to_dict()["forward"] > 0


def test_bad_inputs_are_refused(binary):
    model, data = binary
    with pytest.raises(DataError, match="labels go from"):
        attack(model, replace(data, labels=data.labels + 1))
    with pytest.raises(DataError, match="outside"):
        attack(model, replace(data, inputs=data.inputs * 2))
    with pytest.raises(ModelError):
        attack(Model(torch.nn.Identity(), (3, 3, 3), 2), data)


def test_scaled_weights_are_contradicted(binary):
    model, data = binary
    proofs = certificates(model, data)
    records = attack(model, data, proofs, attacks=CHEAP)
    stale = certificates(scaled(model, 1.05), data)
    assert contradictions(proofs.values(), records) == ()
    assert contradictions(stale.values(), attack(model, data, stale, attacks=CHEAP))
