"""What holds of a network in a ball around an input, tighter than what holds everywhere (docs/design/0017-local.md)."""

from robench.lipschitz.local.ball import Ball, Within
from robench.lipschitz.local.graph import Graph, network_graph

__all__ = ["Ball", "Graph", "Within", "network_graph"]
