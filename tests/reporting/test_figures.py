"""Figures: what is drawn is what the records say, and the same records give the same bytes."""

import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from robench.reporting import figures
from robench.reporting.evaluation import Evaluation
from robench.reporting.evaluations import read_evaluations
from robench.specs.epsilon import epsilon_value
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic

NAME = r"_hkr $\frac{$"
"""Hidden from legends and broken mathematics, if names were not taken as text."""


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    Synthetic(name=NAME).write_certify(tmp_path / "c", 60)
    Synthetic(name=NAME).write_attack(tmp_path / "a", 40, full=True)
    return read_evaluations([tmp_path])[0]


def lines(figure: object) -> dict[str, object]:
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_certified_lies_below_combined_and_combined_below_every_attack(evaluation: Evaluation) -> None:
    drawn = lines(figures.accuracy(evaluation))
    combined = drawn["combined attacks"]

    def at(label: str, eps: float) -> float:
        x, y = drawn[label].get_data()
        return float(np.asarray(y)[np.flatnonzero(np.asarray(x) == eps)[0]])

    for text in EPS:
        eps = epsilon_value(text)
        assert at("combined attacks", eps) == sum(r.robust_at(eps) for r in evaluation.attack.records) / 40
        for name in ATTACKS:
            assert at(name, eps) >= at("combined attacks", eps)
    x, y = combined.get_data()
    assert all((np.asarray(drawn[name].get_data()[1]) >= y).all() for name in ATTACKS)
    certified = evaluation.certified_on_attacked("pairwise").rates(x)
    assert (certified <= y).all()


def test_axes_have_units_and_models_a_name_in_the_legend(evaluation: Evaluation) -> None:
    figure = figures.comparison([evaluation])
    assert figure.axes[0].get_xlabel() == "L2 perturbation ε (pixel units)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"attacked: {NAME}",
        f"certified: {NAME}",
    ]
    assert figures.image_bytes(figure, "svg")


def test_each_attack_has_a_panel_with_the_accuracy_of_every_model_under_it(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b", "ensemble")):
        Synthetic(name=name, seed=seed).write_attack(tmp_path / name, 40, full=name != "ensemble")
    evaluations = read_evaluations([tmp_path])
    figure = figures.single_attacks(evaluations)
    assert [axes.get_title("left") for axes in figure.axes] == list(ATTACKS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    combined = {line.get_label().split(": ")[1]: line for line in figures.comparison(evaluations).axes[0].lines[:3]}
    for axes, name in zip(figure.axes, ATTACKS, strict=True):
        for line, item in zip(axes.lines, evaluations[:2], strict=True):
            records = item.attack.records
            assert line.get_color() == combined[item.name].get_color()
            for eps, rate in zip(*line.get_data(), strict=True):
                assert rate == sum(record.robust_to(name, eps) for record in records) / 40


def test_accuracy_is_drawn_against_the_passes_so_far(evaluation: Evaluation) -> None:
    axes = figures.accuracy_by_passes(evaluation).axes[0]
    spent, records = evaluation.attack.spent, evaluation.attack.records
    steps = [spent[f"{name} forward"] + spent[f"{name} backward"] for name in ATTACKS]
    expected = np.cumsum([spent["forward"] + spent["backward"] - sum(steps), *steps]) / 40
    drawn = [line for line in axes.lines if str(line.get_label()).startswith("ε = ")]
    assert [line.get_label() for line in drawn] == [f"ε = {text}" for text in ("36/255", "0.5", "1", "2", "3")]
    for line in drawn:
        epsilon = epsilon_value(line.get_label().removeprefix("ε = "))
        passes, rates = line.get_data()
        assert passes == pytest.approx(expected)
        assert rates[0] == sum(record.correct for record in records) / 40
        assert rates[-1] == sum(record.robust_at(epsilon) for record in records) / 40
        assert (np.diff(rates) <= 0).all()


def test_a_point_below_the_diagonal_stays_in_view(evaluation: Evaluation) -> None:
    axes = figures.radius_distance(evaluation).axes[0]
    records = [record for record in evaluation.attack.records if record.correct and record.distance is not None]
    shown = sum(len(line.get_xdata()) for line in axes.lines if str(line.get_label()).startswith("nearest by"))
    assert shown == len(records)
    limit = axes.get_xlim()[1]
    assert axes.get_ylim()[1] == limit
    assert all(max(record.certified_radius, record.distance) < limit for record in records)


def test_a_model_that_is_always_wrong_is_drawn(evaluation: Evaluation) -> None:
    assert evaluation.attack is not None
    change = {"predicted": -1, "distance": 0.0, "attack": None}
    wrong = tuple(dataclasses.replace(record, **change) for record in evaluation.attack.records)
    attack = dataclasses.replace(evaluation.attack, records=wrong)
    figure = figures.radius_distance(dataclasses.replace(evaluation, attack=attack))
    assert "no image is classified correctly" in [text.get_text() for text in figure.axes[0].texts]


def test_no_two_models_share_colour_and_marker(tmp_path: Path) -> None:
    for seed in range(9):
        Synthetic(name=f"m{seed}", seed=seed).write_certify(tmp_path / str(seed), 10)
    figure = figures.comparison(read_evaluations([tmp_path]))
    looks = [(line.get_color(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(set(looks)) == 9


def test_the_legend_lies_outside_the_data(evaluation: Evaluation) -> None:
    drawn = [figures.accuracy(evaluation), figures.comparison([evaluation]), figures.radius_distance(evaluation)]
    for figure in (*drawn, figures.single_attacks([evaluation]), figures.accuracy_by_passes(evaluation)):
        figure.draw_without_rendering()
        for legend in figure.legends:
            extent = legend.get_window_extent()
            assert not any(extent.overlaps(axes.get_tightbbox()) for axes in figure.axes)
            assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= extent.y0 < extent.y1 <= figure.bbox.y1


@pytest.mark.parametrize("length", [10, 40, 64, 200])
def test_no_name_is_cut_off_however_long(tmp_path: Path, length: int) -> None:
    names = [f"{seed}".ljust(length, "x") for seed in range(5)]
    for seed, name in enumerate(names):
        Synthetic(name=name, seed=seed).write_attack(tmp_path / str(seed), 10, full=True)
    evaluations = read_evaluations([tmp_path])
    for figure in (figures.comparison(evaluations), figures.single_attacks(evaluations)):
        figure.draw_without_rendering()
        extent = figure.legends[0].get_window_extent()
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1
        assert figure.axes[0].get_window_extent().height > 1.5 * figure.dpi
        shown = [text.get_text().replace("\n", "") for text in figure.legends[0].get_texts()]
        assert [text.removeprefix("attacked:").strip() for text in shown[:5]] == names


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_bytes_do_not_depend_on_the_users_settings(evaluation: Evaluation, kind: str) -> None:
    first = figures.image_bytes(figures.accuracy(evaluation), kind)
    with mpl.rc_context({"font.size": 23, "svg.hashsalt": "other", "lines.linewidth": 9, "savefig.dpi": 40}):
        assert figures.image_bytes(figures.accuracy(evaluation), kind) == first
    assert b"dc:date" not in first


def test_pyplot_is_not_touched(evaluation: Evaluation) -> None:
    before = dict(mpl.rcParams)
    figures.accuracy(evaluation)
    assert dict(mpl.rcParams) == before
