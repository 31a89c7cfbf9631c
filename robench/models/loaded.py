"""A model as certify and attack see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from robench.errors import ModelError
from robench.models.identity.function import Function, identify
from robench.models.input_shape import Shape
from robench.models.link.detection import take_off
from robench.models.link.link import Link
from robench.specs.base import digest


@dataclass(frozen=True)
class HeldModel:
    """A plain model, ready to be asked.

    Fields:
        module: plain layers only, evaluation mode, parameters frozen, float32, on the CPU; it gives logits.
        input_shape: without the batch.
        outputs: 1 (one logit, two classes: class 1 iff f(x) > 0), else q >= 2 logits.
        link: how the class follows from the model's own outputs, where they are no logits; None where they are.
    """

    module: nn.Module
    input_shape: Shape
    outputs: int
    link: Link | None = None

    @property
    def deployed(self) -> nn.Module:
        """The model as it was given, its output link included."""
        return self.module if self.link is None else self.link.deployed

    @property
    def classes(self) -> int:
        """Number of classes: 2 for one logit."""
        return 2 if self.outputs == 1 else self.outputs


@dataclass(frozen=True, kw_only=True)
class LoadedModel(HeldModel):
    """A plain model that was read from files, with what tells it from others.

    Fields:
        name: for tables.
        weights_sha256: SHA-256 of the bytes of the weights on disk.
        function: identity of what it computes; other weights, constants, operations or code give another.
        recipe: what it was trained by, if known.
        trained_on: name of the data set, if known.
        source_sha256: SHA-256 of the source files of a factory; None where there are none.
        notes: what a user should know of how it was read.
    """

    name: str
    weights_sha256: str
    function: Function
    recipe: str | None = None
    trained_on: str | None = None
    source_sha256: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for two models to be the same one."""
        found = {"weights_sha256": self.weights_sha256, "function_sha256": self.function.sha256}
        if self.source_sha256 is not None:
            found["source_sha256"] = self.source_sha256
        if self.link is not None:
            found["class_sha256"] = digest(self.link.to_dict())
        return found

    def describe(self) -> dict[str, Any]:
        """Plain data that says in a manifest what was used."""
        return {
            "name": self.name,
            "recipe": self.recipe,
            "input_shape": list(self.input_shape),
            "outputs": self.outputs,
            "classes": self.classes,
            "n_params": sum(parameter.numel() for parameter in self.deployed.parameters()),
            "trained_on": self.trained_on,
            "traced": self.function.traced,
            **self.identity,
            "notes": list(self.notes),
            "link": None if self.link is None else self.link.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class ReadModel:
    """A function of an input that was read from files: a classifier, or anything else that gives one tensor.

    Fields:
        module: plain, checked, evaluation mode, frozen, as it was given.
        input_shape: without the batch.
        output_shape: of one output.
        source: how to call the model in a message.
        name, weights_sha256, source_sha256, notes: as of `LoadedModel`.
    """

    module: nn.Module
    input_shape: Shape
    output_shape: Shape
    source: str
    name: str
    weights_sha256: str
    source_sha256: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_classifier(self) -> bool:
        """Whether it gives a row of logits, or one logit, for each input."""
        return len(self.output_shape) == 1

    @cached_property
    def function(self) -> Function:
        """Identity of what it computes."""
        return identify(self.module, self.input_shape)

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for two of them to be the same one."""
        found = {"weights_sha256": self.weights_sha256, "function_sha256": self.function.sha256}
        return found if self.source_sha256 is None else {**found, "source_sha256": self.source_sha256}

    def classifier(self, threshold: float | None) -> LoadedModel:
        """It as a classifier, with its output link taken off.

        Args:
            threshold: of one output: class 1 iff it is above; None to tell it from the module.

        Raises:
            ModelError: it gives no row of logits, or there is a threshold for more than one output.
        """
        if not self.is_classifier:
            raise ModelError(
                f"{self.source} gives {[2, *self.output_shape]} for two inputs, not logits of shape (2, q)",
                hint="return one row of logits for each input; (N, 1) for one logit. `robench audit` takes any shape",
            )
        outputs = self.output_shape[0]
        logits, link = take_off(self.module, self.input_shape, outputs, threshold, self.source)
        return LoadedModel(
            module=logits,
            input_shape=self.input_shape,
            outputs=outputs,
            link=link,
            name=self.name,
            weights_sha256=self.weights_sha256,
            function=self.function,
            source_sha256=self.source_sha256,
            notes=self.notes if link is None else (*self.notes, link.note),
        )
