"""Architectures as they are published, re-implemented here, and the table of their bounds.

python -m benchmarks.published --out reports/bounds [--only NAME ...]
"""
