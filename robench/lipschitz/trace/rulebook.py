"""Where the walk looks rules up: one for each operation of torch, and for some classes of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from robench.lipschitz.trace.values import Value

OperationRule = Callable[[Any], Value]
"""Takes a `Call`, gives the value of the operation."""
ModuleRule = Callable[[Any, Any, Any], Value]
"""Takes the `Trace`, a layer of the class that it is for, and a view; gives the value of the layer."""


@dataclass(eq=False)
class Rulebook:
    """The rules; `robench.lipschitz.rules.table` holds the one that is used.

    Fields:
        operations: by name, such as `aten.conv2d`.
        modules: by the qualified name of the class, so that libraries which are not installed can be named.
        reasons: why operations have no rule that are made of others, where those would say less than is known.
        module_reasons: why classes have no rule.
        classes: of rules for classes that are here, with their `forward`, by qualified name.
        over_box: names of operations that have a rule where the input stays in a box, and none in the whole space.
        complex_numbers: the rule of all operations on complex numbers that depend on the input.
    """

    operations: dict[str, OperationRule]
    modules: dict[str, ModuleRule] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    module_reasons: Mapping[type[nn.Module], str] = field(default_factory=dict)
    classes: dict[str, tuple[type[nn.Module], Any]] = field(default_factory=dict)
    over_box: frozenset[str] = frozenset()
    complex_numbers: OperationRule | None = None

    def hint(self, name: str) -> str:
        """What a user can do about an operation that has no bound."""
        boxed = "bound it over a box of inputs: `--box 0,1`, `box=(0, 1)`; or " if name in self.over_box else ""
        return (
            f"{boxed}replace it with a Lipschitz layer, or register a rule for the module around it: "
            "`robench.lipschitz.register(YourLayer)`"
        )

    def add(self, kind: type[nn.Module] | str, rule: ModuleRule) -> None:
        """Remember a rule for a class as it is now: another class, or another `forward`, may come by its name."""
        if isinstance(kind, str):
            self.modules[kind] = rule
            return
        name = qualified_name(kind)
        self.modules[name], self.classes[name] = rule, (kind, kind.forward)

    def rule_of(self, module: nn.Module) -> ModuleRule | None:
        """The rule for a module that does what its class does; None if there is none, or if it was changed."""
        name = qualified_name(type(module))
        kind, forward = self.classes.get(name, (type(module), type(module).forward))
        if type(module) is not kind or type(module).forward is not forward or changed(module):
            return None
        return self.modules.get(name)


def qualified_name(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def changed(module: nn.Module) -> bool:
    """Whether hooks, methods set on the instance, or another `__call__` change what the class's `forward` does."""
    shadowed = any(callable(getattr(type(module), name, None)) for name in vars(module))
    called = type(module).__call__ is not nn.Module.__call__
    return bool(module._forward_hooks or module._forward_pre_hooks) or shadowed or called
