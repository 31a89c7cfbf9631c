"""A page as HTML that needs nothing else, and as Markdown.

The HTML holds its pictures, its numbers and its scripts. Its security policy lets it load nothing from any host, and
run the scripts below and no other, by their digests: text of a run can never become code.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from robench import __version__
from robench.reporting import formats, tables
from robench.reporting.page import FigureExhibit, Page

WIDTH = 540
"""Pixels of a picture inside the page; the files beside it are larger."""
SYMBOL = re.compile(r"\b([εp]) ([=<]) (?=\d)")
"""A symbol with its number, which a line must not part."""
ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def render_markdown(page: Page) -> str:
    """The page as Markdown, with links to the figures beside it."""
    return _environment(escaped=False).get_template("report.md.j2").render(page=page)


def render_html(page: Page, pictures: Mapping[str, bytes]) -> str:
    """The page as one HTML file.

    Args:
        page: what it says.
        pictures: figures as PNG, by the name of their exhibit.
    """
    scripts = [_kept("vendor/uplot/uPlot.iife.min.js"), _kept("templates/report.js")]
    style = _kept("vendor/uplot/uPlot.min.css") + "\n" + _kept("templates/style.css")
    sources = {exhibit.name: "" for exhibit in page.exhibits if isinstance(exhibit, FigureExhibit)}
    one_by_one = {item.name for item in page.exhibits if isinstance(item, FigureExhibit) and item.strip is not None}
    sources |= {name: _embedded(data) for name, data in pictures.items() if name not in one_by_one}
    return (
        _environment(escaped=True)
        .get_template("report.html.j2")
        .render(
            page=page,
            style=Markup(style),
            sources=sources,
            strips=page.strips,
            data=Markup(_data(page)),
            scripts=[Markup(script) for script in scripts],
            policy=Markup(" ".join(f"'sha256-{_digest(script)}'" for script in scripts)),
        )
    )


def _environment(*, escaped: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("robench.reporting"),
        autoescape=escaped,
        finalize=_unbroken if escaped else None,
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
    return environment


def _unbroken(value: object) -> object:
    """A text with spaces that do not break within `ε = 1.58` and `p < 0.001`; whatever else as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return SYMBOL.sub("\\1\u00a0\\2\u00a0", value)


@cache
def _kept(path: str) -> str:
    """A file of this package."""
    return (files("robench.reporting") / path).read_text(encoding="utf-8").strip()


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _data(page: Page) -> str:
    """What the script of the page reads, as JSON in which nothing can end the element that it stands in."""
    models = [
        {"key": item.key, "name": item.name, "colour": place, "group": number}
        for number, answer in enumerate(page.answers)
        for place, item in enumerate(answer.contenders)
    ]
    charts = {
        exhibit.name: exhibit.chart
        for exhibit in page.exhibits
        if isinstance(exhibit, FigureExhibit) and exhibit.chart is not None
    }
    text = json.dumps({"models": models, "charts": charts}, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.translate(ESCAPES)


def _embedded(png: bytes) -> str:
    """A picture as an address that holds it, narrower and in fewer bytes."""
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "webp", quality=50, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
