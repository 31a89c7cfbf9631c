"""What test workers do; a module, so that other processes can read it. No torch here: they start quickly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import ModelError


@dataclass(frozen=True)
class Squares:
    """Squares numbers; the items named in `fates` end otherwise."""

    folder: Path
    gpu: bool = False

    def start(self) -> Callable[[Any], Any]:
        """Note that a worker has started."""
        (self.folder / f"started-{os.getpid()}").touch()
        return self.square

    def square(self, item: Any) -> Any:
        """The square of a number, with the process that computed it; or what a word says."""
        number, fate = item
        once = self.folder / f"died-{number}"
        if fate == "refuse":
            raise ModelError(f"no {number}", hint="another one")
        if fate == "die" or (fate == "die once" and not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "sleep":
            time.sleep(600)
        return number, number * number, os.getpid()
