"""The audit: proven upper bounds of Lipschitz constants, for any torch model."""

from robench.lipschitz.bound import Audit, Head, LayerBound, audit, fingerprint
from robench.lipschitz.rules.modules import in_float32, plain_copy
from robench.lipschitz.trace.registered import register

__all__ = ["Audit", "Head", "LayerBound", "audit", "fingerprint", "in_float32", "plain_copy", "register"]
