"""Processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from robench.engines.engine import TRIES, Answer, Work
from robench.errors import RunError

_work: Work | None = None
_do: Callable[[Any], Any] | None = None


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Local:
    """Processes of this machine, each with its own copy of what the work holds.

    Args:
        count: how many.
    """

    count: int

    def workers(self, work: Work) -> LocalWorkers:
        """Workers for some work; none is started yet."""
        return LocalWorkers(self.count, work)


class LocalWorkers:
    """A pool of processes; a context manager.

    A pool of the standard library is of no more use once one of its processes was killed. It is then made anew, and
    what was in flight is given out again.

    Args:
        count: how many processes.
        work: what they do.
    """

    def __init__(self, count: int, work: Work) -> None:
        self.count = count
        self._all_work = work
        self._pool: ProcessPoolExecutor | None = None
        self._items: dict[Future[Any], Answer] = {}
        self._tries: dict[int, int] = {}

    def __enter__(self) -> LocalWorkers:
        """Make the pool; its processes start with the first items."""
        self._pool = self._made()
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes, whatever they are doing."""
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values()) if self._items else []
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # they work on what nobody waits for any more
            process.terminate()
        self._pool = None

    def submit(self, number: int, item: Any) -> None:
        """Hand an item over."""
        assert self._pool is not None
        try:
            future = self._pool.submit(_done, item)
        except BrokenProcessPool:
            self._again((number, item))
        else:
            self._items[future] = (number, item)

    def wait(self) -> Answer:
        """The result that comes next.

        Raises:
            RunError: a process that works on the same item was killed again and again.
        """
        while True:
            done = next(iter(wait(self._items, return_when=FIRST_COMPLETED).done))
            number, item = self._items.pop(done)
            try:
                return number, done.result()
            except BrokenProcessPool:
                self._again((number, item))

    def _again(self, item: Answer) -> None:
        """Give out an item, and all that was in flight, since a process was lost."""
        items = [item, *self._items.values()]
        self._items.clear()
        for number, _ in items:
            self._tries[number] = self._tries.get(number, 1) + 1
        if max(self._tries[number] for number, _ in items) > TRIES:
            raise RunError(
                f"a worker was killed {TRIES} times over the same images, most often for lack of memory",
                hint="use fewer --workers, or a smaller --batch-size; the same command goes on with what is left",
            )
        assert self._pool is not None
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._made()
        for number, lost in items:
            self.submit(number, lost)

    def _made(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of torch hold
        return ProcessPoolExecutor(self.count, mp_context=context, initializer=_prepare, initargs=(self._all_work,))


def _prepare(work: Work) -> None:
    """Make this process a worker: results go through the pool, and it ends with the process that reads them."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches all processes of a terminal; the first one ends the rest
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # stdout is for results of the command
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _done(item: Any) -> Any:
    """The result of an item; what the work holds is loaded for the first one, so that its errors are told."""
    global _do
    assert _work is not None
    if _do is None:
        _do = _work.start()
    return _do(item)
