"""What `--json` prints has the keys that docs/json.md describes, no more and no fewer."""

import re
from pathlib import Path
from typing import Any

import pytest

from robench.records.record import SCHEMA_VERSION

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "json.md"
ON_MOONS = ("--data", "two-moons", "--limit", 20)


def described(title: str) -> set[str]:
    """Keys in the first column of a section's table."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize(
    "command", ["audit", "certify", "attack", "potential", "verify", "train", "claims", "export", "report", "slurm"]
)
def test_the_keys_of_a_command_are_described(robench: Any, moons_model: Path, tmp_path: Path, command: str) -> None:
    run = tmp_path / "run"
    calls: dict[str, tuple[object, ...]] = {
        "audit": (moons_model,),
        "certify": (moons_model, *ON_MOONS, "--out", run),
        "attack": (moons_model, *ON_MOONS, "--eps", "0.1", "--attack", "fgsm", "--out", run),
        "potential": (moons_model, *ON_MOONS, "--out", run),
        "verify": (run,),
        "report": (run, "--format", "tsv", "--out", tmp_path / "report"),
        "claims": (run, "--out", tmp_path / "claims.md"),
        "slurm": ("certify", moons_model, "--data", "two-moons", "--out", run, "--array", 2),
        "export": (moons_model, "--format", "state-dict", "--out", tmp_path / "net.safetensors"),
        "train": ("--recipe", "hkr", "--data", "two-moons", "--epochs", 5, "--seed", 0, "--out", moons_model),
    }
    if command in ("verify", "claims", "report"):
        robench("certify", *calls["certify"])
    result = robench(command, *calls[command], "--json", *([] if command == "slurm" else ["-q"]))
    assert result.code == 0, result.stderr
    assert (result.data["schema_version"], result.data["command"]) == (SCHEMA_VERSION, command)
    assert set(result.data) == described("Every command") | described(command)
    if command in ("certify", "attack", "potential", "verify", "train"):
        assert (Path(result.data["folder"]) / "manifest.json").exists() or command in ("potential", "train")
