"""Puts constraints on plain torch layers, and reads the final plain weights off them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from robench.errors import SpecError, did_you_mean
from robench.layers.bjorck import Bjorck
from robench.layers.convolution import paper_factor, require_plain, require_single_cover, strict_factor
from robench.layers.heads import UnitRows
from robench.layers.orthogonal import OrthogonalKernel
from robench.layers.parametrization import Scale, WeightMap
from robench.layers.spectral import SpectralNormalization
from robench.layers.tracked_polar import Polar

Constraint = Literal["none", "spectral", "bjorck", "polar"]
ConvScheme = Literal["paper", "strict", "orthogonal"]
HeadKind = Literal["unit_rows", "joint", "none"]


def _require_known(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SpecError(f"unknown {kind} `{value}`", hint=did_you_mean(value, known))


def _register(layer: nn.Linear | nn.Conv2d, maps: list[WeightMap]) -> None:
    for weight_map in maps:
        parametrize.register_parametrization(layer, "weight", weight_map)


def _maps(weight: Tensor, constraint: Constraint, bjorck_iterations: int) -> list[WeightMap]:
    _require_known("constraint", constraint, get_args(Constraint))
    if constraint == "spectral":
        return [SpectralNormalization(weight)]
    if constraint == "bjorck":
        return [SpectralNormalization(weight), Bjorck(bjorck_iterations)]
    return [Polar(weight)] if constraint == "polar" else []


def constrain_linear(linear: nn.Linear, constraint: Constraint, *, bjorck_iterations: int = 15) -> nn.Linear:
    """Constrain the weight of a dense layer to norm 1; the layer itself is changed and returned.

    Args:
        linear: any size, more outputs than inputs included.
        constraint: `spectral` (largest singular value 1), `bjorck` (the paper's: 15 steps after spectral
            normalisation), `polar` (all singular values 1), or `none`.
        bjorck_iterations: steps of `bjorck`.

    Raises:
        SpecError: the constraint is not known.
    """
    _register(linear, _maps(linear.weight, constraint, bjorck_iterations))
    return linear


def constrain_conv(
    conv: nn.Conv2d,
    constraint: Constraint,
    scheme: ConvScheme,
    input_size: tuple[int, int],
    *,
    bjorck_iterations: int = 15,
) -> nn.Conv2d:
    """Constrain a convolution; the layer itself is changed and returned.

    Args:
        conv: dilation 1, one group, zero or circular padding.
        constraint: on the kernel reshaped to (out, in kh kw); `none` leaves the layer as it is. The `orthogonal` scheme
            orthogonalises its parts by polar factors, whatever the constraint.
        scheme: `paper` divides by Lambda of Eq. (11), which is not a bound; `strict` by a bound; `orthogonal` builds a
            kernel that is orthogonal as a convolution.
        input_size: height and width of the layer's input, for Eq. (11).
        bjorck_iterations: steps of `bjorck`.

    Raises:
        SpecError: an unknown name, or a convolution that the scheme does not cover.
    """
    _require_known("scheme", scheme, get_args(ConvScheme))
    maps = _maps(conv.weight, constraint, bjorck_iterations)
    if not maps:
        return conv
    require_plain(conv)
    require_single_cover(conv, input_size)
    if scheme == "orthogonal":
        one_pixel = conv.kernel_size == (1, 1)  # a matrix: nothing to be built from parts
        _register(conv, [Polar(conv.weight) if one_pixel else OrthogonalKernel(conv)])
        return conv
    factor = paper_factor(conv, input_size) if scheme == "paper" else strict_factor(conv)
    _register(conv, [*maps, Scale(1.0 / factor)])
    return conv


def constrain_head(
    linear: nn.Linear, kind: HeadKind, constraint: Constraint, *, bjorck_iterations: int = 15
) -> nn.Linear:
    """Constrain the last layer; the layer itself is changed and returned.

    Args:
        linear: the last layer.
        kind: `unit_rows`: each output is 1-Lipschitz by itself; `joint`: the outputs together, by `constraint`;
            `none`: left as it is.
        constraint: for `joint` heads.
        bjorck_iterations: steps of `bjorck`.

    Raises:
        SpecError: an unknown name.
    """
    _require_known("head", kind, get_args(HeadKind))
    if kind == "joint":
        return constrain_linear(linear, constraint, bjorck_iterations=bjorck_iterations)
    if kind == "unit_rows":
        _register(linear, [UnitRows()])
    return linear


@torch.no_grad()
def export_weight(module: nn.Linear | nn.Conv2d) -> Tensor:
    """The final plain weight: the constraints recomputed in float64 from the trained parameter, cast back once.

    Returns:
        A new tensor of the parameter's dtype, on its device; a layer without constraint gives a copy of its weight.
    """
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight.detach().clone()
    chain = cast(parametrize.ParametrizationList, module.parametrizations["weight"])  # type: ignore[index]
    maps: list[WeightMap] = []
    for weight_map in cast(Iterable[nn.Module], chain):
        if not isinstance(weight_map, WeightMap):
            raise SpecError(
                f"the weight has a parametrization `{type(weight_map).__name__}` that is not one of robench's",
                hint="remove it with torch.nn.utils.parametrize.remove_parametrizations before the export",
            )
        maps.append(weight_map)
    names = ["original"] if chain.is_tensor else [f"original{i}" for i in range(chain.ntensors)]
    originals = [cast(Tensor, getattr(chain, name)).detach() for name in names]
    weight = maps[0].exact(*originals)
    for weight_map in maps[1:]:
        weight = weight_map.exact(weight)
    return weight.to(originals[0])
