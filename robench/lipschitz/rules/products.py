"""Rules for products and quotients of two signals, over a box of inputs in which both are bounded.

f g − f' g' = f (g − g') + g' (f − f'), for any two inputs of the box: docs/design/0018-boxes.md §3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import schur_bound
from robench.lipschitz.norms.rounding import vector_norm_upper
from robench.lipschitz.rules import matrices, scalings
from robench.lipschitz.trace.bilinear import Bilinear, Factor
from robench.lipschitz.trace.nonlinear import Function
from robench.lipschitz.trace.ranges import Range, Ranges, down, up
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, depends
from robench.numerics import gamma, round_up

aten = torch.ops.aten


def multiply(call: Call) -> Value:
    """A product or quotient of two signals; else what has a rule in the whole space too."""
    left, right = call.args[:2]
    if not isinstance(right, View) or (call.operation == "div" and call.get("rounding_mode", 2) is not None):
        return scalings.multiply(call)
    if call.operation == "div":
        inverse = _reciprocal(call, right)
        return call.trace.call(aten.mul.Tensor, inverse, left)
    if not isinstance(left, View) or left.same_as(right):
        return scalings.multiply(call)
    return _entry_by_entry(call, *(call.trace.spread(view, call.zero) for view in (left, right)))


def reciprocal(call: Call) -> Value:
    """1 / v, where v stays away from 0."""
    return _reciprocal(call, call.view())


def _reciprocal(call: Call, view: View) -> View:
    ranges = call.trace.over_box
    values = ranges.of_view(view)
    least = torch.maximum(values.low, -values.high)  # of |v|, where it is above 0
    nearest = float(least.min())
    if not nearest > 0:
        raise call.refusal(f"it divides by a signal that may be 0 in the box: |v| ≥ {max(nearest, 0.0):.3g} is proven")
    slope = round_up(1 / (nearest * nearest), 3)
    ends = (1 / values.low, 1 / values.high)
    zero = 1 / view.zero
    result = call.trace.nonlinear(Function("reciprocal", slope, terms=8, entrywise=True), [view], zero)
    margin = 4 * torch.maximum(*(end.abs() for end in ends)) * gamma(4)
    ranges.state(result.signal, Range(torch.minimum(*ends), torch.maximum(*ends)).widened(margin))
    return result


def _entry_by_entry(call: Call, left: View, right: View) -> View:
    ranges = call.trace.over_box
    values = (ranges.of_view(left), ranges.of_view(right))
    factors = (_scaling(values[0], right), _scaling(values[1], left))
    signal = Bilinear(call.trace.where, call.zero, (left, right), "product", factors, 1, ranges.box)
    corners = torch.stack([a * b for a in values[0] for b in values[1]])
    margin = corners.abs().amax(0) * gamma(4) + 1e-290
    return _added(call, signal, ranges, Range(corners.amin(0), corners.amax(0)).widened(margin))


def _scaling(values: Range, other: View) -> Factor:
    """Of a factor, entry by entry: Σ over the copies k of an entry e of the other signal of f_k² is what e counts."""
    largest = values.largest
    counts = torch.zeros(other.signal.size + 1, dtype=torch.float64).index_add(0, other.flat_index, largest.square())
    gain = float(counts[1:].max().sqrt()) if other.signal.size else 0.0
    inflate = 1 + gamma(other.copies + 16)
    return Factor(round_up(gain * inflate, 2), float(largest.max()), vector_norm_upper(largest))


def _added(call: Call, signal: Bilinear, ranges: Ranges, values: Range) -> View:
    if not math.isfinite(signal.lipschitz):
        raise call.refusal("its bound over the box is infinite")
    ranges.state(signal, values)
    return call.trace.add(signal)


def matmul(call: Call) -> Value:
    """A product of two matrices that both depend on the input, sample by sample."""
    left, right = call.args[:2]
    if not (isinstance(left, View) and isinstance(right, View)):
        return matrices.matmul(call)
    if len(left.shape) < 3 or len(right.shape) < 3:
        raise call.refusal("it mixes the samples of a batch")
    lead = list(call.zero.shape[:-2])
    left, right = (call.trace.call(aten.expand.default, side, [*lead, *side.shape[-2:]]) for side in (left, right))
    ranges, inner = call.trace.over_box, left.shape[-1]
    values = (ranges.of_view(left), ranges.of_view(right))
    count = math.prod(lead) // BATCH
    factors = []
    for side, other, found in ((left, right, values[0]), (right, left, values[1])):
        size = _matrix_norm(ranges, side, found, count)
        factors.append(Factor(round_up(size * other.norm), size, vector_norm_upper(found.largest)))
    kind, pair = "matrix product", (factors[0], factors[1])
    signal = Bilinear(call.trace.where, call.zero, (left, right), kind, pair, inner + 2, ranges.box)
    return _added(call, signal, ranges, _product_range(values, left, right, count, inner))


def _matrix_norm(ranges: Ranges, view: View, values: Range, count: int) -> float:
    """Upper bound of the spectral norm of each of `count` matrices, over the box."""
    matrix = values.largest.reshape(count, *view.shape[-2:])
    parts = torch.arange(count).repeat_interleave(view.size // count)
    frobenius = float(ranges.length(view, parts).max())
    rows, columns = float(matrix.sum(2).max()), float(matrix.sum(1).max())
    return min(frobenius, schur_bound(rows, columns, max(view.shape[-2:])))


def _product_range(values: tuple[Range, Range], left: View, right: View, count: int, inner: int) -> Range:
    """Middle times middle, and all that the halves may add."""
    shapes = [(count, *view.shape[-2:]) for view in (left, right)]
    middles, halves = [], []
    for found, shape in zip(values, shapes, strict=True):
        middle = found.low / 2 + found.high / 2
        middles.append(middle.reshape(shape))
        halves.append(up(torch.maximum(found.high - middle, middle - found.low)).reshape(shape))
    sizes = [middle.abs() for middle in middles]
    center = middles[0] @ middles[1]
    reach = sizes[0] @ halves[1] + halves[0] @ sizes[1] + halves[0] @ halves[1]
    reach = (reach + (sizes[0] @ sizes[1]) * gamma(inner + 8)) * (1 + gamma(inner + 16)) + 1e-290
    return Range(down(center - reach).reshape(-1), up(center + reach).reshape(-1))


def attention(call: Call) -> Value:
    """softmax(Q Kᵀ · scale + mask) V, by its parts."""
    query, key, value = (call.view(position) for position in range(3))
    mask = call.get("attn_mask", 3)
    if call.get("is_causal", 5, False) or call.get("enable_gqa", 7, False) or float(call.get("dropout_p", 4, 0.0)):
        raise call.refusal("it is causal, grouped or random, and robench has no rule for that")
    if depends(mask) or (isinstance(mask, Tensor) and not mask.is_floating_point()):
        raise call.refusal("its mask depends on the input, or is not one of numbers")
    scale = call.get("scale", 6)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    trace = call.trace
    scores = trace.call(aten.matmul.default, trace.call(aten.mul.Tensor, query, scale), _turned(call, key))
    if mask is not None:
        scores = trace.call(aten.add.Tensor, scores, mask)
    return trace.call(aten.matmul.default, trace.call(aten.softmax.int, scores, -1), value)


def _turned(call: Call, view: View) -> Value:
    return call.trace.call(aten.transpose.int, view, -2, -1)
