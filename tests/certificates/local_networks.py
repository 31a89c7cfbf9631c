"""Small networks for the rule `local`, and what is wrong with its radii or limits, found by brute force."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robench.certificates.local import local_radii
from robench.layers import GroupSort2
from robench.lipschitz import lipschitz_bound
from robench.lipschitz.local import Ball, Graph, network_graph
from robench.models.networks.widened import widened


class Absolute(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        """Entry by entry."""
        return x.abs()


class Residual(nn.Module):
    """x + V relu(A x + b)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        """A sum."""
        return x + self.outer(torch.relu(self.inner(x)))


class MaxMin(nn.Module):
    """(max, min) of the halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Of dense features."""
        first, second = x.chunk(2, dim=1)
        return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), dim=1)


KINDS = ("relu", "leaky", "steep", "absolute", "residual", "maxmin", "groupsort", "conv", "pool", "one logit")


def drawn(kind: str, seed: int, size: int = 6) -> tuple[nn.Module, tuple[int, ...]]:
    """A random network in evaluation mode, and the shape of its input."""
    torch.manual_seed(seed)
    bends: dict[str, nn.Module] = {
        "relu": nn.ReLU(),
        "leaky": nn.LeakyReLU(0.2),
        "steep": nn.LeakyReLU(2.5),
        "absolute": Absolute(),
        "maxmin": MaxMin(),
        "groupsort": GroupSort2(),
        "one logit": nn.ReLU(),
    }
    if kind == "conv":
        layers: list[nn.Module] = [
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2), GroupSort2(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3),
        ]  # fmt: skip
        layers[1].running_mean.normal_(), layers[1].running_var.uniform_(0.3, 2.0)  # type: ignore[union-attr, operator]
        return nn.Sequential(*layers).eval(), (1, 7, 7)
    if kind == "pool":
        layers = [nn.Conv2d(1, 3, 3), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)]
        return nn.Sequential(*layers).eval(), (1, 6, 6)
    if kind == "residual":
        return nn.Sequential(Residual(size), Residual(size), nn.Linear(size, 3)).eval(), (size,)
    outputs = 1 if kind == "one logit" else 3
    widths = [(size, 8), (8, 8), (8, 8)]
    parts = [part for width in widths for part in (nn.Linear(*width), bends[kind])]
    network = nn.Sequential(*parts, nn.Linear(8, outputs)).eval()
    for parameter in network.parameters():
        parameter.data.mul_(2.0)
    return network, (size,)


def graph(network: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Graph]:
    """The float64 network and its graph."""
    wide = widened(network)
    return wide, network_graph(wide, shape)


def classes(logits: Tensor) -> Tensor:
    """As the package takes them."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def radii(network: nn.Module, shape: tuple[int, ...], inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Radii by the rule, those that it starts from, and classes."""
    wide, own = graph(network, shape)
    with torch.no_grad():
        logits = wide(inputs)
    predicted, rows = classes(logits), torch.arange(len(inputs))
    if logits.shape[1] == 1:
        margin = logits[:, 0].abs()
    else:
        margin = (logits[rows, predicted][:, None] - logits).index_put(
            (rows, predicted), torch.tensor(math.inf).double()
        )
        margin = margin.amin(1)
    known = margin / (2 * lipschitz_bound(network, shape).upper)
    errors = torch.full_like(logits, 1e-12)
    return local_radii(own, inputs.flatten(1), predicted, errors, 1e-13, known), known, predicted


def attacked(network: nn.Module, inputs: Tensor, predicted: Tensor, within: Tensor, starts: int = 40) -> Tensor:
    """Which inputs have a point of another class within a radius, by projected gradient descent from many places."""
    wide = widened(network)
    x = inputs.repeat_interleave(starts, 0)
    radius, own = within.repeat_interleave(starts), predicted.repeat_interleave(starts)
    shape = (-1, *(1 for _ in inputs.shape[1:]))
    step = torch.randn_like(x)
    broken = torch.zeros(len(x), dtype=torch.bool)
    target = torch.arange(len(x)) % 9
    for size in (*(0.5 / (1 + i / 6) for i in range(40)), 0.0):
        length = step.flatten(1).norm(dim=1).clamp_min(1e-300)
        step = (step * (radius / length).clamp_max(1.0).reshape(shape)).detach().requires_grad_(True)
        logits = wide(x + step)
        broken |= classes(logits) != own
        if logits.shape[1] == 1:
            loss = torch.where(own > 0, -logits[:, 0], logits[:, 0])
        else:
            others = logits.scatter(1, own[:, None], -torch.inf)
            wanted = torch.where(target < 3, (own + 1 + target) % logits.shape[1], others.argmax(1))
            wanted = torch.where(wanted == own, others.argmax(1), wanted)
            loss = logits.gather(1, wanted[:, None])[:, 0] - logits.gather(1, own[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(loss.sum(), step)
        unit = gradient.flatten(1).norm(dim=1).clamp_min(1e-300)
        step = step + gradient * (size * radius / unit).reshape(shape)
    return broken.reshape(-1, starts).any(1)


def beyond_limits(network: nn.Module, shape: tuple[int, ...], inputs: Tensor, radius: float, draws: int = 400) -> int:
    """How many drawn points have a bend's input outside of its limits, or a change above the reach of a node."""
    _, own = graph(network, shape)
    flat = inputs.flatten(1)
    ball = Ball(own, flat)
    within = ball.within(torch.full((len(flat),), radius, dtype=torch.float64))
    wrong = 0
    for image in range(len(flat)):
        steps = torch.randn(draws, flat.shape[1], dtype=torch.float64)
        lengths = torch.where(torch.arange(draws) % 2 == 0, 1.0, torch.rand(draws, dtype=torch.float64))
        moved = Ball(own, flat[image] + steps * (radius * lengths / steps.norm(dim=1))[:, None])
        for number, (values, centers) in enumerate(zip(moved.values, ball.values, strict=True)):
            wrong += int(((values - centers[image]).norm(dim=1) > within.reach[number][image]).sum())
        for number, limits in within.limits.items():
            change = moved.values[own.nodes[number].parent] - limits.center[image]  # type: ignore[attr-defined]
            wrong += int(((change > limits.high[image]) | (-change > limits.low[image])).sum())
            wrong += int(((change * limits.unstable[image]).norm(dim=1) > limits.joint[image]).sum())
    return wrong


def below_least(network: nn.Module, shape: tuple[int, ...], inputs: Tensor, radius: float) -> tuple[int, int]:
    """How many rows of logits fall by more than is allowed, of `least` and of `improved`; descent from 40 places."""
    wide, own = graph(network, shape)
    ball = Ball(own, inputs.flatten(1))
    within, last = ball.within(torch.full((len(inputs),), radius, dtype=torch.float64)), len(own.nodes) - 1
    outputs, starts = ball.values[-1].shape[1], 40
    rows = torch.randn(len(inputs) * 4, outputs, dtype=torch.float64)
    images = torch.arange(len(inputs)).repeat(4)
    allowed = within.least(last, rows, images)
    improved = within.improved(last, rows, images, torch.full((len(rows),), torch.inf, dtype=torch.float64))
    lowest = torch.zeros(len(rows), dtype=torch.float64)
    x, factors = (item.repeat_interleave(starts, 0) for item in (inputs[images], rows))
    step = torch.randn_like(x)
    for place in range(30):
        scale = radius / step.flatten(1).norm(dim=1).clamp_min(1e-300)
        inside = scale if place == 0 else scale.clamp_max(1.0)
        step = (step * inside.reshape(-1, *(1 for _ in shape))).detach().requires_grad_(True)
        values = (wide(x + step).flatten(1) * factors).sum(1)
        change = (values - (wide(x).flatten(1) * factors).sum(1)).detach().reshape(-1, starts)
        lowest = torch.minimum(lowest, change.amin(1))
        (gradient,) = torch.autograd.grad(values.sum(), step)
        lengths = gradient.flatten(1).norm(dim=1).clamp_min(1e-300).reshape(-1, *(1 for _ in shape))
        step = step - gradient / lengths * radius * (0.5 / (1 + place / 4))
    return int((lowest < allowed - 1e-9).sum()), int((lowest < improved - 1e-9).sum())
