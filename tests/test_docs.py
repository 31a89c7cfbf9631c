"""What a user can ask and get is documented: every option, field, key and flag; each failure says where to add it."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from docs._site import commands, fields
from robench.cli.main import run
from robench.records.record import AttackOutcome, AttackRecord, CertifyRecord
from robench.records.smoothed import SmoothedRecord

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def options() -> Iterator[tuple[str, click.Option]]:
    """Each option with its command."""
    for context in commands.contexts():
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option):
                yield context.command_path, parameter


def test_every_option_says_what_it_does() -> None:
    silent = [f"{command} {option.opts[0]}" for command, option in options() if not (option.help or option.hidden)]
    assert not silent, "give these a `help=` in robench/cli/: docs/commands.md is made of it"


def test_every_command_is_on_the_page_of_commands() -> None:
    page = commands.commands_table()
    missing = [f"{name} {option.opts[0]}" for name, option in options() if option.opts[-1] not in page]
    assert not missing, "docs/_site/commands.py leaves these out"
    assert "<!-- table of commands -->" in read("commands.md")


@pytest.mark.parametrize("kind", list(fields.spec_classes()), ids=lambda kind: kind.__name__)
def test_every_field_of_a_spec_has_a_meaning(kind: type[Any]) -> None:
    place = f"robench/{'/'.join(kind.__module__.split('.')[1:])}.py, in the docstring of {kind.__name__}"
    assert not fields.missing(kind), f"add a line `NAME: what it means.` below `Fields:` in {place}"


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (CertifyRecord, "`records.jsonl` of `certify`, one image a line"),
        (AttackRecord, "`records.jsonl` of `attack`"),
        (AttackOutcome, "`records.jsonl` of `attack`"),
        (SmoothedRecord, "`records.jsonl` of `certify --method smoothing`"),
    ],
)
def test_every_key_of_a_record_is_described(kind: type[Any], title: str) -> None:
    names = kind._fields if issubclass(kind, tuple) else [field.name for field in dataclasses.fields(kind)]
    table = read("json.md").split(f"\n{title}:\n\n")[1].split("\n\n")[0]
    missing = [name for name in names if f"`{name}`" not in table]
    assert not missing, f"add these to the table below `{title}:` in docs/json.md"


def raised_flags() -> Iterator[str]:
    """Names of the flags that robench raises: the first argument of each `Flag(...)`."""
    for path in (ROOT / "robench").rglob("*.py"):
        if "Flag(" not in (text := path.read_text(encoding="utf-8")):
            continue
        tree = ast.parse(text)
        known = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Flag" and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    yield str(name.value)
                elif isinstance(name, ast.Name) and name.id in known:
                    yield str(known[name.id])


def test_every_flag_has_an_entry() -> None:
    found, described = set(raised_flags()), set(re.findall(r"^### `([a-z0-9-]+)`", read("flags.md"), re.MULTILINE))
    assert len(found) > 10
    assert not found - described, "add a heading ### `NAME` and what to do about it to docs/flags.md"
    assert not described - found, "docs/flags.md describes flags that nothing raises"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    absent = [path.name for path in DOCS.glob("*.md") if f" {path.name}\n" not in menu]
    assert not absent, "add a line `- Title: NAME.md` below `nav:` in mkdocs.yml"


def test_the_error_that_is_shown_is_the_one_that_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    match = re.search(r"```\n\$ robench (.*?)\n(.*?)```", read("errors.md"), re.DOTALL)
    assert match
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        assert run(match[1].split()) == 2
    assert stderr.getvalue() == match[2]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(?:https?:)?//""")
    pages = [path for path in tmp_path.rglob("*.html") if "reports" not in path.parts]
    assert len(pages) > 30
    assert not [path.name for path in pages if loaded.search(path.read_text(encoding="utf-8"))]
    styles = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css")]
    assert not [style for style in styles if re.search(r"url\(['\"]?(https?:)?//", style)]
    page = (tmp_path / "commands.html").read_text(encoding="utf-8")
    assert not [option.opts for _, option in options() if option.opts[-1] not in page]
