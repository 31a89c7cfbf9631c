"""Rules for products with a fixed matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Dense
from robench.lipschitz.rules.constants import one_sample, other_constants
from robench.lipschitz.rules.contractions import batched
from robench.lipschitz.rules.sandwich import sandwich_block
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, depends

aten = torch.ops.aten


def linear(call: Call) -> Value:
    """The map x Wᵀ + b."""
    weight = call.constant(call.args[1], "weight")
    return _dense(call, call.view(), weight, call.gap(call.args[1]), call.get("bias", 2))


def _dense(call: Call, view: View, weight: Tensor, gap: Tensor, bias: Value) -> View:
    offset = 0.0 if bias is None else one_sample(call, call.constant(bias, "bias"))
    added = None if bias is None else one_sample(call, call.gap(bias))
    slack = other_constants(Dense(gap) if bool(gap.any()) else None, added)
    result = call.trace.linear(view, Dense(weight), call.zero, offset, slack)
    if isinstance(result.signal, Linear):
        result.signal.block = sandwich_block(result)
    return result


def matmul(call: Call) -> Value:
    """A product with a fixed matrix on either side."""
    left, right = call.args[:2]
    if depends(left) and depends(right):
        raise call.refusal("both factors depend on the input, so it grows without bound")
    if depends(left):
        matrix = call.constant(right, "matrix")
        view = call.view()
        if matrix.dim() > 2:
            return batched(call, view, right, left=False)
        if len(view.shape) < 2:
            raise call.refusal("it mixes the samples of a batch")
        turned, gap = (item.T if item.dim() == 2 else item[None] for item in (matrix, call.gap(right)))
        return _dense(call, view, turned, gap, None)
    matrix = call.constant(left, "matrix")
    view = call.view(1)
    if matrix.dim() > 2:
        return batched(call, view, left, left=True)
    if matrix.dim() != 2 or len(view.shape) < 3:
        raise call.refusal("it mixes the samples of a batch")
    columns = call.trace.call(aten.transpose.int, view, -1, -2)
    product = call.trace.call(aten.linear.default, columns, matrix)
    return call.trace.call(aten.transpose.int, product, -1, -2)


def addmm(call: Call) -> Value:
    """The map b + x A."""
    if call.get("beta", 3, 1) != 1 or call.get("alpha", 4, 1) != 1 or depends(call.args[0]):
        raise call.refusal("it is a scaled or shifted product of a form it has no rule for")
    matrix = call.constant(call.args[2], "matrix")
    return _dense(call, call.view(1), matrix.T, call.gap(call.args[2]).T, call.args[0])
