"""What an engine is, and how items of work are streamed through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

AHEAD = 2
"""Items in flight for each worker: one is worked on, one waits, so that no worker is idle and few results pile up."""
TRIES = 3
"""Times that an item is given to a worker, before it is held to be what makes workers die."""

Answer: TypeAlias = tuple[int, Any]
"""Number of an item, and what came out of it."""


class Work(Protocol):
    """What all workers do; it can be pickled."""

    @property
    def gpu(self) -> bool:
        """Whether each worker needs a GPU."""

    def start(self) -> Callable[[Any], Any]:
        """Called once in each worker: what turns an item into a result."""


class Workers(Protocol):
    """Processes that are ready to work; a context manager, which ends them on the way out."""

    @property
    def count(self) -> int:
        """How many there are."""

    def submit(self, number: int, item: Any) -> None:
        """Hand an item over."""

    def wait(self) -> Answer:
        """The result that comes next, of any item.

        Raises:
            RobenchError: raised by the work, or a worker was lost too often.
        """

    def __enter__(self) -> Workers: ...

    def __exit__(self, *error: object) -> None: ...


class Engine(Protocol):
    """Where workers come from."""

    def workers(self, work: Work) -> Workers:
        """Workers for some work.

        Raises:
            SpecError: there can be none.
        """


def results(workers: Workers, items: Iterable[Any]) -> Iterator[Any]:
    """The results of items, in the order in which they come. Items are drawn as workers ask for them.

    Args:
        workers: who work.
        items: what each result is of.
    """
    waiting, in_flight = enumerate(items), 0
    while True:
        while in_flight < AHEAD * workers.count and (following := next(waiting, None)) is not None:
            workers.submit(*following)
            in_flight += 1
        if not in_flight:
            return
        yield workers.wait()[1]
        in_flight -= 1
