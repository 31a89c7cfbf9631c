"""The report: what run folders say, as one HTML page and as Markdown, LaTeX, CSV, PNG and SVG. No torch here."""

from robench.reporting.build import build_report

__all__ = ["build_report"]
