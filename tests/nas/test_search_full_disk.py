"""Disks without space: one sentence, and after there is space the search ends as if there had been.

Where a small file system can be mounted, it is a real one.
"""

import itertools
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas.data.augment import augment
from nas.driver import MAX_DEATHS
from nas.errors import RunError
from nas.running import Running
from nas.search import search
from nas.study import Ended
from nas.workers import usable_cores
from tests.nas.fault_trainings import Nets, search_in_little_space, training
from tests.nas.faults import apart, check_kept, check_whole, facts_of, look, settings
from tests.nas.steps import Fills, Stepping, epochs, fill
from tests.nas.tables import PairSpace

GOES_ON = "the same command goes on"
TWO = Running(executor="processes", workers=2)
PAIRS = PairSpace()
MORE_SIZES = [
    pytest.param(size, True, marks=pytest.mark.slow) for size in (1_000, 30_000, 100_000, 200_000)
]
"""In bytes; a study takes 300 kB, and a checkpoint up to 20."""


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of eight megabytes: SQLite's log takes four before it is emptied."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(tmp_path / "disk") as found:
            yield found
    except FileNotFoundError:
        pytest.skip("no file system can be mounted here: there is no mount")


def refused(run: Path, evaluator: Any, space: Any = PAIRS, **changes: Any) -> str:
    """The one sentence that a search ends with."""
    with pytest.raises(RunError) as caught:
        search(space, evaluator, settings(run, **changes))
    text = str(caught.value)
    assert GOES_ON in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("line", [1, 2, 20])
def test_a_disk_that_is_full(tmp_path: Path, disk: Path, line: int) -> None:
    quiet = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "quiet"))
    run, log = disk / "run", tmp_path / "log"
    refused(run, Stepping(log, harm=Fills(disk, line, log)))
    before = look(run)
    check_kept(run, (), before)
    fill(disk)
    refused(run, Stepping(log))
    (disk / "filler").unlink()
    result = search(PairSpace(), Stepping(log), settings(run))
    check_kept(run, before, result.trials)
    assert facts_of(result.trials) == facts_of(quiet.trials)
    done, once = Counter(epochs(log)), Counter(epochs(tmp_path / "log 0"))
    assert done.keys() == once.keys()
    assert done.total() - once.total() <= 2


def test_a_full_disk_is_no_trials_fault(tmp_path: Path, disk: Path) -> None:
    """However often it is tried: the study, on another disk, could count deaths."""
    quiet = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "quiet"))
    run, log = tmp_path / "run", tmp_path / "log"
    run.mkdir()
    (run / "trials").symlink_to(disk)
    evaluator = Stepping(log, harm=Fills(disk, 11, log))
    for _ in range(MAX_DEATHS + 2):
        assert "(No space left on device)" in refused(run, evaluator)
    (disk / "filler").unlink()
    result = search(PairSpace(), Stepping(log), settings(run))
    assert facts_of(result.trials) == facts_of(quiet.trials)


def test_a_disk_that_is_full_for_real_trainings(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch hides what the system said of a checkpoint, where it takes more than a file's buffer.

    The search tells.
    """
    changes: dict[str, Any] = {"budgets": (1, 3), "trials": 3}
    nets = Nets((32, 48))
    quiet = search(nets, training(), settings(tmp_path / "quiet", **changes))
    steps = itertools.count(1)

    def filling(*given: Any) -> Any:
        if next(steps) == 20:
            fill(disk, spare=65_536)  # a part of a checkpoint
        return augment(*given)

    run = tmp_path / "run"
    run.mkdir()
    (run / "trials").symlink_to(disk)
    with monkeypatch.context() as patch:
        patch.setattr("nas.stepping.augment", filling)
        assert "(No space left on device)" in refused(run, training(), nets, **changes)
    (disk / "filler").unlink()
    result = search(nets, training(), settings(run, **changes))
    assert facts_of(result.trials) == facts_of(quiet.trials)


@pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")
def test_a_disk_that_is_full_for_workers(tmp_path: Path, disk: Path) -> None:
    run, log = disk / "run", tmp_path / "log"
    refused(run, Stepping(log, harm=Fills(disk, 4, log)), running=TWO)
    before = look(run)
    (disk / "filler").unlink()
    result = search(PairSpace(), Stepping(log), settings(run, running=TWO))
    check_kept(run, before, result.trials)
    check_whole(result.trials, 12)
    assert all(record.ended is not Ended.FAILED for record in result.trials)
    assert max(Counter(epochs(log)).values()) <= 2


@pytest.mark.parametrize(("size", "trained"), [(100_000, False), *MORE_SIZES])
def test_files_that_may_not_grow(tmp_path: Path, size: int, trained: bool) -> None:
    """In the study and in its log; no file system is needed."""
    run, quiet = tmp_path / "run", tmp_path / "quiet"
    assert apart(search_in_little_space, quiet, None, trained) is None
    error = apart(search_in_little_space, run, size, trained)
    assert isinstance(error, RunError)
    assert GOES_ON in str(error)
    assert "\n" not in str(error)
    assert apart(search_in_little_space, run, None, trained) is None
    check_kept(run, (), look(run))
    assert facts_of(look(run)) == facts_of(look(quiet))
