"""Proven upper bounds of Lipschitz constants, for any torch model."""

from robench.lipschitz.bound import Head, LayerBound, LipschitzBound, bound_module, fingerprint, lipschitz_bound
from robench.lipschitz.plain import in_float32, plain_copy
from robench.lipschitz.rules.registered import register

__all__ = [
    "Head",
    "LayerBound",
    "LipschitzBound",
    "bound_module",
    "fingerprint",
    "in_float32",
    "lipschitz_bound",
    "plain_copy",
    "register",
]
