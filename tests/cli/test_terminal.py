"""What a terminal of 80 columns shows, and what is said when a command begins, goes on or is stopped."""

import contextlib
import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robench as robench_package
from robench.cli import console
from robench.cli.console import Screen, print_entry, print_table
from robench.cli.results import attack_result, bench_result
from robench.errors import RobenchError
from robench.models.link.outline import outline
from tests.cli.test_attack_tables import summary_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    monkeypatch.setattr(console, "_target", lambda: stream)
    return stream


def plain(stream: Terminal) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).replace("\r", "\n").splitlines()


def test_an_entry_of_a_list_breaks_between_words(terminal: Terminal) -> None:
    print_entry("pgd: " + "projected-gradient-descent " * 8)
    first, *more = plain(terminal)
    assert first.startswith("pgd: projected-gradient-descent ")
    assert more
    assert all(line.startswith("    projected-gradient-descent") and len(line) <= 80 for line in more)


@pytest.mark.parametrize("columns", [2, 9, 30])
def test_no_table_is_wider_than_the_terminal_and_none_of_its_cells_is_lost(terminal: Terminal, columns: int) -> None:
    rows = [[f"row {row}", *(f"{row}.{k} %" for k in range(columns))] for row in range(3)]
    print_table("a title of a few words " * 9, ["name", *(f"heading ε = {k}" for k in range(columns))], rows)
    lines = plain(terminal)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(cell in text for row in rows for cell in row)


@pytest.mark.parametrize("full", [False, True])
def test_the_tables_of_an_attack_fit(terminal: Terminal, tmp_path: Path, full: bool) -> None:
    attack_result(summary_of(tmp_path / "a", full))
    lines = plain(terminal)
    assert max(map(len, lines)) <= 80
    assert not any(re.search(r"│ +│ +│.*\d", line) for line in lines), "a cell is broken in two"


def test_the_table_of_a_bench_fits(terminal: Terminal) -> None:
    eps = ("0.05", "0.1", "0.2", "0.3")
    counts = dict(zip(eps, (200, 150, 101, 3), strict=True))
    row = {"data": "digits", "seed": 0, "n": 359, "n_correct": 350, "n_base": 37, "lipschitz_upper": 12345.678,
           "mean_radius": {"pairwise": 0.1234}, "n_attacked": 200, "n_certified": {"pairwise": counts},
           "n_robust": {"combined": counts}}  # fmt: skip
    bench_result([row | {"model": name} for name in ("gnp-hinge", "1lip-log")])
    lines = plain(terminal)
    assert max(map(len, lines)) <= 80
    assert sum("gnp-hinge" in line for line in lines) == 1, "it is one table"
    assert "12345.68" in "\n".join(lines)


def test_a_bar_and_its_facts_fit_and_go_away(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal):
        screen = Screen(quiet=False)
        screen.start("attack a-model-with-quite-a-long-name on a-data-set", 500)
        left = ", ".join(f"9 at {k}" for k in range(20))
        screen.advance(137, attack="cw", **{"open (neither certified nor broken)": left})
        screen.advance(1)
        screen._bar.refresh()
        screen.note("a line that stays")
        screen.close()
    lines = plain(terminal)
    assert max(map(len, lines)) <= 80
    assert any("138/500" in line for line in lines)
    assert any("attack cw; open (neither certified nor broken) 9 at 0" in line for line in lines)
    assert "a line that stays" in lines


def test_training_keeps_a_line_an_epoch_and_ends_with_its_result_and_what_comes_next(
    robench: Any, tmp_path: Path
) -> None:
    out = tmp_path / "a model"
    train = ("train", "--recipe", "hkr", "--data", "two-moons", "--epochs", 2, "--threads", 1, "--out", out)
    lines = robench(*train).stderr.splitlines()
    epochs = [line for line in lines if re.match(r"epoch [12]/2  loss \d", line)]
    assert len(epochs) == 2
    assert all("accuracy " in line and "certified at " in line and "(estimate)" in line for line in epochs)
    assert "kept epoch" in lines[-2]
    assert lines[-1] == f"next: robench certify '{out}' --data two-moons --threads 1"
    assert "finished before" in robench(*train).stderr


def test_a_resumed_run_says_where_it_goes_on(robench: Any, moons_model: Path, tmp_path: Path) -> None:
    certify = ("certify", moons_model, "--data", "two-moons", "--out", tmp_path / "run", "--limit")
    robench(*certify, 10)
    assert "reused 10 of 25 records" in (said := robench(*certify, 25).stderr)
    assert "goes on with the other 15" in said


def test_an_interruption_takes_the_bar_away_and_is_told_on_a_line_of_its_own(
    robench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(Screen, "close", lambda self: closed.append(self))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robench.workflows.auditing.model_ref", stop)
    result = robench("audit", "absent")
    assert (result.code, result.stderr) == (130, "\ninterrupted: the same command resumes the work\n")
    assert closed


@pytest.mark.parametrize(
    ("argv", "guess"),
    [
        (("train", "--recipe", "HKR", "--data", "digits", "--show-spec"), "did you mean `hkr`?"),
        (("train", "--recipe", "hkr", "--data", "MNIST", "--show-spec"), "did you mean `mnist`?"),
        (("train", "--recipe", "hkr", "--data", "digits", "--show-spec", "--set", "alpha=1"), "`loss.alpha`?"),
        (("train", "--recipe", "hkr", "--data", "digits", "--show-spec", "--set", "Epochs=1"), "`epochs`?"),
        (("attack", "m", "--data", "digits", "--eps", "1", "--suite", "Paper"), "did you mean `paper`?"),
        (("attack", "m", "--data", "digits", "--eps", "1", "--attack", "CW"), "did you mean `cw`?"),
        (("Certify",), "did you mean `certify`?"),
    ],
)
def test_wrong_capitals_and_missing_dots_are_guessed(robench: Any, argv: tuple[str, ...], guess: str) -> None:
    result = robench(*argv)
    assert result.code == 2
    assert guess in result.stderr


def test_images_in_memory_are_not_called_by_a_name_that_their_user_never_gave() -> None:
    x, y = np.linspace(0, 1, 120, dtype=np.float32).reshape(40, 3), [0, 1] * 20
    spec = robench_package.workflows.train_spec("hkr", "two-moons", epochs=1)
    with pytest.raises(RobenchError) as caught:
        robench_package.train(spec, x, y)
    assert "memory" not in caught.value.message
    assert "the train images have the shape [3]" in caught.value.message


@pytest.mark.parametrize("given", [{"split": "train"}, {"data_dir": "somewhere"}])
def test_what_belongs_to_a_name_is_refused_beside_arrays(given: dict[str, str]) -> None:
    model = torch.nn.Linear(2, 1).eval()
    for ask in (robench_package.certify, lambda *args, **more: robench_package.attack(*args, eps=1, **more)):
        with pytest.raises(RobenchError, match="is for a data set by its name") as caught:
            ask(model, np.zeros((3, 2), dtype=np.float32), [0, 1, 0], **given)
        assert "leave out" in caught.value.hint


class Branching(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_torch_prints_no_graph_of_a_model_that_branches(capfd: pytest.CaptureFixture[str]) -> None:
    assert outline(Branching().eval(), torch.rand(2, 3)) is None
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET
