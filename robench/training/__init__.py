"""Training of the recipes, in memory; `robench.workflows.training` keeps it in a model folder."""

from robench.training.memory import train
from robench.training.session import Session

__all__ = ["Session", "train"]
