"""Options that several commands share, each checked before torch is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from robench.specs.epsilon import split_epsilons

F = TypeVar("F", bound=Callable[..., Any])


def shape_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """`C,H,W`, or one number for points, as integers."""
    if value is None:
        return None
    try:
        shape = tuple(int(part) for part in value.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise click.BadParameter(f"`{value}` is not a shape such as 1,28,28", ctx, param)
    return shape


def finite_callback(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A number that is neither infinite nor NaN."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"`{value}` is not finite", ctx, param)
    return value


def epsilon_callback(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Radii as written, checked, ascending; none stays none."""
    return split_epsilons(value) if value else ()


def eps(*, required: bool, default_text: str = "") -> Callable[[F], F]:
    """`--eps`, repeatable, with comma lists and fractions."""
    help_text = "L2 radius in input units, above 0; repeatable; takes `0.5,1` and `36/255`."
    if default_text:
        help_text += f"  [default: {default_text}]"
    return click.option(
        "--eps", multiple=True, required=required, callback=epsilon_callback, metavar="E", help=help_text
    )


def data(function: F) -> F:
    """`--data` and `--data-dir`."""
    for decorator in (
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder that holds the data set's own files.  [default: a per-user cache, filled by download]",
        ),
        click.option(
            "--data",
            required=True,
            metavar="NAME",
            help="two-moons, digits, mnist, fashion-mnist, cifar10, celeba, npz:PATH or folder:PATH; "
            "`mnist:0-8` for two classes.",
        ),
    ):
        function = decorator(function)
    return function


def subset(function: F) -> F:
    """`--split`, `--limit`, `--subset` and `--subset-seed`."""
    for decorator in (
        click.option("--subset-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draw."),
        click.option(
            "--subset",
            type=click.Choice(["first", "draw"]),
            default="first",
            show_default=True,
            help="Take the first images of the split, or a seeded draw.",
        ),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="Number of images.  [default: all]"),
        click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True),
    ):
        function = decorator(function)
    return function


def model(function: F) -> F:
    """MODEL, `--weights`, `--input-shape` and `--threshold`."""
    for decorator in (
        click.option(
            "--threshold",
            type=float,
            callback=finite_callback,
            metavar="T",
            help="For one output: class 1 where it is above T.  [default: 0; 0.5 after a sigmoid]",
        ),
        click.option(
            "--input-shape",
            callback=shape_callback,
            metavar="C,H,W",
            help="Input shape without the batch, where MODEL leaves it open.  [default: that of --data, if given]",
        ),
        click.option(
            "--weights",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Weights (.safetensors, or .pt holding tensors only) for FILE.py:factory.  [default: the factory's]",
        ),
        click.argument("model", metavar="MODEL"),
    ):
        function = decorator(function)
    return function


def execution(function: F) -> F:
    """`--device`, `--threads` and `-q`: none of them is part of what a run is."""
    for decorator in (
        quiet,
        click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads.  [default: all cores]"),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N."),
    ):
        function = decorator(function)
    return function


def batch_size(function: F) -> F:
    """`--batch-size`."""
    return click.option(
        "--batch-size", type=click.IntRange(1), default=500, show_default=True, help="Images held in memory at a time."
    )(function)


def quiet(function: F) -> F:
    """`-q`."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="No progress and no notes; the result stays, and why it is exit code 1."
    )(function)


def as_json(function: F) -> F:
    """`--json`."""
    return click.option("--json", "json_output", is_flag=True, help="Print the summary as one JSON document.")(function)


def out(*, required: bool, help_text: str) -> Callable[[F], F]:
    """`--out`."""
    return click.option(
        "--out", type=click.Path(file_okay=False, path_type=Path), required=required, metavar="DIR", help=help_text
    )


def fail_under(help_text: str) -> Callable[[F], F]:
    """`--fail-under`."""
    return click.option("--fail-under", type=click.FloatRange(0, 1), metavar="RATE", help=help_text)
