"""Tables of several models. Certified and attacked rates of one table are of the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from robench.records.record import COMBINED, RULES, Rule
from robench.reporting.evaluation import Evaluation
from robench.reporting.tables import cells
from robench.reporting.tables.table import Column, Rate, Table, above, below, by_eps, names
from robench.specs.epsilon import ascending
from robench.statistics.curves import Curve


def models(evaluations: Sequence[Evaluation]) -> Table:
    """One row a model: number of images, clean accuracy and base rate, mean certified radius, Lipschitz bounds."""
    return Table.of(evaluations, _of_a_model(evaluations))


def comparison(evaluations: Sequence[Evaluation]) -> Table:
    """One row a model with everything of `models` and `bounds`: wide, for a spreadsheet."""
    eps = _all_eps(evaluations)
    attacked = ascending(text for item in evaluations for text in item.attacked_eps)
    columns = _of_a_model(evaluations)
    for rule in _rules(evaluations):
        columns += by_eps(f"certified % ({rule})", eps, partial(_certified, rule=rule))
    return Table.of(evaluations, [*columns, *by_eps("attacked % (combined)", attacked, cells.combined)])


def bounds(evaluations: Sequence[Evaluation]) -> Table:
    """Rows for each model: certified by each rule that there is, and attacked by all together, at each ε.

    The rows of a model are of the same images: the attacked ones where there was an attack run.
    """
    rows = [_Bound(item, rule) for item in evaluations for rule in (*_rules([item]), None)]
    return Table.of(rows, [
        names("model", lambda row: row.item.name),
        names("", lambda row: row.what),
        Column("n", lambda row: _images(row.curve)),
        *by_eps("accuracy % at", _all_eps(evaluations), lambda row, eps: row.rate(eps)),
    ])  # fmt: skip


def certified_alone(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each rule of a model: certified at each ε on all images of its certify run, attacked or not."""
    rows = [(item.name, rule, item.certified(rule)) for item in evaluations for rule in _rules([item])]
    return Table.of(rows, [
        names("model", lambda row: row[0]),
        names("rule", lambda row: row[1]),
        Column("n", lambda row: _images(row[2])),
        *by_eps("certified accuracy % at", _all_eps(evaluations), lambda row, eps: cells.certified(row[2], eps)),
    ])  # fmt: skip


def attack_accuracy(evaluations: Sequence[Evaluation]) -> Table:
    """Accuracy under each attack at each ε, one column a model, after Table 1 of the paper (arXiv 2006.06520).

    The single attacks of an ensemble have no accuracy; what they broke stands there instead. The last rows are the
    combined rule, and below it what is certified on the same images.
    """
    shown = [item for item in evaluations if item.robust() is not None]
    eps = ascending(text for item in shown for text in item.attacked_eps)
    attacks = dict.fromkeys(name for item in shown for name in item.attacks)
    rows = [_Attack("none (clean)", "0", lambda item: cells.clean(item.attack))]
    rows.append(_Attack("none (base rate)", "0", lambda item: cells.base(item.attack)))
    for name in (*attacks, COMBINED):
        rows += [_Attack(name, text, partial(cells.attacked, attack=name, eps=text)) for text in eps]
    for rule in _rules(shown)[1:]:
        rows += [_Attack(f"certified ({rule})", text, partial(_certified, rule=rule, eps=text)) for text in eps]
    models = [Column(item.name, _of(item)) for item in shown]
    return Table.of(rows, [names("attack", lambda row: row.attack), Column("ε", lambda row: row.eps), *models])


class _Bound(NamedTuple):
    """A row of `bounds`: certified by a rule, or attacked where there is no rule."""

    item: Evaluation
    rule: Rule | None

    @property
    def what(self) -> str:
        return "attacked (combined)" if self.rule is None else f"certified ({self.rule})"

    @property
    def curve(self) -> Curve | None:
        return self.item.robust() if self.rule is None else self.item.certified_on_attacked(self.rule)

    def rate(self, eps: str) -> Rate | None:
        return cells.combined(self.item, eps) if self.rule is None else cells.certified(self.curve, eps)


class _Attack(NamedTuple):
    """A row of `attack_accuracy`, with its cell in the column of a model."""

    attack: str
    eps: str
    cell: Callable[[Evaluation], Any]


def _of(item: Evaluation) -> Callable[[_Attack], Any]:
    return lambda row: row.cell(item)


def _rules(evaluations: Sequence[Evaluation]) -> tuple[Rule, ...]:
    """The two rules of every certificate, and what else some evaluation was certified by."""
    known = {*RULES[:2], *(rule for item in evaluations for rule in item.rules)}
    return tuple(rule for rule in RULES if rule in known)


def _of_a_model(evaluations: Sequence[Evaluation]) -> list[Column[Evaluation]]:
    return [
        names("model", lambda item: item.name),
        names("recipe", lambda item: item.model.recipe or None),
        Column("n certified", lambda item: _images(item.certified())),
        Column("n attacked", lambda item: _images(item.robust())),
        Column("clean %", lambda item: cells.clean(item.largest)),
        Column("base rate %", lambda item: cells.base(item.largest)),
        *(below(f"mean radius ({rule})", _mean_radius(rule)) for rule in _rules(evaluations)),
        above("Lipschitz upper", lambda item: item.bound.lipschitz_upper),
        below("Lipschitz lower", lambda item: item.bound.lipschitz_lower),
    ]


def _certified(item: Evaluation, eps: str, rule: Rule) -> Rate | None:
    return cells.certified(item.certified_on_attacked(rule), eps)


def _mean_radius(rule: Rule) -> Callable[[Evaluation], Any]:
    return lambda item: None if (curve := item.certified(rule)) is None else curve.mean


def _all_eps(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    return ascending(text for item in evaluations for text in item.eps)


def _images(curve: Curve | None) -> int | None:
    return None if curve is None else curve.n
