"""Where arithmetic runs and how exactly: device choice, seeds, TF32 off."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import torch

from robench.errors import SpecError


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first CUDA device if there is one, else the CPU.

    Raises:
        SpecError: unknown, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"the device `{name}` cannot be used: {reason}", hint="use `auto`, `cpu` or `cuda:0`") from None
    return device


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """TF32 and reduced-precision sums off, for matmul and cuDNN, while a certificate or an adversarial is computed."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = False, False, False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Gradients on, inference mode and autocast off, float32 on the CPU by default, whatever the program has set."""
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"  # a mode for a device costs time at every operation
    try:
        with (
            torch.inference_mode(False),  # which switches gradients on as well
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            torch.device("cpu") if elsewhere else contextlib.nullcontext(),
        ):
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        torch.set_default_dtype(before)


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name of the device and number of threads, for the manifest."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads()}
