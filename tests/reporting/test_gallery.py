"""Galleries: read, shown, tolerated where parts are missing, refused where broken."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from robench.errors import RunError
from robench.reporting.evaluation import Evaluation
from robench.reporting.evaluations import read_evaluations
from robench.reporting.sections.gallery import TRANSPORT, gallery_figure
from robench.runs.gallery import GALLERY, read_gallery
from tests.reporting.synthetic import ATTACKS, Synthetic


def attacked(root: Path, model: Synthetic | None = None, **options: object) -> Evaluation:
    (model or Synthetic()).write_attack(root / "a", 40, full=True, gallery=4, **options)
    return read_evaluations([root])[0]


def rewrite(root: Path, drop: str = "", **changes: np.ndarray) -> None:
    tensors = {name: value for name, value in load_file(root / "a" / GALLERY).items() if name != drop}
    save_file({**tensors, **changes}, root / "a" / GALLERY)


def test_what_is_stored_is_read(tmp_path: Path) -> None:
    attacked(tmp_path)
    gallery = read_gallery(tmp_path / "a")
    assert gallery.is_image
    assert gallery.clean.shape == (4, 1, 28, 28)
    assert set(gallery.adversarial) == set(ATTACKS)
    assert len(gallery.index) == 4


def test_the_last_row_is_the_gradient_step(tmp_path: Path) -> None:
    shown = gallery_figure(attacked(tmp_path), "g")
    caption, figure = shown.caption, shown.figure
    texts = [text.get_text() for text in figure.axes[0].texts]
    names = [text for text in texts if text in ("input", *ATTACKS, TRANSPORT)]
    assert names[0] == "input"
    assert names[-1] == TRANSPORT
    assert TRANSPORT in caption


def test_every_picture_has_its_own_class_and_distance_rounded_up(tmp_path: Path) -> None:
    """The gallery is another run of the attacks: the distances of the records are not those of its pictures."""
    item = attacked(tmp_path)
    gallery = read_gallery(tmp_path / "a")
    texts = [text.get_text() for text in gallery_figure(item, "g").figure.axes[0].texts]
    shown = 0
    for name in ATTACKS:
        for place, (point, clean) in enumerate(zip(gallery.adversarial[name], gallery.clean, strict=True)):
            distance = math.sqrt(sum(float(step) ** 2 for step in (point - clean).ravel()))
            if math.isfinite(distance):
                shown += 1
                assert f"{gallery.reached[name][place]}, {math.ceil(100 * distance) / 100:.2f}" in texts
    assert shown == sum(bool(re.fullmatch(r"\d+, \d+\.\d\d", text)) for text in texts) > 4


def test_a_gallery_without_classes_shows_distances(tmp_path: Path) -> None:
    item = attacked(tmp_path)
    rewrite(tmp_path)
    texts = [text.get_text() for text in gallery_figure(item, "g").figure.axes[0].texts]
    assert sum(bool(re.fullmatch(r"\d+\.\d\d", text)) for text in texts) > 4


@pytest.mark.parametrize("drop", ["transport", "adversarial/pgd"])
def test_missing_parts_are_left_out(tmp_path: Path, drop: str) -> None:
    item = attacked(tmp_path)
    rewrite(tmp_path, drop)
    shown = gallery_figure(item, "g")
    alt, figure = shown.alt, shown.figure
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert (TRANSPORT if drop == "transport" else "pgd") not in texts
    assert "Grid of 4 inputs" in alt


def test_an_attack_that_found_nothing_has_no_row(tmp_path: Path) -> None:
    item = attacked(tmp_path)
    rewrite(tmp_path, **{"adversarial/pgd": np.full((4, 1, 28, 28), np.nan, np.float32)})
    shown = gallery_figure(item, "g")
    caption, figure = shown.caption, shown.figure
    assert "pgd" not in [text.get_text() for text in figure.axes[0].texts]
    assert "none of these by pgd" in caption


def test_points_of_the_plane_get_arrows_and_no_grid(tmp_path: Path) -> None:
    model = Synthetic(data="two-moons", shape=(2,), classes=2)
    item = attacked(tmp_path, model)
    shown = gallery_figure(item, "g")
    caption, figure = shown.caption, shown.figure
    assert "plane" in caption
    assert figure.axes[0].get_xlabel() == "x₁ (input units)"


@pytest.mark.parametrize(
    "facts", ["[1]", '{"reached": 3}', '{"reached": {"pgd": 3, "cw": ["x"]}}', '{"index": [null]}']
)
def test_facts_of_another_kind_are_not_shown(tmp_path: Path, facts: str) -> None:
    item = attacked(tmp_path)
    path = tmp_path / "a" / GALLERY
    save_file(load_file(path), path, metadata={"robench": facts})
    gallery = read_gallery(tmp_path / "a")
    assert (gallery.index, dict(gallery.reached)) == (None, {})
    assert gallery_figure(item, "g") is not None


def test_no_gallery_no_figure(tmp_path: Path) -> None:
    Synthetic().write_attack(tmp_path / "a", 20)
    assert gallery_figure(read_evaluations([tmp_path])[0], "g") is None


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    attacked(tmp_path)
    (tmp_path / "a" / GALLERY).write_bytes(b"no safetensors")
    with pytest.raises(RunError, match="not a gallery"):
        read_gallery(tmp_path / "a")


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    attacked(tmp_path)
    rewrite(tmp_path, transport=np.zeros((3, 1, 28, 28), np.float32))
    with pytest.raises(RunError, match="transport"):
        read_gallery(tmp_path / "a")
