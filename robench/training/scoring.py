"""How good a plain model is on the validation split, and the centering of Eq. 2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robench.models.build import HEAD
from robench.training.batches import DeviceData
from robench.training.losses import centering_shift

BATCH_SIZE = 1000


@dataclass(frozen=True)
class Score:
    """What an epoch reached.

    Fields:
        clean_accuracy: share of correct predictions.
        certified_estimate: share that is correct with a pairwise radius above ε, if every layer before the head had
            constant 1. An estimate, not a certificate: the audit decides. None for unconstrained models.
        balanced_accuracy, balanced_certified: the same as means over the classes.
        constant: one class was predicted for all.
    """

    clean_accuracy: float
    certified_estimate: float | None
    balanced_accuracy: float
    balanced_certified: float | None
    constant: bool

    def rank(self, *, balance: bool) -> tuple[bool, float, float]:
        """What epochs are compared by: certified accuracy where there is one, then accuracy.

        A constant comes last: with the majority's label it is certified at every ε on more images than an honest
        model may be.
        """
        accuracy = self.balanced_accuracy if balance else self.clean_accuracy
        certified = self.balanced_certified if balance else self.certified_estimate
        return (not self.constant, accuracy if certified is None else certified, accuracy)


@torch.no_grad()
def all_logits(model: nn.Module, data: DeviceData) -> Tensor:
    """Logits (N, outputs) of a whole data set."""
    return torch.cat([model(batch.inputs) for batch in data.batches(BATCH_SIZE)])


@torch.no_grad()
def score(model: nn.Sequential, data: DeviceData, *, eps: float | None, input_slope: float) -> Score:
    """Score a plain model.

    Args:
        model: its head is its layer `head`.
        data: the split to score on.
        eps: radius of the certified estimate; None for no estimate.
        input_slope: Lipschitz constant of the input scaling, 1 where there is none.
    """
    logits = all_logits(model, data)
    predicted = classes(logits)
    correct = predicted == data.labels
    certified = None
    if eps is not None:
        certified = correct & (pairwise_radii(logits, head_of(model).weight) / input_slope > eps)
    return Score(
        clean_accuracy=float(correct.double().mean()),
        certified_estimate=None if certified is None else float(certified.double().mean()),
        balanced_accuracy=_class_mean(correct, data.labels),
        balanced_certified=None if certified is None else _class_mean(certified, data.labels),
        constant=len(torch.unique(predicted)) == 1,
    )


def classes(logits: Tensor) -> Tensor:
    """Predicted classes (N,); of one logit 0 is class 0."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def _class_mean(hits: Tensor, labels: Tensor) -> float:
    """The mean over the classes of the share of hits in each."""
    shares = [hits[labels == label].double().mean() for label in torch.unique(labels)]
    return float(torch.stack(shares).mean())


def pairwise_radii(logits: Tensor, head_weight: Tensor) -> Tensor:
    """Least (f_i - f_j) / ||w_i - w_j|| over j, i the predicted class, (N,); |f| / ||w|| for one logit."""
    tiny = torch.finfo(logits.dtype).tiny
    if logits.shape[1] == 1:
        slope: Tensor = head_weight.norm()
        return logits[:, 0].abs() / slope.clamp_min(tiny)
    top = logits.argmax(1, keepdim=True)
    distance = torch.cdist(head_weight, head_weight, compute_mode="donot_use_mm_for_euclid_dist").clamp_min(tiny)
    gaps = (logits.gather(1, top) - logits) / distance[top[:, 0]]
    return gaps.scatter(1, top, torch.inf).amin(1)


@torch.no_grad()
def center(model: nn.Sequential, data: DeviceData) -> None:
    """Shift each output by Eq. 2: f_k - (E_{P_k}[f_k] + E_{not P_k}[f_k]) / 2 over a data set.

    Raises:
        DataError: a class has no example.
    """
    shift = centering_shift(all_logits(model, data).double(), data.labels)
    head = head_of(model)
    head.bias.copy_((head.bias.double() - shift).to(head.bias))


def head_of(model: nn.Sequential) -> nn.Linear:
    """The last layer of a model that `models.build` made."""
    head = model.get_submodule(HEAD)
    if not isinstance(head, nn.Linear):
        raise TypeError("the head is no linear layer")
    return head
