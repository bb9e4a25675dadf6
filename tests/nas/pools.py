"""Executors under test, of every kind, and the processes that they leave or do not."""

import importlib.util
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas.executors import Executor, Inline
from nas.process_executor import Processes
from nas.ray_executor import RayExecutor
from tests.nas.deeds import PATIENCE_S, Doer

ROOT = Path(__file__).parents[2]
RAY_IS_THERE = importlib.util.find_spec("ray") is not None
NO_RAY = pytest.mark.skipif(not RAY_IS_THERE, reason="ray is not installed")
RAY = pytest.param("ray", marks=[pytest.mark.slow, NO_RAY])
QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
"""Ray would keep a token in the home folder; these clusters listen on loopback only."""


@dataclass
class Pool:
    """An executor, what was reported, and whether to stop."""

    said: list[tuple[int, Any]] = field(default_factory=list)
    stopping: bool = False
    executor: Executor = field(init=False)

    def report(self, ticket: int, what: Any) -> None:
        self.said.append((ticket, what))

    def stop(self) -> bool:
        return self.stopping

    def all_of(self, count: int) -> dict[int, Any]:
        """Results of the next jobs that end, by ticket."""
        done = [self.executor.wait() for _ in range(count)]
        assert len({one.ticket for one in done}) == count
        return {one.ticket: one.result for one in done}


def inline(pool: Pool, evaluator: Any) -> Executor:
    return Inline(evaluator, pool.report, pool.stop)


def processes(pool: Pool, evaluator: Any) -> Executor:
    return Processes(evaluator, pool.report, pool.stop, devices=["cpu", "cpu"], threads=1)


def ray(
    pool: Pool, evaluator: Any, address: str | None = None, gpus: float = 0, cpus: float = 1
) -> Executor:
    return RayExecutor(
        *(evaluator, pool.report, pool.stop),
        address=address,
        slots=2,
        gpus_per_job=gpus,
        cpus_per_job=cpus,
    )


MAKERS: dict[str, Callable[[Pool, Any], Executor]] = {
    "inline": inline,
    "processes": processes,
    "ray": ray,
}


@contextmanager
def opened(
    kind: str | Callable[[Pool, Any], Executor], evaluator: Any = None, pool: Pool | None = None
) -> Iterator[Pool]:
    """A pool that is closed."""
    pool = Pool() if pool is None else pool
    maker = MAKERS[kind] if isinstance(kind, str) else kind
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_RAY.items():
            patch.setenv(name, value)
        pool.executor = maker(pool, Doer() if evaluator is None else evaluator)
        try:
            yield pool
        finally:
            pool.executor.close()


def gone(processes: list[int]) -> None:
    """Wait for processes to end, whoever started them."""
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], PATIENCE_S)[0], f"{process} goes on"
        finally:
            os.close(descriptor)


def descendants(process: int) -> list[int]:
    """Processes that it started, and those that they did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(state.rpartition(")")[2].split()[1])
    found, last = [], [process]
    while last:
        last = [child for child, parent in parents.items() if parent in last]
        found += last
    return found


def listens_on(processes: list[int]) -> set[str]:
    """Addresses on which any of them listens, as the kernel writes them in hexadecimals."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            sockets.add(str(descriptor.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found
