"""Searches with several jobs at once: in an executor that plays tricks, and in real processes."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.driver import MAX_DEATHS, Silent
from nas.errors import SettingsError, TrainingFailure, WorkerLost
from nas.executors import Done
from nas.jobs import Job, Outcome
from nas.running import EXECUTORS, Running
from nas.scheduler import SCHEDULERS
from nas.search import Finish, SearchResult, SearchSettings, search
from nas.study import Ended, Rung, TrialRecord
from tests.nas.lookups import BUDGETS, TRIALS, Lookup, Spot, SpotSpace, score, steps
from tests.nas.tables import Killed

ROOT = Path(__file__).parents[2]
SEEDS = range(4)


class Juggler:
    """Runs jobs in this process: they end in any order, and some workers die.

    It checks what the driver owes an executor: a free slot, and one ticket at a time.
    """

    slots = 3

    def __init__(self, evaluator: Any, seed: int, lost: float = 0.0) -> None:
        self._evaluator, self._random, self._lost = evaluator, random.Random(seed), lost
        self._jobs: dict[int, Job] = {}
        self.most = self.deaths = 0

    def submit(self, ticket: int, job: Job) -> None:
        assert len(self._jobs) < self.slots
        assert ticket not in self._jobs
        self._jobs[ticket] = job
        self.most = max(self.most, len(self._jobs))

    def wait(self) -> Done:
        ticket = self._random.choice(sorted(self._jobs))
        job = self._jobs.pop(ticket)
        if self._random.random() < self._lost:
            self.deaths += 1
            return Done(ticket, WorkerLost("a worker must live, but this one died"))
        return Done(ticket, self._evaluator.evaluate(job))

    def close(self) -> None:
        """Nothing to end."""


Juggle = Callable[..., list[Juggler]]


@pytest.fixture
def juggle(monkeypatch: pytest.MonkeyPatch) -> Juggle:
    """Make the name "juggler" an executor; gives all that were made."""

    def prepared(seed: int, lost: float = 0.0) -> list[Juggler]:
        made: list[Juggler] = []

        def make(_: Running, evaluator: Any, *__: Any) -> Juggler:
            made.append(Juggler(evaluator, seed, lost))
            return made[-1]

        monkeypatch.setitem(EXECUTORS, "juggler", make)
        return made

    return prepared


def settings(run: Path, **changes: Any) -> SearchSettings:
    running = changes.pop("running", None) or Running("juggler")
    plain = SearchSettings(run, TRIALS, BUDGETS, "random", "halving", repeats=0, running=running)
    return replace(plain, **changes)


def check_whole(result: SearchResult, trials: int = TRIALS) -> None:
    """Every trial counts once, every genome is trained once, and scores are where they belong."""
    counted = [record for record in result.trials if record.counts]
    assert result.finish is Finish.TRIALS
    assert len(counted) == trials
    assert len({record.key for record in counted}) == trials
    assert all(record.ended is not None or record.paused for record in result.trials)
    for record in counted:
        genome = Spot(**record.genome or {})
        assert [rung.budget for rung in record.rungs] == list(BUDGETS[: len(record.rungs)])
        for rung in record.rungs:
            assert rung.score == score(genome, rung.budget)
    full = [record for record in counted if record.ended is Ended.COMPLETED]
    assert len(full) >= trials // 3
    assert result.best == max(full, key=lambda record: record.score or 0.0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_whatever_order_jobs_end_nothing_is_trained_twice(
    tmp_path: Path, juggle: Juggle, seed: int, scheduler: str
) -> None:
    made, log = juggle(seed), tmp_path / "log"
    wanted = settings(tmp_path / "run", scheduler=scheduler)
    check_whole(search(SpotSpace(), Lookup(log), wanted))
    assert made[0].most == Juggler.slots
    assert steps(log, "begin") == sorted(set(steps(log, "end")))


@pytest.mark.parametrize("seed", SEEDS)
def test_jobs_whose_workers_die_are_done_again(tmp_path: Path, juggle: Juggle, seed: int) -> None:
    made, log = juggle(seed, lost=0.3), tmp_path / "log"
    check_whole(search(SpotSpace(), Lookup(log), settings(tmp_path / "run")))
    assert made[0].deaths
    assert max(Counter(steps(log, "end")).values()) == 1


def test_a_genome_that_kills_every_worker_is_given_up(tmp_path: Path, juggle: Juggle) -> None:
    made = juggle(0, lost=1.0)
    result = search(SpotSpace(), Lookup(tmp_path / "log"), settings(tmp_path / "run", trials=2))
    assert (result.finish, result.best) == (Finish.TRIALS, None)
    assert [record.ended for record in result.trials] == [Ended.FAILED, Ended.FAILED]
    assert all(TrainingFailure.CRASHED in str(record.reason) for record in result.trials)
    assert made[0].deaths == 2 * MAX_DEATHS


@pytest.mark.parametrize("seed", [6, 11, 36])
def test_nobody_goes_on_while_a_training_from_another_seed_decides_who(
    tmp_path: Path, juggle: Juggle, seed: int
) -> None:
    """The same trial would be asked for twice, and one outcome taken for the other."""
    juggle(seed, lost=0.2)
    result = search(
        SpotSpace(), Noise(), settings(tmp_path / "run", repeats=4, trials=20, seed=seed)
    )
    assert 1 <= sum(len(record.repeats) for record in result.trials) <= 4
    for record in result.trials:
        for rung in (*record.rungs, *record.repeats):
            assert rung.metrics == {
                "start": 0 if rung in record.repeats else start_of(record, rung)
            }


def start_of(record: TrialRecord, rung: Rung) -> int:
    place = record.rungs.index(rung)
    return record.rungs[place - 1].budget if place else 0


class Noise:
    """Scores of four heights, by the seed alone: at each of them nobody is clearly better."""

    def evaluate(self, job: Job) -> Outcome:
        value = random.Random(job.seed).choice((0.2, 0.4, 0.6, 0.8)) + job.seed / 2**63 / 1000
        return Outcome(value - 1 / job.budget, 1.0, {"start": job.start_budget})


@pytest.mark.parametrize("at", range(1, 12, 3))
def test_when_the_driver_dies_what_was_under_way_is_done_again(
    tmp_path: Path, juggle: Juggle, at: int
) -> None:
    """Three jobs are lost at once, or as many as there were."""
    juggle(at)
    log = tmp_path / "log"
    with pytest.raises(Killed):
        search(SpotSpace(), Lookup(log), settings(tmp_path / "run"), listener=DyingListener(at))
    ended = steps(log, "end")
    check_whole(search(SpotSpace(), Lookup(log), settings(tmp_path / "run")))
    assert max(Counter(steps(log, "end")).values()) == 1
    assert not set(ended) - set(steps(log, "end"))


class DyingListener(Silent):
    def __init__(self, at: int) -> None:
        self.at = at

    def started(self, trial: TrialRecord, budget: int) -> None:
        self.at -= 1
        if self.at == 0:
            raise Killed


# Real processes

PROCESSES = Running("processes", workers=2)


def test_in_processes_a_search_ends_as_it_should_though_workers_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    wanted = settings(tmp_path / "run", running=PROCESSES)
    result = search(SpotSpace(), Lookup(log, deaths=2), wanted)
    check_whole(result)
    ended = Counter(steps(log, "end"))
    assert max(ended.values()) == 1
    begun = Counter(steps(log, "begin"))
    assert sum(begun.values()) == sum(ended.values()) + 2  # each death cost one job
    assert os.getpid() not in {r.metrics["pid"] for one in result.trials for r in one.rungs}


@pytest.mark.slow
def test_in_processes_a_search_goes_on_when_its_driver_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.nas.lookups", str(tmp_path / "run"), str(log)]
    for dies_at, status in (("5", -signal.SIGKILL), ("0", 0)):
        done = subprocess.run([*command, dies_at], cwd=ROOT, timeout=90, capture_output=True)
        assert done.returncode == status, done.stderr.decode()
    check_whole(search(SpotSpace(), Lookup(log), settings(tmp_path / "run", running=PROCESSES)))
    ended = Counter(steps(log, "end"))
    assert max(ended.values()) <= 2  # done, and not yet written when the driver died
    assert sum(ended.values()) <= len(ended) + 2


def test_more_workers_than_cores_are_refused(tmp_path: Path) -> None:
    wanted = settings(tmp_path / "run", running=Running(workers=10_000))
    with pytest.raises(SettingsError, match="--workers must be at most the"):
        search(SpotSpace(), Lookup(tmp_path / "log"), wanted)
