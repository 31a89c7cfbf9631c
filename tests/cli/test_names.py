"""Lists of names, and their completion in a shell."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robench.cli.list import WHAT
from robench.models.architectures import ARCHITECTURES
from robench.records.record import RULES
from robench.specs import names
from robench.training.recipes import RECIPES
from robench.workflows.listing import LISTS
from tests.cli.test_json import described
from tests.reporting.synthetic import Synthetic


def test_the_names_are_those_of_what_they_name() -> None:
    assert tuple(RECIPES) == names.RECIPES
    assert tuple(ARCHITECTURES) == names.ARCHITECTURES
    assert tuple(names.CERTIFICATES) == RULES
    assert tuple(LISTS) == WHAT


@pytest.mark.parametrize("what", WHAT)
def test_every_list_has_names_with_a_line_each(robench: Any, tmp_path: Path, what: str) -> None:
    Synthetic().write_certify(tmp_path / "a-run", 4)
    result = robench("list", what, tmp_path, "--json")
    assert set(result.data) == described("Every command") | described("list")
    assert len(result.data["items"]) > 0
    shown = robench("list", what, tmp_path).stdout
    for item in result.data["items"]:
        assert Path(item["name"]).name in shown
        assert item.get("about") or what == "runs"


def test_runs_are_found_with_what_they_are(robench: Any, tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "deep" / "one", 4)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.json").write_text("{")
    one, two = robench("list", "runs", tmp_path, "--json").data["items"]
    found = [one[key] for key in ("command", "status", "model", "data", "n")]
    assert found == ["certify", "success", "hkr", "mnist", 4]
    assert two["status"] == "damaged"
    (tmp_path / "two" / "manifest.json").rename(tmp_path / "two" / "training.json")
    (tmp_path / "two" / "training.json").write_text('{"status": "success", "facts": {"train": {"name": "digits"}}}')
    (model,) = robench("list", "runs", tmp_path / "two", "--json").data["items"]
    assert (model["command"], model["status"], model["model"], model["data"]) == ("train", "success", "two", "digits")
    assert robench("list", "runs", tmp_path / "absent").code == 2


def test_what_can_be_listed_is_said_in_one_line(robench: Any) -> None:
    error, empty, hint = robench("list").stderr.splitlines()
    assert error == f"error: Missing argument 'WHAT'. Choose from: {', '.join(WHAT)}"
    assert (empty, hint) == ("", "hint: see `robench list --help`")


def completed(line: str, folder: Path) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    variables = {"_ROBENCH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    argv = [sys.executable, "-m", "robench"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=folder, env={**os.environ, **variables})
    return [answer.partition(",")[2] for answer in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("robench cer", ["certify"]),
        ("robench train --recipe gnp", ["gnp-hinge", "gnp-log"]),
        ("robench attack m --data mn", ["mnist"]),
    ],
)
def test_the_shell_completes_names(tmp_path: Path, line: str, expected: list[str]) -> None:
    assert completed(line, tmp_path) == expected


def test_run_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robench.cli.completion import runs

    Synthetic().write_certify(tmp_path / "runs" / "one", 1)
    monkeypatch.chdir(tmp_path)
    context: Any = None
    assert [item.value for item in runs(context, context, "ru")] == ["runs/one"]
    assert [item.value for item in runs(context, context, "runs/o")] == ["runs/one"]
    assert [item.type for item in runs(context, context, "absent/x")] == ["dir"]
