"""The rules over a box of inputs: those of the whole space, and of operations that have no finite constant there."""

from __future__ import annotations

from collections.abc import Mapping

from robench.lipschitz.rules import deviations, products
from robench.lipschitz.rules.table import RULES
from robench.lipschitz.trace.rulebook import OperationRule, Rulebook

OPERATIONS: Mapping[OperationRule, str] = {
    products.multiply: "mul div",
    products.reciprocal: "reciprocal",
    products.matmul: "matmul bmm",
    products.attention: "scaled_dot_product_attention",
    deviations.layer_norm: "layer_norm native_layer_norm",
    deviations.rms_norm: "rms_norm",
    deviations.group_norm: "group_norm native_group_norm",
    deviations.instance_norm: "instance_norm",
}
"""Operations of ATen, without library and overload."""

_BOXED = {f"aten.{name}": rule for rule, names in OPERATIONS.items() for name in names.split()}

RULES_OVER_BOX = Rulebook(
    operations={**RULES.operations, **_BOXED},
    modules=RULES.modules,
    reasons={name: reason for name, reason in RULES.reasons.items() if name not in _BOXED},
    classes=RULES.classes,
)
RULES.over_box = frozenset(_BOXED)
