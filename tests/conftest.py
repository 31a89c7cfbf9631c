"""One thread a test process: the processes themselves run side by side (pytest-xdist)."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the commands that tests start

import torch

torch.set_num_threads(1)
