"""What rules are given, a `Call`, and what they build, a `Trace` of signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robench.errors import BoundError
from robench.lipschitz.norms.linear import LinearOp
from robench.lipschitz.norms.rounding import EXACT, UNITS, Slack, vector_norm_upper
from robench.lipschitz.trace.deployed import Deployed
from robench.lipschitz.trace.joint import joint_lipschitz
from robench.lipschitz.trace.linear import Linear
from robench.lipschitz.trace.nonlinear import Function, Nonlinear, Sum
from robench.lipschitz.trace.operations import is_random, operation_name
from robench.lipschitz.trace.ranges import Ranges
from robench.lipschitz.trace.rulebook import Rulebook
from robench.lipschitz.trace.signals import BATCH, Block, Input, Signal, View
from robench.lipschitz.trace.spectrum import Spectrum
from robench.lipschitz.trace.values import Number, Value, apart, concrete, depends, described, unusable

COMPLEX = "it makes complex numbers of its input, and robench has rules for real ones alone"


@dataclass(eq=False)
class Call:
    """One operation of the graph with its resolved arguments.

    Fields:
        trace: the walk.
        target: the ATen operation.
        args, kwargs: arguments, by position and name.
        zero: its result for the network input 0.
    """

    trace: Trace
    target: Any
    args: tuple[Value, ...]
    kwargs: dict[str, Value]
    zero: Any

    @property
    def operation(self) -> str:
        """Name without library and overload, such as `conv2d`."""
        return operation_name(self.target).split(".")[-1].split("::")[-1]

    def get(self, name: str, position: int, default: Value = None) -> Value:
        """An argument by name or position.

        Args:
            name: in torch's schema.
            position: in torch's schema.
            default: for an argument that was left out.
        """
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if position < len(self.args) else default

    def view(self, position: int = 0) -> View:
        """The argument that must depend on the input."""
        value = self.args[position] if position < len(self.args) else None
        if not isinstance(value, View):
            raise self.refusal(f"its argument {position} is {described(value)}")
        return value

    def constant(self, value: Value, what: str) -> Tensor:
        """A tensor argument that must not depend on the input."""
        if depends(value):
            raise self.refusal(f"its {what} depends on the input")
        if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
            raise self.refusal(f"its {what} is complex")
        if not isinstance(value, Tensor):
            return torch.as_tensor(value, dtype=torch.float64)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BoundError(
                f"the {what} of `{self.trace.where}` ({self.operation}) holds NaN or infinity",
                hint="train the model again; a network with such weights has no Lipschitz constant",
            )
        return value.to(torch.float64)

    def float32(self, value: Value) -> Tensor:
        """A numeric constant as it is in the deployed float32 network, lifted to float64, where it is exact."""
        own = self.constant(value, "constant")
        if isinstance(value, Number):
            return torch.full_like(own, value.deployed)
        narrow: Tensor = self.trace.deployed.constant(value if isinstance(value, Tensor) else own).to(torch.float64)
        if narrow.shape != own.shape or bool((narrow.to(torch.float32).isfinite() != own.isfinite()).any()):
            self.trace.refuse_float32(f"a constant of `{self.operation}` has another shape or is not finite there")
            return own
        return narrow

    def gap(self, value: Value) -> Tensor:
        """How far each entry of a constant of the float32 network is from that of the float64 network, at most."""
        own, narrow = self.constant(value, "constant"), self.float32(value)
        rounded = narrow.to(torch.float32).to(torch.float64)  # an operation may take it as it is, or rounded
        return torch.maximum(apart(own, narrow), apart(own, rounded))

    def refusal(self, reason: str) -> BoundError:
        """This call cannot be bounded, and why."""
        return BoundError(
            f"`{operation_name(self.target)}` in `{self.trace.where}` cannot be bounded: {reason}",
            hint=self.trace.rules.hint(operation_name(self.target)),
        )


class Sorted(NamedTuple):
    """A view, and what sorting it along an axis gives."""

    view: View
    axis: int
    result: View


@dataclass(eq=False)
class Trace:
    """The walk: builds signals, remembers them in order, and knows where it is.

    Fields:
        rules: what operations and layers are bounded by.
        deployed: what is known of the float32 network.
        path: names of the modules around the current operation.
        signals: all signals so far.
        sorts: of views, along an axis.
        polynomials: of a convolution, that sums are, by the number of their signal.
        steps: what was walked, one after the other, as functions of a batch of `BATCH` samples.
        ranges: what values signals take, where the input stays in a box.
    """

    rules: Rulebook
    deployed: Deployed = field(default_factory=Deployed)
    path: list[str] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    sorts: list[Sorted] = field(default_factory=list)
    polynomials: dict[int, Any] = field(default_factory=dict)
    steps: list[Callable[[Tensor], Any]] = field(default_factory=list)
    ranges: Ranges | None = None

    @property
    def where(self) -> str:
        """Dotted path of the current module."""
        return ".".join(self.path) or "the model"

    def refuse_float32(self, reason: str) -> None:
        """Nothing can be said of what the current module computes in float32."""
        self.deployed.refuse(f"in `{self.where}`, {reason}")

    @property
    def over_box(self) -> Ranges:
        """The ranges of signals, which rules over a box are called with."""
        assert self.ranges is not None
        return self.ranges

    def start(self, shape: tuple[int, ...]) -> View:
        """The network's input: 0, or the center of the box; what is said to grow with it grows with the distance."""
        zero = torch.zeros(shape, dtype=torch.float64) if self.ranges is None else self.ranges.box.center
        return Input("input", torch.stack([zero] * BATCH), ()).whole

    def replay(self, x: Tensor) -> Tensor:
        """What the walked operations compute for a batch of `BATCH` inputs, float64."""
        value: Any = x
        for step in self.steps:
            value = step(value)
            value = value[0] if isinstance(value, list | tuple) else value
        return value  # type: ignore[no-any-return]

    def linear(
        self,
        view: View,
        op: LinearOp,
        zero: Tensor,
        offset: Tensor | float = 0.0,
        slack: Slack = EXACT,
    ) -> View:
        """A linear operation on a view, plus a constant.

        Args:
            view: what it is given.
            op: the operation.
            zero: its result for the input 0.
            offset: the constant of one sample, or a bound of its norm.
            slack: what other constants and underflow add to the error.
        """
        if op.entrywise and zero.numel() != view.zero.numel():
            raise self._repetition(op.operation)
        shift = offset if isinstance(offset, Tensor) else None
        norm = vector_norm_upper(offset) if isinstance(offset, Tensor) else offset
        signal = Linear(self.where, zero, (view,), op, norm, shift, slack)
        self.signals.append(signal)
        return signal.whole

    def nonlinear(self, function: Function, views: Sequence[View], zero: Tensor) -> View:
        """A function of some views taken jointly that repeats no entry of them.

        Args:
            function: what is known of it.
            views: what it is given.
            zero: its result for the input 0.

        Raises:
            BoundError: the result is larger than its inputs, so that entries are repeated which the slope cannot know
                of.
        """
        entries = sum(view.zero.numel() for view in views)
        if zero.numel() > entries or (function.entrywise and zero.numel() != entries):
            raise self._repetition(function.operation)
        return self.overlapping(function, views, zero)

    def overlapping(self, function: Function, views: Sequence[View], zero: Tensor) -> View:
        """As `nonlinear`, where the slope itself counts how many entries of the result depend on one entry.

        Args:
            function: what is known of it.
            views: what it is given.
            zero: its result for the input 0.
        """
        return self.add(Nonlinear(self.where, zero, tuple(views), function, joint_lipschitz(views)))

    def pointwise(self, function: Function, view: View, zero: Tensor) -> View:
        """A function of each entry; a view that broadcasts against a constant is repeated.

        Args:
            function: what is known of it.
            view: what it is given.
            zero: its result for the input 0.
        """
        return self.nonlinear(replace(function, entrywise=True), [self.spread(view, zero)], zero)

    def _repetition(self, operation: str) -> BoundError:
        return BoundError(
            f"`{operation}` in `{self.where}` cannot be bounded: it repeats its input",
            hint="write the repetition as an operation of its own: `x.expand(...)`",
        )

    def spread(self, view: View, result: Tensor) -> View:
        """The view, broadcast to the shape of a result: copies, which count."""
        if view.shape == tuple(result.shape):
            return view
        return self.call(torch.ops.aten.expand.default, view, list(result.shape))  # type: ignore[no-any-return]

    def total(
        self,
        views: Sequence[View],
        weights: Sequence[float],
        zero: Tensor,
        slack: Slack = EXACT,
        block: Block | None = None,
    ) -> View:
        """A weighted sum of views of the same shape.

        Args:
            views: what is added.
            weights: factors of the views.
            zero: the sum for the input 0.
            slack: how far the weights are off.
            block: the residual block that the sum is, if it is one.
        """
        return self.add(Sum(self.where, zero, tuple(views), tuple(weights), slack, block))

    def add(self, signal: Signal) -> View:
        """Remember a signal, and what it is bounded by."""
        self.signals.append(signal)
        _ = signal.lipschitz  # now, so that deep networks need no deep recursion
        for arithmetic in UNITS:
            signal.error(arithmetic)
        return signal.whole

    def call(self, target: Any, *args: Value, **kwargs: Value) -> Value:
        """The value of one ATen operation: by its rule if it depends on the input, else computed.

        Args:
            target: the operation.
            *args: what it is given by position.
            **kwargs: what it is given by name.

        Raises:
            BoundError: it depends on the input and has no rule, or is random.
        """
        name = operation_name(target)
        rules = self.rules.operations
        if name not in rules and is_random(target, args, kwargs):
            raise BoundError(
                f"`{name}` in `{self.where}` is random: it draws numbers each time that the model runs",
                hint="switch it off in evaluation mode; numbers that are drawn once belong into a buffer",
            )
        zero = target(*concrete(args), **{key: concrete(value) for key, value in kwargs.items()})
        if not depends(args) and not depends(tuple(kwargs.values())):
            return zero
        if self.rules.complex_numbers is not None and (_has_spectrum(args) or _has_spectrum(tuple(kwargs.values()))):
            return self.rules.complex_numbers(Call(self, target, args, kwargs, zero))
        if name not in rules:
            reason = COMPLEX if isinstance(zero, Tensor) and zero.is_complex() else self.rules.reasons.get(name)
            raise BoundError(
                f"`{name}` in `{self.where}` has no Lipschitz rule" + (f": {reason}" if reason else ""),
                hint=self.rules.hint(name),
            )
        call = Call(self, target, args, kwargs, zero)
        for found in unusable((*args[1:], *kwargs.values())):  # of a first argument, the rule says it
            raise call.refusal(f"it uses {found.what}")
        value = rules[name](call)
        _refuse_other_precision(call, value)
        if self.ranges is not None:
            self.ranges.note(call, value)
        return value


def _has_spectrum(value: Value) -> bool:
    """Whether complex numbers that depend on the input are among some values."""
    if isinstance(value, list | tuple):
        return any(_has_spectrum(item) for item in value)
    return isinstance(value, Spectrum)


def _refuse_other_precision(call: Call, value: Value) -> None:
    """Another dtype rounds, which no constant bounds, or is complex; indices are `Unusable` and pass."""
    views = [item for item in (value if isinstance(value, list | tuple) else [value]) if isinstance(item, View)]
    results = [view.zero for view in views] + ([call.zero] if views and isinstance(call.zero, Tensor) else [])
    for result in results:
        if result.dtype != torch.float64:
            raise call.refusal(f"it changes the precision to {result.dtype}")
