"""A training in memory: model, optimiser, the best weights so far; epoch by epoch, and to disk and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from robench.errors import ModelError, SpecError
from robench.models import read_tensors, write_tensors
from robench.models.build import build, build_constrained, export
from robench.models.checks import check_agreement
from robench.progress import Progress
from robench.specs.epsilon import epsilon_value
from robench.specs.training import TrainSpec
from robench.statistics.predictions import Prediction
from robench.training.adversary import perturb
from robench.training.batches import Batch, DeviceData, generator
from robench.training.losses import build_loss
from robench.training.schedule import learning_rate, make_optimizer, set_step
from robench.training.scoring import Score, all_logits, center, classes, head_of, score

ANOTHER_FOLDER = "give another --out folder, or move this one elsewhere"
AGREEMENT_INPUTS = 64
TRAINED_AGREEMENT = 1e-2
"""Training computes weights in float32, an export exactly: outputs of ill-conditioned ones differ this much."""
NOISE_STREAM = 1


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
        train, validation: data on the device.
        device: where.
    """

    def __init__(self, spec: TrainSpec, train: DeviceData, validation: DeviceData, device: torch.device) -> None:
        self.spec = spec
        self._train, self._validation, self._device = train, validation, device
        self._loss = build_loss(spec.loss)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            model = build_constrained(
                spec.model, constraint=spec.constraint, conv_scheme=spec.conv_scheme, head=spec.head
            )
        self.model = model.to(device)
        self._optimizer = make_optimizer(spec.optimizer, list(self.model.parameters()))
        self.epoch = 0
        self.kept: Kept | None = None
        self.history: list[dict[str, Any]] = []

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self._train) / self.spec.batch_size)

    def run_epoch(self, progress: Progress) -> dict[str, Any]:
        """Train for one epoch, score it, and keep its weights if they are the ones to export.

        Returns:
            The epoch's row of the history.

        Raises:
            SpecError: the loss is not finite.
        """
        spec, epoch = self.spec, self.epoch
        step, total = epoch * self.steps_per_epoch, spec.epochs * self.steps_per_epoch
        noise = generator(spec.seed, epoch, stream=NOISE_STREAM)
        loss_sum = torch.zeros((), device=self._device, dtype=torch.float64)
        self.model.train()
        for batch in self._train.epoch(spec.batch_size, seed=spec.seed, epoch=epoch, balance=spec.balance):
            set_step(self._optimizer, spec.optimizer, step, total)
            loss_sum += self._train_step(batch, noise).double() * len(batch.labels)
            step += 1
            progress.advance(1)
        mean_loss = float(loss_sum) / len(self._train)
        if not math.isfinite(mean_loss):
            raise SpecError(
                f"the training diverged: the loss of epoch {epoch + 1} is {mean_loss}",
                hint=f"lower `optimizer.lr` (now {spec.optimizer.lr:g})",
            )
        self.epoch = epoch + 1
        reached = self._keep()
        rate = learning_rate(spec.optimizer, step - 1, total)
        row = {"epoch": self.epoch, "loss": mean_loss, "lr": rate, **asdict(reached)}
        self.history.append(row)
        return row

    def _train_step(self, batch: Batch, noise: torch.Generator) -> Tensor:
        if self.spec.adversarial is not None:
            with parametrize.cached():
                inputs = perturb(self.model, batch, self._loss, self.spec.adversarial, self._train.bounds, noise)
            batch = Batch(inputs, batch.labels)
        with parametrize.cached():
            loss = self._loss(self._logits(batch.inputs), batch.labels, head_of(self.model).weight)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def _logits(self, inputs: Tensor) -> Tensor:
        """Logits in float32; with `bfloat16` the layers are autocast, while constrained weights stay exact."""
        if self.spec.precision == "float32":
            logits: Tensor = self.model(inputs)
            return logits
        for module in self.model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                _ = module.weight
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            return self.model(inputs).float()  # type: ignore[no-any-return]

    def _keep(self) -> Score:
        """Score the exported weights of this epoch; keep them if they are the best, or the last are wanted."""
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
            self.kept = Kept(self.epoch, reached, plain.state_dict())
        return reached

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

    def save(self, path: Path, *, seconds: float) -> None:
        """Write all that is needed to go on, and the time used, in one file, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        facts: dict[str, Any] = {"spec": self.spec.digest(), "epoch": self.epoch, "history": self.history}
        facts["seconds"] = seconds
        if self.kept is not None:
            tensors |= {f"kept.{name}": tensor for name, tensor in self.kept.tensors.items()}
            facts["kept"] = {"epoch": self.kept.epoch, **asdict(self.kept.score)}
        write_tensors(path, tensors, facts)

    def restore(self, path: Path) -> float:
        """Go back to what `save` wrote; the session then continues to the same weights as if it had never stopped.

        Returns:
            Seconds used until then.

        Raises:
            ModelError: the file is damaged or of another training.
        """
        stored = read_tensors(path)
        if stored.facts.get("spec") != self.spec.digest():
            raise ModelError(f"`{path}` is of another training", hint=ANOTHER_FOLDER)
        try:
            self.model.load_state_dict(_part(stored.tensors, "model"))
            self._optimizer.load_state_dict(self._optimizer_state(_part(stored.tensors, "optimizer")))
            self.epoch = int(stored.facts["epoch"])
            self.history = list(stored.facts["history"])
            kept = dict(stored.facts["kept"])
            tensors = {name: value.to(self._device) for name, value in _part(stored.tensors, "kept").items()}
            self.kept = Kept(kept.pop("epoch"), Score(**kept), tensors)
            return float(stored.facts["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"`{path}` is damaged: {error}", hint=ANOTHER_FOLDER) from None

    def _optimizer_state(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        return {"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
