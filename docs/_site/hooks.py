"""Hooks of mkdocs: design notes in the menu, tables that are made of the code, and links out of docs/."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs runs a hook as a lone file

from docs._site import commands, fields  # noqa: E402

DOCS = ROOT / "docs"
SHOWN = (".html", ".png", ".svg")
"""Files of reports/ that a browser shows; they become a part of the site."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Append the design notes to the menu: a new note needs no line in mkdocs.yml."""
    notes = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "design").glob("*.md"))
    background = next(part["Background"] for part in config.nav if "Background" in part)
    background.append({"Design notes": notes})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and figures of reports/."""
    for path in sorted((ROOT / "reports").rglob("*")):
        if path.suffix in SHOWN:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the tables, and turn links that leave docs/ into what the site has, or into the name of a file."""
    here = (DOCS / page.file.src_uri).parent
    for name, table in (fields.TABLES | commands.TABLES).items():
        marker = f"<!-- {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, table())

    def inside(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = (here / target).resolve()
        if path.is_relative_to(DOCS):
            return match[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}, which does not exist")
        if path.suffix not in SHOWN:
            name = path.relative_to(ROOT).as_posix()
            return text if text.strip("`") == name else f"{text} (`{name}` in the repository)"
        up = "../" * len(here.relative_to(DOCS).parts)
        return f"{image}[{text}]({up}{path.relative_to(ROOT).as_posix()}{anchor})"

    return LINK.sub(inside, markdown)
