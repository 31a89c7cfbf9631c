"""Training of the recipes, to a model folder."""

from robench.training.fit import TrainResult, fit

__all__ = ["TrainResult", "fit"]
