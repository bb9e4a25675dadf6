"""Kills, at random moments: nothing is lost or doubled, and the best is never forgotten."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.driver import MAX_DEATHS
from nas.errors import TrainingFailure
from nas.runfolder import RunFolder
from nas.running import Running
from nas.search import Finish, SearchResult, search
from nas.study import Ended
from nas.workers import usable_cores
from tests.nas.fault_trainings import trained_search
from tests.nas.faults import (
    KILLED,
    apart,
    check_kept,
    check_whole,
    damage,
    facts_of,
    look,
    settings,
    table_search,
)
from tests.nas.steps import WEIGHTS, Kills, Stepping, epochs
from tests.nas.tables import PairSpace, checkpoints

TRIALS = 12

TWO = Running(executor="processes", workers=2)
TWO_CORES = pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")


def several(*values: Any) -> list[Any]:
    """The first value always, the others in slow runs."""
    return [values[0], *(pytest.param(value, marks=pytest.mark.slow) for value in values[1:])]


class Killing:
    """Searches of one folder that are killed at random moments until one comes to its end.

    Args:
        deed: see table_search; it is given the folder and a moment.
        run: the folder.
        arguments: further ones.
        least: kills to come to about; steps are half of that long on average.
        rng: draws moments.
    """

    def __init__(
        self, deed: Callable[..., int], run: Path, *arguments: Any, least: int, rng: random.Random
    ) -> None:
        self.deed, self.run, self.arguments, self.rng = deed, run, arguments, rng
        quiet = run.with_name("quiet")
        self.moments = apart(deed, quiet, None, *arguments)
        begun = time.monotonic()
        self.opening = apart(deed, quiet, None, *arguments)  # it has ended already
        self.opening_s = time.monotonic() - begun
        self.stride = 2 * (self.moments - self.opening) // least
        self.kills = 0
        self.records = look(run)

    def once(self, turn: int) -> bool:
        """Whether it was killed and not at its end; most die at work, and some by the clock."""
        ahead = self.rng.randrange(self.stride) if turn % 6 else -self.rng.randrange(self.opening)
        after_s = self.rng.uniform(0, 2 * self.opening_s) if turn % 6 == 3 else None
        moment = self.opening + ahead
        ended = apart(self.deed, self.run, moment, *self.arguments, after_s=after_s)
        before, self.records = self.records, look(self.run)
        check_kept(self.run, before, self.records)
        self.kills += ended == KILLED
        assert self.kills < 200
        return bool(ended == KILLED)


@pytest.mark.parametrize("seed", several(0, 1, 2, 3))
def test_a_driver_killed_at_random_moments_ends_in_the_same_study(
    tmp_path: Path, seed: int
) -> None:
    """At any statement or commit, in any job, and in between by the clock."""
    run = tmp_path / "killed"
    killing = Killing(table_search, run, least=18, rng=random.Random(seed))
    for turn in itertools.count():
        if not killing.once(turn):
            break
    assert killing.kills >= 20
    assert facts_of(killing.records) == facts_of(look(tmp_path / "quiet"))
    check_whole(killing.records, TRIALS)
    # An epoch is done again only if it was killed before it was saved.
    done, once = (Counter(epochs(tmp_path / name)) for name in ("killed.log", "quiet.log"))
    assert done.keys() == once.keys()
    assert set(once.values()) == {1}
    assert done.total() - once.total() <= killing.kills
    paused = [record.number for record in killing.records if record.paused]
    assert [int(path.parent.name) for path in checkpoints(run)] == paused


@TWO_CORES
@pytest.mark.parametrize("least", several(4, 20))
@pytest.mark.timeout(600)
def test_a_driver_of_processes_may_be_killed_as_well(tmp_path: Path, least: int) -> None:
    """Its workers end with it. In which order two of them end is chance, so studies differ."""
    rng, run, log = random.Random(least), tmp_path / "killed", tmp_path / "killed.log"
    trials = 4 + least
    kills, records = 0, look(run)
    while True:
        moment = rng.randrange(100, 200) if kills < least else None
        ended = apart(table_search, run, moment, {"running": TWO, "trials": trials})
        before, records = records, look(run)
        check_kept(run, before, records)
        if ended != KILLED:
            break
        kills += 1
    assert kills == least
    check_whole(records, trials)
    done = Counter(epochs(log))
    own = [record for record in records if record.duplicate_of is None]
    repeats = [rung for record in own for rung in record.repeats]
    spent = sum(record.budget for record in own) + sum(rung.budget for rung in repeats)
    assert len(done) == spent
    assert done.total() - len(done) <= 2 * kills


def search_with(kills: Kills, log: Path, run: Path) -> SearchResult:
    """A search by two workers, with the two best genomes among the first."""
    warm = ({"a": 7, "b": 3}, {"a": 7, "b": 4})
    wanted = settings(run, trials=6, warm_start=warm, running=TWO, repeats=0)
    return search(PairSpace(), Stepping(log, harm=kills), wanted)


@TWO_CORES
def test_a_job_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """It is in its second epoch of two; nobody else is disturbed."""
    kills = Kills(tmp_path, epoch=3, keys=("7,3", "7,4"), once=True)
    result = search_with(kills, tmp_path / "log", tmp_path / "run")
    assert result.finish is Finish.TRIALS
    check_whole(result.trials, 6)
    check_kept(tmp_path / "run", (), result.trials)
    assert {record.ended for record in result.trials} <= {None, Ended.COMPLETED, Ended.DUPLICATE}
    seeds = {record.key: record.seed for record in result.trials}
    twice = {line for line, times in Counter(epochs(tmp_path / "log")).items() if times == 2}
    assert twice == {f"{key} {seeds[key]} 3" for key in ("7,3", "7,4")}
    assert max(Counter(epochs(tmp_path / "log")).values()) == 2


@TWO_CORES
def test_a_job_that_always_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    kills = Kills(tmp_path, epoch=1, keys=("7,3",), once=False)
    result = search_with(kills, tmp_path / "log", tmp_path / "run")
    assert result.finish is Finish.TRIALS
    check_whole(result.trials, 6)
    check_kept(tmp_path / "run", (), result.trials)
    failed, *others = result.trials
    assert failed.ended is Ended.FAILED
    assert str(failed.reason).startswith(f"{TrainingFailure.CRASHED}: the process died")
    assert all(record.ended is not Ended.FAILED for record in others)
    done = Counter(epochs(tmp_path / "log"))
    assert done.pop(f"7,3 {failed.seed} 1") == MAX_DEATHS
    assert set(done.values()) == {1}
    assert result.best is not None
    assert result.best.key == "7,4"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_checkpoints_damaged_between_kills_of_real_trainings(tmp_path: Path) -> None:
    """They are trained again to the same scores, and nothing else changes."""
    run, rng, damaged = tmp_path / "killed", random.Random(0), 0
    killing = Killing(trained_search, run, {"trials": 4}, least=16, rng=rng)
    for turn in itertools.count(1):
        if not killing.once(turn):
            break
        # Not always: a training that starts over again and again would take most of the kills.
        for path in checkpoints(run):
            if rng.random() < 0.3:
                damage(path, rng)
                damaged += 1
    assert killing.kills >= 20
    assert damaged >= 10
    assert facts_of(killing.records) == facts_of(look(tmp_path / "quiet"))
    for record in killing.records:
        if record.rungs:
            one, other = (RunFolder(tmp_path / name) for name in ("quiet", "killed"))
            files = [folder.trial(record.number) / WEIGHTS for folder in (one, other)]
            assert files[0].read_bytes() == files[1].read_bytes()
