"""Models of the checkout: each can be read, is what its card says, and names that are none are refused."""

import re
from pathlib import Path

import pytest

import robench
from robench.errors import ModelError
from robench.models import zoo_folder
from robench.workflows import ModelRef

ZOO = Path(__file__).resolve().parents[2] / "zoo"
NAMES = sorted(path.parent.name for path in ZOO.glob("*/model.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_what_its_card_says(name: str) -> None:
    card = (ZOO / name / "README.md").read_text(encoding="utf-8")
    model = robench.load_model(f"zoo:{name}")
    assert ModelRef(f"zoo:{name}").ref == str(ZOO / name)
    assert re.findall(r"SHA-256 `(\w+)`", card) == [model.weights_sha256]
    assert sum(file.stat().st_size for file in (ZOO / name).iterdir()) < 5e6
    (upper,) = re.findall(r"constant\*\* at most ([\d.]+)", card)
    bound = robench.lipschitz_bound(model).upper
    assert bound <= float(upper.rstrip(".")) == pytest.approx(bound, rel=1e-5)
    row = (ZOO / "README.md").read_text(encoding="utf-8").split(f"| [{name}]")[1].split("\n")[0]
    assert bound <= float(row.split("|")[3]) <= 1.001 * bound


def test_all_are_listed() -> None:
    listed = re.findall(r"^\| \[([^\]]+)\]", (ZOO / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == NAMES


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no model `mnist-hkrr`") as caught:
        zoo_folder("zoo:mnist-hkrr")
    assert "mnist-hkr" in caught.value.hint
    monkeypatch.setenv("ROBENCH_ZOO", str(tmp_path))
    with pytest.raises(ModelError, match="no zoo"):
        robench.load_model("zoo:mnist-hkr")
