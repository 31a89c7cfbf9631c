"""`robench gate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import click

from robench.cli import completion, options
from robench.cli.console import Command, print_json, print_line, print_reason, print_table
from robench.errors import SpecError
from robench.numerics import ABSENT


@click.command(cls=Command, short_help="Fail where a run fell behind a baseline or below a rate")
@click.argument("run", type=click.Path(path_type=Path), shell_complete=completion.runs)
@click.option("--baseline", type=click.Path(path_type=Path), metavar="RUN", help="Earlier run on the same images.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="RATE",
    help="Share of the images by which a rate may fall below the baseline.",
)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="WHAT=RATE",
    help="Least rate: certified@E=RATE, attacked@E=RATE or clean=RATE. Repeatable.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["table", "github", "junit"]),
    default="table",
    show_default=True,
    help="table: for a reader. github: annotations of a workflow. junit: XML, one test case a line.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="File for junit.  [default: stdout]"
)
@options.as_json
def gate(
    *,
    run: Path,
    baseline: Path | None,
    tolerance: float,
    requirements: tuple[str, ...],
    file_format: Literal["table", "github", "junit"],
    out: Path | None,
    json_output: bool,
) -> int:
    """Fail where a run fell behind a baseline, or below a required rate.

    \b
    Examples:
      robench gate runs/new --baseline runs/main --tolerance 0.01
      robench gate runs/new --require certified@1.58=0.60 --require clean=0.97
      robench gate runs/new --baseline runs/main --format github
      robench gate runs/new --baseline runs/main --format junit --out gate.xml

    RUN and the baseline are run folders of `certify` or `attack` on the same images, both of a model or both of a
    smoothed classifier. A rate fell if it lies below the
    baseline by more than the tolerance and chance does not explain it: the exact test of McNemar on the images that
    only one of the two runs has right, over all lines together, at 5 %. Exit code 1: a line fell or a rate is not
    reached. Exit code 2: the two runs cannot be compared.
    """
    from robench import workflows
    from robench.cli.main import FINDING

    if out is not None and file_format != "junit":
        raise SpecError("`--out` is for `--format junit`", hint="leave it out, or add --format junit")
    summary = workflows.gate(run, baseline=baseline, tolerance=tolerance, requirements=requirements)
    if json_output:
        print_json(summary)
    elif file_format == "junit":
        document = junit(summary)
        if out is None:
            print_line(document)
        else:
            out.write_text(f"{document}\n", encoding="utf-8")
            print_line(out)
    elif file_format == "github":
        for text in workflow_commands(summary["lines"]):
            print_line(text)
    else:
        _table(summary)
    for line in summary["lines"]:
        if line["reason"] and file_format != "github":
            print_reason(f"FELL: {line['name']}: {line['reason']}")
    return FINDING if summary["n_failed"] else 0


def workflow_commands(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Workflow commands of GitHub: an error for each line that fails, a notice for what is worth saying."""
    found = []
    for line in lines:
        kind, text = ("error", line["reason"]) if line["reason"] else ("notice", line["note"])
        if text:
            found.append(f"::{kind} title=robench gate::{_escaped(line['name'] + ': ' + text)}")
    return found or [f"::notice title=robench gate::{len(lines)} lines, none fell"]


def _escaped(text: str) -> str:
    """As GitHub reads the data of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def junit(summary: Mapping[str, Any]) -> str:
    """JUnit XML: one suite, one test case a line."""
    lines, where = summary["lines"], f"{summary['model']} on {summary['data']}"
    counts = {"tests": str(len(lines)), "failures": str(summary["n_failed"]), "errors": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "robench gate", **counts})
    for line in lines:
        case = ElementTree.SubElement(suite, "testcase", {"classname": where, "name": line["name"]})
        if line["reason"]:
            ElementTree.SubElement(case, "failure", {"message": line["reason"]}).text = line["reason"]
        elif line["note"]:
            ElementTree.SubElement(case, "system-out").text = line["note"]
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)


def _table(summary: Mapping[str, Any]) -> None:
    rows = [
        [
            line["name"],
            f"{line['count']}/{line['n']}",
            *(ABSENT if line[key] is None else str(line[key]) for key in ("baseline", "lost", "gained")),
            ABSENT if line["p"] is None else f"{line['p']:.2g}",
            "FELL" if line["reason"] else "chance" if line["note"] else "ok",
        ]
        for line in summary["lines"]
    ]
    against = "" if summary["baseline"] is None else f" against {summary['baseline']}"
    title = f"{summary['folder']}{against}: {summary['n_failed']} of {len(rows)} lines failed"
    if summary["confidence"] is not None:
        chance = 100 * summary["confidence"]
        title += f"; of the smoothed classifier, all radii of the run hold with probability {chance:.4g} % at least"
    print_table(title, ["line", "images", "baseline", "lost", "gained", "p", "result"], rows)
