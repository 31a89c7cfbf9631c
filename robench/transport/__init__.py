"""The optimal transport problem behind the hKR loss."""

from robench.transport.linear_program import Optimum, hinge_transport
from robench.transport.potential import Duality, Levels, Potential, compare, level_map, measure, plan_cosines

__all__ = [
    "Duality",
    "Levels",
    "Optimum",
    "Potential",
    "compare",
    "hinge_transport",
    "level_map",
    "measure",
    "plan_cosines",
]
