"""A training step as one CUDA graph: small networks otherwise wait for the CPU to call each of a thousand kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robench.training.batches import Batch

WARM_UPS = 3
"""Runs before the capture, in which libraries choose their kernels and take their memory."""


class CapturedGradient:
    """The loss of a batch and its gradients, captured once and played again for each batch of the same size.

    Buffers that a step renews must be written in place. The optimiser stays outside: rates change from step to step.

    Args:
        model: whose gradients are computed; its parameters, buffers and gradients keep their places.
        compute: computes the loss of a batch and its gradients, from none.
        batch: the first one, for the sizes.

    Raises:
        RuntimeError: the step cannot be captured, since it waits for the device.
    """

    def __init__(self, model: nn.Module, compute: Callable[[Batch], Tensor], batch: Batch) -> None:
        self._batch = Batch(batch.inputs.clone(), batch.labels.clone())
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        try:
            self._graph, self._loss = self._captured(model, compute)
        finally:
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])  # as if nothing had been run, so that a resumed training goes the same way

    def _captured(self, model: nn.Module, compute: Callable[[Batch], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                model.zero_grad(set_to_none=True)
                compute(self._batch)
        torch.cuda.current_stream().wait_stream(aside)
        model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = compute(self._batch)
        return graph, loss

    def __call__(self, batch: Batch) -> Tensor:
        """The loss; gradients are where the model's parameters have them."""
        self._batch.inputs.copy_(batch.inputs)
        self._batch.labels.copy_(batch.labels)
        self._graph.replay()
        return self._loss
