"""What a user's file may change in the process, kept as it was: robench computes with its own settings."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from robench.devices import precision_kept
from robench.errors import ModelError

Restore = Callable[[], Any]


@contextlib.contextmanager
def kept_surroundings() -> Iterator[None]:
    """Put back on leaving what the process had on entering.

    That is the working directory, torch's default dtype and device, gradient mode, autocast, threads, precision and
    determinism, the states of the random number generators, numpy's error handling, warning filters, signal handlers,
    the recursion limit, and the two streams. Paths that the user added to `sys.path` stay, behind robench's own: a
    forward pass may still import from them, but nothing of robench is looked for there first.

    Raises:
        ModelError: inference mode was switched on and left so, which cannot be undone from outside.
    """
    restores = [*_of_python(), *_of_torch()]
    path = list(sys.path)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
        for restore in restores:
            restore()
    if torch.is_inference_mode_enabled():
        raise ModelError(
            "the model's file switches torch's inference mode on for the whole process",
            hint="use it in a `with torch.inference_mode():` block, around evaluations only",
        )


def _of_python() -> list[Restore]:
    limit = sys.getrecursionlimit()
    arithmetic: Any = np.geterr()
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    stdout, stderr = sys.stdout, sys.stderr

    def restore() -> None:
        sys.setrecursionlimit(limit)
        sys.stdout, sys.stderr = stdout, stderr
        np.seterr(**arithmetic)
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002

    return [_of_folder(), restore, *_of_signals()]


def _of_folder() -> Restore:
    """The working directory, by a descriptor, which outlives a renamed folder; Windows has none for folders."""
    if not hasattr(os, "fchdir"):
        path = os.getcwd()  # noqa: PTH109
        return lambda: os.chdir(path)
    folder = os.open(".", os.O_RDONLY)

    def restore() -> None:
        os.fchdir(folder)
        os.close(folder)

    return restore


def _of_signals() -> list[Restore]:
    """Handlers can be set by the main thread only, and those that C code set cannot be put back."""
    if threading.current_thread() is not threading.main_thread():
        return []
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore() -> None:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)

    return [restore]


def _of_torch() -> list[Restore]:
    dtype, device, gradients = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    put_precision_back = precision_kept()
    cudnn = torch.backends.cudnn
    by_cudnn = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    by_mkldnn = torch.backends.mkldnn.enabled
    deterministic = _determinism()
    anomaly, check_nan = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    mixed = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}

    def restore() -> None:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_rng_state(drawn)
        torch.set_flush_denormal(False)
        put_precision_back()
        for name, value in by_cudnn.items():
            setattr(cudnn, name, value)
        torch.backends.mkldnn.enabled = by_mkldnn
        if _determinism() != deterministic:  # setting it loads torch's compiler, seconds of the process
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.autograd.set_detect_anomaly(anomaly, check_nan)
        for kind, (enabled, mixed_dtype) in mixed.items():
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, mixed_dtype)

    return [restore]


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
