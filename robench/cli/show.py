"""`robench show`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robench.cli import options
from robench.cli.console import Command, print_json, print_line, print_reason, print_table
from robench.numerics import ABSENT, lower, upper

if TYPE_CHECKING:
    from robench.workflows import Execution


@click.command(cls=Command, short_help="Look into one image of a run")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--index", type=click.IntRange(0), required=True, metavar="I", help="Position of the image in its split.")
@click.option("--model", metavar="MODEL", help="The model of the run.  [default: where the run found it]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the files of the data set.  [default: where the run found them]",
)
@options.out(required=False, help_text="Folder for the numbers and the picture.  [default: nothing is written]")
@options.as_json
@options.execution
def show(
    *,
    run: Path,
    index: int,
    model: str | None,
    data_dir: Path | None,
    out: Path | None,
    json_output: bool,
    execution: Execution,
) -> int:
    """Look into one image: its certificate, its nearest adversarial example, each attack, its logits.

    \b
    Examples:
      robench show runs/attack-hkr-mnist-1a2b3c4d --index 7
      robench show runs/attack-hkr-mnist-1a2b3c4d --index 7 --out image-7

    RUN is a run folder of `certify` or `attack`. Where the model is at hand, each attack runs once more on this image
    alone, at the largest radius. The picture shows the image, the adversarial examples, what each of them added, and
    the transport x - 2 f(x) grad f(x) of the paper. Exit code 1 means that an attack came nearer than the certified
    radius.
    """
    from robench import workflows
    from robench.cli.main import FINDING

    outcome = workflows.show(run, index, out=out, model=model, data_dir=data_dir, execution=execution)
    if json_output:
        print_json(outcome.summary)
    else:
        _print(outcome.summary)
    if out is not None:
        execution.progress.note(f"picture: {out}")
    for name in outcome.summary["contradictions"]:
        print_reason(f"CONTRADICTION: {name} came nearer than the certified radius")
    return FINDING if outcome.summary["contradictions"] else 0


def _print(told: Mapping[str, Any]) -> None:
    """The summary as sentences and two tables."""
    print_line(
        f"image {told['index']} of {told['data']}: class {told['label_name']}, predicted {told['predicted_name']}"
    )
    if told["label"] != told["predicted"]:
        print_line("wrong without an attack")
    elif told["certified_radius"] > 0:
        print_line(f"proven: no L2 change smaller than {lower(told['certified_radius'])} flips it")
    else:
        print_line("nothing is proven of it")
    if told["distance"]:
        print_line(f"found: {told['attack']} flips it at L2 distance {upper(told['distance'])}")
    pictures = (told["pictures"] or {}).get("attacks", {})
    names = list(dict.fromkeys([*told["attacks"], *pictures]))
    rows = [[name, *_of_run(told["attacks"].get(name)), *_of_picture(pictures.get(name))] for name in names]
    if rows:
        print_table("attacks", ["attack", "in the run", "distance", "alone: class", "distance"], rows)
    if told["logits"]:
        first = [[str(item["name"]), f"{item['logit']:.4f}"] for item in told["logits"][:5]]
        print_table("largest logits", ["class", "logit"], first)
    if told["model_missing"]:
        print_line(f"the model is not at hand, so there are no logits: {told['model_missing']}")


def _of_run(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return [ABSENT, ABSENT]
    return [found["status"].replace("_", " "), upper(found["distance"])]


def _of_picture(found: Mapping[str, Any] | None) -> list[str]:
    return [ABSENT, ABSENT] if found is None else [str(found["name"]), upper(found["distance"])]
