"""Schedule, batches and adversary against torch and closed forms."""

import math

import pytest
import torch

from robench.data import load
from robench.specs.data import DataSpec
from robench.specs.training import AdversarialSpec, OptimizerSpec
from robench.training.adversary import perturb
from robench.training.batches import Batch, DeviceData, generator
from robench.training.losses import HingeLoss, LogEntropyLoss
from robench.training.schedule import learning_rate, momentum

CPU = torch.device("cpu")


@pytest.mark.parametrize("total", [10, 37, 1000])
def test_one_cycle_is_torchs(total):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total)
    spec = OptimizerSpec(lr=0.1, schedule="one-cycle")
    for step in range(total):
        (group,) = optimizer.param_groups
        assert learning_rate(spec, step, total) == pytest.approx(group["lr"], rel=1e-9)
        assert momentum(spec, step, total) == pytest.approx(group["betas"][0], rel=1e-9)
        optimizer.step()
        if step < total - 1:
            reference.step()


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings_have_a_finite_rate(schedule, total):
    spec = OptimizerSpec(lr=0.1, schedule=schedule)
    rates = [learning_rate(spec, step, total) for step in range(total)]
    assert all(math.isfinite(rate) and 0 <= rate <= 0.1 for rate in rates)


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
    z = perturb(linear_model(weight), batch, LogEntropyLoss(), spec, (-9.0, 9.0), generator(0, 0, stream=1))
    signs = torch.where(batch.labels == 1, -1.0, 1.0)[:, None]
    torch.testing.assert_close(z, signs * 0.5 * weight / 5, atol=0.02, rtol=0)


@pytest.mark.parametrize("eps", [0.1, 1.0, 30.0])
def test_the_adversary_stays_in_the_ball_and_in_the_bounds(eps):
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = linear_model(torch.randn(16, generator=torch.Generator().manual_seed(1)))
    batch = Batch(x, torch.zeros(20, dtype=torch.long))
    z = perturb(model, batch, HingeLoss(100.0), AdversarialSpec(eps=eps), (0.0, 1.0), generator(0, 0, stream=1))
    assert float((z - x).flatten(1).norm(dim=1).max()) <= eps * (1 + 1e-5)
    assert 0.0 <= float(z.min()) <= float(z.max()) <= 1.0
    assert all(parameter.grad is None for parameter in model.parameters())
