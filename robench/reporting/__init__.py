"""The report: what run folders say, as one HTML page and as Markdown, LaTeX, CSV, PNG and SVG. No torch here."""

from robench.reporting.build import build_report
from robench.reporting.one_image import one_image
from robench.reporting.potential import write_potential

__all__ = ["build_report", "one_image", "write_potential"]
