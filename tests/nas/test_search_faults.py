"""Faults of trainings, files and clocks: one trial fails, or nothing changes."""

import datetime
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data.augment import augment
from nas.errors import TrainingFailure
from nas.evaluator import read_weights
from nas.jobs import Job, Outcome
from nas.running import Running
from nas.search import Finish, SearchResult, search
from nas.study import Ended, TrialRecord, best_first
from nas.workers import usable_cores
from tests.nas.fault_trainings import (
    HUGE,
    Nets,
    Wild,
    search_in_little_memory,
    training,
    wild,
)
from tests.nas.faults import apart, check_kept, check_whole, damage, facts_of, look, settings
from tests.nas.steps import WEIGHTS, Bad, Stepping, epochs
from tests.nas.tables import Killed, PairSpace, checkpoints

TWO = pytest.param(
    math.nan,
    Running(executor="processes", workers=2),
    marks=pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores"),
)
SCORES = [*((value, Running()) for value in (math.nan, math.inf, -math.inf)), TWO]


def failed_of(records: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    return [record for record in records if record.ended is Ended.FAILED]


# Memory


def filters(record: TrialRecord) -> set[int]:
    assert record.genome is not None
    return {block["filters"] for block in record.genome["blocks"]}


def test_memory_that_is_not_there_fails_its_trial_alone(tmp_path: Path) -> None:
    """The system refuses it: 200 MB are left, and the weights of some networks take 600."""
    assert apart(search_in_little_memory, tmp_path, 200_000_000) is None
    records = look(tmp_path)
    check_whole(records, 4)
    check_kept(tmp_path, (), records)
    failed = failed_of(records)
    assert failed
    counted = [record for record in records if record.counts]
    assert failed == [record for record in counted if HUGE in filters(record)]
    for record in failed:
        assert str(record.reason).startswith(f"{TrainingFailure.OUT_OF_MEMORY}: ")
        assert "memory: you tried to allocate" in str(record.reason)
    assert HUGE not in filters(best_first(records)[0])


BRIEF: dict[str, Any] = {"budgets": (1, 3), "trials": 4, "repeats": 0}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search that is not disturbed."""
    return search(Nets(), training(), settings(tmp_path_factory.mktemp("plain"), **BRIEF))


def allocate(_: Any) -> None:
    torch.empty(1 << 57, dtype=torch.uint8)  # more than an address space has


def refuse(error: BaseException) -> Callable[[Any], None]:
    def raising(_: Any) -> None:
        raise error

    return raising


@pytest.mark.parametrize(
    "ask",
    [
        allocate,
        lambda _: bytearray(1 << 57),
        refuse(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")),
    ],
    ids=["torch", "python", "device"],
)
def test_out_of_memory_in_a_step_fails_its_trial_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: SearchResult,
    ask: Callable[[Any], None],
) -> None:
    steps = itertools.count()

    def stepping(*given: Any) -> Any:
        if next(steps) == 2:
            ask(given)
        return augment(*given)

    monkeypatch.setattr("nas.stepping.augment", stepping)
    result = search(Nets(), training(), settings(tmp_path / "full", **BRIEF))
    (failed,) = failed_of(result.trials)
    assert failed.number == 0
    assert str(failed.reason).startswith(f"{TrainingFailure.OUT_OF_MEMORY}: ")
    check_whole(result.trials, 4)
    check_kept(tmp_path / "full", (), result.trials)
    # The scores of all others are those that they would have had.
    common = 0
    for one, other in zip(plain.trials[1:], result.trials[1:], strict=False):
        if one.key == other.key:
            for rung, same in zip(one.rungs, other.rungs, strict=False):
                assert rung == same
                common += 1
    assert common


# Checkpoints


def test_damaged_checkpoints_are_trained_again_to_the_same_scores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plain: SearchResult,
) -> None:
    """Cut off or with a bit turned, between the deaths of a process."""
    rng, deaths, left = random.Random(1), 0, 14

    def dying(*given: Any) -> Any:
        nonlocal deaths, left
        left -= 1
        if left == 0:
            # A training takes up to 18 steps, and norms as many batches for their statistics.
            deaths, left = deaths + 1, rng.randrange(13, 38)
            raise Killed
        return augment(*given)

    result = None
    with monkeypatch.context() as patch:
        patch.setattr("nas.stepping.augment", dying)
        patch.setattr("nas.driver.MAX_DEATHS", 1_000)
        while result is None:
            try:
                result = search(Nets(), training(), settings(tmp_path, **BRIEF))
            except Killed:
                assert deaths < 100
                for path in checkpoints(tmp_path):
                    damage(path, rng)
    warnings = [record.getMessage() for record in caplog.records]
    assert deaths >= 6
    assert len(warnings) >= 4
    assert all("is damaged (ValueError): training starts over" in text for text in warnings)
    assert facts_of(result.trials) == facts_of(plain.trials)
    check_kept(tmp_path, (), result.trials)


# Numbers that are none


def test_a_training_that_explodes_fails_its_trial_alone(tmp_path: Path) -> None:
    wanted = settings(tmp_path, budgets=(1, 3), trials=6)
    result = search(Nets(), Wild(training()), wanted)
    check_whole(result.trials, 6)
    failed = failed_of(result.trials)
    assert failed
    assert failed == [record for record in result.trials if wild(record.genome)]
    reasons = {str(record.reason).partition(" but ")[0] for record in failed}
    assert reasons == {f"{TrainingFailure.NOT_FINITE}: loss and outputs must stay finite,"}
    assert result.best is not None
    assert read_weights(tmp_path / "trials" / f"{result.best.number:05d}" / WEIGHTS)


@pytest.mark.parametrize(("value", "running"), SCORES, ids=str)
def test_a_score_that_is_no_number_fails_its_trial_alone(
    tmp_path: Path, value: float, running: Running
) -> None:
    wanted = settings(tmp_path / "run", running=running)
    evaluator = Stepping(tmp_path / "log", scored=Bad(value))
    result = search(PairSpace(), evaluator, wanted)
    check_whole(result.trials, 12)
    failed = failed_of(result.trials)
    assert failed
    for record in result.trials:
        assert record.genome is not None
        if record.counts:
            assert (record in failed) == (record.genome["a"] >= 5)
    for record in failed:
        assert record.rungs == ()
        assert record.reason == (
            f"{TrainingFailure.NOT_FINITE}: a score and its seconds must be finite, but are "
            f"{value} and 1.0; mend the evaluator"
        )
    assert result.best is not None
    assert math.isfinite(result.best.score or math.nan)
    assert facts_of(look(tmp_path / "run")) == facts_of(result.trials)
    again = search(PairSpace(), evaluator, wanted)
    assert facts_of(again.trials) == facts_of(result.trials)


def test_a_further_training_whose_score_is_no_number_tells_nothing(tmp_path: Path) -> None:
    plain = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "plain"))
    evaluator = Stepping(tmp_path / "log", scored=Bad(math.nan, repeated=True))
    result = search(PairSpace(), evaluator, settings(tmp_path / "run"))
    assert any(record.repeats for record in plain.trials)
    assert not any(record.repeats for record in result.trials)
    check_whole(result.trials, 12)
    assert not failed_of(result.trials)
    assert all(math.isfinite(mean) for record in result.trials for mean in record.means)


def test_seconds_that_are_no_number_fail_the_trial(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Timeless(Stepping):
        def evaluate(self, job: Job) -> Outcome:
            return replace(super().evaluate(job), cost_s=math.nan)

    wanted = settings(tmp_path / "run", trials=3)
    result = search(PairSpace(), Timeless(tmp_path / "log"), wanted)
    assert (result.best, len(failed_of(result.trials))) == (None, 3)


# Clocks that jump


@pytest.mark.parametrize("timeout_s", [None, 3600.0])
def test_jumping_clocks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: float | None
) -> None:
    """Of the day and of files; a timeout goes by the one that cannot."""
    plain = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "plain"))
    rng, true_time = random.Random(0), time.time
    asked: list[str] = []

    def jumping() -> float:
        asked.append("time")
        return true_time() + rng.uniform(-30, 30) * 86_400

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumping":
            asked.append("datetime")
            return cls.fromtimestamp(jumping(), tz)

    def touch(job: Job, epoch: int) -> None:
        if job.checkpoint is not None and job.checkpoint.exists():
            os.utime(job.checkpoint, (jumping(), jumping()))

    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").startswith(("nas.", "optuna."))
        if ours and module.__dict__.get("datetime") is datetime.datetime:
            monkeypatch.setattr(module, "datetime", Jumping)
    monkeypatch.setattr(time, "time", jumping)
    wanted = settings(tmp_path / "run", timeout_s=timeout_s)
    result = search(PairSpace(), Stepping(tmp_path / "log", harm=touch), wanted)
    again = search(PairSpace(), Stepping(tmp_path / "log", harm=touch), wanted)
    monkeypatch.undo()
    assert asked.count("datetime") >= 12
    assert result.finish is again.finish is Finish.TRIALS
    assert facts_of(result.trials) == facts_of(again.trials) == facts_of(plain.trials)
    assert epochs(tmp_path / "log") == epochs(tmp_path / "log 0")
