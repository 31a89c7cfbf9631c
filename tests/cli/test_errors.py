"""What a user gets wrong: exit 2, an error and a hint on stderr, no traceback, nothing on stdout."""

import ast
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import robench as robench_package
from robench.runs.folder import RunFolder


def assert_mendable(result: Any, *named: str) -> None:
    assert result.code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("error: ") == 1
    assert "\nhint: " in result.stderr
    assert "Traceback" not in result.stderr
    for text in named:
        assert text in result.stderr


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["certfy"], "did you mean `certify`"),
        (["certify"], "MODEL"),
        (["certify", "MODEL"], "--data"),
        (["certify", "MODEL", "--data", "digits", "--eps", "-1"], "`-1`"),
        (["certify", "MODEL", "--data", "digits", "--eps", "abc"], "`abc` is not a radius"),
        (["certify", "MODEL", "--data", "digits", "--limit", "0"], "--limit"),
        (["certify", "MODEL", "--data", "digits", "--split", "tset"], "--split"),
        (["certify", "absent", "--data", "digits"], "absent"),
        (["certify", "MODEL", "--data", "digts"], "did you mean `digits`"),
        (["certify", "MODEL", "--data", "two-moons"], "shape"),
        (["certify", "MODEL", "--data", "digits:0-8"], "classes"),
        (["certify", "MODEL", "--data", "digits", "--device", "cuda:99"], "cuda:99"),
        (["attack", "MODEL", "--data", "digits"], "--eps"),
        (["attack", "MODEL", "--data", "digits", "--eps", "1", "--attack", "cww"], "did you mean `cw`"),
        (
            ["attack", "MODEL", "--data", "digits", "--eps", "1", "--attack", "pgd:stpes=3"],
            "hint: did you mean `steps`",
        ),
        (["attack", "MODEL", "--data", "digits", "--eps", "1", "--attack", "cw:stepps=3"], "stepps"),
        (["attack", "MODEL", "--data", "digits", "--eps", "1", "--suite", "papper"], "--suite"),
        (["train", "--recipe", "hkrr", "--data", "digits", "--show-spec"], "did you mean `hkr`"),
        (["train", "--recipe", "hkr", "--data", "digits"], "--out"),
        (["train", "--recipe", "hkr", "--data", "digits", "--show-spec", "--set", "loss.alpa=1"], "alpa"),
        (["train", "--recipe", "hkr", "--data", "digits", "--show-spec", "--set", "loss.alpha"], "FIELD=VALUE"),
        (["train", "--recipe", "hkr", "--data", "digits", "--show-spec", "--arch", "dens"], "dens"),
        (["report", "absent", "--out", "OUT"], "absent"),
        (["bench", "cifar"], "cifar"),
        (["audit", "absent.py:make"], "absent.py"),
        (["verify", "absent"], "absent"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_named_with_a_hint(
    robench: Any, digits_model: Path, tmp_path: Path, argv: list[str], named: str
) -> None:
    places = {"MODEL": digits_model, "OUT": tmp_path / "out"}
    assert_mendable(robench(*(places.get(part, part) for part in argv)), named)


def test_a_run_of_another_spec_is_refused(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    base = ("attack", digits_model, "--data", "digits", "--limit", 10, "--out", tmp_path)
    assert robench(*base, "--eps", "0.5").code == 0
    assert_mendable(robench(*base, "--eps", "1"), "0.5", "another spec")
    assert_mendable(robench("certify", digits_model, "--data", "digits", "--out", tmp_path), "attack")


def test_a_truncated_data_file_is_named(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    for name, content in (("t10k-images-idx3-ubyte", b"\0\0\x08\x03"), ("t10k-labels-idx1-ubyte", b"\0\0\x08\x01")):
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write(content)
    result = robench("certify", digits_model, "--data", "mnist", "--data-dir", tmp_path)
    assert_mendable(result, "t10k-")


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "other-json", "absent"])
def test_a_damaged_model_folder_is_refused(robench: Any, digits_model: Path, tmp_path: Path, damage: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(digits_model, model)
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    if damage == "absent":
        weights.unlink()
    elif damage == "other-json":
        (model / "model.json").write_text("{}")
    else:
        weights.write_bytes({"truncated": content[:-7], "empty": b"", "garbage": os.urandom(512)}[damage])
    assert_mendable(robench("certify", model, "--data", "digits", "--out", tmp_path / "run"))


def test_weights_that_are_not_finite_are_refused(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(digits_model, model)
    weights = load_file(model / "model.safetensors")
    next(iter(weights.values())).flat[0] = float("nan")
    with safe_open(model / "model.safetensors", "numpy") as file:
        metadata = file.metadata()
    save_file(weights, model / "model.safetensors", metadata)
    assert_mendable(robench("certify", model, "--data", "digits", "--out", tmp_path / "run"), "finite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    out = tmp_path / "run"
    assert_mendable(robench("certify", digits_model, "--data", "digits", "--out", out), str(out))


def test_a_file_in_the_way_is_named(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert_mendable(robench("certify", digits_model, "--data", "digits", "--out", out), str(out))


@pytest.fixture(scope="module")
def slow_attack(digits_model: Path) -> list[str]:
    options = ["--data", "digits", "--eps", "0.5,1", "--limit", "40", "--batch-size", "4", "--attack", "pgd"]
    return ["attack", str(digits_model), *options, "--threads", "1", "--out"]


@pytest.fixture(scope="module")
def uninterrupted(robench: Any, slow_attack: list[str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole")
    assert robench(*slow_attack, out).code == 0
    return (out / "records.jsonl").read_bytes()


def test_an_interrupted_attack_goes_on_to_the_same_records(
    robench: Any, slow_attack: list[str], uninterrupted: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, append = tmp_path / "stopped", RunFolder.append

    def interrupted(run: RunFolder[Any], record: Any) -> None:
        append(run, record)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "append", interrupted)
        assert robench(*slow_attack, out).code == 130
    assert 0 < len((out / "records.jsonl").read_bytes()) < len(uninterrupted)
    assert robench(*slow_attack, out).code == 0
    assert (out / "records.jsonl").read_bytes() == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(("signal_sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_attack_goes_on_to_the_same_records(
    robench: Any, slow_attack: list[str], uninterrupted: bytes, tmp_path: Path, signal_sent: int, code: int
) -> None:
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "robench", *slow_attack, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    records = out / "records.jsonl"
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        time.sleep(0.005)
    process.send_signal(signal_sent)
    stopped = process.wait(timeout=60)
    assert stopped in (code, 0)
    assert robench(*slow_attack, out).code == 0
    assert records.read_bytes() == uninterrupted


def test_a_bug_is_exit_3_with_its_traceback(robench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from robench import reporting as report_room

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(report_room, "build_report", broken)
    result = robench("report", tmp_path, "--out", tmp_path / "out")
    assert result.code == 3
    assert "planted" in result.stderr
    assert "bug of robench" in result.stderr


def in_shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )


@pytest.mark.parametrize("reader", ["true", pytest.param("head -1", marks=pytest.mark.slow)])
def test_a_reader_that_leaves_changes_no_exit_code(
    robench: Any, digits_model: Path, tmp_path: Path, reader: str
) -> None:
    run = tmp_path / "run"
    assert robench("certify", digits_model, "--data", "digits", "--limit", 3, "--eps", 9, "--out", run).code == 0
    for command, code in (("--help", 0), (f"gate {run} --require certified@9=1", 1)):
        result = in_shell(f"{sys.executable} -m robench {command} | {reader} >/dev/null; echo ${{PIPESTATUS[0]}}")
        assert result.stdout.strip() == str(code), result.stderr
        assert "Error" not in result.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "koi8-r"])
def test_an_encoding_without_greek_ends_no_command(encoding: str) -> None:
    result = in_shell(f"{sys.executable} -m robench attack --help", PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert "\\u03b5" in result.stdout


def test_models_and_runs_do_not_overwrite_each_other(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(digits_model, model)
    assert_mendable(robench("certify", model, "--data", "digits", "--limit", 5, "--out", model), "not empty")
    assert robench("certify", model, "--data", "digits", "--limit", 5, "--out", run).code == 0
    train = ("train", "--recipe", "hkr", "--data", "digits", "--epochs", 1)
    assert_mendable(robench(*train, "--out", run), "not empty")
    weights = (model / "model.safetensors").read_bytes()
    (model / "training.json").unlink()
    assert_mendable(robench(*train, "--out", model), "not empty")
    assert (model / "model.safetensors").read_bytes() == weights


def test_two_records_of_one_image_are_refused(robench: Any, digits_model: Path, tmp_path: Path) -> None:
    argv = ("certify", digits_model, "--data", "digits", "--limit", 5, "--out", tmp_path)
    robench(*argv)
    records = tmp_path / "records.jsonl"
    records.write_text(records.read_text() + records.read_text().splitlines()[0] + "\n")
    assert_mendable(robench(*argv), "changed after the run was finished")
    unfinish(tmp_path)
    assert_mendable(robench(*argv), "two records of one image")


def unfinish(run: Path) -> None:
    """Make a run look as if it was killed before its end."""
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "started", "records_sha256": None}))


def other_input(record: dict[str, Any]) -> None:
    record["input_sha256"] = "0" * 64


def other_label(record: dict[str, Any]) -> None:
    record["label"] = (record["predicted"] + 1) % 10
    record |= {"status": "misclassified"} if "status" in record else {"distance": 0.0}


def other_image(record: dict[str, Any]) -> None:
    record["index"] = 350


def other_class(record: dict[str, Any]) -> None:
    record["predicted"] = record["label"] = (record["predicted"] + 1) % 10


def other_radius(record: dict[str, Any]) -> None:
    record["certified_radius"] = record["certified_radius"] * 1.01 + 0.01


@pytest.mark.parametrize(
    ("command", "twist", "named"),
    [
        ("certify", other_input, "is of another image"),
        ("certify", other_label, "is of another image"),
        ("certify", other_image, "image 350, which was not asked for"),
        ("certify", other_class, "is of another image"),
        ("attack", other_input, "is of another image"),
        ("attack", other_label, "is of another image"),
        ("attack", other_radius, "another class or certified radius"),
    ],
)
def test_records_of_an_unfinished_run_are_held_against_images_and_certificates(
    robench: Any, digits_model: Path, tmp_path: Path, command: str, twist: Callable[[dict[str, Any]], None], named: str
) -> None:
    eps = () if command == "certify" else ("--eps", 0.1, "--attack", "fgsm")
    argv = (command, digits_model, "--data", "digits", "--limit", 40, *eps, "--out", tmp_path)
    assert robench(*argv).code == 0
    path = tmp_path / "records.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    twist(next(record for record in records if record["predicted"] == record["label"]))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    unfinish(tmp_path)
    assert_mendable(robench(*argv), named)


def _hints(tree: ast.AST) -> Iterator[str]:
    """The text of every `hint=` and of the constants that hints are made of."""
    for node in ast.walk(tree):
        named = isinstance(node, ast.keyword) and node.arg == "hint"
        constant = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if named or (constant and node.targets[0].id.isupper()):
            parts = (item.value for item in ast.walk(node) if isinstance(item, ast.Constant))
            yield from (value for value in parts if isinstance(value, str))


def test_no_hint_tells_to_delete_what_may_be_the_only_copy() -> None:
    package = Path(robench_package.__file__).parent
    hints = [(path.name, text) for path in package.rglob("*.py") for text in _hints(ast.parse(path.read_text()))]
    assert len(hints) > 300
    assert [hint for hint in hints if re.search(r"\b(delet|overwrit|rm )", hint[1])] == []
