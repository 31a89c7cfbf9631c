"""The command line: parses, calls `robench.api`, prints; nothing else."""

from robench.cli.main import main

__all__ = ["main"]
