"""The commands of README.md and of the pages in docs/ work, on embedded data instead of MNIST."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from robench.cli.main import run

ROOT = Path(__file__).resolve().parent.parent
SMALLER = {
    "mnist": "digits",
    "--limit 200": "--limit 10",
    "--limit 50": "--limit 10",
    "--limit 600": "--limit 60",
    "--eps 0.5,1,1.58,2,3": "--eps 0.5,3",
    "--eps 0.05,0.1,0.2": "--eps 0.1",
    "--fail-under 0.3": "--fail-under 0",
    "--data two-moons --out": "--data two-moons --epochs 2 --out",
}


def blocks(document: str, name: str) -> list[str]:
    """The lines of all blocks of a document below `<!-- name -->`."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(rf"<!-- {name} -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, f"{document} has no block {name}"
    return "".join(found).splitlines()


def execute(lines: list[str]) -> None:
    """Run commands one after the other, on less."""
    for line in lines:
        for more, less in SMALLER.items():
            line = line.replace(more, less)
        program, *argv = shlex.split(line)
        assert program == "robench"
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = run(argv)
        assert code == 0, f"{line}\n{stderr.getvalue()}"
        assert stdout.getvalue()


@pytest.mark.usefixtures("blank_figures")
def test_every_command_of_the_tour_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tour = blocks("docs/tour.md", "tour")
    assert len(tour) == 12
    execute(tour)
    assert (tmp_path / "report" / "report.html").is_file()
    shutil.move("hkr", "model")
    execute(blocks("docs/ci.md", "gate"))


def test_a_model_of_ones_own_goes_the_way_that_its_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("docs/own-model.md", "net.py"))
    names: dict[str, object] = {}
    exec(compile(source, "net.py", "exec"), names)
    Path("net.py").write_text(source)
    torch.manual_seed(0)
    torch.save(names["make"]().state_dict(), "net.pt")  # type: ignore[operator]
    execute(blocks("docs/own-model.md", "own model"))


@pytest.mark.slow
def test_the_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    execute(blocks("README.md", "commands"))


def test_the_two_commands_are_one_line_each() -> None:
    assert len(blocks("README.md", "command: bench")) == len(blocks("README.md", "command: test")) == 1


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
