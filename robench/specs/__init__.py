"""Specs: what decides a result, as frozen typed data. No torch here."""

from robench.specs.base import Spec, digest
from robench.specs.epsilon import epsilon_value, split_epsilons

__all__ = ["Spec", "digest", "epsilon_value", "split_epsilons"]
