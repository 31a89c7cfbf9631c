"""Workers on a Ray cluster: one task an item; Ray places them, and gives an item out again when its node is lost."""

from __future__ import annotations

import importlib
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robench.engines.engine import TRIES, Answer, Work
from robench.errors import RunError, SpecError

PATIENCE = 10.0
"""Seconds until a head that does not answer is held to be none."""

_ready: dict[str, Callable[[Any], Any]] = {}
"""In a worker process of Ray: what it does, by the number of the work; the last one alone, which holds a model."""


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A Ray cluster.

    Args:
        address: of its head, or `auto` for the one that this machine is a part of; None for Ray on this machine alone,
            started and ended with the work.
        count: workers; None for as many as the processors of the cluster allow.
        threads: CPU threads of each worker.
    """

    address: str | None = None
    count: int | None = None
    threads: int = 1

    def workers(self, work: Work) -> RayWorkers:
        """Workers for some work.

        Raises:
            SpecError: Ray is not installed.
        """
        try:
            ray = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise SpecError("Ray is not installed", hint="pip install 'robench[ray]'") from None
        return RayWorkers(ray, self, work)


class RayWorkers:
    """Tasks on a cluster; a context manager, which leaves a cluster that was there before as it is.

    Args:
        ray: the library.
        cluster: which cluster.
        work: what each worker does; it is sent once to each node.
    """

    def __init__(self, ray: Any, cluster: RayCluster, work: Work) -> None:
        self._ray, self._cluster, self._all_work = ray, cluster, work
        self._numbers: dict[Any, int] = {}
        self._own = False
        self.count = 0

    def __enter__(self) -> RayWorkers:
        """Join the cluster, or start one.

        Raises:
            SpecError: there is none at that address, or it has no room for a worker.
        """
        ray, cluster = self._ray, self._cluster
        if not ray.is_initialized():
            self._join()
            self._own = True
        resources = ray.cluster_resources()
        gpus = int(self._all_work.gpu)
        room = int(resources.get("CPU", 0) // cluster.threads)
        room = min(room, int(resources.get("GPU", 0))) if gpus else room
        self.count = cluster.count or room
        if not room:
            self.__exit__()
            raise SpecError(
                f"no worker has room in the Ray cluster: it has {resources.get('CPU', 0):g} processors and "
                f"{resources.get('GPU', 0):g} GPUs",
                hint="give fewer --threads, or another --address",
            )
        task = ray.remote(_done)
        self._task = task.options(num_cpus=cluster.threads, num_gpus=gpus, max_retries=TRIES - 1)
        self._sent, self._key = ray.put(self._all_work), uuid.uuid4().hex
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel what nobody waits for any more, and end a cluster that was started here."""
        for reference in self._numbers:
            self._ray.cancel(reference, force=True)
        self._numbers.clear()
        if self._own:
            self._ray.shutdown()

    def submit(self, number: int, item: Any) -> None:
        """Hand an item over; Ray keeps it until a worker is free."""
        self._numbers[self._task.remote(self._key, self._sent, item)] = number

    def wait(self) -> Answer:
        """The result that comes next.

        Raises:
            RunError: the item was lost again and again with the workers that had it, or the cluster is gone.
        """
        (reference,), _ = self._ray.wait(list(self._numbers), num_returns=1)
        number = self._numbers.pop(reference)
        try:
            return number, self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise RunError(
                f"a Ray worker was lost {TRIES} times over the same images: {str(error).strip().splitlines()[0]}",
                hint="look for lack of memory on its node; the same command goes on with what is left",
            ) from None

    def _join(self) -> None:
        cluster = self._cluster
        here = cluster.address is None
        if cluster.address is not None:
            _check_answers(cluster.address)
        cpus = {"num_cpus": cluster.count * cluster.threads} if here and cluster.count else {}
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do by itself some day
        try:
            self._ray.init(
                address="local" if here else cluster.address,
                log_to_driver=False,
                logging_level="error",
                configure_logging=False,
                **({"include_dashboard": False} if here else {}),
                **cpus,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(cluster.address, str(error).strip().splitlines()[0]) from None


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens at once: Ray itself tries for minutes.

    Raises:
        SpecError: nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # such as `auto`
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str | None, reason: str) -> SpecError:
    return SpecError(
        f"there is no Ray cluster at `{address}`: {reason}" if address else f"Ray does not start: {reason}",
        hint="give the address that `ray start --head` printed, or leave --address out for Ray on this machine",
    )


def _done(key: str, work: Work, item: Any) -> Any:
    """The result of an item, in a process of Ray, which keeps what it has loaded for the next one."""
    if key not in _ready:
        _ready.clear()
        _ready[key] = work.start()
    return _ready[key](item)
