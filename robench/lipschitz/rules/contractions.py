"""Rules for products with constants that are more than one matrix: einsum, batches of matrices, sums along an axis.

Each is a matrix on some axes of a sample, or one for each index of other axes: Σ_k W[g, o, k] x[p, g, k].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import Blocks, Dense, LinearOp
from robench.lipschitz.rules.axes import sample_axis
from robench.lipschitz.rules.constants import other_constants
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, concrete, depends

aten = torch.ops.aten

Letters = Sequence[str]
INNER = "it mixes the samples of a batch, or moves the batch axis from the front"
LEAD = "*"
"""The letter of positions that are merged into the batch axis."""


def contracted(call: Call, view: View, given: Letters, constant: Value, own: Letters, result: Letters) -> View:
    """The sum over products of a view and a constant, as einsum states it.

    Args:
        call: the operation.
        view: of the signal.
        given: a letter for each of its axes, the batch first.
        constant: the other factor.
        own: its letters; those of the batch, if it has one, first.
        result: letters of the result, the batch first.

    Raises:
        BoundError: samples are mixed, or letters are used in a way that has no rule.
    """
    weight, gap = call.constant(constant, "factor"), call.gap(constant)
    batch = given[0]
    if result[:1] != [batch] or batch in own[1:] or any(len(set(each)) < len(each) for each in (given, own, result)):
        raise call.refusal(INNER)
    lead = view.shape[0] // BATCH
    if batch in own:
        weight, gap = (_of_one_sample(call, item, lead) for item in (weight, gap))
        own = [LEAD, *own[1:]]
    sizes = dict(zip([batch, LEAD, *given[1:]], [BATCH, lead, *view.shape[1:]], strict=True))
    if any(sizes.get(letter, side) != side for letter, side in zip(own, weight.shape, strict=True)):
        raise call.refusal("it repeats an axis of size 1; write `x.expand(...)`")
    sizes |= dict(zip(own, weight.shape, strict=True))
    view = call.trace.call(aten.reshape.default, view, [BATCH, lead, *view.shape[1:]])
    given, result = [batch, LEAD, *given[1:]], [batch, LEAD, *result[1:]]
    summed = [place for place, letter in enumerate(given) if letter not in result and letter not in own]
    if summed:
        view = call.trace.call(aten.sum.dim_IntList, view, summed)
        given = [letter for letter in given if letter in result or letter in own]
    if any(letter not in given and letter not in result for letter in own):
        kept = [letter for letter in own if letter in given or letter in result]
        alone = [place for place, letter in enumerate(own) if letter not in kept]
        weight, gap, own = weight.sum(alone), gap.sum(alone) * (1 + 2.0**-40), kept
    places = [letter for letter in given[1:] if letter in result and letter not in own]
    shared = [letter for letter in given[1:] if letter in result and letter in own]
    inner = [letter for letter in given[1:] if letter not in result]
    outer = [letter for letter in own if letter not in given]
    if sorted(result) != sorted([batch, *places, *shared, *outer]):
        raise call.refusal(INNER)
    ordered = call.trace.call(aten.permute.default, view, [given.index(x) for x in (batch, *places, *shared, *inner)])
    counts = [math.prod(sizes[letter] for letter in letters) for letters in (places, shared, outer, inner)]
    flat = call.trace.call(aten.reshape.default, ordered, [BATCH, counts[0], counts[1], counts[3]])
    moved = [own.index(letter) for letter in (*shared, *outer, *inner)]
    matrices, gaps = (item.permute(moved).reshape(counts[1:]) for item in (weight, gap))
    other = other_constants(_op(gaps) if bool(gaps.any()) else None, None)
    zero = torch.einsum("npgk,gok->npgo", flat.zero, matrices)
    product = call.trace.linear(flat, _op(matrices), zero, slack=other)
    letters = [batch, *places, *shared, *outer]
    shaped = call.trace.call(aten.reshape.default, product, [sizes[letter] for letter in letters])
    turned = call.trace.call(aten.permute.default, shaped, [letters.index(letter) for letter in result])
    return call.trace.call(aten.reshape.default, turned, list(call.zero.shape))  # type: ignore[no-any-return]


def _op(matrices: Tensor) -> LinearOp:
    return Dense(matrices[0]) if len(matrices) == 1 else Blocks(matrices)


def _of_one_sample(call: Call, constant: Tensor, lead: int) -> Tensor:
    """A constant with a batch axis, of one sample."""
    rows = constant.expand(BATCH * lead, *constant.shape[1:]).reshape(BATCH, lead, *constant.shape[1:])
    if not torch.equal(rows[0], rows[1]):
        raise call.refusal("its constant differs from sample to sample")
    return rows[0]


def along(call: Call, axis: int, matrix: Tensor) -> View:
    """A matrix on one axis of a sample.

    Args:
        call: the operation.
        axis: not the batch's.
        matrix: of numbers that are exact in either arithmetic.
    """
    view = call.view()
    letters = [chr(97 + place) for place in range(len(view.shape))]
    result = ["o" if place == axis else letter for place, letter in enumerate(letters)]
    return contracted(call, view, letters, matrix, ["o", letters[axis]], result)


def einsum(call: Call) -> Value:
    """A sum over products of a signal and one constant."""
    operands = list(call.args[1])
    if len(operands) == 1:
        operands.append(torch.ones((), dtype=torch.float64))
    if len(operands) != 2 or depends(operands[0]) == depends(operands[1]):
        raise call.refusal("it is a product of two signals, or of more than two factors; write it as several")
    inputs, arrow, out = call.args[0].replace(" ", "").partition("->")
    names = [*inputs.split(","), ""][:2]
    if "." in inputs:
        raise call.refusal("it leaves axes to an ellipsis; name them")
    if not arrow:
        out = "".join(sorted(letter for letter in set(inputs) - {","} if inputs.count(letter) == 1))
    place = 0 if depends(operands[0]) else 1
    view, other = operands[place], operands[1 - place]
    if not isinstance(view, View):
        raise call.refusal("it is a product with a sum of squares")
    return contracted(call, view, list(names[place]), other, list(names[1 - place]), list(out))


def batched(call: Call, view: View, constant: Value, *, left: bool) -> View:
    """A product of batches of matrices.

    Args:
        call: the operation.
        view: one of the factors.
        constant: the other.
        left: whether the constant is on the left.
    """
    shape = list(concrete(constant).shape)
    wide = len(view.shape)
    if wide < 3 or len(shape) > wide or len(shape) < 2:
        raise call.refusal(INNER)
    lead = [1] * (wide - len(shape)) + shape[:-2]
    wanted = [BATCH * (view.shape[0] // BATCH), *map(max, zip(view.shape[1:-2], lead[1:], strict=True))]
    view = call.trace.call(aten.expand.default, view, [*wanted, *view.shape[-2:]])
    letters = [chr(97 + place) for place in range(wide - 2)]
    used = [place for place, side in enumerate(lead) if side != 1 or (wanted[place] == 1 and place)]
    ones = [place for place, side in enumerate(shape[:-2]) if place + wide - len(shape) not in used]
    if ones:
        constant = call.trace.call(aten.squeeze.dims, constant, ones)
    own = [letters[place] for place in used]
    if left:
        return contracted(call, view, [*letters, "y", "z"], constant, [*own, "x", "y"], [*letters, "x", "z"])
    return contracted(call, view, [*letters, "x", "y"], constant, [*own, "y", "z"], [*letters, "x", "z"])


def bmm(call: Call) -> Value:
    """A product of two batches of matrices, one of them constant."""
    if depends(call.args[0]) and depends(call.args[1]):
        raise call.refusal("both factors depend on the input, so it grows without bound")
    place = 0 if depends(call.args[0]) else 1
    return batched(call, call.view(place), call.args[1 - place], left=place == 1)


def baddbmm(call: Call) -> Value:
    """β·a + α·(b @ c)."""
    product = call.trace.call(aten.bmm.default, *call.args[1:3])
    scaled = call.trace.call(aten.mul.Tensor, product, call.get("alpha", 4, 1))
    return call.trace.call(aten.add.Tensor, scaled, call.args[0], alpha=call.get("beta", 3, 1))


def cumulative_sum(call: Call) -> Value:
    """Sums of the entries up to each: a triangle of ones."""
    axis = sample_axis(call, call.args[1])
    side = call.view().shape[axis]
    return along(call, axis, torch.ones(side, side, dtype=torch.float64).tril())
