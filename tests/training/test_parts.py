"""Schedule, batches and adversary against torch and closed forms."""

import math
from collections import OrderedDict

import pytest
import torch

from robench.data import load
from robench.specs.data import DataSpec
from robench.specs.training import AdversarialSpec, OptimizerSpec
from robench.training.adversary import perturb, random_start
from robench.training.batches import Batch, DeviceData, generator
from robench.training.losses import HingeLoss, LogEntropyLoss
from robench.training.muon import near_polar_factor
from robench.training.schedule import make_optimizers, make_scheduler

CPU = torch.device("cpu")


def rates(total, **settings):
    """Learning rate and first beta of each step."""
    spec = OptimizerSpec(lr=0.1, **settings)
    (optimizer,) = make_optimizers(spec, torch.nn.Sequential(OrderedDict(head=torch.nn.Linear(1, 1))))
    scheduler = make_scheduler(spec, optimizer, total)
    found = []
    for step in range(total):
        if step:
            scheduler.step()
        (group,) = optimizer.param_groups
        found.append((group["lr"], group["betas"][0]))
        optimizer.step()
    return found


@pytest.mark.parametrize("total", [10, 37, 1000])
def test_one_cycle_rises_for_three_tenths_and_falls_to_nearly_nothing(total):
    """Half cosines from lr / 25 to lr and down to lr / 250000; the first beta goes against it."""
    peak = 0.3 * total - 1
    for step, (rate, beta) in enumerate(rates(total, schedule="one-cycle")):
        if step <= peak:
            part, ends, betas = step / peak, (0.1 / 25, 0.1), (0.95, 0.85)
        else:
            part, ends, betas = (step - peak) / (total - 1 - peak), (0.1, 0.1 / 25e4), (0.85, 0.95)
        share = (1 - math.cos(math.pi * part)) / 2
        assert rate == pytest.approx(ends[0] + share * (ends[1] - ends[0]), rel=1e-9)
        assert beta == pytest.approx(betas[0] + share * (betas[1] - betas[0]), rel=1e-9)


def test_cosine_falls_from_the_rate_towards_0_and_constant_stays():
    cosine = [rate for rate, _ in rates(8, schedule="cosine")]
    assert cosine == [0.1 * ((1 + math.cos(math.pi * step / 8)) / 2) for step in range(8)]
    assert rates(5) == [(0.1, 0.9)] * 5


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings_have_a_finite_rate(schedule, total):
    assert all(math.isfinite(rate) and 0 <= rate <= 0.1 for rate, _ in rates(total, schedule=schedule))


def test_muon_moves_the_matrices_of_each_weight_and_adam_the_rest():
    """Against torch's optimisers on tensors of their own; torch's Muon multiplies in bfloat16."""
    layers = OrderedDict(conv=torch.nn.Conv2d(3, 8, 2), dense=torch.nn.Linear(5, 7), head=torch.nn.Linear(7, 2))
    model = torch.nn.Sequential(layers)
    model.dense.register_parameter("frames", torch.nn.Parameter(torch.randn(4, 6, 3)))
    hidden = ("conv.weight", "dense.weight", "dense.frames")

    def matrices(name, value):
        """Those that a weight consists of; biases and the head as they are."""
        return list(value) if name == "dense.frames" else [value.flatten(1) if name in hidden else value]

    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    twins = {name: [m.clone().requires_grad_() for m in matrices(name, value)] for name, value in start.items()}
    settings = {"lr": 0.05, "weight_decay": 0.3}
    muon = torch.optim.Muon([m for name in hidden for m in twins[name]], **settings, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.Adam([m for name, ms in twins.items() if name not in hidden for m in ms], lr=0.05)
    optimizers = make_optimizers(OptimizerSpec(name="muon", **settings), model)
    for _ in range(3):
        for name, value in model.named_parameters():
            value.grad = torch.randn_like(value)
            for twin, gradient in zip(twins[name], matrices(name, value.grad), strict=True):
                twin.grad = gradient.clone()
        for optimizer in (*optimizers, muon, adam):
            optimizer.step()
    for name, value in model.named_parameters():
        twin = torch.cat([m.detach().flatten() for m in twins[name]]).view_as(value)
        moved = (value - start[name]).norm()
        assert moved > 0.01
        assert (value - twin).norm() <= (0.02 * moved if name in hidden else 0), name


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5), (1, 7)])
def test_a_step_of_muon_keeps_singular_vectors_and_makes_singular_values_alike(shape):
    u, _, vh = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(0, -2, min(shape), dtype=torch.float64)
    found = near_polar_factor((u * values @ vh).float()).double()
    inner = u.T @ found @ vh.T
    assert (inner - torch.diag(inner.diagonal())).norm() < 1e-3
    assert (found - u @ inner @ vh).norm() < 1e-3
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    assert not near_polar_factor(torch.zeros(shape)).any()


def test_an_epoch_sees_each_row_once_in_an_order_of_seed_and_epoch():
    data = DeviceData(load(DataSpec(name="digits"), "validation"), CPU)

    def order(seed, epoch):
        return torch.cat([batch.labels for batch in data.epoch(50, seed=seed, epoch=epoch)])

    assert torch.equal(order(0, 1), order(0, 1))
    assert not torch.equal(order(0, 1), order(0, 2))
    assert not torch.equal(order(0, 1), order(1, 1))
    assert torch.equal(order(0, 1).sort().values, data.labels.sort().values)
    dataset = load(DataSpec(name="digits"), "validation")
    (batch,) = data.batches(len(data))
    assert torch.equal(batch.inputs, torch.from_numpy(dataset.batch(slice(None))))


def test_streams_of_random_numbers_differ():
    draws = {
        (seed, epoch, stream): int(torch.randint(2**60, (1,), generator=generator(seed, epoch, stream=stream)))
        for seed in range(5)
        for epoch in range(5)
        for stream in range(2)
    }
    assert len(set(draws.values())) == len(draws)


def linear_model(weight):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(weight.numel(), 1))
    with torch.no_grad():
        model[1].weight.copy_(weight[None])
        model[1].bias.zero_()
    return model


def test_the_adversary_of_a_linear_model_walks_along_its_weight():
    weight = torch.tensor([3.0, 4.0])
    batch = Batch(torch.zeros(6, 2), torch.tensor([0, 1] * 3))
    spec = AdversarialSpec(eps=0.5, steps=20, relative_step=10.0)
    z = perturb(
        linear_model(weight),
        batch,
        LogEntropyLoss(),
        spec,
        (-9.0, 9.0),
        random_start(batch.inputs, spec.eps, generator(0, 0, stream=1)),
    )
    signs = torch.where(batch.labels == 1, -1.0, 1.0)[:, None]
    torch.testing.assert_close(z, signs * 0.5 * weight / 5, atol=0.02, rtol=0)


@pytest.mark.parametrize("eps", [0.1, 1.0, 30.0])
def test_the_adversary_stays_in_the_ball_and_in_the_bounds(eps):
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = linear_model(torch.randn(16, generator=torch.Generator().manual_seed(1)))
    batch = Batch(x, torch.zeros(20, dtype=torch.long))
    start = random_start(batch.inputs, eps, generator(0, 0, stream=1))
    z = perturb(model, batch, HingeLoss(100.0), AdversarialSpec(eps=eps), (0.0, 1.0), start)
    assert float((z - x).flatten(1).norm(dim=1).max()) <= eps * (1 + 1e-5)
    assert 0.0 <= float(z.min()) <= float(z.max()) <= 1.0
    assert all(parameter.grad is None for parameter in model.parameters())
