"""Ctrl-C: once lets epochs end and saves them, twice ends at once; and kill -9 of all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nas import tensorfile
from nas.command import StopRequest, run, stop_on_signals
from nas.driver import MAX_DEATHS
from nas.evaluator import read_weights
from nas.jobs import Job
from nas.runfolder import RunFolder
from nas.running import Running
from nas.search import Finish, search
from nas.study import TrialRecord, best_first
from nas.tidying import CHECKPOINT
from nas.workers import usable_cores
from tests.nas.deeds import until
from tests.nas.fault_trainings import search_command
from tests.nas.faults import KILLED, apart, check_kept, check_whole, facts_of, look, settings
from tests.nas.pools import ROOT, descendants, gone
from tests.nas.steps import WEIGHTS, Holds, Stepping, epochs
from tests.nas.tables import PairSpace, checkpoints

AT_ONCE_S = 10.0
"""On a machine that is busy; it takes a second on one that is not, and never as long as an epoch
that is held, which is a minute."""

TWO = Running(executor="processes", workers=2)
TWO_CORES = pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")
KINDS = [
    pytest.param(Running(), 1, id="inline"),
    pytest.param(TWO, 2, id="processes", marks=TWO_CORES),
]


def held_search(folder: Path, running: Running) -> int:
    """A search as the command runs it, in a group of its own, all of whose epochs are held."""
    os.setsid()
    with (folder / "said").open("w") as file:
        os.dup2(file.fileno(), 2)
    asked = StopRequest()

    def stop() -> bool:
        if asked():
            (folder / "asked").touch()
        return asked()

    def searching() -> int:
        evaluator = Stepping(folder / "log", harm=Holds(folder))
        with stop_on_signals(asked):
            result = search(
                PairSpace(), evaluator, settings(folder / "run", running=running), stop=stop
            )
        assert result.finish is Finish.INTERRUPTED
        return 128 + (asked.signal or 0)

    return run(searching)


def group_of(folder: Path, count: int) -> tuple[int, list[int]]:
    """The group that searches in a folder once so many epochs are held, and all its processes."""
    until(lambda: len(list(folder.glob("held *"))) == count)
    group = os.getpgid(int(next(folder.glob("held *")).name.split()[1]))
    return group, [group, *descendants(group)]


def press(group: int) -> None:
    """Ctrl-C, which a terminal sends to every process of the group."""
    os.killpg(group, signal.SIGINT)


@pytest.mark.parametrize(("running", "workers"), KINDS)
def test_once_lets_epochs_end(tmp_path: Path, running: Running, workers: int) -> None:
    processes: list[int] = []

    def stopping() -> None:
        group, found = group_of(tmp_path, workers)
        processes.extend(found)
        press(group)
        (tmp_path / "free").touch()

    status = apart(held_search, tmp_path, running, meanwhile=stopping)
    assert status == 128 + signal.SIGINT
    said = (tmp_path / "said").read_text()
    assert said == "stopping after this epoch; once more to end at once\n"
    gone(processes)
    begun = Counter(line.split()[0] for line in epochs(tmp_path / "log"))
    records = look(tmp_path / "run")
    check_kept(tmp_path / "run", (), records)
    for path in checkpoints(tmp_path / "run"):
        assert int(path.read_text()) == begun[records[int(path.parent.name)].key or ""]
    check_goes_on(tmp_path, running, again=0)


@pytest.mark.parametrize(("running", "workers"), KINDS)
def test_twice_ends_at_once(tmp_path: Path, running: Running, workers: int) -> None:
    processes: list[int] = []
    pressed: list[float] = []

    def stopping() -> None:
        group, found = group_of(tmp_path, workers)
        processes.extend(found)
        press(group)
        until(lambda: (tmp_path / "said").read_text().startswith("stopping"))
        press(group)
        pressed.append(time.monotonic())

    status = apart(held_search, tmp_path, running, meanwhile=stopping)
    assert status == 128 + signal.SIGINT
    gone(processes)
    took_s = time.monotonic() - pressed[0]
    assert took_s < AT_ONCE_S
    assert (tmp_path / "said").read_text().endswith("interrupted\n")
    check_kept(tmp_path / "run", (), look(tmp_path / "run"))
    check_goes_on(tmp_path, running, again=workers)


@TWO_CORES
def test_a_driver_killed_while_workers_train_takes_them_along(tmp_path: Path) -> None:
    processes: list[int] = []

    def killing() -> None:
        group, found = group_of(tmp_path, 2)
        processes.extend(found)
        os.kill(group, signal.SIGKILL)

    assert apart(held_search, tmp_path, TWO, meanwhile=killing) == KILLED
    gone(processes)
    assert checkpoints(tmp_path / "run") == []
    check_goes_on(tmp_path, TWO, again=2)


def check_goes_on(folder: Path, running: Running, again: int) -> None:
    """The same search comes to its end; so many epochs are done again."""
    before = look(folder / "run")
    result = search(
        PairSpace(), Stepping(folder / "log"), settings(folder / "run", running=running)
    )
    assert result.finish is Finish.TRIALS
    check_kept(folder / "run", before, result.trials)
    check_whole(result.trials, 12)
    done = Counter(epochs(folder / "log"))
    assert done.total() - len(done) == again
    if running.executor != "processes":
        quiet = search(PairSpace(), Stepping(folder / "log 0"), settings(folder / "quiet"))
        assert facts_of(result.trials) == facts_of(quiet.trials)


def test_a_user_in_a_hurry_gives_no_trial_up(tmp_path: Path) -> None:
    """Who ends a search at once, again and again, does not kill it."""
    quiet = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "quiet"))

    def press_twice(job: Job, epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    wanted = settings(tmp_path / "run")
    for _ in range(MAX_DEATHS + 2):
        with pytest.raises(KeyboardInterrupt):
            search(PairSpace(), Stepping(tmp_path / "log", harm=press_twice), wanted)
    result = search(PairSpace(), Stepping(tmp_path / "log"), wanted)
    assert facts_of(result.trials) == facts_of(quiet.trials)


# The command, on images

SMALL = (
    "--size",
    "16",
    "--epochs",
    "3",
    "--max-macs",
    "1M",
    "--device",
    "cpu",
    "--finals",
    "0",
    "--trials",
    "4",
)


def timeless(records: tuple[TrialRecord, ...]) -> list[Any]:
    """What two searches that train must agree on: all but seconds."""
    return [
        (record.number, record.key, record.seed, record.ended, record.means) for record in records
    ]


def epochs_saved(run: RunFolder) -> int:
    """Epochs of all trials that are not to be trained again."""
    total = 0
    for record in look(run.path):
        checkpoint = run.trial(record.number) / CHECKPOINT
        here = json.loads(tensorfile.read(checkpoint)["epochs"]) if checkpoint.exists() else []
        total += max(record.budget, len(here))
    return total


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """With a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    command = ["--runs", str(folder), "--data", str(images), *SMALL, "--run", "quiet"]
    assert apart(search_command, command, (), folder / "said") == 0
    return folder


@pytest.mark.parametrize(
    ("signals", "saved"),
    [
        pytest.param((9,), 5, id="once"),
        pytest.param((9, 9), 4, id="twice", marks=pytest.mark.slow),
    ],
)
def test_the_command_stops_in_the_middle_of_an_epoch(
    tmp_path: Path, runs: Path, images: Path, signals: tuple[int, ...], saved: int
) -> None:
    """An epoch has one step here, and one batch for norms. The same command comes to one end."""
    command = ["--runs", str(tmp_path), "--data", str(images), *SMALL, "--run"]
    said = tmp_path / "said"
    assert apart(search_command, [*command, "stopped"], signals, said) == 128 + signal.SIGINT
    lines = said.read_text().splitlines()
    assert "stopping after this epoch; once more to end at once" in lines
    last = "interrupted" if len(signals) == 2 else "The same command goes on where this stopped."
    assert last in lines
    quiet, stopped = RunFolder(runs / "quiet"), RunFolder(tmp_path / "stopped")
    assert epochs_saved(stopped) == saved
    best = best_first(look(stopped.path))[0]
    assert read_weights(stopped.trial(best.number) / WEIGHTS)
    assert apart(search_command, [*command, "stopped"], (), said) == 0
    assert timeless(look(stopped.path)) == timeless(look(quiet.path))


@TWO_CORES
@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_the_command_with_workers(tmp_path: Path, images: Path, presses: int) -> None:
    """As a terminal stops it: the whole group, in the middle of whatever."""
    command = [sys.executable, "-m", "nas.search", "--runs", str(tmp_path), "--data", str(images)]
    command += [*SMALL, "--run", "r", "--workers", "2", "--trials"]
    process = subprocess.Popen(
        [*command, "500"],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.startswith("trial "):
            break
    workers = descendants(process.pid)
    assert len(workers) >= 2
    press(process.pid)
    first = process.stderr.readline()
    assert first == "stopping after this epoch; once more to end at once\n"
    begun = time.monotonic()
    if presses == 2:
        press(process.pid)
    out, err = process.communicate(timeout=60)
    took_s = time.monotonic() - begun
    assert process.returncode == 128 + signal.SIGINT
    gone(workers)
    if presses == 2:
        assert took_s < AT_ONCE_S
        assert err in ("interrupted\n", "")  # epochs are short: it may have ended before
    else:
        assert err == ""
        assert "The same command goes on where this stopped." in out
    run = RunFolder(tmp_path / "r")
    before = look(run.path)
    check_kept(run.path, (), before)
    more = str(sum(record.counts for record in before) + 2)
    subprocess.run([*command, more], cwd=ROOT, check=True, timeout=100, capture_output=True)
    after = look(run.path)
    check_kept(run.path, before, after)
    check_whole(after, int(more))
