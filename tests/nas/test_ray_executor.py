"""Ray as it really is: clusters of several nodes on this machine, and nodes that die."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nas.errors import SettingsError, WorkerLost
from nas.ray_executor import RayExecutor
from tests.nas.deeds import PATIENCE_S, Doer, job
from tests.nas.pools import (
    NO_RAY,
    QUIET_RAY,
    ROOT,
    Pool,
    descendants,
    gone,
    listens_on,
    opened,
    ray,
)

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, also as an address of version 6, and ::1."""

slow = pytest.mark.slow
# Ray leaves the files that this server prints to for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*ray_client_server:ResourceWarning")


def test_importing_it_does_not_import_ray() -> None:
    code = "import nas.ray_executor, sys; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE_S)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r'needs the package ray, .*; pip install "\.\[ray\]"'):
        ray(Pool(), Doer())


@pytest.mark.parametrize("shares", [{"cpus": 0}, {"gpus": -0.5}])
def test_impossible_shares_are_refused(shares: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="at least 1 slot, more than 0 CPUs a job"):
        ray(Pool(), Doer(), **shares)


class Cluster:
    """A head with one core and one made-up GPU, and a node like it that can be lost."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._add(ray_client_server_port=self.port)
        self.node = self._add()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def _add(self, **options: Any) -> Any:
        return self._cluster.add_node(
            num_cpus=1, num_gpus=1, node_ip_address="127.0.0.1", **options
        )

    def renew(self) -> None:
        self.node = self._add()

    def raylet(self) -> int:
        return int(self.node.all_processes["raylet"][0].process.pid)

    def kill(self) -> list[int]:
        """Kill the node as a loss of power would, and its workers; returns their numbers."""
        raylet = self.raylet()
        killed = [raylet, *descendants(raylet)]
        for process in killed:
            os.kill(process, signal.SIGKILL)
        self._cluster.remove_node(self.node, allow_graceful=False)
        return killed

    def close(self) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    before = set(descendants(os.getpid()))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_RAY.items():
            patch.setenv(name, value)
        # Else Ray takes 127.0.0.1 for another address of this machine, and listens everywhere.
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # nodes need what jobs are made of
        cluster = Cluster()
        yield cluster
        started = set(descendants(os.getpid())) - before
        cluster.close()
        gone(sorted(started))


def driver(text: str) -> "subprocess.Popen[str]":
    head = (
        "import os, signal\n"
        "from tests.nas.pools import Pool, ray\n"
        "from tests.nas.deeds import Doer, job\n"
        "class Loud(Pool):\n"
        "    def report(self, ticket, what): print(what, flush=True)\n"
        "pool = Loud()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + text],
        cwd=ROOT,
        env=os.environ | QUIET_RAY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Reacting(Pool):
    """Does something whenever a job reports."""

    react: Callable[[], None] = staticmethod(lambda: None)

    def report(self, ticket: int, what: Any) -> None:
        super().report(ticket, what)
        self.react()


@pytest.fixture(scope="module")
def kept(cluster: Cluster) -> Iterator[Reacting]:
    # A job takes a whole core, so two are on two nodes.
    with opened(partial(ray, address=cluster.address), pool=Reacting()) as pool:
        assert isinstance(pool, Reacting)
        yield pool


@pytest.fixture
def pool(kept: Reacting) -> Iterator[Reacting]:
    kept.said.clear()
    yield kept
    kept.react = lambda: None


@slow
@NO_RAY
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "here:now"])
def test_no_cluster_at_the_address_is_told(address: str) -> None:
    words = rf"--ray-address must be of a running cluster, but '{re.escape(address)}' does not answ"
    with pytest.raises(SettingsError, match=words), opened(partial(ray, address=address)):
        pass


@slow
@NO_RAY
def test_a_driver_may_be_outside_of_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="ray:// needs the package grpcio")
    process = driver(
        "from pathlib import Path\n"
        f"folder, address = Path({str(tmp_path)!r}), 'ray://127.0.0.1:{cluster.port}'\n"
        "executor = ray(pool, Doer(), address)\n"
        "executor.submit(1, job('die_once', 1, folder))\n"
        "executor.submit(2, job('wait_for_again', 2, folder))\n"
        "print(type(executor.wait().result).__name__)\n"
        "executor.submit(1, job('die_once', 1, folder))\n"
        "print(sorted(executor.wait().result.score for _ in range(2)))\n"
        "executor.submit(1, job('report', 3))\n"
        "print(executor.wait().result.score)\n"
        "executor.close()\n"
    )
    told = process.communicate(timeout=PATIENCE_S)[0].splitlines()
    assert told == ["WorkerLost", "[1.0, 2.0]", *(f"('', {n})" for n in range(5)), "3.0"]
    assert process.returncode == 0


@slow
@NO_RAY
def test_a_lost_node_costs_its_own_jobs_only_and_a_new_one_is_used(
    cluster: Cluster, pool: Reacting, tmp_path: Path
) -> None:
    raylet = cluster.raylet()
    killed: list[int] = []

    def react() -> None:
        if len(pool.said) == 2:
            killed.extend(cluster.kill())

    pool.react = react
    for ticket in (1, 2):
        pool.executor.submit(ticket, job("hold", ticket, tmp_path))
    lost = pool.executor.wait()
    assert [ticket for ticket, (_, parent) in pool.said if parent == raylet] == [lost.ticket]
    assert isinstance(lost.result, WorkerLost)
    gone(killed)
    pool.executor.submit(lost.ticket, job("hold", lost.ticket, tmp_path))
    (tmp_path / "free").touch()
    results = pool.all_of(2)
    assert {ticket: result.score for ticket, result in results.items()} == {1: 1, 2: 2}
    cluster.renew()
    (tmp_path / "both").mkdir()
    for ticket, name in enumerate(("one", "other")):
        pool.executor.submit(ticket, job("meet", folder=tmp_path / "both", name=name))
    parents = {result.metrics["parent"] for result in pool.all_of(2).values()}
    assert len(parents) == 2
    assert cluster.raylet() in parents


@slow
@NO_RAY
def test_a_lost_desk_costs_what_was_said_at_most(pool: Reacting, tmp_path: Path) -> None:
    import ray as package

    assert isinstance(pool.executor, RayExecutor)
    desk = pool.executor._desk

    def react() -> None:
        if len(pool.said) == 1:
            package.kill(desk, no_restart=False)
        if len(pool.said) == 5:
            (tmp_path / "free").touch()

    pool.react = react
    pool.executor.submit(1, job("report_on", 3, tmp_path))
    assert pool.all_of(1)[1].score == 3
    numbers = [number for _, number in pool.said]
    assert numbers == sorted(numbers)


@slow
@NO_RAY
def test_jobs_share_a_gpu(cluster: Cluster, tmp_path: Path) -> None:
    with opened(partial(ray, address=cluster.address, gpus=0.5, cpus=0.5)) as pool:
        for ticket in range(2):
            pool.executor.submit(ticket, job("environment"))
        for result in pool.all_of(2).values():
            assert (result.metrics["device"], result.metrics["CUDA_VISIBLE_DEVICES"]) == (
                "cuda:0",
                "0",
            )


@slow
@NO_RAY
@pytest.mark.parametrize("shares", [{"cpus": 64}, {"gpus": 2}])
def test_jobs_that_fit_on_no_node_are_refused(cluster: Cluster, shares: dict[str, Any]) -> None:
    words = r"a job must fit on a node .* nodes have 1 and 1; ask for less a job, or add nodes"
    with (
        pytest.raises(SettingsError, match=words),
        opened(partial(ray, address=cluster.address, **shares)),
    ):
        pass


def named(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().strip("\0 ")
    except FileNotFoundError:
        return ""


@slow
@NO_RAY
def test_a_ray_of_its_own_is_for_this_machine_only_and_ends_with_a_killed_driver() -> None:
    process = driver(
        "executor = ray(pool, Doer())\nexecutor.submit(1, job('hang'))\nexecutor.wait()\n"
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    everything = descendants(process.pid)
    addresses = listens_on([process.pid, *everything])
    # Ray's agents see the death after a minute; they compute nothing.
    working = [number for number in everything if not named(number).endswith("Agent")]
    assert worker in working
    process.kill()
    process.communicate()
    gone(working)
    assert addresses
    assert addresses <= LOOPBACK


@slow
@NO_RAY
def test_signals_are_the_drivers_and_its_evaluator_may_be_too() -> None:
    """A terminal's Ctrl-C goes to every process; and Ray leaves SIGTERM to who has it."""
    process = driver(
        "def ask(number, _): pool.stopping = True\n"
        "signal.signal(signal.SIGINT, ask)\n"
        "signal.signal(signal.SIGTERM, ask)\n"
        "class Mine(Doer): pass\n"
        "executor = ray(pool, Mine())\n"
        "executor.submit(1, job('linger'))\n"
        "executor.submit(2, job('linger'))\n"
        "print(*[type(executor.wait().result).__name__ for _ in range(2)], flush=True)\n"
        "print(signal.getsignal(signal.SIGTERM) is ask)\n"
        "executor.close()\n"
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    everything = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S)[0] == "Interrupted Interrupted\nTrue\n"
    assert process.returncode == 0
    gone(everything)
