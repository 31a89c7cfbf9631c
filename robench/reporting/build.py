"""Writing a report: one HTML page that needs nothing else, and the same tables and figures as files beside it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

from robench.files import create_folder, write_atomic
from robench.reporting import figures, formats, tables
from robench.reporting.evaluations import evaluations_of
from robench.reporting.page import TableExhibit
from robench.reporting.render import render_html, render_markdown
from robench.reporting.sections import compose
from robench.runs.run import read_all_runs
from robench.specs.epsilon import epsilon_value

HTML, MARKDOWN = "report.html", "report.md"
TABLES, FIGURES = "tables", "figures"
TITLE = "Robustness report"


def build_report(runs: Sequence[Path], out: Path, *, title: str = TITLE, target_eps: str | None = None) -> Path:
    """Write the report over run folders and return the path of its HTML page.

    The same run folders give the same bytes: the report holds no time but theirs, and no path.

    Args:
        runs: run folders of `certify` and `attack`, or folders that hold some at any depth; runs of the same weights
            on the same data are joined. Runs of smoothed classifiers get a section of their own.
        out: folder for `report.html`, `report.md`, `tables/` (CSV, LaTeX) and `figures/` (PNG, SVG); made if absent.
        title: heading of the page.
        target_eps: the ε at which models are ranked, as written; None for the usual one of each data set.

    Raises:
        RunError: there is no such run, one cannot be read or is of another schema version, or `out` cannot be written.
        SpecError: `target_eps` is no radius.
    """
    if target_eps is not None:
        epsilon_value(target_eps)
    with _uncollected():
        return _built(runs, out, title, target_eps)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage: it would look through all records again and again while figures are drawn."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _built(runs: Sequence[Path], out: Path, title: str, target_eps: str | None) -> Path:
    of_models, smoothed = read_all_runs(runs)
    evaluations = evaluations_of(of_models)
    for folder in (out, out / TABLES, out / FIGURES):
        create_folder(folder)
    page = compose(evaluations, smoothed, title, target_eps)
    pictures: dict[str, bytes] = {}
    for exhibit in page.exhibits:
        if isinstance(exhibit, TableExhibit):
            _write_table(out / TABLES, exhibit)
        elif exhibit.figure is not None:
            pictures[exhibit.name] = figures.image_bytes(exhibit.figure, "png")
            write_atomic(out / FIGURES / f"{exhibit.name}.png", pictures[exhibit.name])
            write_atomic(out / FIGURES / f"{exhibit.name}.svg", figures.image_bytes(exhibit.figure, "svg"))
    write_atomic(out / TABLES / "comparison.csv", formats.to_csv(tables.comparison(evaluations).text))
    write_atomic(out / TABLES / "rates.csv", formats.to_csv(tables.rates(evaluations)))
    write_atomic(out / TABLES / "budgets.csv", formats.to_csv(tables.budgets(evaluations)))
    write_atomic(out / MARKDOWN, render_markdown(page))
    write_atomic(out / HTML, render_html(page, pictures))
    return out / HTML


def _write_table(folder: Path, exhibit: TableExhibit) -> None:
    write_atomic(folder / f"{exhibit.name}.csv", formats.to_csv(exhibit.table.text))
    caption = f"{exhibit.caption} {exhibit.note}".strip()
    write_atomic(folder / f"{exhibit.name}.tex", formats.to_latex(exhibit.table, caption, exhibit.name))
