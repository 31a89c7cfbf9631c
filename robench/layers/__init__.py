"""1-Lipschitz layers: constraints as parametrizations of plain torch layers, activations, pooling, input scaling."""

from robench.layers.activations import FullSort, GroupSort2, HouseHolder
from robench.layers.constrain import (
    Constraint,
    ConvScheme,
    HeadKind,
    constrain_conv,
    constrain_head,
    constrain_linear,
    export_weight,
)
from robench.layers.normalization import InputNormalization
from robench.layers.pooling import L2NormPool2d, ScaledAvgPool2d
from robench.layers.shift import CircularShift

__all__ = [
    "CircularShift",
    "Constraint",
    "ConvScheme",
    "FullSort",
    "GroupSort2",
    "HeadKind",
    "HouseHolder",
    "InputNormalization",
    "L2NormPool2d",
    "ScaledAvgPool2d",
    "constrain_conv",
    "constrain_head",
    "constrain_linear",
    "export_weight",
]
