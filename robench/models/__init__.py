"""Models on disk: model folders, a user's own torch modules, and exported programs."""

from robench.models.link.detection import Link
from robench.models.link.outputs import doubts
from robench.models.networks.plain import plain_module
from robench.models.reading.loading import load_model
from robench.models.reading.memory import Held, HeldModel, Model, hold, hold_any
from robench.models.reading.model import LoadedModel
from robench.models.storage.folder import (
    DESCRIPTION,
    HISTORY,
    STATE,
    TRAINING,
    WEIGHTS,
    load_folder,
    read_description,
    save_model,
)
from robench.models.storage.tensors import TensorFile, read_tensors, write_tensors

__all__ = [
    "DESCRIPTION",
    "HISTORY",
    "STATE",
    "TRAINING",
    "WEIGHTS",
    "Held",
    "HeldModel",
    "Link",
    "LoadedModel",
    "Model",
    "TensorFile",
    "doubts",
    "hold",
    "hold_any",
    "load_folder",
    "load_model",
    "plain_module",
    "read_description",
    "read_tensors",
    "save_model",
    "write_tensors",
]
