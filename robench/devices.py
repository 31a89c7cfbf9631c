"""Where arithmetic runs and how exactly: choice of the device, no reduced precision, settings of the program apart."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from robench.errors import SpecError

CUDNN: Any = torch.backends.cudnn
MKLDNN: Any = torch.backends.mkldnn
OLDER: tuple[tuple[Callable[[], Any], Callable[[Any], None]], ...] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: CUDNN.allow_tf32, lambda value: setattr(CUDNN, "allow_tf32", value)),
)
"""How to read and set the precision of matrix products, and of what cuDNN computes."""


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


def precision_kept() -> Callable[[], None]:
    """What puts back how precise float32 sums are, however a program has set it.

    torch has older and newer names for it. The older ones cannot be read where the newer ones say something else, and
    torch.export reads them.
    """
    older = []
    for read, write in OLDER:
        with contextlib.suppress(RuntimeError):
            older.append((write, read()))
    newer = [(kind, kind.fp32_precision) for kind in _kinds()]

    def put_back() -> None:
        for write, value in older:
            write(value)
        for kind, value in newer:
            kind.fp32_precision = value

    return put_back


def _kinds() -> list[Any]:
    """Kinds of sums, each with a precision of its own; torch before 2.9 has none."""
    if not hasattr(torch.backends, "fp32_precision"):
        return []
    cudnn, cpu = CUDNN, MKLDNN
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn, cpu.matmul, cpu.conv, cpu.rnn]


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """TF32, bfloat16 sums and the choice of kernels by their speed off, while something is computed for a record."""
    put_back, benchmark = precision_kept(), CUDNN.benchmark
    try:
        CUDNN.benchmark = CUDNN.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        for kind in _kinds():
            kind.fp32_precision = "ieee"
        yield
    finally:
        put_back()
        CUDNN.benchmark = benchmark


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
