"""Several processes on this machine that train one model together, started by torch's own `torchrun`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from robench.errors import RunError


def train_together(words: Sequence[str], count: int, is_finished: Callable[[], bool]) -> None:
    """Run a command of robench in several processes, which find each other.

    Args:
        words: the command, with what it would be given in one process.
        count: how many processes.
        is_finished: whether the training is complete on disk. Threads of torch may abort a process on its way out, when
            all is written.

    Raises:
        RunError: one of them has failed; it has said why on stderr.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    # results go to stdout, and the command that waits here will read them from the folder
    done = subprocess.run([*launcher, "-m", "robench", *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode == -signal.SIGINT or done.returncode == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if done.returncode and not is_finished():
        raise RunError(
            "a process of the training has failed, for the reason above",
            hint="the same command goes on after the last epoch that was written",
        )


def under_torchrun() -> bool:
    """Whether `torchrun` has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_follower() -> bool:
    """Whether this process runs beside a first one, which says and writes everything."""
    return under_torchrun() and os.environ.get("RANK", "0") != "0"
