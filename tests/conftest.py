"""One thread a test process: the processes themselves run side by side (pytest-xdist)."""

import io
import os

os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the commands that tests start

import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.sizes import check_sizes

check_sizes()

from robench.reporting import figures

torch.set_num_threads(1)

# A timing is never a test: on a busy machine any example may take long.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed but not drawn: for tests of words."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "png")
    blank = {"png": buffer.getvalue(), "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}
    monkeypatch.setattr(figures, "image_bytes", lambda figure, kind: blank[kind])
