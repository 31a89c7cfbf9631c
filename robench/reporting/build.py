"""Writing a report: one HTML page that needs nothing else, and the same tables and figures as files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robench import __version__
from robench.files import create_folder, write_atomic
from robench.reporting import figures, formats, tables
from robench.reporting.evaluations import evaluations_of
from robench.reporting.page import FigureExhibit, Page, TableExhibit
from robench.reporting.sections import compose
from robench.runs.run import read_all_runs

HTML, MARKDOWN = "report.html", "report.md"
TABLES, FIGURES = "tables", "figures"
TITLE = "Robustness report"


def build_report(runs: Sequence[Path], out: Path, *, title: str = TITLE) -> Path:
    """Write the report over run folders and return the path of its HTML page.

    The same run folders give the same bytes: the report holds no time but theirs, and no path.

    Args:
        runs: run folders of `certify` and `attack`, or folders that hold some at any depth; runs of the same weights
            on the same data are joined. Runs of smoothed classifiers get a section of their own.
        out: folder for `report.html`, `report.md`, `tables/` (CSV, LaTeX) and `figures/` (PNG, SVG); made if absent.
        title: heading of the page.

    Raises:
        RunError: there is no such run, one cannot be read or is of another schema version, or `out` cannot be written.
    """
    of_models, smoothed = read_all_runs(runs)
    evaluations = evaluations_of(of_models)
    for folder in (out, out / TABLES, out / FIGURES):
        create_folder(folder)
    page = compose(evaluations, smoothed, title)
    images: dict[str, bytes] = {}
    for exhibit in page.exhibits:
        if isinstance(exhibit, TableExhibit):
            _write_table(out / TABLES, exhibit)
        else:
            images[exhibit.name] = figures.image_bytes(exhibit.figure, "svg")
            write_atomic(out / FIGURES / f"{exhibit.name}.svg", images[exhibit.name])
            write_atomic(out / FIGURES / f"{exhibit.name}.png", figures.image_bytes(exhibit.figure, "png"))
    write_atomic(out / TABLES / "comparison.csv", formats.to_csv(tables.comparison(evaluations).text))
    write_atomic(out / TABLES / "rates.csv", formats.to_csv(tables.rates(evaluations)))
    write_atomic(out / TABLES / "budgets.csv", formats.to_csv(tables.budgets(evaluations)))
    write_atomic(out / MARKDOWN, _render("report.md.j2", page, images))
    write_atomic(out / HTML, _render("report.html.j2", page, images))
    return out / HTML


def _write_table(folder: Path, exhibit: TableExhibit) -> None:
    write_atomic(folder / f"{exhibit.name}.csv", formats.to_csv(exhibit.table.text))
    caption = f"{exhibit.caption} {exhibit.note}".strip()
    write_atomic(folder / f"{exhibit.name}.tex", formats.to_latex(exhibit.table, caption, exhibit.name))


def _render(template: str, page: Page, images: Mapping[str, bytes]) -> str:
    """The page in one format; HTML is escaped by the environment, Markdown by the `md` filter."""
    environment = Environment(
        loader=PackageLoader("robench.reporting"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["figure"] = lambda exhibit: isinstance(exhibit, FigureExhibit)
    environment.filters["md"] = formats.markdown
    environment.filters["md_table"] = formats.to_markdown
    environment.filters["shown"] = tables.shown
    environment.globals["version"] = __version__
    style, _, _ = environment.loader.get_source(environment, "style.css") if environment.loader else ("", None, None)
    sources = {name: f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}" for name, data in images.items()}
    return environment.get_template(template).render(page=page, style=Markup(style), sources=sources)
