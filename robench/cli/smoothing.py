"""`--method smoothing` of `robench certify`, and what belongs to it."""

from __future__ import annotations

from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from robench.cli.options import joined


class Smoothing(NamedTuple):
    """What is asked of the smoothed classifier."""

    sigma: float
    n: int
    n0: int
    alpha: float
    seed: int


def _above_zero(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if not 0 < value < float("inf"):
        raise click.BadParameter(f"`{value}` is not above 0 and finite", ctx, param)
    return value


@joined(
    "smoothing",
    click.option(
        "--method",
        type=click.Choice(["lipschitz", "smoothing"]),
        default="lipschitz",
        show_default=True,
        help="lipschitz: proofs about the model. smoothing: about another classifier, the majority of the model's "
        "classes under noise; needs no Lipschitz bound, and each radius holds with probability 1 − alpha only.",
    ),
    click.option("--sigma", type=float, default=0.25, show_default=True, callback=_above_zero,
                 help="Smoothing: standard deviation of the noise, in input units."),
    click.option("--n", "n", type=click.IntRange(1), default=10_000, show_default=True,
                 help="Smoothing: draws an image that estimate the frequency of its class."),
    click.option("--n0", type=click.IntRange(1), default=100, show_default=True,
                 help="Smoothing: draws an image that choose the class."),
    click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.001, show_default=True,
                 help="Smoothing: chance at most that the radius of an image is false."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Smoothing: seed of the noise."),
)  # fmt: skip
def smoothing(method: str, sigma: float, n: int, n0: int, alpha: float, seed: int) -> Smoothing | None:
    """`--method` and the settings of smoothing; None for another method, which takes none of them."""
    context = click.get_current_context()

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is not ParameterSource.DEFAULT

    if method == "smoothing":
        if given("deploy_dtype"):
            raise click.UsageError("--deploy-dtype is not for smoothing, whose base classifier is the float32 model")
        if given("rules"):
            raise click.UsageError("--rule is of certificates by a Lipschitz bound, not of smoothing")
        return Smoothing(sigma, n, n0, alpha, seed)
    stray = next((name for name in Smoothing._fields if given(name)), None)
    if stray is not None:
        raise click.UsageError(f"--{stray} is for --method smoothing")
    return None
