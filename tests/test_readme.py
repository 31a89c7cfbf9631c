"""The README's tour works, on embedded data instead of MNIST."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from robench.cli.main import run

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def block(name: str) -> list[str]:
    match = re.search(rf"<!-- {name} -->\n```\n(.*?)```", README, re.DOTALL)
    assert match, f"README has no block {name}"
    return match[1].splitlines()


def test_every_command_of_the_tour_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tour = block("tour")
    assert len(tour) == 12
    for line in tour:
        line = line.replace("mnist", "digits").replace("--limit 200", "--limit 20").replace("--limit 600", "--limit 60")
        line = line.replace("--eps 0.5,1,1.58,2,3", "--eps 0.5,3")
        line = line.replace("--data two-moons --out", "--data two-moons --epochs 2 --out")
        program, *argv = shlex.split(line)
        assert program == "robench"
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = run(argv)
        assert code == 0, f"{line}\n{stderr.getvalue()}"
        assert stdout.getvalue()
    assert (tmp_path / "report" / "report.html").is_file()


def test_the_two_commands_are_one_line_each() -> None:
    assert len(block("command: bench")) == len(block("command: test")) == 1


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
