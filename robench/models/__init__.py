"""Models: networks built from specs, and read from folders, factories, exported programs, ONNX files and memory."""

from robench.models.loaded import HeldModel, LoadedModel, ReadModel
from robench.models.loading import load_model, read_model
from robench.models.memory import Model, hold, hold_any
from robench.models.output_flags import LOOKED_AT, output_flags
from robench.models.storage.folder import DESCRIPTION, HISTORY, STATE, TRAINING, WEIGHTS, save_model
from robench.models.storage.tensors import read_tensors, write_tensors
from robench.models.zoo import PREFIX as ZOO
from robench.models.zoo import zoo_folder

__all__ = [
    "DESCRIPTION",
    "HISTORY",
    "LOOKED_AT",
    "STATE",
    "TRAINING",
    "WEIGHTS",
    "ZOO",
    "HeldModel",
    "LoadedModel",
    "Model",
    "ReadModel",
    "hold",
    "hold_any",
    "load_model",
    "output_flags",
    "read_model",
    "read_tensors",
    "save_model",
    "write_tensors",
    "zoo_folder",
]
