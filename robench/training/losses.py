"""Losses of 1-Lipschitz classifiers, on logits (N, 1) with labels {0, 1}, or (N, q) with labels 0..q-1.

Symbols as in the paper: f logits, Y = 2 y - 1 in {-1, +1}, m margin, alpha = lambda the weight of the hinge. A binary
problem is the one-column case of one-vs-all, so Eq. (5) is Eq. (12) with q = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot, softplus

from robench.errors import DataError, SpecError
from robench.specs.training import LossSpec


class Loss(Protocol):
    """A loss to be minimised.

    Args of the call: logits (N, 1) or (N, q); labels int64 (N,); head_weight, the constrained weight (q, d) of the last
    layer, for losses that speak of certified radii. Returns a scalar.
    """

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """The mean loss of the batch."""
        ...


def signs(logits: Tensor, labels: Tensor) -> Tensor:
    """Y of shape of the logits: +1 where the column is the label's (binary: where the label is 1), else -1.

    Raises:
        DataError: shapes do not fit, or a label is out of range.
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} do not fit labels of shape {tuple(labels.shape)}",
            hint="give logits (N, 1) or (N, q) and labels (N,)",
        )
    classes = max(2, logits.shape[1])
    looked_at = labels.device.type == "cpu"  # on a GPU, `one_hot` refuses them without waiting for the device
    if looked_at and labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            f"labels lie in {int(labels.min())}..{int(labels.max())}, the model tells {classes} classes apart",
            hint=f"give labels in 0..{classes - 1}, or a model with more outputs",
        )
    positive = labels[:, None] if logits.shape[1] == 1 else one_hot(labels, logits.shape[1])
    return 2 * positive.to(logits.dtype) - 1


def kantorovich_rubinstein(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over k of E_{not P_k}[f_k] - E_{P_k}[f_k]: first part of Eq. (5) and (12).

    Expectations are the batch means of each class. A column of which the batch has no positive, or no negative, example
    adds 0: half of the difference would depend on a constant added to f_k, which the whole does not.
    """
    positive = signs(logits, labels) > 0
    negative = ~positive
    count_positive, count_negative = positive.sum(0), negative.sum(0)
    mean_positive = (logits * positive).sum(0) / count_positive.clamp_min(1)
    mean_negative = (logits * negative).sum(0) / count_negative.clamp_min(1)
    return ((mean_negative - mean_positive) * ((count_positive > 0) & (count_negative > 0))).sum()


def one_vs_all_hinge(logits: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Sum over k of E_x (m - Y_k f_k(x))_+: second part of Eq. (5), where m = 1, and of Eq. (12). No re-weighting.

    Args:
        logits: (n, q).
        labels: (n,) classes.
        margin: m.
    """
    return (margin - signs(logits, labels) * logits).clamp_min(0).mean(0).sum()


def centering_shift(logits: Tensor, labels: Tensor) -> Tensor:
    """What Eq. (2) subtracts from f: (E_{P+}[f] + E_{P-}[f]) / 2, for each column, (1,) or (q,).

    Raises:
        DataError: a class has no example.
    """
    positive = signs(logits, labels) > 0
    counts = torch.stack((positive.sum(0), (~positive).sum(0)))
    if bool((counts == 0).any()):
        raise DataError("a class has no example to center on", hint="compute the shift on the whole training set")
    sums = torch.stack(((logits * positive).sum(0), (logits * ~positive).sum(0)))
    return (sums / counts).mean(0)


class KRLoss:
    """-(Kantorovich-Rubinstein): minimised by the transport potential, lambda = 0 in Eq. (5); center with Eq. (2)."""

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """See `kantorovich_rubinstein`."""
        return kantorovich_rubinstein(logits, labels)


class HKRLoss:
    """Hinge-regularised KR: Eq. (5) for one logit, Eq. (12) for q; `kantorovich_rubinstein + alpha one_vs_all_hinge`.

    Args:
        alpha: lambda in Eq. (5), the weight of the hinge, from 0 up; not normalised by alpha + 1 or anything else.
        margin: m in Eq. (12), in the units of f; not halved.

    Raises:
        SpecError: alpha below 0 or margin not above 0.
    """

    def __init__(self, alpha: float = 50.0, margin: float = 1.0) -> None:
        _require(alpha >= 0, "alpha", alpha, "from 0 up")
        _require(margin > 0, "margin", margin, "above 0")
        self.alpha, self.margin = alpha, margin

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """KR + alpha hinge."""
        return kantorovich_rubinstein(logits, labels) + self.alpha * one_vs_all_hinge(logits, labels, self.margin)


class HingeLoss:
    """Hinge with margin m: (m - Y f)_+ for one logit; for q the multi-class hinge of Li et al. (2019).

    Multi-class: (1 / q) sum over j != y of (m - (f_y - f_j))_+, as torch's `multi_margin_loss`.

    Args:
        margin: m, in the units of f.

    Raises:
        SpecError: margin not above 0.
    """

    def __init__(self, margin: float = 1.0) -> None:
        _require(margin > 0, "margin", margin, "above 0")
        self.margin = margin

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """Mean hinge."""
        positive = signs(logits, labels) > 0
        if logits.shape[1] == 1:
            return one_vs_all_hinge(logits, labels, self.margin)
        gaps = logits.gather(1, labels[:, None]) - logits
        return (self.margin - gaps).clamp_min(0).masked_fill(positive, 0).mean()


class LogEntropyLoss:
    """Cross-entropy of tau f, divided by tau: softmax over q logits, sigmoid for one.

    Args:
        inverse_temperature: tau; a large one comes near to a hinge without margin.

    Raises:
        SpecError: inverse_temperature not above 0.
    """

    def __init__(self, inverse_temperature: float = 1.0) -> None:
        _require(inverse_temperature > 0, "inverse_temperature", inverse_temperature, "above 0")
        self.inverse_temperature = inverse_temperature

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """Mean cross-entropy."""
        y = signs(logits, labels)
        scaled = self.inverse_temperature * logits
        if logits.shape[1] == 1:
            return binary_cross_entropy_with_logits(scaled, (y + 1) / 2) / self.inverse_temperature
        loss: Tensor = cross_entropy(scaled, labels) / self.inverse_temperature
        return loss


class PairwiseMarginLoss:
    """Hinge on the pairwise radius r, and a smooth count of the examples not certified at a target radius.

    r = min over j != y of (f_y - f_j) / ||w_y - w_j||; the loss is E (m - r)_+ + c E sigmoid((target - r) / width).
    r is the certified radius of a network with 1-Lipschitz body and head rows w; negative when misclassified. One
    logit: Y f / ||w||. Needs the head's weight.

    Args:
        margin: m, in L2 units of the input.
        count_weight: c, the weight of the count, from 0 up.
        target: radius that the count is about, in L2 units of the input.
        width: of the step of the count, in the same units.

    Raises:
        SpecError: margin, target or width not above 0, count_weight below 0; at the call, no head weight.
    """

    def __init__(self, margin: float = 1.0, count_weight: float = 0.0, target: float = 1.0, width: float = 0.2) -> None:
        for name, value in (("margin", margin), ("target", target), ("width", width)):
            _require(value > 0, name, value, "above 0")
        _require(count_weight >= 0, "count_weight", count_weight, "from 0 up")
        self.margin, self.count_weight, self.target, self.width = margin, count_weight, target, width

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """Mean hinge on the radius, plus the weighted count."""
        radius = _pairwise_radii(logits, labels, _weight(head_weight)).amin(1)
        count = torch.sigmoid((self.target - radius) / self.width)
        return (self.margin - radius).clamp_min(0).mean() + self.count_weight * count.mean()


class PairwiseLogLoss:
    """Log-entropy of the pairwise radii: t log(1 + sum over j != y of exp((offset - r_j) / t)).

    r_j = (f_y - f_j) / ||w_y - w_j|| is the distance to class j that a 1-Lipschitz body and head rows w prove. Cross
    entropy with an offset on the logits (Prach and Lampert 2022), in units of the input. Needs the head's weight.

    Args:
        offset: radius up to which an example is pushed, from 0 up, in L2 units of the input.
        temperature: t, in the same units.

    Raises:
        SpecError: offset below 0, or temperature not above 0; at the call, no head weight.
    """

    def __init__(self, offset: float = 0.0, temperature: float = 0.25) -> None:
        _require(offset >= 0, "offset", offset, "from 0 up")
        _require(temperature > 0, "temperature", temperature, "above 0")
        self.offset, self.temperature = offset, temperature

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """Mean over the batch."""
        radii = _pairwise_radii(logits, labels, _weight(head_weight))
        return self.temperature * softplus(torch.logsumexp((self.offset - radii) / self.temperature, dim=1)).mean()


class AdaptiveMarginLoss:
    """Cross-entropy on the logits after the worst change within a radius, as far as the gaps allow.

    For each class j but the label y: f_j + min(gap / (r m_j), 1) r m_j, gap = f_y - f_j, m_j = ||w_y - w_j||, the
    factor at least 0.01 and without gradient (EMMA: Hu et al. 2023). Then the label's logit less `offset`, all over
    `temperature`; the cross-entropy is weighed by (1 - p)^focus (LA: Lai et al. 2025). One logit f counts as the two
    logits -f / 2 and f / 2.

    Args:
        radius: r, in L2 units of the input, from 0 up.
        offset: from 0 up, in the units of f.
        temperature: above 0.
        focus: the power, from 0 up.

    Raises:
        SpecError: a value out of range; at the call, no head weight.
    """

    def __init__(self, radius: float = 0.0, offset: float = 0.0, temperature: float = 0.25, focus: float = 0.0) -> None:
        for name, value in (("radius", radius), ("offset", offset), ("focus", focus)):
            _require(value >= 0, name, value, "from 0 up")
        _require(temperature > 0, "temperature", temperature, "above 0")
        self.radius, self.offset, self.temperature, self.focus = radius, offset, temperature, focus

    def __call__(self, logits: Tensor, labels: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """Mean weighed cross-entropy."""
        head_weight = _weight(head_weight)
        if logits.shape[1] == 1:
            logits, head_weight = (torch.cat((-t, t)) / 2 for t in (logits.T, head_weight))
            logits = logits.T
        if self.radius:
            margins = self.radius * _row_distances(head_weight)[labels]
            gaps = (logits.gather(1, labels[:, None]) - logits).detach()
            logits = logits + (gaps / margins).clamp(0.01, 1) * margins
        label = one_hot(labels, logits.shape[1]).to(logits.dtype)
        losses = cross_entropy((logits - self.offset * label) / self.temperature, labels, reduction="none")
        result: Tensor = ((1 - torch.exp(-losses)) ** self.focus * losses if self.focus else losses).mean()
        return result * self.temperature


def _weight(head_weight: Tensor | None) -> Tensor:
    if head_weight is None:
        raise SpecError("a loss of pairwise radii needs the weight of the last layer", hint="use a model with a head")
    return head_weight


def _row_distances(head_weight: Tensor) -> Tensor:
    """||w_i - w_j||, (q, q); the diagonal, and rows that are equal, have a tiny number."""
    distance: Tensor = (head_weight[:, None] - head_weight[None, :]).norm(dim=2)
    return distance.clamp_min(torch.finfo(head_weight.dtype).eps)


def _pairwise_radii(logits: Tensor, labels: Tensor, head_weight: Tensor) -> Tensor:
    """r_j of every class j, (N, q), infinite for the own class; Y f / ||w||, (N, 1), for one logit."""
    y = signs(logits, labels)
    tiny = torch.finfo(logits.dtype).eps
    radii: Tensor
    if logits.shape[1] == 1:
        radii = y * logits / head_weight.norm().clamp_min(tiny)
    else:
        distance = _row_distances(head_weight)
        gaps = logits.gather(1, labels[:, None]) - logits
        radii = (gaps / distance[labels]).masked_fill(y > 0, torch.inf)
    return radii


def _require(holds: bool, name: str, value: float, expected: str) -> None:
    if not holds:
        raise SpecError(f"the loss's `{name}` is {value}", hint=f"give a value {expected}")


LOSSES: dict[str, Callable[..., Loss]] = {
    "kr": KRLoss,
    "hkr": HKRLoss,
    "hinge": HingeLoss,
    "log": LogEntropyLoss,
    "pairwise-margin": PairwiseMarginLoss,
    "pairwise-log": PairwiseLogLoss,
    "adaptive-margin": AdaptiveMarginLoss,
}
"""Losses by the `type` of their spec; each takes the other fields of that spec by keyword."""


def build_loss(spec: LossSpec) -> Loss:
    """The loss that a spec describes."""
    settings = spec.to_dict()
    return LOSSES[settings.pop("type")](**settings)
