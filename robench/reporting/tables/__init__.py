"""The tables of a report: numbers, and text in one last step (`Table.text`), rounded as `robench.numerics` says."""

from robench.reporting.tables.comparison import attack_accuracy, bounds, certified_alone, comparison, models
from robench.reporting.tables.model import accuracy, attack_outcomes, audit, budget, by_class
from robench.reporting.tables.numbers import budgets, rates
from robench.reporting.tables.provenance import contradictions, flags, provenance, runs
from robench.reporting.tables.ranking import further_runs, ranked
from robench.reporting.tables.smoothed import smoothed
from robench.reporting.tables.table import Table, shown

__all__ = [
    "Table",
    "accuracy",
    "attack_accuracy",
    "attack_outcomes",
    "audit",
    "bounds",
    "budget",
    "budgets",
    "by_class",
    "certified_alone",
    "comparison",
    "contradictions",
    "flags",
    "further_runs",
    "models",
    "provenance",
    "ranked",
    "rates",
    "runs",
    "shown",
    "smoothed",
]
