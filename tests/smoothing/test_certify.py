"""Certificates of smoothed classifiers against closed forms, other code, and planted faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

import robench
from robench.errors import DataError, ModelError, SpecError
from robench.models import HeldModel
from robench.smoothing.base import BaseClassifier
from robench.smoothing.certify import Voter, on_grid
from robench.smoothing.noise import GridNoise
from robench.smoothing.radius import lower_end
from tests.smoothing.planes import DISTANCE, beside, half_space

SIGMA, ALPHA, DRAWS, IMAGES = 0.1, 0.05, 28, 400


def false_certificates() -> int:
    """How many radii of a half space are larger than the distance of its boundary, of `IMAGES`."""
    found = robench.certify_smoothed(half_space(3), beside(IMAGES), sigma=SIGMA, n=DRAWS, n0=4, alpha=ALPHA)
    return int((found.radius > DISTANCE).sum())


def too_many() -> int:
    """More false certificates than this have chance 1e-5 if each has chance alpha."""
    return int(binom.isf(1e-5, IMAGES, ALPHA))


def one_more(counts: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The planted fault: each class is counted once more than it was seen."""
    return lambda *args: np.minimum(counts(*args) + 1, args[-1])


def test_the_smoothed_half_space_is_known_exactly() -> None:
    n = 20_000
    found = robench.certify_smoothed(half_space(), beside(1)[:, :2], [1], sigma=SIGMA, n=n)
    p = norm.cdf(DISTANCE / SIGMA)
    assert abs(found.count[0] - n * p) < 5 * np.sqrt(n * p * (1 - p))
    assert 0.9 * DISTANCE < found.radius[0] < DISTANCE
    assert found.predicted.tolist() == [1]


def test_radii_of_half_spaces_are_false_as_seldom_as_promised() -> None:
    true = norm.cdf(DISTANCE / SIGMA)
    chance = {count: binom.pmf(count, DRAWS, true) for count in range(DRAWS + 1)}
    failing = sum(share for count, share in chance.items() if lower_end(count, DRAWS, ALPHA) > true)
    assert 0.8 * ALPHA < failing <= ALPHA  # the test is sharp for this number of draws
    assert 0.5 * failing * IMAGES < false_certificates() <= too_many()


def test_a_count_off_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Voter, "counts", one_more(Voter.counts))
    assert false_certificates() > too_many()


def test_counts_are_those_of_other_code() -> None:
    """Draw by draw, image by image, with thresholds from SciPy where these do not decide by a hair."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    x = np.random.default_rng(1).integers(0, 256, (3, 1, 3, 3)).astype(np.float32) / np.float32(255)
    found = robench.certify_smoothed(model, x, sigma=0.2, n=700, n0=50, seed=5)
    noise = GridNoise(0.2, 5)
    for row, image in enumerate(x):
        pixels = np.rint(image.ravel() * 255).astype(np.uint8)
        counts = {}
        for stage, n in (("choose", 50), ("estimate", 700)):
            drawn = noise.draws(pixels, found.input_sha256[row], stage, 0, n)
            with torch.no_grad():
                classes = [int(model(torch.tensor(z / 255, dtype=torch.float32)[None]).argmax()) for z in drawn]
            counts[stage] = [classes.count(label) for label in range(4)]
        chosen = int(np.argmax(counts["choose"]))
        assert (chosen, counts["choose"][chosen]) == (found.chosen[row], found.chosen_count[row])
        assert counts["estimate"][chosen] == found.count[row]


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_hyperplane_of_any_direction_is_never_certified_beyond_its_distance(outputs: int) -> None:
    """f/‖w‖ is the distance; far from black and white cutting off moves nothing that counts."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))
    row = torch.tensor(weight, dtype=torch.float32)
    model[1].weight.data.copy_(row[None] if outputs == 1 else torch.stack([-row / 2, row / 2]))
    shift = float(weight.sum() * 128 / 255)
    model[1].bias.data.copy_(torch.tensor([-shift] if outputs == 1 else [shift / 2, -shift / 2]))
    x = np.float32(generator.integers(118, 139, (60, 16)) / 255).reshape(60, 1, 4, 4)
    values = x.reshape(60, 16).astype(float) @ weight - shift
    found = robench.certify_smoothed(model.eval(), x, sigma=0.03, n=2000, alpha=1e-6)
    distance = np.abs(values) / np.linalg.norm(weight)
    sure = found.predicted >= 0
    assert sure.sum() > 30
    assert (found.predicted[sure] == (values[sure] > 0)).all()
    assert (found.radius < distance).all()
    p = norm.cdf(distance / 0.03)
    assert (abs(found.count - 2000 * p)[sure] < 5 * np.sqrt(2000 * p * (1 - p))[sure] + 10).all()


def test_an_image_has_the_same_certificate_whatever_is_asked_beside_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)).eval()
    x, y = robench.load_data("digits", limit=4).arrays()
    whole = robench.certify_smoothed(model, x, y, sigma=0.25, n=300, seed=2).records()
    back = robench.certify_smoothed(model, x[::-1].copy(), y[::-1].copy(), sigma=0.25, n=300, seed=2).records()
    for row, record in enumerate(whole):
        (alone,) = robench.certify_smoothed(
            model, x[row : row + 1], y[row : row + 1], sigma=0.25, n=300, seed=2
        ).records()
        for other in (alone, back[3 - row]):
            assert {**vars(other), "index": row} == vars(record)
    assert whole != robench.certify_smoothed(model, x, y, sigma=0.25, n=300, seed=3).records()


def test_the_model_sees_nothing_but_the_grid() -> None:
    """So it cannot tell from the digits of a number what was added to it (Voráček and Hein)."""
    seen = []

    class Seeing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.flatten().numpy())
            return x.flatten(1)[:, :2]

    base = BaseClassifier(HeldModel(Seeing().eval(), (1, 2, 2), 2), torch.device("cpu"))
    pixels, _ = on_grid(np.float32([[0.1, 0.2, 0.9, 1.0]]))
    base.classify(GridNoise(0.3, 0).draws(pixels, "image", "estimate", 0, 300))
    grid = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.isin(np.concatenate(seen), grid).all()


class OfItsPlace(nn.Module):
    """A model that treats the first row of a call in another way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.zeros(len(x), 1, dtype=x.dtype)
        first[0] = 5e-7
        return x.flatten(1)[:, :2] + first


def test_a_model_that_depends_on_the_place_is_asked_image_by_image() -> None:
    one = BaseClassifier(HeldModel(half_space(4), (1, 2, 2), 1), torch.device("cpu"))
    assert one.tile > 1
    assert BaseClassifier(HeldModel(OfItsPlace().eval(), (1, 2, 2), 2), torch.device("cpu")).tile == 1


def test_images_off_the_grid_lose_their_distance_from_it() -> None:
    pixels, offset = on_grid(np.full((1, 1, 2, 2), 100.25 / 255, dtype=np.float32))
    assert pixels.tolist() == [100] * 4
    assert offset == pytest.approx(2 * 0.25 / 255, rel=1e-4)
    _, none = on_grid(np.float32(np.arange(256)[None] / 255))
    assert none < 1e-6


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_what_is_no_image_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="grid of pixels"):
        robench.certify_smoothed(half_space(), np.array([[0.5, value]], dtype=np.float32), sigma=0.1, n=10)


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"n": 0}, {"n0": 0}, {"alpha": 0.0}, {"alpha": 1.0}, {"seed": -1}])
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(SpecError):
        robench.certify_smoothed(half_space(), beside(1)[:, :2], **{"sigma": 0.1, **wrong})


def test_a_model_without_finite_logits_is_refused() -> None:
    model = half_space()
    model[1].bias.data.fill_(float("nan"))
    with pytest.raises(ModelError):
        robench.certify_smoothed(model, beside(1)[:, :2], sigma=0.1)


def test_certificates_are_kept_apart_from_attacks_on_the_model() -> None:
    x = beside(2)[:, :2]
    smoothed = robench.certify_smoothed(half_space(), x, [1, 1], sigma=0.1, n=100)
    found = robench.attack(half_space(), x, [1, 1], eps=0.2, attacks="fgsm")
    for given in (smoothed, smoothed.records()):
        with pytest.raises(DataError, match="smoothed classifier"):
            robench.crosscheck(given, found)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="smoothed classifier"):
            robench.attack(half_space(), x, [1, 1], eps=0.2, attacks="fgsm", certificates=given)  # type: ignore[arg-type]


def test_rates_need_labels_and_count_what_is_right_and_certified() -> None:
    found = robench.certify_smoothed(half_space(3), beside(3), sigma=0.1, n=400)
    with pytest.raises(DataError, match="true classes"):
        found.certified_accuracy(0.01)
    assert found.certified_accuracy(0.01, [1, 1, 0]) == 2 / 3
    assert found.certified_accuracy(DISTANCE, [1, 1, 0]) == 0
    assert found.confidence == pytest.approx(1 - 3 * 0.001)


def test_the_attack_finds_what_the_smoothed_classifier_confirms() -> None:
    x = beside(3)
    near = robench.attack_smoothed(half_space(3), x, [1, 1, 1], sigma=0.1, eps=0.09, n=400)
    far = robench.attack_smoothed(half_space(3), x, [1, 1, 1], sigma=0.1, eps=0.15, n=400)
    assert not near.found.any()
    assert np.isinf(near.distance).all()
    assert far.found.all()
    assert ((far.distance > DISTANCE) & (far.distance <= 0.15)).all()
    assert (far.predicted == 0).all()
    assert (np.rint(far.points * 255) / np.float32(255) == far.points).all()
