"""Trained models that come with a checkout of robench: `zoo:mnist-hkr` is the model folder `zoo/mnist-hkr` there."""

from __future__ import annotations

import os
from pathlib import Path

from robench.errors import ModelError, did_you_mean

PREFIX = "zoo:"
VARIABLE = "ROBENCH_ZOO"


def zoo_folder(name: str) -> Path:
    """The model folder of a name that begins with `zoo:`.

    Args:
        name: as the user writes it, such as `zoo:mnist-hkr`.

    Raises:
        ModelError: there is no zoo here, or no such model in it.
    """
    zoo = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parents[2] / "zoo")
    known = sorted(folder.name for folder in zoo.glob("*") if (folder / "model.json").is_file())
    if not known:
        raise ModelError(
            f"there is no zoo of models in `{zoo}`: an installed robench has none",
            hint=f"clone the repository, and set {VARIABLE} to its folder `zoo`",
        )
    wanted = name.removeprefix(PREFIX)
    if wanted not in known:
        raise ModelError(f"the zoo has no model `{wanted}`", hint=did_you_mean(wanted, known))
    return zoo / wanted
