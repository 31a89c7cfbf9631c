"""Tensors that are stacked in front of the batch and taken apart again: q, k, v = y.permute(2, 0, 3, 1, 4).

The walk follows the batch on the first axis alone. Where all that is used of such a permutation are its slices along
the new first axis, each slice is a slice of y with the batch in front.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from robench.lipschitz.trace.operations import operation_name

aten = torch.ops.aten


def unstacked(graph: GraphModule) -> GraphModule:
    """The graph, which is changed in place."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and operation_name(node.target) == "aten.permute":
            _unstack(graph, node)
    graph.recompile()
    return graph


def _unstack(graph: GraphModule, node: Node) -> None:
    whole, order = node.args[:2]
    if not isinstance(order, list | tuple) or any(not isinstance(axis, int) for axis in order):
        return
    axes = [int(axis) % len(order) for axis in order if isinstance(axis, int)]
    slices = _slices(node)
    if len(axes) < 2 or axes[0] == 0 or slices is None:
        return
    rest = [axis - (axis > axes[0]) for axis in axes[1:]]
    for piece, position in slices:
        with graph.graph.inserting_before(piece):
            taken = graph.graph.call_function(aten.select.int, (whole, axes[0], position))
            turned = graph.graph.call_function(aten.permute.default, (taken, rest))
        for made in (taken, turned):
            made.meta["path"] = piece.meta.get("path", ())
        piece.replace_all_uses_with(turned)
        graph.graph.erase_node(piece)
    for user in list(node.users):
        graph.graph.erase_node(user)
    graph.graph.erase_node(node)


def _slices(node: Node) -> list[tuple[Node, Any]] | None:
    """The slices along the first axis that a tensor is used by, and their positions; None if it is used otherwise."""
    found: list[tuple[Node, Any]] = []
    for user in node.users:
        name = operation_name(user.target)
        if name == "aten.select" and user.args[1] == 0:
            found.append((user, user.args[2]))
        elif name == "aten.unbind" and not any(user.args[1:]) and not user.kwargs:
            if any(part.target is not operator.getitem for part in user.users):
                return None
            found += [(part, part.args[1]) for part in user.users]
        else:
            return None
    return found or None
