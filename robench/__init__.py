"""robench: certified radii and attack benchmarks for Lipschitz classifiers, joined and cross-checked."""

from importlib.metadata import version

__version__ = version("robench")
