"""How a model is trained: everything that decides its weights, and nothing else. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from robench.errors import SpecError
from robench.specs.base import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range, Spec
from robench.specs.data import DataSpec
from robench.specs.epsilon import epsilon_value
from robench.specs.model import Head, ModelSpec

Constraint = Literal["none", "spectral", "bjorck", "polar"]
ConvScheme = Literal["paper", "strict", "orthogonal"]
Augmentation = Literal["none", "shift", "crop-flip"]
HeadKind = Literal["none", "unit_rows", "joint"]


@dataclass(frozen=True, kw_only=True)
class HKRLossSpec(Spec):
    """Hinge-regularised Kantorovich-Rubinstein loss (paper, Eq. 5 for one logit, Eq. 12 one-vs-all).

    Fields:
        alpha: weight λ of the hinge term, in the paper's scale.
        margin: m of the hinge term max(0, m - y f).
    """

    type: Literal["hkr"] = "hkr"
    alpha: NonNegativeFloat = 50.0
    margin: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class KRLossSpec(Spec):
    """Kantorovich-Rubinstein loss alone (paper, Eq. 1b; λ = 0 in Eq. 5 and 12)."""

    type: Literal["kr"] = "kr"


@dataclass(frozen=True, kw_only=True)
class HingeLossSpec(Spec):
    """Multi-class hinge, sum over j != y of max(0, m - (f_y - f_j)) / q (Li et al. 2019); binary: max(0, m - y f).

    Fields:
        margin: m, in units of the logits.
    """

    type: Literal["hinge"] = "hinge"
    margin: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class LogLossSpec(Spec):
    """Log-entropy (cross-entropy) of the logits times `inverse_temperature`, divided by it.

    Fields:
        inverse_temperature: factor of the logits; a large one cares for small margins only.
    """

    type: Literal["log"] = "log"
    inverse_temperature: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class PairwiseMarginLossSpec(Spec):
    """Hinge on the pairwise radius r = min_j (f_y - f_j) / ||w_y - w_j||, and a smooth count of r below a target.

    Fields:
        margin: m of the hinge max(0, m - r), in L2 units of the input.
        count_weight: weight of the count, the mean of sigmoid((target - r) / width).
        target: radius to be certified, in L2 units of the input.
        width: of the step of the count, in the same units.
    """

    type: Literal["pairwise-margin"] = "pairwise-margin"
    margin: PositiveFloat = 3.0
    count_weight: NonNegativeFloat = 0.0
    target: PositiveFloat = 1.0
    width: PositiveFloat = 0.2


@dataclass(frozen=True, kw_only=True)
class PairwiseLogLossSpec(Spec):
    """Log-entropy of the pairwise radii r_j = (f_y - f_j) / ||w_y - w_j||: t log(1 + sum_j exp((offset - r_j) / t)).

    Fields:
        offset: radius up to which an example is pushed, in L2 units of the input; twice the ε of interest is usual.
        temperature: t, in the same units; a small one comes near to a hinge on the smallest radius.
    """

    type: Literal["pairwise-log"] = "pairwise-log"
    offset: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 0.25


@dataclass(frozen=True, kw_only=True)
class AdaptiveMarginLossSpec(Spec):
    """Cross-entropy on logits that an attack within a radius could reach (EMMA), with a focus on what is not yet sure.

    Fields:
        radius: L2 radius that is taken off each gap, in input units; at most the gap itself (Hu et al. 2023). 0: none.
        offset: taken off the label's logit (Prach and Lampert 2022).
        temperature: divides the logits.
        focus: power of 1 - p that weighs an example, p the probability of its label (Lai et al. 2025). 0: none.
    """

    type: Literal["adaptive-margin"] = "adaptive-margin"
    radius: NonNegativeFloat = 0.0
    offset: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 0.25
    focus: NonNegativeFloat = 0.0


LossSpec = (
    HKRLossSpec
    | KRLossSpec
    | HingeLossSpec
    | LogLossSpec
    | PairwiseMarginLossSpec
    | PairwiseLogLossSpec
    | AdaptiveMarginLossSpec
)


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Spec):
    """The optimiser and its learning rate over the epochs.

    Fields:
        name: of the optimiser. `muon` updates the weights before the head by Muon (Jordan et al. 2024), with steps of
            Adam's size, and biases and head by Adam.
        lr: learning rate; the peak of `one-cycle`, the start of `cosine`.
        schedule: `constant`; `one-cycle` (up to the peak and down again); `cosine` (down to 0).
        momentum: of `sgd` only.
        weight_decay: L2 penalty of `sgd` and `adam`, decoupled decay of `adamw`, and of the weights that Muon updates.
    """

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    lr: PositiveFloat = 1e-3
    schedule: Literal["constant", "one-cycle", "cosine"] = "constant"
    momentum: Annotated[float, Range(smallest=0.0, below=1.0)] = 0.9
    weight_decay: NonNegativeFloat = 0.0


@dataclass(frozen=True, kw_only=True)
class AdversarialSpec(Spec):
    """Adversarial training by L2 projected gradient descent (Madry et al. 2018).

    Fields:
        eps: L2 radius in input units.
        steps: gradient steps for each batch.
        relative_step: step size as a multiple of eps / steps.
    """

    eps: PositiveFloat
    steps: PositiveInt = 7
    relative_step: PositiveFloat = 2.5


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Spec):
    """A training run.

    Fields:
        recipe: name of the recipe that this spec comes from; a label, its values may have been overridden.
        arch: name of the architecture, or of the file that `model.layers` comes from; a label.
        data: which images.
        limit: how many images of the training split are used; None for all.
        model: the architecture.
        constraint: how the weights of the layers before the head are kept 1-Lipschitz; `bjorck` is the paper's.
        conv_scheme: constant of a convolution: `paper` is Eq. 11, `strict` a bound, `orthogonal` another
            parametrization.
        head: `unit_rows` makes each output 1-Lipschitz by itself (paper, §4.2), `joint` all outputs together.
        loss: what is minimised.
        balance: classes count alike: every batch holds as many examples of each, and the scores by which an epoch is
            chosen are means over the classes.
        augment: what is done to training images: `shift` by up to 1 pixel; `crop-flip` shifts by up to 4 and mirrors
            half of them. What comes in at the border is 0.
        center: after training, shift each output by Eq. 2.
        optimizer: and its learning rate.
        batch_size: images for each step.
        epochs: passes over the training images.
        seed: of the first weights and of the order of the images.
        adversarial: attacks on the training images; None for none.
        select_eps: L2 radius, as written by the user, at which certified accuracy is estimated on the validation split.
        keep: the epoch whose weights are exported: the best on the validation split, or the last.
        score_every: epochs from one scoring on the validation split to the next; only scored ones can be kept, and the
            last one always is scored.
        precision: arithmetic of the forward pass; `bfloat16` is autocast, weights stay float32.
    """

    recipe: str
    arch: str
    data: DataSpec
    limit: PositiveInt | None = None
    model: ModelSpec
    constraint: Constraint
    conv_scheme: ConvScheme = "paper"
    head: HeadKind
    loss: LossSpec
    balance: bool = False
    augment: Augmentation = "none"
    center: bool = False
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    batch_size: PositiveInt = 256
    epochs: PositiveInt
    seed: NonNegativeInt = 0
    adversarial: AdversarialSpec | None = None
    select_eps: str
    keep: Literal["best", "last"] = "best"
    score_every: PositiveInt = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        """Check what excludes each other."""
        super().__post_init__()
        epsilon_value(self.select_eps)
        if (self.constraint == "none") != (self.head == "none"):
            raise SpecError(
                f"constraint `{self.constraint}` and head `{self.head}` do not go together",
                hint="constrain both the layers and the head, or neither",
            )
        if self.center and not any(isinstance(layer, Head) and layer.bias for layer in self.model.layers):
            raise SpecError("centering moves the bias of the head, and the head has none", hint="give the head a bias")

    @property
    def constrained(self) -> bool:
        """Whether the layers are kept 1-Lipschitz in training."""
        return self.constraint != "none"
