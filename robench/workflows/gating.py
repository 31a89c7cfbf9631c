"""`--fail-under`: whether a run reaches a least rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robench.statistics.predictions import CONSTANT


def shortfalls(counts: Mapping[str, int], summary: Mapping[str, Any], least: float) -> list[str]:
    """Why a run does not reach a least rate; nothing if it does.

    A model that predicts one class for all images never reaches it: its rate says only how frequent that class is.

    Args:
        counts: images that are certified, or that stand, by ε.
        summary: of the run, with its number of images and its flags.
        least: share of the images, from 0 to 1.
    """
    n = summary["n"]
    found = [f"{count} of {n} images at ε = {text}" for text, count in counts.items() if count / n < least]
    if any(flag["name"] == CONSTANT for flag in summary["flags"]):
        found.append(f"the model predicts one class for all {n} images")
    return found
