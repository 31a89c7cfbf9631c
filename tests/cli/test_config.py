"""`robench.toml`: what it may set, and what comes before it."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
TRAIN = ("train", "--recipe", "hkr", "--data", "digits", "--show-spec")


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "robench.toml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_the_command_line_comes_before_the_environment_before_the_file_before_the_default(
    robench: Any, toml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = robench(*TRAIN).data["epochs"]
    toml('[train]\nepochs = 7\nset = {"loss.alpha" = 3.5, loss = {margin = 2}}\n')
    result = robench(*TRAIN)
    assert default != 7
    assert (result.data["epochs"], result.data["loss"]["alpha"], result.data["loss"]["margin"]) == (7, 3.5, 2)
    assert "note: the settings file sets --epochs, --set" in result.stderr
    assert "note" not in robench(*TRAIN, "-q").stderr
    monkeypatch.setenv("ROBENCH_TRAIN_EPOCHS", "8")
    result = robench(*TRAIN)
    assert result.data["epochs"] == 8
    assert "note: the environment sets --epochs" in result.stderr
    assert robench(*TRAIN, "--epochs", 9).data["epochs"] == 9


def test_a_file_that_is_named_comes_instead_of_the_one_here(robench: Any, toml: Any) -> None:
    toml("[train]\nepochs = 7\n")
    other = toml("[train]\nepochs = 6\n", "other.toml")
    assert robench(*TRAIN, "--config", other).data["epochs"] == 6


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[trian]\nepochs = 1", "did you mean `train`?"),
        ("[train]\nepoch = 1", "did you mean `epochs`?"),
        ("[attack]\nepss = 1", "did you mean `eps`?"),
        ("[train]\nepochs = 1.5", "`epochs` of `train` in `robench.toml` is 1.5"),
        ("[train]\nepochs = true", "`epochs` of `train`"),
        ("[certify]\neps = [0.5, -1]", "`eps` of `certify`"),
        ("[certify]\nsplit = 'tset'", "`split` of `certify`"),
        ("[certify]\njson = 1", "true or false"),
        ("epochs = 1", "is no command"),
        ("[train", "cannot be read"),
        ("[train]\nconfig = 'x'", "has no option `config`"),
    ],
)
def test_what_is_wrong_anywhere_in_the_file_is_named(robench: Any, toml: Any, text: str, named: str) -> None:
    toml(text)
    result = robench(*TRAIN)
    assert (result.code, result.stdout) == (2, "")
    assert named in result.stderr
    assert "hint: " in result.stderr


def test_a_file_that_is_not_there_is_named(robench: Any, toml: Any) -> None:
    result = robench(*TRAIN, "--config", "absent.toml")
    assert result.code == 2
    assert "absent.toml" in result.stderr


def test_the_file_in_the_document_serves(robench: Any, toml: Any) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    toml(text)
    result = robench(*TRAIN)
    assert result.code == 0, result.stderr
    assert result.data["loss"]["alpha"] == 10
