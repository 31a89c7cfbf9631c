"""Models on disk: model folders, a user's own torch modules, and exported programs."""

from robench.checkpoint.folder import (
    DESCRIPTION,
    HISTORY,
    STATE,
    TRAINING,
    WEIGHTS,
    load_folder,
    read_description,
    save_model,
)
from robench.checkpoint.link import Link
from robench.checkpoint.loaded import LoadedModel
from robench.checkpoint.loading import load_model
from robench.checkpoint.memory import HeldModel, hold
from robench.checkpoint.outputs import doubts
from robench.checkpoint.plain import plain_module
from robench.checkpoint.tensors import TensorFile, read_tensors, write_tensors

__all__ = [
    "DESCRIPTION",
    "HISTORY",
    "STATE",
    "TRAINING",
    "WEIGHTS",
    "HeldModel",
    "Link",
    "LoadedModel",
    "TensorFile",
    "doubts",
    "hold",
    "load_folder",
    "load_model",
    "plain_module",
    "read_description",
    "read_tensors",
    "save_model",
    "write_tensors",
]
