"""Rules for Fourier transforms, and for what is done to complex numbers until they are real again.

docs/design/0022-fourier-transforms.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robench.lipschitz.norms.linear import schur_bound
from robench.lipschitz.norms.spectral import stacked_norm_upper
from robench.lipschitz.rules.sandwich import sandwich_on_torus
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.signals import BATCH, View
from robench.lipschitz.trace.spectrum import Map, Spectrum, Transform, spectrum_of
from robench.lipschitz.trace.trace import Call
from robench.lipschitz.trace.values import Value, depends
from robench.numerics import round_up

MIXED = "it mixes the samples of a batch"


def entering(call: Call) -> Value:
    """An operation on a real view that gives complex numbers."""
    spectrum = spectrum_of(call.view())
    return _RULES[call.operation](replace(call, args=(spectrum, *call.args[1:])), spectrum)


def on_spectrum(call: Call) -> Value:
    """An operation on complex numbers that depend on the input."""
    spectra = [value for value in call.args if isinstance(value, Spectrum)]
    rule = _RULES.get(call.operation)
    if rule is None or any(isinstance(value, Spectrum) for value in call.kwargs.values()):
        raise call.refusal("robench has no rule for it on complex numbers that depend on the input")
    return rule(call, spectra[0] if spectra else next(_inside(call.args)))


def _inside(value: Any) -> Any:
    if isinstance(value, Spectrum):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item)


def _runs(call: Call) -> Map:
    """The operation as a function of its spectrum alone."""

    def fill(value: Any, x: Tensor) -> Any:
        if isinstance(value, Spectrum):
            return x
        return [fill(item, x) for item in value] if isinstance(value, list) else value

    return lambda x: call.target(*(fill(value, x) for value in call.args), **call.kwargs)


def _after(
    call: Call,
    spectrum: Spectrum,
    weights: Tensor,
    sample: Tensor,
    factor: float,
    absolute: float,
    terms: int,
    frequency: Tensor | None = None,
) -> Spectrum:
    """The spectrum after an operation.

    Args:
        call: the operation.
        spectrum: before it.
        weights: after it.
        sample: after it.
        factor: norm of the operation.
        absolute: norm of its absolute values.
        terms: roundings of an entry.
        frequency: after it.
    """
    step, before = _runs(call), spectrum.run
    if weights.shape != call.zero.shape or sample.shape != call.zero.shape:
        raise call.refusal("it changes the shape in an unexpected way")
    return Spectrum(
        spectrum.base,
        lambda x: step(before(x)),
        call.zero,
        weights,
        sample,
        spectrum.norm if factor == 1.0 else round_up(spectrum.norm * factor, 2),
        round_up(spectrum.absolute * absolute, 2),
        spectrum.terms + terms,
        frequency,
    )


def structure(call: Call, spectrum: Spectrum) -> Value:
    """Entries in another order, or a part of them; the conjugate; a cast to the widest type."""
    if call.operation in ("to", "_to_copy") and call.zero.dtype != torch.complex128:
        raise call.refusal(f"it changes the precision to {call.zero.dtype}")
    if call.operation in ("_conj", "resolve_conj", "to", "_to_copy"):
        frequency = None if call.operation == "_conj" else spectrum.frequency  # a conjugate is linear over the reals
        return _after(call, spectrum, spectrum.weights, spectrum.sample, 1.0, 1.0, 0, frequency)
    places = torch.arange(spectrum.zero.numel()).reshape(spectrum.zero.shape)
    run = _runs(call)
    moved = run(places)
    if isinstance(moved, list | tuple):
        raise call.refusal("robench has no rule for it on complex numbers that depend on the input")
    if int(torch.bincount(moved.flatten(), minlength=1).max()) > 1:
        raise call.refusal("it repeats complex numbers")
    weights, sample = (each.flatten()[moved] for each in (spectrum.weights, spectrum.sample))
    frequency = None if spectrum.frequency is None else spectrum.frequency.flatten()[moved]
    return _after(call, spectrum, weights, sample, 1.0, 1.0, 0, frequency)


def _transformed(call: Call, spectrum: Spectrum, size: Sequence[int], axes: Sequence[int]) -> tuple[Tensor, int]:
    """Which sample the entries of a transform are of, and how many entries it takes."""
    sample = spectrum.sample
    for axis in axes:
        first = sample.select(axis, 0).unsqueeze(axis)
        if not torch.equal(first.expand_as(sample), sample):
            raise call.refusal(MIXED)
        sample = first
    return sample.expand(call.zero.shape).contiguous(), math.prod(size[axis] for axis in axes)


def _scale(count: int, normalization: int) -> float:
    return {0: 1.0, 1: 1 / math.sqrt(count), 2: 1 / count}[normalization]


def _half(side: int, columns: int, axis: int, rank: int) -> Tensor:
    """How often the columns of half a spectrum count: twice, but for the first, and the last of an even side."""
    weights = torch.full((columns,), 2.0)
    weights[0] = 1.0
    if side % 2 == 0:
        weights[side // 2 :] = 1.0
    return weights.reshape([-1 if place == axis % rank else 1 for place in range(rank)])


def forward_real(call: Call, spectrum: Spectrum) -> Value:
    """The transform of real numbers: √N times a unitary map."""
    axes, normalization, onesided = call.args[1:4]
    shape = spectrum.zero.shape
    sample, count = _transformed(call, spectrum, shape, axes)
    weights = torch.ones(call.zero.shape)
    if onesided:
        axis = axes[-1]
        weights = weights * _half(shape[axis], call.zero.shape[axis], axis, len(shape))
    scale = _scale(count, normalization)
    call.trace.refuse_float32("it is a fast Fourier transform, whose rounding is not bounded there")
    of_images = onesided and [axis % len(shape) for axis in axes] == [2, 3] and len(shape) == 4
    return _after(
        call,
        spectrum,
        weights,
        sample,
        round_up(scale * math.sqrt(count), 3),
        round_up(scale * count, 2),
        4 * count + 64,
        _places(call.zero) if of_images else None,
    )


def _places(images: Tensor) -> Tensor:
    """The place of each entry on the last two axes."""
    return torch.arange(images.shape[2] * images.shape[3]).reshape(images.shape[2:]).expand(images.shape)


def forward_complex(call: Call, spectrum: Spectrum) -> Value:
    """The transform of complex numbers, or its inverse: √N times a unitary map."""
    axes, normalization = call.args[1:3]
    sample, count = _transformed(call, spectrum, spectrum.zero.shape, axes)
    scale = _scale(count, normalization)
    call.trace.refuse_float32("it is a fast Fourier transform, whose rounding is not bounded there")
    ones = torch.ones(call.zero.shape)
    factor = round_up(scale * math.sqrt(count), 3)
    if bool((spectrum.weights != 1).any()) and _even_along(spectrum.weights, axes):  # half of a spectrum stays a half
        ones = spectrum.weights
    return _after(call, spectrum, ones, sample, factor, round_up(scale * count, 2), 4 * count + 64)


def _even_along(weights: Tensor, axes: Sequence[int]) -> bool:
    return all(torch.equal(weights.select(axis, 0).unsqueeze(axis).expand_as(weights), weights) for axis in axes)


def backward_real(call: Call, spectrum: Spectrum) -> Value:
    """Half a spectrum back to real numbers: √N times a contraction, where its columns count as they should."""
    axes, normalization, side = call.args[1:4]
    shape = list(spectrum.zero.shape)
    if shape[axes[-1]] != side // 2 + 1:
        raise call.refusal("it takes another part of a spectrum than half of it")
    wanted = _half(side, shape[axes[-1]], axes[-1], len(shape)).expand(shape)
    short = float((wanted / spectrum.weights).max())
    sizes = [side if place == axes[-1] % len(shape) else each for place, each in enumerate(shape)]
    sample, count = _transformed(call, spectrum, sizes, axes)
    scale = _scale(count, normalization)
    factor = round_up(scale * math.sqrt(count) * math.sqrt(short), 4)
    last = _after(
        call, spectrum, torch.ones(call.zero.shape), sample, factor, round_up(scale * count * 2, 2), 4 * count + 64
    )
    result = _real(call, last, _torus(call, spectrum, [axis % len(shape) for axis in axes]))
    if isinstance(result.signal, Linear):
        result.signal.block = sandwich_on_torus(result)
    return result


def _torus(call: Call, spectrum: Spectrum, axes: list[int]) -> tuple[int, int] | None:
    """Sides of the images, if each frequency went back to where it came from."""
    shape, given = call.zero.shape, spectrum.base.shape
    if spectrum.frequency is None or axes != [2, 3] or len(shape) != 4 or shape[2:] != given[2:]:
        return None
    if not shape[0] == given[0] == BATCH:  # positions that are merged into the batch
        return None
    back = torch.equal(spectrum.frequency, _places(spectrum.zero))
    return (shape[2], shape[3]) if back else None


def as_real(call: Call, spectrum: Spectrum) -> Value:
    """Real and imaginary part as a last axis."""
    sample = spectrum.sample[..., None].expand(call.zero.shape)
    return _real(call, _after(call, spectrum, torch.ones(call.zero.shape), sample, 1.0, 1.0, 0))


def _real(call: Call, spectrum: Spectrum, torus: tuple[int, int] | None = None) -> View:
    """The signal that a real result is."""
    shape = call.zero.shape
    if not len(shape) or shape[0] % BATCH or call.zero.dtype != torch.float64:
        raise call.refusal("it moves the batch axis from the front")
    rows = spectrum.sample.reshape(BATCH, -1)
    if not torch.equal(rows, torch.arange(BATCH)[:, None].expand_as(rows)):
        raise call.refusal("it moves the batch axis from the front")
    return call.trace.linear(spectrum.base, Transform(spectrum, torus), call.zero)


def as_complex(call: Call, spectrum: Spectrum) -> Value:
    """A last axis of two as real and imaginary part."""
    return _after(call, spectrum, spectrum.weights[..., 0], spectrum.sample[..., 0], 1.0, 1.0, 0)


def _constant(call: Call, value: Value) -> Tensor:
    """A constant factor, complex."""
    if depends(value):
        raise call.refusal("it is a product of two signals that depend on the input, so it grows without bound")
    call.trace.refuse_float32("it multiplies complex numbers, whose constants are not compared there")
    found = torch.as_tensor(value).to(torch.complex128).resolve_conj()
    if not bool(torch.isfinite(torch.view_as_real(found)).all()):
        raise call.refusal("a constant factor is NaN or infinite")
    return found


def scaled(call: Call, spectrum: Spectrum) -> Value:
    """A product with constants, entry by entry."""
    left, right = call.args[:2]
    factors = _constant(call, right if isinstance(left, Spectrum) else left)
    if call.operation == "div":
        if not isinstance(left, Spectrum) or call.get("rounding_mode", 2) is not None or bool((factors == 0).any()):
            raise call.refusal("it divides by something that depends on the input, or by 0")
        factors = 1 / factors
    if call.zero.shape != spectrum.zero.shape:
        raise call.refusal("it repeats complex numbers")
    size = round_up(float(factors.abs().max()), 8)
    return _after(call, spectrum, spectrum.weights, spectrum.sample, size, size, 16, spectrum.frequency)


def negated(call: Call, spectrum: Spectrum) -> Value:
    """−s."""
    return _after(call, spectrum, spectrum.weights, spectrum.sample, 1.0, 1.0, 0, spectrum.frequency)


def total(call: Call, spectrum: Spectrum) -> Value:
    """A sum of two spectra of one view."""
    left, right = call.args[:2]
    if not (isinstance(left, Spectrum) and isinstance(right, Spectrum) and left.base.same_as(right.base)):
        raise call.refusal("it adds complex numbers of other kinds")
    if left.zero.shape != right.zero.shape or not torch.equal(left.sample, right.sample):
        raise call.refusal("it repeats complex numbers, or mixes the samples of a batch")
    alpha = _constant(call, call.get("alpha", 2, 1))
    size = round_up(float(alpha.abs()))
    first, second = left.run, right.run
    both = left.frequency is not None and right.frequency is not None and torch.equal(left.frequency, right.frequency)
    return Spectrum(
        left.base,
        lambda x: call.target(first(x), second(x), **call.kwargs),
        call.zero,
        torch.minimum(left.weights, right.weights),
        left.sample,
        round_up(left.norm + size * right.norm, 2),
        round_up(left.absolute + size * right.absolute, 2),
        left.terms + right.terms + 16,
        left.frequency if both else None,
    )


def product(call: Call, spectrum: Spectrum) -> Value:
    """Matrices, one for each index of the other axes, on one axis: the largest of their norms."""
    left, right = call.args[:2]
    on_left = isinstance(right, Spectrum)
    matrices = _constant(call, left if on_left else right)
    if matrices.dim() < 2 or spectrum.zero.dim() < 2:
        raise call.refusal("it is a product with a vector")
    axis = -2 if on_left else -1
    if call.zero.shape[:-2] != spectrum.zero.shape[:-2]:
        raise call.refusal("it repeats complex numbers")
    return _multiplied(call, spectrum, matrices.flatten(0, -3) if matrices.dim() > 2 else matrices[None], [axis])


def einsum(call: Call, spectrum: Spectrum) -> Value:
    """A sum over products with one constant: a matrix for each index of the letters that all of them have."""
    inputs, arrow, out = call.args[0].replace(" ", "").partition("->")
    names = inputs.split(",")
    operands = list(call.args[1])
    if len(names) != 2 or not arrow or "." in inputs:
        raise call.refusal("it is a product of more than two factors, or leaves letters out")
    place = 0 if isinstance(operands[0], Spectrum) else 1
    given, own, other = names[place], names[1 - place], _constant(call, operands[1 - place])
    sizes = dict(zip(given, spectrum.zero.shape, strict=True)) | dict(zip(own, other.shape, strict=True))
    inner = [letter for letter in given if letter not in out]
    outer = [letter for letter in own if letter not in given]
    shared = [letter for letter in own if letter in given and letter in out]
    plain = all(len(set(each)) == len(each) for each in (given, own, out))
    if not plain or any(letter not in own for letter in inner) or any(letter not in out for letter in outer):
        raise call.refusal("it sums letters of one factor alone")
    if list(spectrum.zero.shape) != [sizes[x] for x in given] or any(sizes[x] == 1 for x in shared):
        raise call.refusal("it repeats an axis of size 1")
    moved = other.permute([own.index(letter) for letter in (*shared, *outer, *inner)])
    counts = [math.prod(sizes[letter] for letter in letters) for letters in (shared, outer, inner)]
    kept = [letter for letter in given if letter in out]

    def place_in(value: Tensor) -> Tensor:
        """What is known of the entries that are kept, where they go."""
        spread = value.reshape([sizes[x] for x in kept] + [1] * len(outer)).expand([sizes[x] for x in (*kept, *outer)])
        return spread.permute([[*kept, *outer].index(x) for x in out])

    axes = [given.index(letter) for letter in inner]
    return _multiplied(call, spectrum, moved.reshape(counts), axes, place_in)


def _multiplied(
    call: Call, spectrum: Spectrum, matrices: Tensor, axes: list[int], place: Callable[[Tensor], Tensor] | None = None
) -> Spectrum:
    """Matrices (many, out, in) on these axes.

    Args:
        call: the operation.
        spectrum: what they are applied to.
        matrices: the factors.
        axes: that are summed.
        place: puts what is known of the entries that are left where they are in the result.
    """
    weights, sample, frequency = spectrum.weights, spectrum.sample, spectrum.frequency
    if frequency is not None and not _even_along(frequency, axes):
        frequency = None
    if not _even_along(weights, axes):  # entries that count once as well as twice: each counts once
        weights = torch.ones_like(weights)
    if not _even_along(sample, axes):
        raise call.refusal(MIXED)
    dropped = sorted((axis % weights.dim() for axis in axes), reverse=True)

    def kept(value: Tensor) -> Tensor:
        """What is known of the entries that are left, where they go."""
        for axis in dropped:
            value = value.select(axis, 0)
        return value.unsqueeze(axes[0]).expand(call.zero.shape) if place is None else place(value)

    weights, sample = kept(weights), kept(sample)
    frequency = None if frequency is None else kept(frequency)
    norm = stacked_norm_upper(matrices)
    size = matrices.abs()
    absolute = schur_bound(float(size.sum(2).max()), float(size.sum(1).max()), max(matrices.shape) + 8)
    return _after(call, spectrum, weights, sample, norm, absolute, 4 * matrices.shape[2] + 16, frequency)


STRUCTURE = (
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "movedim", "swapaxes", "select", "slice", "narrow", "clone", "contiguous", "alias", "detach", "roll", "flip",
    "_conj", "resolve_conj", "to", "_to_copy",
)  # fmt: skip
_RULES: dict[str, Callable[[Call, Spectrum], Value]] = {
    **dict.fromkeys(STRUCTURE, structure),
    "_fft_r2c": forward_real,
    "_fft_c2c": forward_complex,
    "_fft_c2r": backward_real,
    "view_as_real": as_real,
    "view_as_complex": as_complex,
    "mul": scaled,
    "div": scaled,
    "neg": negated,
    "add": total,
    "sub": total,
    "matmul": product,
    "bmm": product,
    "einsum": einsum,
}
