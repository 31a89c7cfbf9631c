"""What a program has set changes no number of robench, and stays set."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import robench
from robench.devices import exact_arithmetic, own_settings

if not hasattr(torch.backends, "fp32_precision"):
    pytest.skip("torch before 2.9 has one set of names", allow_module_level=True)

SETTINGS = {
    "old names, bfloat16": lambda: torch.set_float32_matmul_precision("medium"),
    "old names, tf32": lambda: torch.set_float32_matmul_precision("high"),
    "old names, of CUDA": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "new names": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "new names, of CUDA": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "new names, of the CPU": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
}


BACKENDS = torch.backends
KINDS = [
    *(BACKENDS, BACKENDS.cuda.matmul, BACKENDS.cudnn, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn),
    *(BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn),
]


def settings():
    return [kind.fp32_precision for kind in KINDS]


@pytest.fixture(autouse=True)
def _kept():
    """The older names are set first: they set the newer ones as well."""
    before = settings()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for kind, value in zip(KINDS, before, strict=True):
        kind.fp32_precision = value


@pytest.mark.parametrize("name", SETTINGS)
def test_a_reduced_precision_changes_nothing_and_is_put_back(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid()).eval()
    x = torch.rand(5, 64)

    def numbers():
        radii = robench.certify(model, x)
        assert "above 0.5" in radii.notes[0]  # torch.export has run
        radii = robench.certify(model[:3].eval(), x, deploy_dtype="float32")
        found = robench.attack(model, x, radii.predicted, eps=1, attacks=["fgsm", lambda model, x, y, eps: x + 0.1])
        return [*radii.radius.tolist(), *found.distance.tolist()]

    expected = numbers()
    SETTINGS[name]()
    before = settings()
    assert numbers() == expected
    assert settings() == before


def test_sums_are_of_float32_inside():
    SETTINGS["old names, bfloat16"]()
    with exact_arithmetic():
        assert {kind.fp32_precision for kind in (*KINDS[3:], KINDS[1])} == {"ieee"}


def test_numpy_errors_of_the_program_do_not_stop_a_certificate():
    model = nn.Linear(2, 2).eval()
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert robench.certify(model, torch.rand(3, 2)).radius.shape == (3,)
        with own_settings():
            assert np.geterr()["under"] == "ignore"
        assert np.geterr()["under"] == "raise"
