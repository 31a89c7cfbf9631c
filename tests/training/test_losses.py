"""Losses against the equations of the paper, written out by hand in float64 with plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from robench.errors import DataError, SpecError
from robench.specs.training import HingeLossSpec, HKRLossSpec, KRLossSpec, LogLossSpec, PairwiseMarginLossSpec
from robench.training.losses import (
    LOSSES,
    AdaptiveMarginLoss,
    HingeLoss,
    HKRLoss,
    KRLoss,
    LogEntropyLoss,
    PairwiseMarginLoss,
    build_loss,
    centering_shift,
)


def batch(n: int, q: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, q, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, max(2, q), (n,), generator=generator)
    labels[: max(2, q)] = torch.arange(max(2, q))
    return logits, labels


def mean(values):
    return sum(values) / len(values)


def equation_5(f, y, alpha, margin=1.0):
    sign = [2 * int(label) - 1 for label in y]
    values = [float(v) for v in f]
    kr = mean([v for v, s in zip(values, sign, strict=True) if s < 0]) - mean(
        [v for v, s in zip(values, sign, strict=True) if s > 0]
    )
    return kr + alpha * mean([max(0.0, margin - s * v) for v, s in zip(values, sign, strict=True)])


@settings(derandomize=True, deadline=None, max_examples=25)
@given(n=st.integers(2, 12), alpha=st.floats(0, 100), margin=st.floats(0.01, 5), seed=st.integers(0, 99))
def test_binary_hkr_is_equation_5(n, alpha, margin, seed):
    logits, labels = batch(n, 1, seed)
    found = float(HKRLoss(alpha=alpha, margin=margin)(logits, labels))
    assert found == pytest.approx(equation_5(logits[:, 0], labels, alpha, margin), rel=1e-12, abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(n=st.integers(5, 12), alpha=st.floats(0, 100), margin=st.floats(0.01, 5), seed=st.integers(0, 99))
def test_multiclass_hkr_is_equation_12_a_sum_of_binary_ones(n, alpha, margin, seed):
    logits, labels = batch(n, 5, seed)
    expected = sum(equation_5(logits[:, k], (labels == k).long(), alpha, margin) for k in range(5))
    assert float(HKRLoss(alpha=alpha, margin=margin)(logits, labels)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_hkr_without_hinge_is_kr_and_kr_ignores_a_constant():
    logits, labels = batch(9, 3)
    assert torch.equal(HKRLoss(alpha=0)(logits, labels), KRLoss()(logits, labels))
    assert float(KRLoss()(logits + 7, labels)) == pytest.approx(float(KRLoss()(logits, labels)), abs=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("q", [1, 3])
def test_a_batch_of_one_class_gives_finite_losses_and_gradients(name, q):
    logits = batch(4, q)[0].requires_grad_()
    loss = LOSSES[name]()(logits, torch.ones(4, dtype=torch.int64), torch.eye(q, 5, dtype=torch.float64))
    loss.backward()
    assert loss.shape == ()
    assert bool(torch.isfinite(loss) and torch.isfinite(logits.grad).all())


def test_a_missing_class_adds_nothing_to_kr():
    logits, _ = batch(4, 1)
    assert float(KRLoss()(logits, torch.ones(4, dtype=torch.int64))) == 0
    logits, _ = batch(4, 3)
    labels = torch.tensor([0, 0, 1, 1])
    assert float(KRLoss()(logits, labels)) == pytest.approx(float(KRLoss()(logits[:, :2], labels)), rel=1e-12)


@pytest.mark.parametrize("q", [1, 3])
def test_centering_is_equation_2(q):
    logits, labels = batch(20, q)
    shifted = logits - centering_shift(logits, labels)
    for k in range(q):
        positive = labels == (1 if q == 1 else k)
        assert float(shifted[positive, k].mean() + shifted[~positive, k].mean()) == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError):
        centering_shift(logits, torch.ones(20, dtype=torch.int64))


def test_hinge():
    logits, labels = batch(8, 4)
    expected = mean(
        [
            sum(max(0.0, 0.7 - float(f[y] - f[j])) for j in range(4) if j != y) / 4
            for f, y in zip(logits, labels.tolist(), strict=True)
        ]
    )
    assert float(HingeLoss(margin=0.7)(logits, labels)) == pytest.approx(expected, rel=1e-12)
    reference = torch.nn.functional.multi_margin_loss(logits, labels, margin=0.7)
    assert float(HingeLoss(margin=0.7)(logits, labels)) == pytest.approx(float(reference), rel=1e-12)
    logits, labels = batch(8, 1)
    expected = mean(
        [max(0.0, 0.7 - (2 * y - 1) * float(f)) for f, y in zip(logits[:, 0], labels.tolist(), strict=True)]
    )
    assert float(HingeLoss(margin=0.7)(logits, labels)) == pytest.approx(expected, rel=1e-12)


def test_log_entropy():
    tau = 3.0
    logits, labels = batch(8, 4)
    expected = mean(
        [
            math.log(sum(math.exp(tau * float(v - f[y])) for v in f)) / tau
            for f, y in zip(logits, labels.tolist(), strict=True)
        ]
    )
    assert float(LogEntropyLoss(inverse_temperature=tau)(logits, labels)) == pytest.approx(expected, rel=1e-12)
    logits, labels = batch(8, 1)
    expected = mean(
        [
            math.log1p(math.exp(-tau * (2 * y - 1) * float(f))) / tau
            for f, y in zip(logits[:, 0], labels.tolist(), strict=True)
        ]
    )
    assert float(LogEntropyLoss(inverse_temperature=tau)(logits, labels)) == pytest.approx(expected, rel=1e-12)


def pairwise_radii(logits, labels, rows):
    return [
        min(float((f[y] - f[j]) / (rows[y] - rows[j]).norm()) for j in range(len(f)) if j != y)
        for f, y in zip(logits, labels.tolist(), strict=True)
    ]


def test_pairwise_margin():
    logits, labels = batch(8, 4)
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    radii = pairwise_radii(logits, labels, rows)
    found = PairwiseMarginLoss(margin=1.5)(logits, labels, rows)
    assert float(found) == pytest.approx(mean([max(0.0, 1.5 - r) for r in radii]), rel=1e-12)
    binary, labels = batch(8, 1)
    found = PairwiseMarginLoss(margin=1.5)(binary, labels, rows[:1])
    radii = [(2 * y - 1) * float(f / rows[0].norm()) for f, y in zip(binary[:, 0], labels.tolist(), strict=True)]
    assert float(found) == pytest.approx(mean([max(0.0, 1.5 - r) for r in radii]), rel=1e-12)
    with pytest.raises(SpecError, match="last layer"):
        PairwiseMarginLoss()(logits, labels)


def test_pairwise_margin_counts_what_is_not_certified_at_the_target():
    logits, labels = batch(8, 4)
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    radii = pairwise_radii(logits, labels, rows)
    hinge = float(PairwiseMarginLoss(margin=1.5)(logits, labels, rows))
    found = float(PairwiseMarginLoss(margin=1.5, count_weight=2.0, target=0.4, width=0.3)(logits, labels, rows))
    count = mean([1 / (1 + math.exp(-(0.4 - r) / 0.3)) for r in radii])
    assert found == pytest.approx(hinge + 2 * count, rel=1e-12)
    sharp = float(PairwiseMarginLoss(margin=1.5, count_weight=1.0, target=0.4, width=1e-9)(logits, labels, rows))
    assert sharp - hinge == pytest.approx(mean([r < 0.4 for r in radii]))


@pytest.mark.parametrize("q", [1, 4])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients(name, q):
    logits, labels = batch(8, q)
    rows = torch.randn(q, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    loss = LOSSES[name](**({"count_weight": 2.0} if name == "pairwise-margin" else {}))
    tracked = (logits.requires_grad_(), rows.requires_grad_(name == "pairwise-margin"))
    assert gradcheck(lambda f, w: loss(f, labels, w), tracked)


def test_labels_that_do_not_fit_are_refused():
    logits, labels = batch(6, 3)
    for bad_logits, bad_labels in (
        (logits, labels + 1),
        (logits, labels - 1),
        (logits[:, :1], labels),
        (logits[:, 0], labels),
        (logits[:4], labels),
    ):
        with pytest.raises(DataError):
            KRLoss()(bad_logits, bad_labels)


@pytest.mark.parametrize(
    ("loss", "settings_"),
    [
        (HKRLoss, {"alpha": -1}),
        (HKRLoss, {"margin": 0}),
        (HingeLoss, {"margin": -1}),
        (LogEntropyLoss, {"inverse_temperature": 0}),
        (PairwiseMarginLoss, {"margin": 0}),
        (PairwiseMarginLoss, {"count_weight": -1}),
        (PairwiseMarginLoss, {"target": 0}),
        (PairwiseMarginLoss, {"width": 0}),
    ],
)
def test_settings_out_of_range_are_refused(loss, settings_):
    with pytest.raises(SpecError):
        loss(**settings_)


def test_losses_are_built_from_their_specs():
    built = build_loss(HKRLossSpec(alpha=10, margin=2.12))
    assert isinstance(built, HKRLoss)
    assert (built.alpha, built.margin) == (10, 2.12)
    assert isinstance(build_loss(KRLossSpec()), KRLoss)
    assert build_loss(HingeLossSpec(margin=2)).margin == 2
    assert build_loss(LogLossSpec(inverse_temperature=5)).inverse_temperature == 5
    assert build_loss(PairwiseMarginLossSpec(margin=3)).margin == 3


def test_adaptive_margin_is_its_formula():
    radius, offset, temperature, focus = 0.3, 0.2, 0.5, 2.0
    logits = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 4
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        reached = []
        for j in range(4):
            most = radius * float((weight[label] - weight[j]).norm())
            worse = 0.0 if j == label else min(max((row[label] - row[j]) / most, 0.01), 1) * most
            reached.append((row[j] + worse - (offset if j == label else 0)) / temperature)
        p = math.exp(reached[label]) / sum(math.exp(value) for value in reached)
        losses.append(-temperature * (1 - p) ** focus * math.log(p))
    loss = AdaptiveMarginLoss(radius=radius, offset=offset, temperature=temperature, focus=focus)
    assert float(loss(logits, labels, weight)) == pytest.approx(sum(losses) / 20, rel=1e-9)


def test_adaptive_margin_of_one_logit_is_that_of_two_opposite_ones():
    logits, weight, labels = torch.randn(9, 1), torch.randn(1, 5), torch.arange(9) % 2
    loss = AdaptiveMarginLoss(radius=0.3, offset=0.2, focus=1.0)
    two = loss(torch.cat((-logits, logits), 1) / 2, labels, torch.cat((-weight, weight)) / 2)
    assert torch.allclose(loss(logits, labels, weight), two)
