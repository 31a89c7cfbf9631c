"""torch's attention layer written so that the batch stays in front, where the walk follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def batch_in_front() -> Iterator[None]:
    """While it lasts, `nn.MultiheadAttention` computes the same without moving the batch axis.

    A call of a kind that it has no form for runs as torch has it.
    """
    own: Any = nn.MultiheadAttention.forward

    def forward(layer: nn.MultiheadAttention, *args: Any, **kwargs: Any) -> Any:
        given = _plain(layer, args, kwargs)
        if given is None:
            return own(layer, *args, **kwargs)
        joined, shares = _attended(layer, *given)
        if not (args[4] if len(args) > 4 else kwargs.get("need_weights", True)):
            return joined, None
        averaged = args[6] if len(args) > 6 else kwargs.get("average_attn_weights", True)
        return joined, shares.mean(1) if averaged else shares

    attention: Any = nn.MultiheadAttention
    attention.forward = forward
    try:
        yield
    finally:
        attention.forward = own


def _plain(layer: nn.MultiheadAttention, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """Query, key and value of a call without masks, of a layer without further keys."""
    given = (*args[:3], *(kwargs[name] for name in ("query", "key", "value")[len(args[:3]) :] if name in kwargs))
    masks = (*args[3:4], *args[5:6], kwargs.get("key_padding_mask"), kwargs.get("attn_mask"))
    further = layer.bias_k is not None or layer.bias_v is not None or layer.add_zero_attn
    batched = layer.batch_first and len(given) == 3 and all(value.dim() == 3 for value in given)
    if not batched or further or any(mask is not None for mask in masks) or kwargs.get("is_causal") or any(args[7:8]):
        return None
    return given


def _attended(layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and the shares of each head."""
    rows = layer.embed_dim
    if layer.in_proj_weight is None:
        matrices = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    else:
        matrices = tuple(layer.in_proj_weight[first : first + rows] for first in (0, rows, 2 * rows))
    bias = layer.in_proj_bias
    shifts = (None, None, None) if bias is None else tuple(bias[first : first + rows] for first in (0, rows, 2 * rows))
    parts = (query, key, value)
    heads = [_split(layer, functional.linear(*each)) for each in zip(parts, matrices, shifts, strict=True)]
    scores = (heads[0] * (1 / math.sqrt(layer.head_dim))) @ heads[1].transpose(-2, -1)
    shares = scores.softmax(-1)
    joined = (shares @ heads[2]).transpose(1, 2).flatten(2)
    return functional.linear(joined, layer.out_proj.weight, layer.out_proj.bias), shares


def _split(layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """(N, T, heads · d) -> (N, heads, T, d)."""
    return x.reshape(*x.shape[:2], layer.num_heads, layer.head_dim).transpose(1, 2)
