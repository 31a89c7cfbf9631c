"""Where arithmetic runs and how exactly: choice of the device, no reduced precision, settings of the program apart."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from robench.errors import SpecError

EXACT = {"fp32_precision": "ieee", "allow_tf32": False, "benchmark": False}


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


def precision_switches() -> list[tuple[Any, str]]:
    """Where torch keeps how precise float32 sums are: objects and names of their attributes.

    A program sets them by names that differ from one version of torch to the next. These are the ones that can be read
    and put back however they were set.
    """
    backends = torch.backends
    if not hasattr(backends, "fp32_precision"):  # before torch 2.9
        return [(backends.cuda.matmul, "allow_tf32"), (backends.cudnn, "allow_tf32")]
    of_cudnn: Any = backends.cudnn
    of_cpu: Any = backends.mkldnn
    kinds = (backends.cuda.matmul, of_cudnn.conv, of_cudnn.rnn, of_cpu.matmul, of_cpu.conv, of_cpu.rnn)
    return [(kind, "fp32_precision") for kind in kinds]


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """TF32, bfloat16 sums and the choice of kernels by their speed off, while something is computed for a record."""
    switches = [*precision_switches(), (torch.backends.cudnn, "benchmark")]
    before = [getattr(*switch) for switch in switches]
    try:
        for switch in switches:
            setattr(*switch, EXACT[switch[1]])
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            setattr(*switch, value)


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Gradients on, inference mode, autocast and reduced precision off, float32 on the CPU by default, no numpy errors.

    Whatever the program has set is put back.
    """
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"  # a mode for a device costs time at every operation
    try:
        with (
            torch.inference_mode(False),  # which switches gradients on as well
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            torch.device("cpu") if elsewhere else contextlib.nullcontext(),
            exact_arithmetic(),
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        ):
            torch.set_default_dtype(torch.float32)
            yield
    finally:
        torch.set_default_dtype(before)


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name of the device and number of threads, for the manifest."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads()}
