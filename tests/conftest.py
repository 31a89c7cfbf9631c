"""One thread a test process: the processes themselves run side by side (pytest-xdist)."""

import gc
import io
import os
import shutil
import tempfile

gc.disable()  # until all is imported and collected: of that nothing is garbage

os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the commands that tests start

# Temporary folders lie in memory where there is room: a disk takes milliseconds to flush or to remove one small file.
MEMORY, ROOM = "/dev/shm", 2 << 30
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = MEMORY
    tempfile.tempdir = None  # read it anew

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


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make, not among the modules and tests themselves, again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed but not drawn: for tests of words."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "png")
    blank = {"png": buffer.getvalue(), "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}
    monkeypatch.setattr(figures, "image_bytes", lambda figure, kind: blank[kind])
