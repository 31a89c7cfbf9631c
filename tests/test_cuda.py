"""A CUDA device changes no statement: certificates, attacks, smoothing and training there, held against the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

import robench
from robench.data import load
from robench.devices import exact_arithmetic, resolve_device
from robench.layers import GroupSort2, L2NormPool2d
from robench.lipschitz import in_float32, plain_copy
from robench.progress import NoProgress
from robench.specs.data import DataSpec
from robench.training.session import Session
from robench.workflows import train_spec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
DEVICE = "cuda"
IMAGES = 200


class ComputesItsWeight(nn.Module):
    """A weight from a decomposition, and constants made in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(16, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, _, vh = torch.linalg.svd(self.raw, full_matrices=False)
        return torch.relu(x.flatten(1) @ (u @ vh).T + torch.arange(16, device=x.device) / 16)


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        "one logit": nn.Sequential(nn.Flatten(), nn.Linear(64, 32), GroupSort2(), nn.Linear(32, 1)),
        "convolutions": nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), GroupSort2(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            L2NormPool2d(2), nn.Flatten(), nn.Linear(256, 10),
        ),
        "computed weight": nn.Sequential(ComputesItsWeight(), nn.Linear(16, 10)),
        "batch norm": nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
        ),
    }  # fmt: skip


NETWORKS = {name: module.eval() for name, module in networks().items()}


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec(name="digits"), "test", limit=IMAGES, progress=NoProgress()).arrays()


@pytest.fixture
def reduced_precision():
    """What many programs set: TF32 in matrix products and convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("name", NETWORKS)
def test_certificates_are_those_of_the_cpu(digits, name, reduced_precision):
    x, _ = digits
    model = NETWORKS[name]
    for deploy_dtype in ("float64", "float32"):
        here = robench.certify(model, x, device="cpu", deploy_dtype=deploy_dtype)
        there = robench.certify(model, x, device=DEVICE, deploy_dtype=deploy_dtype)
        assert (here.predicted == there.predicted).all()
        for rule, radii in here.by_rule.items():
            np.testing.assert_allclose(there.by_rule[rule], radii, rtol=1e-9, atol=1e-12)
    assert torch.backends.cuda.matmul.allow_tf32  # what the program has set stays set


def test_a_radius_is_not_above_the_distance_to_a_hyperplane(digits):
    x, _ = digits
    model = NETWORKS["linear"]
    radii = robench.certify(model, x, device=DEVICE)
    weight, bias = model[1].weight.detach().numpy().astype(np.longdouble), model[1].bias.detach().numpy()
    logits = x.reshape(len(x), -1).astype(np.longdouble) @ weight.T + bias
    for row, (scores, k) in enumerate(zip(logits, radii.predicted, strict=True)):
        apart = np.sqrt(((weight[k] - weight) ** 2).sum(axis=1))
        distance = min((scores[k] - scores[j]) / apart[j] for j in range(10) if j != k)
        assert radii.by_rule["pairwise"][row] <= distance
        assert radii.by_rule["pairwise"][row] >= distance * (1 - 1e-6)


def test_a_model_that_lies_on_the_device_is_bounded_there_as_here():
    for name, model in NETWORKS.items():
        held = plain_copy(model).to(DEVICE)
        bound = robench.lipschitz_bound(held, (1, 8, 8))
        assert bound.upper == pytest.approx(robench.lipschitz_bound(model, (1, 8, 8)).upper, rel=1e-9), name
        assert next(held.parameters()).is_cuda


def test_the_local_rule_is_that_of_the_cpu(digits):
    x, _ = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)).eval()
    here, there = (robench.certify(model, x[:5], rules=["local"], device=device) for device in ("cpu", DEVICE))
    np.testing.assert_allclose(there.by_rule["local"], here.by_rule["local"], rtol=1e-6)


@pytest.mark.parametrize("name", ["one logit", "convolutions"])
def test_float32_products_are_as_exact_as_proven_whatever_a_program_has_set(digits, name, reduced_precision):
    x, _ = digits
    model = NETWORKS[name]
    slope, offset = robench.lipschitz_bound(model, (1, 8, 8)).rounding["float32"]
    inputs = torch.from_numpy(x)
    exact = model.double()(inputs.double())
    model.float()
    with torch.no_grad(), exact_arithmetic():
        single = in_float32(plain_copy(model)).to(DEVICE)(inputs.to(DEVICE)).double().cpu()
    apart = (single - exact).flatten(1).norm(dim=1)
    assert (apart <= slope * inputs.flatten(1).double().norm(dim=1) + offset).all()


@pytest.mark.parametrize("name", ["one logit", "convolutions"])
def test_attacks_claim_only_what_the_cpu_confirms_and_contradict_nothing(digits, name, reduced_precision):
    x, y = digits
    y = (y > 4).astype(np.int64) if name == "one logit" else y
    model = NETWORKS[name]
    eps = ["0.1", "0.25", "0.5", "1"]
    radii = robench.certify(model, x, y, device=DEVICE)
    here, there = (
        robench.attack(model, x, y, eps=eps, certificates=radii, full=True, device=device) for device in ("cpu", DEVICE)
    )
    broken = np.isfinite(there.distance)
    moved = torch.from_numpy(there.points[broken]).double()
    with torch.no_grad():
        logits = model.double()(moved)
    model.float()
    found = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    assert broken.sum() > IMAGES / 2
    assert (found.numpy() != y[broken]).all()
    distance = np.linalg.norm((moved.numpy() - x[broken].astype(np.float64)).reshape(len(moved), -1), axis=1)
    assert (distance <= there.distance[broken] * (1 + 1e-12)).all()
    assert not robench.crosscheck(radii, there)
    for text in eps:  # another path of the same attacks: not the same images to the last one
        assert there.robust_accuracy(text) == pytest.approx(here.robust_accuracy(text), abs=0.03)


def test_smoothing_draws_the_same_noise(digits):
    x, _ = digits
    model = NETWORKS["convolutions"]
    here, there = (
        robench.certify_smoothed(model, x[:5], sigma=0.25, n0=50, n=500, device=device) for device in ("cpu", DEVICE)
    )
    np.testing.assert_array_equal(here.predicted, there.predicted)
    np.testing.assert_allclose(here.radius, there.radius, atol=0.02)  # a draw may lie on the boundary of two classes


@pytest.mark.parametrize(
    ("recipe", "arch"), [("hkr", None), ("margin", None), ("margin", "shift-small"), ("plain", None)]
)
def test_a_training_repeats_itself_and_goes_on_from_a_checkpoint(recipe, arch):
    data = DataSpec(name="digits")
    examples, held_out = (load(data, part, limit=600, progress=NoProgress()) for part in ("train", "validation"))
    spec = train_spec(recipe, data, epochs=2, arch=arch)
    device = resolve_device(DEVICE)

    def trained(stop: int | None = None) -> Session:
        session = Session(spec, examples, held_out, device)
        for done in session.epochs(NoProgress()):
            if done.epoch == stop:
                break
        return session

    whole = trained()
    tensors, facts = trained(stop=1).state()
    resumed = Session(spec, examples, held_out, device)
    resumed.restore(tensors, facts)
    list(resumed.epochs(NoProgress()))
    for other in (trained(), resumed):
        for key, value in whole.kept_model().state_dict().items():
            assert torch.equal(value, other.kept_model().state_dict()[key]), key
    cpu = Session(spec, examples, held_out, torch.device("cpu"))
    list(cpu.epochs(NoProgress()))
    assert whole.history[-1].loss == pytest.approx(cpu.history[-1].loss, rel=0.05)


def test_memory_does_not_grow_with_the_number_of_images():
    model = NETWORKS["convolutions"]
    peaks = []
    for count in (500, 5000):
        x = np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        robench.certify(model, x, device=DEVICE, batch_size=250)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.1 * peaks[0]
