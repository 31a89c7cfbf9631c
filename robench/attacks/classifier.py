"""The model under attack: at least two logits, evaluated in tiles of fixed size, every pass counted.

An iterative attack amplifies the last bit into another answer. So every call has one of a few sizes,
`Classifier.sizes`, for which outputs and gradients do not depend on neighbours (`robench.models.networks.tiles`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robench.attacks.passes import PassCounter
from robench.errors import ModelError
from robench.models.networks.held import detached_copy
from robench.models.networks.tiles import canonical, probe_inputs, stable_sizes
from robench.models.networks.widened import widened

LogitLoss = Callable[[Tensor], Tensor]
"""Logits (T, q) to the loss of each row (T,)."""

CPU_SIZES = (1, 2, 4, 8, 16, 32, 64)
CUDA_SIZES = (1, 8, 64, 256)
CUDA_LARGE_SIZES = (1024, 4096)
CUDA_AT_ONCE = 4e9
"""Floating-point operations of a tile up to which a CUDA device takes about as long for any number of rows: padding is
then free, and a large tile saves calls. A model with fewer to a row gets larger tiles."""


def two_logits(output: Float[Tensor, "n ..."]) -> Float[Tensor, "n q"]:
    """The outputs of a model as at least two logits: one logit f becomes [-f/2, f/2], so the gap keeps Lip(f)."""
    if output.ndim == 1 or output.shape[1] == 1:
        f = output.reshape(-1, 1)
        return torch.cat([-f / 2, f / 2], dim=1)
    return output


def margin(logits: Float[Tensor, "n q"], label: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Logit of the true class minus the largest other one; adversarial where negative."""
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf)
    return own - others.amax(dim=1)


def negative_margin(label: Int[Tensor, " n"]) -> LogitLoss:
    """What is ascended towards another class: no softmax, so it cannot saturate."""
    return lambda logits: -margin(logits, label)


class Classifier:
    """A plain module, frozen, in float32 for attacks and in float64 for what counts.

    Args:
        module: takes (N, *input_shape); not changed, a copy is frozen and moved.
        input_shape: without the batch.
        device: where to compute.
        passes: the counter to add to.
    """

    def __init__(
        self, module: nn.Module, input_shape: tuple[int, ...], *, device: torch.device, passes: PassCounter
    ) -> None:
        self.device = device
        self.input_shape = tuple(input_shape)
        self.passes = passes
        self.single = single_precision(module, device)
        self._double = widened(module).eval().to(device)
        self.classes = self._check_outputs()
        sizes = self._cuda_sizes() if device.type == "cuda" else CPU_SIZES
        self.sizes = stable_sizes(self._probe, probe_inputs(sizes[-1], self.input_shape, device), sizes)

    def fit(self, rows: int) -> int:
        """The smallest tile that holds `rows`, or the largest there is."""
        return next((size for size in self.sizes if size >= rows), self.sizes[-1])

    def differentiate(self, x: Tensor, scale: Tensor, loss: LogitLoss, active: int) -> tuple[Tensor, Tensor]:
        """The model and the gradient of a loss on a tile, in float32.

        Args:
            x: (T, *shape).
            scale: (T,) by which logits are divided.
            loss: logits to a loss of each row.
            active: how many rows are counted; the others are copies.

        Returns:
            Logits (T, q), and gradients (T, *shape); what is not finite counts as 0.
        """
        self.passes.add(forward=active, backward=active, padding=len(x) - active)
        with torch.enable_grad():
            leaf = canonical(x).requires_grad_(True)
            logits = two_logits(self.single(leaf)) / scale[:, None]
            gradient = gradient_or_zero(loss(logits).sum(), leaf)
        return logits.detach(), torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)

    @torch.no_grad()
    def exact_logits(self, x: Tensor, active: int) -> Tensor:
        """Logits (T, q) in float64 of a tile of float32 points."""
        self.passes.add(forward=active, padding=len(x) - active)
        return two_logits(self._double(canonical(x).double()))

    def _check_outputs(self) -> int:
        """Number of classes: 2 for one logit."""
        probe = torch.zeros((2, *self.input_shape), device=self.device)
        with torch.no_grad():
            output = self.single(probe)
        if not isinstance(output, Tensor) or output.ndim > 2 or len(output) != 2:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"for two inputs the model returns {found}, not two rows of logits",
                hint="attack a model that returns a tensor (N, q), or (N, 1) for one logit",
            )
        return two_logits(output).shape[1]

    @torch.no_grad()
    def _cuda_sizes(self) -> tuple[int, ...]:
        """Sizes for the work of one row; a count, not a time, so that the sizes are the same in every run."""
        counter = FlopCounterMode(display=False)
        with counter:
            self.single(torch.zeros((1, *self.input_shape), device=self.device))
        rows = CUDA_AT_ONCE / max(counter.get_total_flops(), 1)
        return (*CUDA_SIZES, *(size for size in CUDA_LARGE_SIZES if size <= rows))

    def _probe(self, x: Tensor) -> Tensor:
        """Logits in both precisions and gradients, one row an input, as bits to compare."""
        with torch.enable_grad():
            leaf = canonical(x).requires_grad_(True)
            logits = two_logits(self.single(leaf))
            weights = torch.arange(1, logits.shape[1] + 1, device=x.device) % 3 + 0.7
            gradient = gradient_or_zero((logits * weights).sum(), leaf)
        with torch.no_grad():
            double = two_logits(self._double(canonical(x).double()))
        return torch.nan_to_num(torch.cat([logits.detach().double(), gradient.flatten(1).double(), double], dim=1))


def gradient_or_zero(total: Tensor, leaf: Tensor, *, retain_graph: bool = False) -> Tensor:
    """The gradient of a scalar; zero where the model gives none, as one whose `forward` runs without gradients.

    Args:
        total: the scalar.
        leaf: what it is differentiated by.
        retain_graph: whether it is differentiated again.
    """
    if not total.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(total, leaf, retain_graph=retain_graph, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def single_precision(module: nn.Module, device: torch.device) -> nn.Module:
    """A frozen copy of a module in float32, in evaluation mode."""
    clone = detached_copy(module).to(device=device, dtype=torch.float32).eval()
    return clone.requires_grad_(False)
