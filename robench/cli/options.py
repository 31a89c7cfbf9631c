"""Options that several commands share, each checked before torch is loaded.

A group of options is joined into one parameter of the command: `model` into a `ModelRef`, `data` into a `DataRef`,
`execution` and `batches` into an `Execution`, `screen` into a `Screen`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click
from click.core import ParameterSource

from robench.cli import completion
from robench.cli.console import Screen
from robench.specs.data import DataSpec, Split, Subset
from robench.specs.epsilon import split_epsilons
from robench.specs.shard import Shard, parse_shard

if TYPE_CHECKING:
    from robench.engines.engine import Engine
    from robench.workflows import DataRef, Execution, ModelRef

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def joined(name: str, *options: Decorator) -> Callable[[Callable[..., object]], Decorator]:
    """Make a decorator of commands out of a function of options: the command takes its result as one parameter.

    Args:
        name: the parameter of the command.
        options: click's decorators of the function's parameters, in the order of the help.
    """

    def with_options(build: Callable[..., object]) -> Decorator:
        taken = inspect.signature(build).parameters

        def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(command)
            def call(**given: Any) -> Any:
                value = build(**{key: given.pop(key) for key in taken})
                return command(**given, **{name: value})

            decorated: Callable[..., Any] = call
            for option in reversed(options):
                decorated = option(decorated)
            return decorated

        return decorate

    return with_options


def given(name: str) -> Any:
    """What the user said of an option of the running command, here, by a file or by the environment; None for nothing.

    Args:
        name: of its parameter.
    """
    context = click.get_current_context()
    default = context.get_parameter_source(name) is ParameterSource.DEFAULT
    return None if default else context.params[name]


def _shape(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
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


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A number that is neither infinite nor NaN."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"`{value}` is not finite", ctx, param)
    return value


def _epsilons(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Radii as written, checked, ascending; none stays none."""
    return split_epsilons(value) if value else ()


data_name = click.option(
    "--data",
    required=True,
    metavar="NAME",
    shell_complete=completion.data_sets,
    help="two-moons, digits, mnist, fashion-mnist, cifar10, celeba, npz:PATH or folder:PATH. "
    "`mnist:0-8` keeps two classes.",
)
data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the files of the data set.  [default: a per-user cache, filled by download]",
)
as_json = click.option("--json", "json_output", is_flag=True, help="Print the summary as one JSON document.")
dry_run = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and what is there already. Nothing is written."
)
_quiet = click.option(
    "-q", "--quiet", is_flag=True, help="No progress and no notes. The result and the reason of exit code 1 stay."
)
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
_threads = click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads.  [default: all cores]")


@joined(
    "model",
    click.argument("model", metavar="MODEL", shell_complete=completion.models),
    click.option(
        "--weights",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Weights for FILE.py:factory: .safetensors, or .pt with tensors only.  [default: the factory's]",
    ),
    click.option(
        "--input-shape",
        callback=_shape,
        metavar="C,H,W",
        help="Input shape without the batch, if MODEL does not tell it.  [default: that of --data, if given]",
    ),
    click.option(
        "--threshold",
        type=float,
        callback=_finite,
        metavar="T",
        help="For a model of one output: class 1 where the output is above T.  [default: 0; 0.5 after a sigmoid]",
    ),
)
def model(model: str, weights: Path | None, input_shape: tuple[int, ...] | None, threshold: float | None) -> ModelRef:
    """MODEL, `--weights`, `--input-shape` and `--threshold`."""
    from robench.workflows import ModelRef

    return ModelRef(ref=model, weights=weights, input_shape=input_shape, threshold=threshold)


@joined(
    "data",
    data_name,
    data_dir,
    click.option(
        "--split",
        type=click.Choice(["train", "validation", "test"]),
        default="test",
        show_default=True,
        help="Part of the data set.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Number of images.  [default: all]"),
    click.option(
        "--subset",
        type=click.Choice(["first", "draw"]),
        default="first",
        show_default=True,
        help="Take the first images of the split, or a seeded draw.",
    ),
    click.option("--subset-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draw."),
)
def data(
    data: str, data_dir: Path | None, split: Split, limit: int | None, subset: Subset, subset_seed: int
) -> DataRef:
    """`--data`, `--data-dir`, `--split`, `--limit`, `--subset` and `--subset-seed`."""
    from robench.workflows import DataRef

    spec = DataSpec(name=data, subset=subset, subset_seed=subset_seed)
    return DataRef(spec=spec, split=split, data_dir=data_dir, limit=limit)


@joined("screen", _quiet)
def screen(quiet: bool) -> Screen:
    """`-q`."""
    return Screen(quiet=quiet)


@joined("execution", _device, _threads, _quiet)
def execution(device: str, threads: int | None, quiet: bool) -> Execution:
    """`--device`, `--threads` and `-q`: none of them is part of what a run is."""
    from robench.engines.torchrun import is_follower
    from robench.workflows import Execution

    return Execution(device=device, threads=threads, progress=Screen(quiet=quiet or is_follower()))


_engine = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    help="Who computes: processes of this machine, or a Ray cluster.  [default: this process alone]",
)
_workers = click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Workers of the engine, one thread each.  [default: all cores]",
)
_address = click.option("--address", metavar="A", help="Address of the Ray cluster.  [default: Ray on this machine]")


def _engine_of(name: str | None, workers: int | None, address: str | None, threads: int | None) -> Engine | None:
    """The engine asked for; `--workers` alone means processes of this machine, and `--address` alone Ray."""
    name = name or ("ray" if address else "local" if workers else None)
    if name is None:
        return None
    if name == "local":
        if address:
            raise click.UsageError("--address is for --engine ray")
        from robench.engines.local import Local, usable_cores

        return Local(workers or max(1, usable_cores() // (threads or 1)))
    from robench.engines.ray_cluster import RayCluster

    return RayCluster(address=address, count=workers, threads=threads or 1)


@joined(
    "execution",
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=500,
        show_default=True,
        help="Images held in memory at a time.",
    ),
    _engine,
    _workers,
    _address,
    _device,
    _threads,
    _quiet,
)
def batches(
    batch_size: int,
    engine: str | None,
    workers: int | None,
    address: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> Execution:
    """`--batch-size`, `--engine` and its options, and what `execution` has."""
    from robench.workflows import Execution

    chosen = _engine_of(engine, workers, address, threads)
    return Execution(device=device, threads=threads, batch_size=batch_size, engine=chosen, progress=Screen(quiet=quiet))


@joined("execution", _engine, _workers, _address, _device, _threads, _quiet)
def engines(
    engine: str | None, workers: int | None, address: str | None, device: str, threads: int | None, quiet: bool
) -> Execution:
    """`--engine` and its options, and what `execution` has."""
    from robench.workflows import Execution

    chosen = _engine_of(engine, workers, address, threads)
    return Execution(device=device, threads=threads, engine=chosen, progress=Screen(quiet=quiet))


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> Shard | None:
    """`i/n`, or `slurm`."""
    return None if value is None else parse_shard(value)


shard = click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Only the I-th of N parts of the images; `slurm`: that of the running task of an array. `robench merge` joins "
    "them.",
)


def eps(*, required: bool, default_text: str = "") -> Decorator:
    """`--eps`, repeatable, with comma lists and fractions."""
    help_text = "L2 radius in input units, above 0, such as `0.5,1` or `36/255`. Repeatable."
    if default_text:
        help_text += f"  [default: {default_text}]"
    return click.option("--eps", multiple=True, required=required, callback=_epsilons, metavar="E", help=help_text)


def _box(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | Literal["data"] | None:
    """Two numbers, or `data`."""
    if value is None or value == "data":
        return value  # type: ignore[return-value]
    try:
        low, high = (float(side) for side in value.split(","))
    except ValueError:
        raise click.BadParameter(f"`{value}` is not two numbers, such as `0,1`") from None
    return low, high


def box(help_text: str) -> Decorator:
    """`--box`."""
    return click.option("--box", callback=_box, metavar="LOW,HIGH", help=help_text)


def out(*, required: bool, help_text: str) -> Decorator:
    """`--out`."""
    return click.option(
        "--out", type=click.Path(file_okay=False, path_type=Path), required=required, metavar="DIR", help=help_text
    )


def fail_under(help_text: str) -> Decorator:
    """`--fail-under`."""
    return click.option("--fail-under", type=click.FloatRange(0, 1), metavar="RATE", help=help_text)
