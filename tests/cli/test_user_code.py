"""Users' own code under the command line: one JSON document on stdout whatever it prints, and no exit 3 or 141."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

HEAD = "import os, sys, subprocess, ctypes, torch\nfrom torch import nn\n"
NET = """
class make(nn.Module):
    def __init__(self):
        super().__init__()
        {init}
        torch.manual_seed(0)
        self.last = nn.Linear(64, 10)
    def forward(self, x):
        {forward}
        return self.last(x.flatten(1))
"""


def write(folder: Path, init: str = "pass", forward: str = "pass", first: str = "") -> str:
    (folder / "net.py").write_text(HEAD + first + NET.format(init=init, forward=forward))
    return f"{folder / 'net.py'}:make"


def mendable(result: Any, *named: str) -> None:
    assert result.code == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "hint: " in result.stderr
    for text in named:
        assert text in result.stderr


def test_no_print_reaches_the_result(tmp_path: Path) -> None:
    """By Python, by a child process, by C, by the descriptor, at import, in the factory and in the forward."""
    prints = "print('P'); os.system('echo CHILD'); ctypes.CDLL(None).puts(b'FROM-C'); os.write(1, b'RAW'); "
    prints += "sys.__stdout__.write('UNDER')"
    model = write(tmp_path, init=prints, forward=prints, first=prints + "\n")
    argv = [sys.executable, "-m", "robench", "audit", model, "--input-shape", "1,8,8", "--json"]
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["model"] == "make"
    for text in ("P\n", "CHILD", "FROM-C", "RAW", "UNDER", "no weights given"):
        assert text in result.stderr


@pytest.mark.parametrize("command", ["certify", "attack", "export"])
def test_results_of_every_command_stand_alone(robench: Any, tmp_path: Path, command: str) -> None:
    model = write(tmp_path, init="print('P')", forward="print('P')", first="print('P')\n")
    out = tmp_path / "out"
    options: dict[str, list[object]] = {
        "certify": ["--data", "digits", "--limit", 3, "--json"],
        "attack": ["--data", "digits", "--limit", 3, "--eps", "0.5", "--attack", "fgsm", "--json"],
        "export": ["--input-shape", "1,8,8", "--format", "state-dict"],
    }
    result = robench(command, model, *options[command], "--out", out)
    assert result.code == 0, result.stderr
    assert "P\n" in result.stderr
    assert result.stdout == f"{out}\n" if command == "export" else result.data["n"] == 3


def test_the_input_shape_is_that_of_the_data(robench: Any, tmp_path: Path) -> None:
    model = write(tmp_path)
    given = robench("certify", model, "--data", "digits", "--limit", 4, "--json", "--out", tmp_path / "a")
    asked = robench(
        "certify", model, "--input-shape", "1,8,8", "--data", "digits", "--limit", 4, "--json", "--out", tmp_path / "b"
    )
    assert given.data["mean_radius"] == asked.data["mean_radius"]
    assert "no weights given" in given.stderr
    mendable(robench("audit", model), "input shape", "--input-shape")


@pytest.mark.parametrize(
    ("place", "text", "named"),
    [
        ("first", "sys.exit(3)\n", "line 3 of `net.py`"),
        ("first", "import argparse; argparse.ArgumentParser().parse_args()\n", "net.py"),
        ("first", "raise BrokenPipeError(32, 'Broken pipe')\n", "BrokenPipeError"),
        ("first", "raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("init", "raise EOFError", "EOFError"),
        ("init", "sys.exit('no data')", "no data"),
        ("forward", "sys.exit(1)", "ends the program"),
        ("forward", "raise BrokenPipeError(32, 'x')", "BrokenPipeError"),
        ("forward", "raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_no_exit_of_user_code_is_an_exit_of_robench(
    robench: Any, tmp_path: Path, place: str, text: str, named: str
) -> None:
    mendable(robench("audit", write(tmp_path, **{place: text}), "--input-shape", "1,8,8"), named)


@pytest.mark.parametrize(
    "text",
    [
        "if len(x) > 2: raise ValueError('too many')",
        "if len(x) > 2: sys.exit(0)",
        "if len(x) > 2: assert False, 'too many'",
        "if x.dtype == torch.float64: raise TypeError('no doubles')",
    ],
)
@pytest.mark.parametrize("command", ["certify", "attack"])
def test_an_error_in_the_midst_of_a_run_is_the_users(robench: Any, tmp_path: Path, text: str, command: str) -> None:
    options = ["--data", "digits", "--limit", 8, "--eps", "0.5", "--out", tmp_path / "out"]
    result = robench(command, write(tmp_path, forward=text), *options)
    mendable(result, "net.py")


def test_relative_paths_are_those_of_the_shell(robench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, first="os.chdir('/')\n")
    layer = torch.nn.Linear(64, 10)
    torch.save({"last.weight": layer.weight, "last.bias": layer.bias}, "w.pt")
    result = robench("attack", "net.py:make", "--weights", "w.pt", "--data", "digits", "--limit", 3, "--eps", "0.5",
                     "--out", "out", "--attack", "fgsm")  # fmt: skip
    assert result.code == 0, result.stderr
    assert (tmp_path / "out" / "records.jsonl").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "document"), [(">&-", False), ("2>&-", True)])
def test_a_stream_that_the_shell_closed_is_no_bug(tmp_path: Path, closed: str, document: bool) -> None:
    command = f"{sys.executable} -m robench audit {write(tmp_path)} --input-shape 1,8,8 --json {closed}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("{") == document
    assert "lipschitz_upper" not in result.stderr


@pytest.mark.parametrize(
    "keep",
    ["self.seen = x", "self.seen = {'x': [x.flatten(1)]}", "self.register_buffer('mean', x.mean())", "self.n = len(x)"],
)
def test_what_a_model_keeps_of_its_last_input_is_no_other_model(robench: Any, tmp_path: Path, keep: str) -> None:
    """Features kept for later, as for saliency maps; asked once by the checks of its outputs, once by the audit."""
    options = ["--data", "digits", "--limit", 5, "--eps", "0.01", "--json"]
    kept = robench("certify", write(tmp_path, forward=keep), *options, "--out", tmp_path / "a")
    assert kept.code == 0, kept.stderr
    plain = robench("certify", write(tmp_path), *options, "--out", tmp_path / "b")
    assert kept.data["mean_radius"] == plain.data["mean_radius"]


def test_float32_without_a_certificate_says_why(robench: Any, tmp_path: Path) -> None:
    computed = "x = x.flatten(1) @ torch.linalg.qr(torch.ones(64, 64))[0]"
    options = ["--data", "digits", "--limit", 3, "--eps", "0.01", "--deploy-dtype", "float32"]
    none = robench("certify", write(tmp_path, forward=computed), *options, "--out", tmp_path / "a")
    assert none.code == 0, none.stderr
    assert "no image is certified in float32" in none.stderr
    stored = write(
        tmp_path, init="self.q = torch.linalg.qr(torch.ones(64, 64))[0]", forward="x = x.flatten(1) @ self.q"
    )
    some = robench("certify", stored, *options, "--out", tmp_path / "b")
    assert some.code == 0, some.stderr
    assert "no image is certified in float32" not in some.stderr


@pytest.mark.parametrize(("cut", "said"), [("x = x.detach()", True), ("x = (x * 4).round() / 4", False)])
def test_a_gradient_that_is_cut_off_is_told_from_one_that_vanishes(
    robench: Any, tmp_path: Path, cut: str, said: bool
) -> None:
    options = ["--data", "digits", "--limit", 20, "--eps", "0.5", "--attack", "fgsm", "--out", tmp_path / "out"]
    result = robench("attack", write(tmp_path, forward=cut), *options)
    assert "flag zero-gradients" in result.stderr + result.stdout
    assert ("cuts its output off" in result.stderr + result.stdout) == said
