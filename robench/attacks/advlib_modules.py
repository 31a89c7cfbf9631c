"""adv-lib's modules, imported without its package: that imports plotting, torchvision and `distutils`."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import torch
from torch import Tensor

from robench.errors import SpecError


def advlib(name: str) -> Any:
    """One module of `adv_lib.attacks`.

    Raises:
        SpecError: adv-lib is not installed.
    """
    try:
        root = importlib.import_module("adv_lib")
    except ImportError:
        raise SpecError(
            "the attacks of the suite `strong` need adv-lib, which is not installed",
            hint="pip install --no-deps adv-lib==0.2.8 (its plotting packages are not needed, and no longer install)",
        ) from None
    if "adv_lib.attacks" not in sys.modules:
        package = types.ModuleType("adv_lib.attacks")
        package.__path__ = [f"{path}/attacks" for path in root.__path__]
        sys.modules["adv_lib.attacks"] = package
        _stand_in("adv_lib.utils.visdom_logger", VisdomLogger=object)
        _stand_in("adv_lib.utils.attack_utils", get_all_targets=_all_targets)
    return importlib.import_module(f"adv_lib.attacks.{name}")


def _stand_in(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def _all_targets(labels: Tensor, num_classes: int) -> Tensor:
    """All classes but the label (N, num_classes - 1), ascending."""
    targets = torch.arange(num_classes - 1, device=labels.device)
    return targets + (targets >= labels[:, None])
