"""The report: what run folders say, as one HTML page and as Markdown, LaTeX, CSV, PNG and SVG. No torch here."""

from robench.reporting.build import build_report
from robench.reporting.potential import write_potential

__all__ = ["build_report", "write_potential"]
