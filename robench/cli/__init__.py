"""The command line: parses, calls `robench.workflows`, prints; nothing else."""

from robench.cli.main import main

__all__ = ["main"]
