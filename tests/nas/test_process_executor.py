"""What is the processes' own: deaths, signals, surroundings, and what they leave behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.errors import SettingsError, WorkerLost
from nas.executors import Executor
from nas.process_executor import Processes
from nas.worker import loaded, serve
from nas.workers import GPUS
from tests.nas.deeds import PATIENCE_S, Doer, job
from tests.nas.pools import ROOT, Pool, descendants, gone, opened


@pytest.fixture(scope="module")
def kept() -> Iterator[Pool]:
    with opened("processes") as pool:
        yield pool


@pytest.fixture
def pool(kept: Pool) -> Pool:
    kept.said.clear()
    return kept


@pytest.mark.parametrize("act", ["die_talking", "leave"])
def test_a_worker_may_die_anyhow(pool: Pool, act: str) -> None:
    pool.executor.submit(1, job(act))
    lost = pool.executor.wait().result
    assert isinstance(lost, WorkerLost)
    how = {"die_talking": "signal 9, Killed", "leave": "status 3"}[act]
    assert f"ended ({how}); the job can go on in another" in str(lost)
    pool.executor.submit(1, job("score", 3))
    assert pool.all_of(1)[1].score == 3


def test_a_death_is_seen_while_a_child_holds_the_pipe(pool: Pool, tmp_path: Path) -> None:
    pool.executor.submit(1, job("die_with_a_child", folder=tmp_path))
    lost = pool.executor.wait().result
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert isinstance(lost, WorkerLost)


def test_an_evaluator_may_have_processes_of_its_own(pool: Pool) -> None:
    pool.executor.submit(1, job("start_a_child"))
    assert pool.all_of(1)[1].metrics["child"] == 0


def test_a_worker_that_died_while_idle_costs_nothing(pool: Pool) -> None:
    pool.executor.submit(1, job("score"))
    process = pool.all_of(1)[1].metrics["process"]
    os.kill(process, signal.SIGKILL)
    gone([process])
    pool.executor.submit(1, job("score"))
    assert pool.all_of(1)[1].metrics["process"] != process


def test_signals_are_the_drivers(pool: Pool) -> None:
    pool.executor.submit(1, job("be_signalled"))
    assert pool.all_of(1)[1].metrics["blocked"] == 0


def test_signals_are_the_drivers_while_a_worker_starts() -> None:
    before = set(multiprocessing.active_children())
    with opened("processes") as pool:
        pool.executor.submit(1, job("score", 4))
        started = set(multiprocessing.active_children()) - before
        assert len(started) == 1
        for child in started:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        assert pool.all_of(1)[1].score == 4


def test_threads_are_set_for_every_library(pool: Pool) -> None:
    pool.executor.submit(1, job("environment"))
    metrics = pool.all_of(1)[1].metrics
    assert {metrics[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")} == {"1"}
    assert metrics["torch"] is False  # the evaluator does not need it


@pytest.mark.slow
def test_torch_takes_its_threads_from_there(pool: Pool) -> None:
    """Where it is imported later than the evaluator; a machine with one core shows nothing."""
    pool.executor.submit(1, job("threads"))
    assert pool.all_of(1)[1].metrics["threads"] == 1


def test_torch_is_prepared_where_the_evaluator_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr("torch.set_num_threads", told.append)
    monkeypatch.setattr("nas.devices.keep_freed_memory", lambda: told.append("kept"))
    assert loaded(Doer, 5) == Doer()
    assert told == [5, "kept"]
    monkeypatch.delitem(sys.modules, "torch")
    loaded(Doer, 5)
    assert told == [5, "kept"]


def test_the_environment_is_the_workers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setenv(GPUS, "4,6")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)

    def on_a_gpu(pool: Pool, evaluator: Doer) -> Executor:
        return Processes(evaluator, pool.report, pool.stop, devices=["cuda:1"], threads=1)

    with opened(on_a_gpu) as pool:
        pool.executor.submit(1, job("environment"))
        assert (os.environ["OMP_NUM_THREADS"], os.environ[GPUS]) == ("9", "4,6")
        assert "MKL_NUM_THREADS" not in os.environ
        metrics = pool.all_of(1)[1].metrics
        assert (metrics["OMP_NUM_THREADS"], metrics[GPUS]) == ("1", "6")
        assert metrics["device"] == "cuda:0"


@pytest.mark.parametrize(("devices", "threads"), [([], 1), (["cpu"], 0)])
def test_impossible_slots_are_refused(devices: list[str], threads: int) -> None:
    with pytest.raises(SettingsError, match="a device each and at least 1 thread"):
        Processes(Doer(), Pool().report, Pool().stop, devices=devices, threads=threads)


def test_close_leaves_no_process_behind() -> None:
    """Also those that work, have nothing to do, or have not started yet; and twice."""
    before = set(multiprocessing.active_children())
    with opened("processes") as pool:
        pool.executor.submit(1, job("hang"))
        pool.executor.submit(2, job("score"))
        pool.executor.wait()
        pool.executor.submit(3, job("leave"))
        pool.executor.wait()
        pool.executor.submit(4, job("hang"))
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
        pool.executor.close()
        assert set(multiprocessing.active_children()) == before
    assert not {worker.name for worker in multiprocessing.active_children()} & {
        worker.name for worker in workers
    }


def test_a_worker_ends_when_its_driver_hangs_up() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, os.getpid(), "cpu", 1), daemon=True)
    process.start()
    theirs.close()
    ours.recv_bytes()
    ours.close()
    process.join(PATIENCE_S)
    assert process.exitcode == 1
    process.close()


def test_a_worker_whose_driver_died_before_it_began_ends() -> None:
    """The kernel is asked to watch the driver, and may be asked too late."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, 1, "cpu", 1), daemon=True)
    process.start()
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv_bytes()
    process.join(PATIENCE_S)
    process.close()
    ours.close()


def script(text: str) -> list[str]:
    head = "from tests.nas.pools import Pool, processes\nfrom tests.nas.deeds import Doer, job\n"
    return [sys.executable, "-c", head + text]


def test_workers_print_to_stderr_and_end_with_a_driver_that_does_not_close() -> None:
    text = (
        "executor = processes(Pool(), Doer())\n"
        "executor.submit(1, job('write'))\n"
        "print(executor.wait().ticket)\n"
        "executor.submit(2, job('hang'))\n"
    )
    done = subprocess.run(
        script(text), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr == "printed\nwritten"


def test_a_killed_driver_leaves_no_worker_behind() -> None:
    text = (
        "class Loud(Pool):\n"
        "    def report(self, ticket, what): print(what, flush=True)\n"
        "executor = processes(Loud(), Doer())\n"
        "executor.submit(1, job('hang'))\n"
        "executor.submit(2, job('hang'))\n"
        "executor.wait()\n"
    )
    driver = subprocess.Popen(script(text), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    workers = {int(driver.stdout.readline()) for _ in range(2)}
    everything = descendants(driver.pid)
    assert workers <= set(everything)
    driver.kill()
    driver.communicate()
    gone(everything)


def run_file(path: Path, text: str) -> "subprocess.CompletedProcess[str]":
    head = "from tests.nas.pools import Pool, processes\nfrom tests.nas.deeds import Doer, job\n"
    path.write_text(head + text)
    return subprocess.run(
        [sys.executable, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_script_may_bring_its_evaluator(tmp_path: Path) -> None:
    text = (
        "class Mine(Doer): pass\n"
        "if __name__ == '__main__':\n"
        "    executor = processes(Pool(), Mine())\n"
        "    executor.submit(1, job('score', 6))\n"
        "    print(executor.wait().result.score)\n"
    )
    done = run_file(tmp_path / "script.py", text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "6.0\n", "")


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    text = (
        "executor = processes(Pool(), Doer())\nexecutor.submit(1, job('score'))\nexecutor.wait()\n"
    )
    done = run_file(tmp_path / "script.py", text)
    assert done.returncode == 1
    assert "SettingsError: a worker process must start, but ended with status 1" in done.stderr
    assert 'only below if __name__ == "__main__"' in done.stderr
