"""From evaluations to the page: which tables and figures there are, what they are called, and what to say of them."""

from robench.reporting.sections.compose import compose

__all__ = ["compose"]
