"""Functions that torch has no operation for, as operations of their own: what written-out activations become."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_LIBRARY: Any = torch.library.Library("robench", "FRAGMENT")  # type: ignore[no-untyped-call]


def _define(schema: str, function: Any) -> Any:
    name = schema.split("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, function, "CompositeImplicitAutograd")
    return getattr(torch.ops.robench, name).default


def _swish(x: Tensor, rate: Any) -> Tensor:
    return x * torch.sigmoid(x * rate)


def _erf_gate(x: Tensor, rate: float) -> Tensor:
    return x * (torch.erf(x * rate) * 0.5 + 0.5)


def _softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def _softplus(x: Tensor) -> Tensor:
    return x.relu() + torch.log1p(torch.exp(-x.abs()))


def _elu(x: Tensor, scale: float, fall: float) -> Tensor:
    return torch.where(x > 0, scale * x, fall * torch.expm1(x.clamp(max=0.0)))


def _leaky(x: Tensor, slopes: Tensor) -> Tensor:
    return torch.where(x > 0, x, slopes * x)


def _hard_gate(x: Tensor, rate: float) -> Tensor:
    return x * (x * rate + 0.5).clamp(0.0, 1.0)


def _hardsigmoid_gate(x: Tensor) -> Tensor:
    return x * functional.hardsigmoid(x)


def _reflection(x: Tensor, y: Tensor, sine: Tensor, cosine: Tensor, across: Tensor, along: Tensor, dim: int) -> Tensor:
    beyond = x * sine - y * cosine > 0
    first = torch.where(beyond, x * across + y * along, x)
    return torch.cat((first, torch.where(beyond, x * along - y * across, y)), dim)


SWISH = _define("swish(Tensor x, float rate) -> Tensor", _swish)
SWISH_RATES = _define("swish_rates(Tensor x, Tensor rates) -> Tensor", _swish)
ERF_GATE = _define("erf_gate(Tensor x, float rate) -> Tensor", _erf_gate)
HARD_GATE = _define("hard_gate(Tensor x, float rate) -> Tensor", _hard_gate)
HARDSIGMOID_GATE = _define("hardsigmoid_gate(Tensor x) -> Tensor", _hardsigmoid_gate)
SOFTSIGN = _define("softsign(Tensor x) -> Tensor", _softsign)
SOFTPLUS = _define("softplus(Tensor x) -> Tensor", _softplus)
ELU = _define("elu(Tensor x, float scale, float fall) -> Tensor", _elu)
LEAKY = _define("leaky(Tensor x, Tensor slopes) -> Tensor", _leaky)
REFLECTION = _define(
    "reflection(Tensor x, Tensor y, Tensor sine, Tensor cosine, Tensor across, Tensor along, int dim) -> Tensor",
    _reflection,
)
