"""A training in memory: model, optimiser, the best weights so far; epoch by epoch, to tensors and facts and back."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from robench.data import Dataset
from robench.devices import exact_arithmetic
from robench.errors import DataError, ModelError, SpecError
from robench.models.build import build, build_constrained, export
from robench.models.checks import check_agreement
from robench.numerics import lower_percent, upper_percent
from robench.progress import Progress
from robench.specs.epsilon import epsilon_value
from robench.specs.training import AdversarialSpec, TrainSpec
from robench.statistics.predictions import Prediction
from robench.training.adversary import perturb, random_start
from robench.training.augmentation import augmentation
from robench.training.batches import Batch, DeviceData, generator
from robench.training.captured import CapturedGradient
from robench.training.losses import build_loss
from robench.training.ranks import ALONE, Ranks
from robench.training.schedule import make_optimizers, make_scheduler
from robench.training.scoring import Score, all_logits, center, classes, head_of, score

AGREEMENT_INPUTS = 64
TRAINED_AGREEMENT = 1e-2
"""Training computes weights in float32, an export exactly: outputs of ill-conditioned ones differ this much."""
NOISE_STREAM = 1
LOOK_SECONDS = 0.25
"""Time between two looks at the loss within an epoch: each waits for the device."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to.

    Fields:
        epoch: its number, from 1.
        loss: mean over its examples.
        lr: learning rate of its last step.
        score: on the validation split; None where the spec wants none at this epoch.
    """

    epoch: int
    loss: float
    lr: float
    score: Score | None

    def to_dict(self) -> dict[str, Any]:
        """A row of the history, as plain data."""
        scored = {} if self.score is None else asdict(self.score)
        return {"epoch": self.epoch, "loss": self.loss, "lr": self.lr, **scored}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Epoch:
        """Build from plain data."""
        known = {key: row[key] for key in ("epoch", "loss", "lr")}
        scored = {key: value for key, value in row.items() if key not in known}
        return cls(**known, score=Score(**scored) if scored else None)


@dataclass(frozen=True)
class Kept:
    """The plain weights of the best epoch so far."""

    epoch: int
    score: Score
    tensors: dict[str, Tensor]


class Session:
    """A training after `epoch` whole epochs.

    Args:
        spec: how to train.
        train, validation: images to train on, and to score and choose epochs on.
        device: where.
        ranks: the processes that train this model together.

    Raises:
        DataError: the images do not fit the model.
        SpecError: there are more processes than images in a batch.
    """

    def __init__(
        self,
        spec: TrainSpec,
        train: Dataset,
        validation: Dataset,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        if ranks.size > spec.batch_size:
            raise SpecError(
                f"{ranks.size} processes cannot share batches of {spec.batch_size}",
                hint="use fewer, or raise `batch_size`",
            )
        for dataset in (train, validation):
            check_fit(spec, dataset)
        self.spec = spec
        self._train, self._validation, self._device = DeviceData(train, device), DeviceData(validation, device), device
        self._loss = build_loss(spec.loss)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            model = build_constrained(
                spec.model, constraint=spec.constraint, conv_scheme=spec.conv_scheme, head=spec.head
            )
        self.model = model.to(device)
        self._ranks, self._replica = ranks, ranks.replicated(self.model)
        self._steps_per_epoch = math.ceil(len(train) / spec.batch_size)
        self._optimizers = make_optimizers(spec.optimizer, self.model)
        steps = spec.epochs * self._steps_per_epoch
        self._schedulers = [make_scheduler(spec.optimizer, optimizer, steps) for optimizer in self._optimizers]
        self._steps = 0
        self._captured: CapturedGradient | None = None
        self._captures = device.type == "cuda" and spec.adversarial is None and ranks.size == 1
        self.kept: Kept | None = None
        self.history: list[Epoch] = []

    @property
    def epoch(self) -> int:
        """Number of epochs trained."""
        return len(self.history)

    def epochs(self, progress: Progress) -> Iterator[Epoch]:
        """Train the epochs that are missing, one at a time.

        Raises:
            SpecError: the loss is not finite.
        """
        spec = self.spec
        progress.start(f"train {spec.recipe} on {spec.data.name}", spec.epochs * self._steps_per_epoch)
        if self.history:
            progress.note(f"note: goes on after epoch {self.epoch} of {spec.epochs}")
        progress.advance(self.epoch * self._steps_per_epoch)
        while self.epoch < spec.epochs:
            with _reproducible(self._device):
                done = self._run_epoch(progress)
            facts = {"epoch": f"{self.epoch}/{spec.epochs}", "loss": f"{done.loss:.4g}", **self._rates(done.score)}
            progress.note("  ".join(f"{name} {value}" for name, value in facts.items()))
            yield done

    def _run_epoch(self, progress: Progress) -> Epoch:
        """Train for one epoch, score it, and keep its weights if they are the ones to export."""
        spec, epoch = self.spec, self.epoch
        noise = generator(spec.seed, epoch, stream=NOISE_STREAM)
        loss_sum = torch.zeros((), device=self._device, dtype=torch.float64)
        seen, next_look = 0, 0.0
        scored_last = next((done.score for done in reversed(self.history) if done.score is not None), None)
        self.model.train()
        change = augmentation(spec.augment, spec.seed, epoch)
        for batch in self._train.epoch(spec.batch_size, seed=spec.seed, epoch=epoch, balance=spec.balance):
            batch = Batch(change(batch.inputs), batch.labels)
            loss_sum += self._train_step(batch, noise).double() * len(batch.labels)
            seen += len(batch.labels)
            if time.monotonic() < next_look:
                progress.advance(1)
                continue
            next_look = time.monotonic() + LOOK_SECONDS
            facts = {"epoch": f"{epoch + 1}/{spec.epochs}", "loss": f"{float(loss_sum) / seen:.4g}"}
            progress.advance(1, **facts, **self._rates(scored_last))
        mean_loss = float(loss_sum) / len(self._train)
        if not math.isfinite(mean_loss):
            raise SpecError(
                f"the training diverged: the loss of epoch {epoch + 1} is {mean_loss}",
                hint=f"lower `optimizer.lr` (now {spec.optimizer.lr:g})",
            )
        scored = (epoch + 1) % spec.score_every == 0 or epoch + 1 == spec.epochs
        rate = float(self._schedulers[0].get_last_lr()[0])
        done = Epoch(epoch + 1, mean_loss, rate, self._keep(epoch + 1) if scored else None)
        self.history.append(done)
        return done

    def _train_step(self, batch: Batch, noise: torch.Generator) -> Tensor:
        if self._steps:  # between two steps: torch's one-cycle has no rate for a step after the last
            for scheduler in self._schedulers:
                scheduler.step()
        self._steps += 1
        if self.spec.adversarial is not None:
            batch = self._perturbed(batch, self.spec.adversarial, noise)
        if self._captures and self._captured is None and len(batch.labels) == self.spec.batch_size:
            self._capture(batch)
        if self._captured is not None and len(batch.labels) == self.spec.batch_size:
            loss = self._captured(batch)
        else:
            self.model.zero_grad(set_to_none=self._captured is None)
            loss = self._gradient(batch)
        for optimizer in self._optimizers:
            optimizer.step()
        return loss

    def _perturbed(self, batch: Batch, spec: AdversarialSpec, noise: torch.Generator) -> Batch:
        """A batch whose rows of this process are moved; an adversary sees the loss of these alone."""
        start = random_start(batch.inputs, spec.eps, noise)
        rows = self._rows(batch)
        with parametrize.cached():
            part = Batch(batch.inputs[rows], batch.labels[rows])
            moved = perturb(self.model, part, self._loss, spec, self._train.bounds, start[rows])
        inputs = batch.inputs.clone()
        inputs[rows] = moved
        return Batch(inputs, batch.labels)

    def _rows(self, batch: Batch) -> slice:
        """The rows that this process computes; one that does not count where it has none."""
        rows = self._ranks.part(len(batch.labels))
        return rows if rows.stop > rows.start else slice(0, 1)

    def _gradient(self, batch: Batch) -> Tensor:
        """The loss of a batch, whose gradients are added to those there are."""
        ranks = self._ranks
        with parametrize.cached():
            weight = head_of(self.model).weight
            if ranks.rank:
                weight = weight.detach()  # what a loss says of the head itself counts once
            logits = ranks.gathered(self._logits(batch.inputs[self._rows(batch)]), len(batch.labels))
            loss = self._loss(logits, batch.labels, weight)
            (loss if ranks.size == 1 else loss * ranks.size).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _capture(self, batch: Batch) -> None:
        """Capture the step, or find that it cannot be: some constraints wait for what the device has computed."""
        try:
            self._captured = CapturedGradient(self.model, self._gradient, batch)
        except RuntimeError:
            self._captures = False
            self.model.zero_grad(set_to_none=True)

    def _logits(self, inputs: Tensor) -> Tensor:
        """Logits in float32; with `bfloat16` the layers are autocast, while constrained weights stay exact."""
        if self.spec.precision == "float32":
            logits: Tensor = self._replica(inputs)
            return logits
        for module in self.model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                _ = module.weight
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            return self._replica(inputs).float()  # type: ignore[no-any-return]

    def _keep(self, epoch: int) -> Score:
        """Score the exported weights of an epoch; keep them if they are the best, or the last are wanted."""
        plain = self.exported()
        spec = self.spec
        normalization = spec.model.normalization
        reached = score(
            plain,
            self._validation,
            eps=epsilon_value(spec.select_eps) if spec.constrained else None,
            input_slope=1.0 if normalization is None else 1.0 / min(normalization.std),
        )
        balance = spec.balance
        if (
            spec.keep == "last"
            or self.kept is None
            or reached.rank(balance=balance) >= self.kept.score.rank(balance=balance)
        ):
            self.kept = Kept(epoch, reached, plain.state_dict())
        return reached

    def _rates(self, score: Score | None) -> dict[str, str]:
        """What an epoch reached on the validation split, as text; nothing where it was not scored."""
        if score is None:
            return {}
        n = len(self._validation)
        shown = {"accuracy": upper_percent(round(score.clean_accuracy * n), n, " %")}
        if score.certified_estimate is not None:
            certified = lower_percent(round(score.certified_estimate * n), n, " %")
            shown[f"certified at {self.spec.select_eps}"] = f"{certified} (estimate)"
        return shown

    def exported(self) -> nn.Sequential:
        """The plain model of this moment, centered if the spec says so; its outputs agree with the trained model's.

        Raises:
            ModelError: they do not.
        """
        plain = export(self.model, self.spec.model)
        self.model.eval()
        inputs = next(self._validation.batches(AGREEMENT_INPUTS)).inputs
        check_agreement(self.model, plain, inputs, tolerance=TRAINED_AGREEMENT)
        if self.spec.center:
            center(plain, self._train)
        return plain

    def kept_model(self) -> nn.Sequential:
        """The plain model to be written to the model folder, on the CPU."""
        if self.kept is None:
            raise ModelError("no epoch has been trained", hint="train for 1 epoch or more")
        plain = build(self.spec.model).eval().requires_grad_(False)
        plain.load_state_dict(self.kept.tensors)
        return plain

    def validation_predictions(self) -> list[Prediction]:
        """True and predicted class of the validation images, by the model to be written."""
        predicted = classes(all_logits(self.kept_model().to(self._device), self._validation))
        pairs = zip(self._validation.labels.tolist(), predicted.tolist(), strict=True)
        return [Prediction(*pair) for pair in pairs]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is needed to go on: tensors by name, and facts as plain data."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for numbers, optimizer in _numbered(self._optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{numbers[index]}.{name}": value for name, value in state.items()}
        history = [epoch.to_dict() for epoch in self.history]
        facts: dict[str, Any] = {"spec": self.spec.digest(), "epoch": self.epoch, "history": history}
        if self.kept is not None:
            tensors |= {f"kept.{name}": tensor for name, tensor in self.kept.tensors.items()}
            facts["kept"] = {"epoch": self.kept.epoch, **asdict(self.kept.score)}
        return tensors, facts

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go back to what `state` gave; the session then continues to the same weights as if it had never stopped.

        The scheduler is not stored: a fresh one is moved to the step that the optimiser has reached.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: they are not as `state` gives them.
        """
        self.model.load_state_dict(_part(tensors, "model"))
        self.history = [Epoch.from_dict(row) for row in facts["history"]]
        if facts["epoch"] != self.epoch:
            raise ValueError(f"it is of epoch {facts['epoch']}, its history of {self.epoch}")
        if "kept" in facts:  # not before the first epoch that is scored
            kept = dict(facts["kept"])
            held = {name: value.to(self._device) for name, value in _part(tensors, "kept").items()}
            self.kept = Kept(kept.pop("epoch"), Score(**kept), held)
        self._steps = self.epoch * self._steps_per_epoch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the optimiser has taken no step
            for scheduler in self._schedulers:
                for _ in range(self._steps - 1):
                    scheduler.step()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        for numbers, optimizer in _numbered(self._optimizers):
            own = {index: state[number] for index, number in enumerate(numbers) if number in state}
            optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})


def _numbered(optimizers: Sequence[Optimizer]) -> Iterator[tuple[range, Optimizer]]:
    """Optimisers, each with the numbers of its parameters when those of all are counted through."""
    first = 0
    for optimizer in optimizers:
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        yield range(first, first + count), optimizer
        first += count


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def check_fit(spec: TrainSpec, dataset: Dataset) -> None:
    """Hold a data set against the model that is to be trained on it.

    Raises:
        DataError: inputs of another shape, or another number of classes.
    """
    if dataset.shape != spec.model.input_shape or dataset.classes != spec.model.classes:
        raise DataError(
            f"the {dataset.split} images have the shape {list(dataset.shape)} and {dataset.classes} classes, the model "
            f"takes {list(spec.model.input_shape)} and tells {spec.model.classes} apart",
            hint="build the spec for these images",
        )


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels, and no TF32, so that the same seed gives the same weights."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with exact_arithmetic():
            yield
    finally:
        torch.backends.cudnn.deterministic = before
