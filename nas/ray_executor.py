"""Jobs on a Ray cluster: tasks that Ray places, and watches for dead workers and nodes.

Ray could repeat a task, but is told not to: the driver counts deaths, and a job that is done again
goes on from its checkpoint, which nodes have to see under the same path. The driver owns all that a
task needs, so the search loses nothing with any node but its own.

While they work, tasks talk to an actor beside the driver (the desk). The driver asks it every
POLL_S seconds, which costs a call however many jobs there are; Ray has no other way to a task.
"""

import logging
import os
import pickle
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from nas.errors import SettingsError, WorkerLost
from nas.executors import Done, Report, Stop
from nas.jobs import Evaluator, Job
from nas.ray_task import POLL_S, Desk, do
from nas.worker import Order, Raised, Said, pickled

REACH_S = 10.0
"""Seconds that a cluster may take to answer."""

_USAGE = "RAY_USAGE_STATS_ENABLED"


class RayExecutor:
    """Runs jobs as Ray tasks; see Executor.

    Args:
        evaluator: pickled, and sent to every node once; every process there has its own copy.
        report: see Executor.
        stop: see Executor; asked about every POLL_S seconds.
        address: of a cluster: "auto", "HOST:PORT" or "ray://HOST:PORT"; None for a Ray of its own
            on this machine, which listens on loopback only and ends with it. Where this process
            is connected to Ray already, that is used, and left as it is.
        slots: jobs at once; those that do not fit into the cluster wait in Ray.
        gpus_per_job: share of a GPU, such as 0.25; 0 for the CPU.
        cpus_per_job: cores.

    Raises:
        SettingsError: Ray is not installed, no cluster answers, none of its nodes is large enough
            for a job, or the evaluator cannot be pickled.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        report: Report,
        stop: Stop,
        *,
        address: str | None,
        slots: int,
        gpus_per_job: float,
        cpus_per_job: float,
    ) -> None:
        if slots < 1 or cpus_per_job <= 0 or gpus_per_job < 0:
            raise SettingsError(
                "Ray needs at least 1 slot, more than 0 CPUs a job and at least 0 GPUs, but has "
                f"{slots}, {cpus_per_job} and {gpus_per_job}; raise them"
            )
        self._ray = ray = _ray()
        # Ray's own pickle takes along what a script defines, which nodes cannot import.
        content = pickled(evaluator, ray.cloudpickle.dumps)
        self.slots = slots
        self._report, self._stop, self._told = report, stop, False
        self._tickets: dict[Any, int] = {}  # by what Ray calls the task's result
        self._threads = max(1, int(cpus_per_job))
        self._mine = not ray.is_initialized()
        if self._mine:
            _join(ray, address)
        self._desk: Any = None
        try:
            _check_fit(ray, cpus_per_job, gpus_per_job)
            self._desk = _desk(ray)
            # In a list it is a reference to the task; alone it would be fetched for each.
            self._parcel = [ray.put(content)]
        except BaseException:
            self.close()
            raise
        options = {"num_cpus": cpus_per_job, "num_gpus": gpus_per_job, "max_retries": 0}
        self._task = ray.remote(**options)(do)

    def submit(self, ticket: int, job: Job) -> None:
        """See Executor."""
        if len(self._tickets) >= self.slots:
            raise RuntimeError(f"a job needs a free slot, but all {self.slots} are taken; wait")
        order = Order.of(ticket, job, self._ray.cloudpickle.dumps)
        task = self._task.remote(self._parcel, order, self._desk, self._threads, self._told)
        self._tickets[task] = ticket

    def wait(self) -> Done:
        """See Executor."""
        if not self._tickets:
            raise RuntimeError("waiting needs a job under way, but there is none; submit one")
        ended: list[Any] = []
        while not ended:
            ended, _ = self._ray.wait(list(self._tickets), timeout=POLL_S)
            self._told = self._told or self._stop()
            # After the end was seen: a job ends only when the desk has all that it said.
            for data in self._ray.get(self._desk.exchange.remote(self._told)):
                said: Said = pickle.loads(data)
                self._report(said.ticket, said.what)
        return self._end(ended[0])

    def close(self) -> None:
        """See Executor."""
        ray, self._mine, mine = self._ray, False, self._mine
        if not ray.is_initialized():
            return
        for task in self._tickets:
            ray.cancel(task, force=True)
        self._tickets.clear()
        if self._desk is not None:
            ray.kill(self._desk)
            self._desk = None
        if mine:
            ray.shutdown()

    def _end(self, task: Any) -> Done:
        ticket = self._tickets.pop(task)
        try:
            data = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            if not _is_death(error, self._ray):
                raise
            lost = f"a worker must live until its job ends, but Ray lost it ({_first(error)})"
            return Done(ticket, WorkerLost(f"{lost}; the job can go on in another"))
        message = pickle.loads(data)
        if isinstance(message, Raised):
            raise message.error
        return Done(ticket, message.result)


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise SettingsError(
            '--executor ray needs the package ray, which is not installed; pip install ".[ray]"'
        ) from None
    return ray


def _join(ray: ModuleType, address: str | None) -> None:
    """Connect to a cluster, or start a Ray of our own."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with _handlers_kept():
        if address is None:
            with _loopback():
                ray.init(address="local", include_dashboard=False, **quiet)
            return
        try:
            _reach(address)
            ray.init(address=address, **quiet)
        except (OSError, ValueError, OverflowError, RuntimeError, ImportError) as error:
            raise SettingsError(
                f"--ray-address must be of a running cluster, but {address!r} does not answer "
                f"({_first(error)}); start one with `ray start --head`, or leave the option out"
            ) from None


def _reach(address: str) -> None:
    """Fail at once where nobody listens: Ray tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()


@contextmanager
def _loopback() -> Iterator[None]:
    """Within the block a Ray that is started listens on loopback only, and reports to nobody.

    Ray takes the address of the machine for 127.0.0.1, unless it takes this for a system without
    clusters.
    """
    from ray._private import ray_constants

    clusters, usage = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(_USAGE)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[_USAGE] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        if usage is None:
            del os.environ[_USAGE]
        else:
            os.environ[_USAGE] = usage


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes over SIGTERM, of which the driver's own handler knows better."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)


def _check_fit(ray: ModuleType, cpus: float, gpus: float) -> None:
    """Refuse a job for which Ray would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if not any(cpus <= size[0] and gpus <= size[1] for size in sizes):
        there = ", ".join(f"{size[0]:g} and {size[1]:g}" for size in sorted(set(sizes)))
        raise SettingsError(
            f"a job must fit on a node of the cluster, but needs {cpus:g} CPUs and {gpus:g} GPUs, "
            f"and nodes have {there}; ask for less a job, or add nodes"
        )


def _desk(ray: ModuleType) -> Any:
    """The desk, on the driver's node; Ray starts it again if it dies."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(**options, scheduling_strategy=here)(Desk).remote()


def _is_death(error: Exception, ray: ModuleType) -> bool:
    """Whether a worker or its node died, or what it was to fetch was on one that did."""
    kinds = ray.exceptions
    deaths = (
        kinds.WorkerCrashedError,
        kinds.NodeDiedError,
        kinds.LocalRayletDiedError,
        kinds.OutOfMemoryError,
        kinds.ObjectLostError,
    )
    cause = error.cause if isinstance(error, kinds.RayTaskError) else error
    return isinstance(cause, deaths)


def _first(error: Exception) -> str:
    """The first sentence of what Ray says; of a traceback the last line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[-1] if lines[0].endswith(":") else lines[0]
    return re.split(r"\.\s", line)[0].rstrip(".")
