"""Small models whose parts have finite constants over a box alone, with the shape of an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Boxed(NamedTuple):
    """A model and the shape of one input."""

    model: nn.Module
    shape: tuple[int, ...]


class Function(nn.Module):
    """A function with layers of its own."""

    def __init__(self, function: Callable[[nn.ModuleList, Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


class SqueezeExcitation(nn.Module):
    """As in MobileNetV3, EfficientNet and RegNet-Y."""

    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(functional.silu(self.down(functional.adaptive_avg_pool2d(x, 1)))))


class Block(nn.Module):
    """A transformer block with the norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width, eps=1e-2), nn.LayerNorm(width, eps=1e-2)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        normal = self.first(x)
        x = x + self.attention(normal, normal, normal, need_weights=False)[0]
        return x + self.dense(self.second(x))


class Transformer(nn.Module):
    """A vision transformer on 2×2 patches, with a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 2, 2)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 5, 4))
        self.block, self.norm, self.head = Block(4, 2), nn.LayerNorm(4, eps=1e-2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(x.shape[0], -1, -1), patches), 1) + self.places
        return self.head(self.norm(self.block(tokens))[:, 0])


class Mixer(nn.Module):
    """One block of an MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(4, eps=1e-2), nn.LayerNorm(4, eps=1e-2)
        self.tokens, self.channels, self.head = nn.Linear(6, 6), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + functional.gelu(self.tokens(self.first(x).transpose(1, 2))).transpose(1, 2)
        return self.head((x + functional.gelu(self.channels(self.second(x)))).mean(1))


class ConvNext(nn.Module):
    """One block of a ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LayerNorm(4, eps=1e-2)
        self.wide, self.narrow, self.stem, self.head = (
            nn.Linear(4, 8),
            nn.Linear(8, 4),
            nn.Conv2d(1, 4, 2, 2),
            nn.Linear(16, 3),
        )
        self.scale = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + (self.scale * self.narrow(functional.gelu(self.wide(inner)))).permute(0, 3, 1, 2)
        return self.head(x.flatten(1))


def _images(*layers: nn.Module) -> Boxed:
    return Boxed(nn.Sequential(nn.Conv2d(1, 4, 2), *layers, nn.Flatten(), nn.LazyLinear(3)), (1, 4, 4))


def _attention(m: nn.ModuleList, x: Tensor) -> Tensor:
    q, k, v = m[0](x).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)


BUILDERS: dict[str, Callable[[], Boxed]] = {
    "product": lambda: Boxed(Function(lambda m, x: m[0](x) * m[1](x), nn.Linear(4, 3), nn.Linear(4, 3)), (4,)),
    "two entries": lambda: Boxed(Function(lambda m, x: x[:, :1] * x[:, 1:]), (2,)),
    "own gate": lambda: Boxed(Function(lambda m, x: x * torch.tanh(m[0](x)), nn.Linear(4, 4)), (4,)),
    "own mean": lambda: Boxed(Function(lambda m, x: x * x.mean(1, keepdim=True)), (16,)),
    "weighted norm": lambda: Boxed(
        Function(lambda m, x: functional.layer_norm(x * torch.tensor([1.0, 2.0, 1.0]), (3,), eps=0.01)), (3,)
    ),
    "squeeze": lambda: _images(nn.Hardswish(), SqueezeExcitation(4, nn.Sigmoid())),
    "hard squeeze": lambda: _images(nn.ReLU(), SqueezeExcitation(4, nn.Hardsigmoid()), nn.MaxPool2d(2, 1)),
    "quotient": lambda: Boxed(
        Function(lambda m, x: m[0](x) / (1.5 + torch.sigmoid(m[1](x))), nn.Linear(4, 3), nn.Linear(4, 3)), (4,)
    ),
    "unit length": lambda: Boxed(
        Function(lambda m, x: m[1](functional.normalize(m[0](x), eps=0.5)), nn.Linear(4, 3), nn.Linear(3, 2)), (4,)
    ),
    "reciprocal": lambda: Boxed(Function(lambda m, x: 1 / (2 + m[0](x).abs()), nn.Linear(4, 3)), (4,)),
    "matrices": lambda: Boxed(Function(lambda m, x: (x @ m[0](x).transpose(1, 2)).flatten(1), nn.Linear(3, 3)), (2, 3)),
    "scores": lambda: Boxed(
        Function(lambda m, x: (m[0](x) @ x.transpose(1, 2)).softmax(-1).flatten(1), nn.Linear(3, 3)), (4, 3)
    ),
    "attention": lambda: Boxed(Function(_attention, nn.Linear(4, 12)), (3, 4)),
    "heads": lambda: Boxed(
        Function(lambda m, x: m[0](x, x, x)[0].flatten(1), nn.MultiheadAttention(4, 2, batch_first=True)), (3, 4)
    ),
    "layer norm": lambda: Boxed(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5, eps=1e-2), nn.Linear(5, 3)), (4,)),
    "small epsilon": lambda: Boxed(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)), (4,)),
    "rms norm": lambda: Boxed(nn.Sequential(nn.Linear(4, 5), nn.RMSNorm(5, eps=1e-2), nn.Linear(5, 3)), (4,)),
    "group norm": lambda: _images(nn.GroupNorm(2, 4, eps=1e-2), nn.ELU()),
    "instance norm": lambda: _images(nn.InstanceNorm2d(4, eps=1e-2, affine=True), nn.Softplus()),
    "far from 0": lambda: Boxed(
        Function(lambda m, x: functional.layer_norm(x + torch.tensor([9.0, -9.0, 0.0]), (3,))), (3,)
    ),
    "transformer": lambda: Boxed(Transformer(), (1, 4, 4)),
    "encoder": lambda: Boxed(
        nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, layer_norm_eps=0.1), nn.Flatten()), (3, 4)
    ),
    "mixer": lambda: Boxed(Mixer(), (6, 4)),
    "convnext": lambda: Boxed(ConvNext(), (1, 4, 4)),
}


def built(name: str, seed: int = 0) -> Boxed:
    """A model with drawn weights, those of its norms too, in evaluation mode.

    Args:
        name: of the model.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    boxed = BUILDERS[name]()
    with torch.no_grad():
        boxed.model(torch.zeros(2, *boxed.shape))
        for parameter in boxed.model.parameters():
            parameter.copy_(
                torch.randn_like(parameter) * (0.9 if parameter.dim() == 1 else 1.5 / parameter[0].numel() ** 0.5)
            )
    return Boxed(boxed.model.eval(), boxed.shape)
