"""The engine, with scores from a table: what is decided, and what survives."""

import itertools
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nas.driver import MAX_DEATHS
from nas.errors import Interrupted, RunError, SettingsError, TrainingError, TrainingFailure
from nas.jobs import Job
from nas.runfolder import RunFolder
from nas.samplers import DEFAULT, SAMPLERS, make_sampler
from nas.search import Finish, SearchResult, SearchSettings, search
from nas.storage import Storage, open_study
from nas.study import Ended, TrialRecord, best_first, read_records
from tests.nas.tables import (
    DiesAt,
    Killed,
    PairSpace,
    TableEvaluator,
    checkpoints,
    score,
)


def settings(run: Path, **changes: Any) -> SearchSettings:
    usual = SearchSettings(
        run=run, trials=12, budgets=(1, 3, 9), sampler="tpe", scheduler="halving"
    )
    return replace(usual, **changes)


def trained(result: SearchResult) -> list[TrialRecord]:
    return [record for record in result.trials if record.counts]


def waiting(run: Path) -> list[int]:
    """Trials that have a checkpoint."""
    return sorted(int(path.parent.name) for path in checkpoints(run))


def paused(run: Path) -> list[int]:
    return [record.number for record in read_records(run / "study.db") if record.paused]


def facts_of(records: tuple[TrialRecord, ...]) -> list[Any]:
    """What two searches must agree on."""
    return [(r.number, r.key, r.rungs, r.ended, r.reason, r.seed, r.duplicate_of) for r in records]


def test_trains_as_many_as_asked_and_finds_a_good_one(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    result = search(PairSpace(), evaluator, settings(tmp_path / "run", trials=40))
    assert result.finish is Finish.TRIALS
    assert len(trained(result)) == 40
    assert result.best is not None
    assert result.best.budget == 9
    finished = [r.score for r in result.trials if r.ended is Ended.COMPLETED]
    assert result.best.score == max(score for score in finished if score is not None)
    assert result.best.score >= score(PairSpace().suggest(_fixed(7, 3)), 9) - 0.15


def _fixed(a: int, b: int) -> Any:
    return optuna.trial.FixedTrial({"a": a, "b": b})


def test_every_fact_of_a_trial_is_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    measured = settings(run, measure=lambda genome: {"parameters": genome.a * 10})
    search(PairSpace(), TableEvaluator(), measured)
    for record in read_records(run / "study.db"):
        assert record.genome is not None
        assert record.key == f"{record.genome['a']},{record.genome['b']}"
        assert record.facts == {"parameters": record.genome["a"] * 10}
        assert (record.ended is None) == (record.reason is None) == record.paused
        for rung in record.rungs:
            assert rung.metrics == {"budget": rung.budget}
            assert rung.score == score(PairSpace().suggest(_fixed(**record.genome)), rung.budget)
    assert waiting(run) == paused(run)  # to go on from; nothing once a trial has ended


def test_the_study_is_an_optuna_study(tmp_path: Path) -> None:
    search(PairSpace(), TableEvaluator(), settings(tmp_path))
    study = open_study(tmp_path / "study.db")
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert complete
    assert all(list(trial.intermediate_values) == [1, 3, 9] for trial in complete)
    assert all(trial.value == trial.intermediate_values[9] for trial in complete)
    assert waiting  # at a rung, with the scores that they have
    assert {tuple(trial.intermediate_values) for trial in waiting} == {(1,), (1, 3)}
    assert study.best_value == max(trial.value or 0 for trial in complete)


def test_the_best_third_goes_on_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    result = search(PairSpace(), evaluator, settings(tmp_path, trials=30, sampler="random"))
    reached = {budget: [r for r in trained(result) if r.budget >= budget] for budget in (1, 3, 9)}
    assert len(reached[1]) == 30
    # One in three; more where a genome was promoted that a later one displaced.
    assert 10 <= len(reached[3]) <= 15
    assert 4 <= len(reached[9]) <= 7
    assert all(r.paused for r in trained(result) if r.budget < 9)
    best = max(trained(result), key=lambda r: r.rungs[0].score)
    assert best.budget == 9
    spent = sum(job.budget - job.start_budget for job in evaluator.jobs)
    assert spent < 30 * 9 / 2
    # Nobody is trained twice over the same epochs.
    steps = [(job.genome.key, job.start_budget, job.budget) for job in evaluator.jobs]
    assert len(steps) == len(set(steps))


def test_the_total_counts_trials_of_earlier_calls(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    search(PairSpace(), evaluator, settings(tmp_path, trials=5))
    before = len(evaluator.jobs)
    again = search(PairSpace(), evaluator, settings(tmp_path, trials=5))
    assert (len(evaluator.jobs), len(trained(again))) == (before, 5)
    more = search(PairSpace(), evaluator, settings(tmp_path, trials=8))
    assert len(trained(more)) == 8


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_same_seed_same_study(tmp_path: Path, sampler: str) -> None:
    results = [
        search(PairSpace(), TableEvaluator(), settings(tmp_path / name, sampler=sampler, seed=seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    first, second, other = [facts_of(result.trials) for result in results]
    assert first == second
    assert [fact[1] for fact in first] != [fact[1] for fact in other]


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        *((name, "halving") for name in sorted(SAMPLERS)),
        ("tpe", "expecting"),
        (DEFAULT, "expecting"),
    ],
)
def test_killed_at_every_job_the_search_ends_as_if_it_had_not_been(
    tmp_path: Path, sampler: str, scheduler: str
) -> None:
    """Dies at every other job; each time the same call goes on. Nothing is lost or doubled."""
    changes: dict[str, Any] = {"sampler": sampler, "scheduler": scheduler, "trials": 14}
    plain = search(PairSpace(), TableEvaluator(), settings(tmp_path / "plain", **changes))
    evaluator = TableEvaluator(fail=DiesAt(set(range(1, 400, 2))))
    wanted = settings(tmp_path / "killed", **changes)
    deaths = 0
    result = None
    while result is None:
        try:
            result = search(PairSpace(), evaluator, wanted)
        except Killed:
            deaths += 1
            assert deaths < 200
    assert deaths >= 15
    assert facts_of(result.trials) == facts_of(plain.trials)
    assert waiting(tmp_path / "killed") == paused(tmp_path / "killed")


@pytest.mark.parametrize("call", range(1, 20))
def test_killed_between_any_two_writes_to_the_study(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may die after any single transaction, not only between jobs."""
    limited: dict[str, Any] = {
        "measure": lambda genome: {"parameters": genome.a},
        "limits": {"parameters": 8},
        "trials": 4,
    }
    plain = search(PairSpace(), TableEvaluator(), settings(tmp_path / "plain", **limited))
    counter = itertools.count(1)

    def dying(name: str) -> Any:
        original = getattr(Storage, name)

        def write(self: Storage, *args: Any, **kwargs: Any) -> Any:
            done = original(self, *args, **kwargs)
            if next(counter) == call:
                raise Killed
            return done

        return write

    with monkeypatch.context() as patch:
        for name in ("add", "change", "take"):  # each of them one transaction
            patch.setattr(Storage, name, dying(name))
        with pytest.raises(Killed):
            search(PairSpace(), TableEvaluator(), settings(tmp_path / "killed", **limited))
    result = search(PairSpace(), TableEvaluator(), settings(tmp_path / "killed", **limited))
    assert facts_of(result.trials) == facts_of(plain.trials)
    for record in read_records(tmp_path / "killed" / "study.db"):
        assert record.ended or record.paused


def test_a_genome_seen_before_is_not_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.driver.MAX_REJECTED", 40)
    evaluator = TableEvaluator()
    result = search(PairSpace(size=3), evaluator, settings(tmp_path, trials=50, sampler="random"))
    assert result.finish is Finish.EXHAUSTED
    assert len(trained(result)) == 9
    first = [job.genome.key for job in evaluator.jobs if job.start_budget == 0]
    assert len(first) == len(set(first)) == 9
    for record in result.trials:
        if record.ended is Ended.DUPLICATE:
            assert record.duplicate_of is not None
            original = result.trials[record.duplicate_of]
            assert (original.key, original.score) == (record.key, record.score)
            assert record.seconds == 0
    assert {r.number for r in best_first(result.trials)} == {r.number for r in trained(result)}


def test_genomes_above_a_limit_are_not_trained(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    limited = settings(
        tmp_path, measure=lambda genome: {"parameters": genome.a * 10}, limits={"parameters": 40}
    )
    result = search(PairSpace(), evaluator, limited)
    assert len(trained(result)) == 12
    assert all(job.genome.a <= 4 for job in evaluator.jobs)
    over = [record for record in result.trials if record.ended is Ended.OVER_LIMIT]
    assert over
    assert all("above the limit of 40" in str(record.reason) for record in over)
    study = open_study(tmp_path / "study.db")
    assert study.trials[over[0].number].constraints["parameters"] > 0


def test_no_genome_within_the_limits_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.driver.MAX_REJECTED", 10)
    limited = settings(tmp_path, measure=lambda _: {"parameters": 2}, limits={"parameters": 1})
    result = search(PairSpace(), TableEvaluator(), limited)
    assert (result.finish, result.best) == (Finish.EXHAUSTED, None)


def test_a_limit_on_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'latency'"):
        search(PairSpace(), TableEvaluator(), settings(tmp_path, limits={"latency": 1}))


@pytest.mark.parametrize("failure", list(TrainingFailure))
def test_a_failed_training_ends_its_trial_only(tmp_path: Path, failure: TrainingFailure) -> None:
    def fail(job: Job) -> None:
        if job.genome.a >= 5:
            raise TrainingError(failure, "it went wrong")

    result = search(PairSpace(), TableEvaluator(fail=fail), settings(tmp_path, trials=20))
    failed = [record for record in result.trials if record.ended is Ended.FAILED]
    assert failed
    assert all(str(record.reason) == f"{failure}: it went wrong" for record in failed)
    assert len(trained(result)) == 20
    assert result.best is not None
    assert result.best.genome is not None
    assert result.best.genome["a"] < 5


def test_an_interruption_keeps_the_trial_open(tmp_path: Path) -> None:
    fail = DiesAt({4}, Interrupted)
    first = search(PairSpace(), TableEvaluator(fail=fail), settings(tmp_path))
    assert first.finish is Finish.INTERRUPTED
    assert sum(not (record.ended or record.paused) for record in first.trials) == 1
    second = search(PairSpace(), TableEvaluator(fail=fail), settings(tmp_path))
    assert second.finish is Finish.TRIALS
    assert len(trained(second)) == 12


def test_the_timeout_ends_the_search_and_the_next_call_goes_on(tmp_path: Path) -> None:
    ticks = itertools.count()
    limited = settings(tmp_path, timeout_s=5)
    first = search(PairSpace(), TableEvaluator(), limited, clock=lambda: float(next(ticks)))
    assert first.finish is Finish.TIMEOUT
    assert 0 < len(trained(first)) < 12
    assert search(PairSpace(), TableEvaluator(), settings(tmp_path)).finish is Finish.TRIALS


def test_an_interruption_by_the_timeout_is_told_as_such(tmp_path: Path) -> None:
    ticks = iter([0.0, 0.0, 9.0, 9.0])
    fail = DiesAt({1}, Interrupted)
    limited = settings(tmp_path, timeout_s=5)
    result = search(PairSpace(), TableEvaluator(fail=fail), limited, clock=lambda: next(ticks))
    assert result.finish is Finish.TIMEOUT


def test_a_trial_that_kills_the_process_is_given_up(tmp_path: Path) -> None:
    def fail(job: Job) -> None:
        if job.genome.a == 7:
            raise Killed

    warm = settings(tmp_path, warm_start=({"a": 7, "b": 3},), trials=3)
    deaths = 0
    result = None
    while result is None:
        try:
            result = search(PairSpace(), TableEvaluator(fail=fail), warm)
        except Killed:
            deaths += 1
            assert deaths < 50
    assert result.trials[0].ended is Ended.FAILED
    assert TrainingFailure.CRASHED in str(result.trials[0].reason)
    assert deaths >= MAX_DEATHS
    assert len(trained(result)) == 3


def test_asking_to_stop_does_not_count_as_a_death(tmp_path: Path) -> None:
    fail = DiesAt(set(range(1, 3 * MAX_DEATHS)), Interrupted)
    for _ in range(3 * MAX_DEATHS - 1):
        stopped = search(PairSpace(), TableEvaluator(fail=fail), settings(tmp_path))
        assert stopped.finish is Finish.INTERRUPTED
    result = search(PairSpace(), TableEvaluator(fail=fail), settings(tmp_path))
    assert all(record.ended is not Ended.FAILED for record in result.trials)


def test_warm_starts_come_first_and_once(tmp_path: Path) -> None:
    warm = settings(tmp_path, warm_start=({"a": 7, "b": 3}, {"a": 1, "b": 1}), trials=5)
    search(PairSpace(), TableEvaluator(), warm)
    result = search(PairSpace(), TableEvaluator(), replace(warm, trials=8))
    assert [record.key for record in result.trials][:2] == ["7,3", "1,1"]
    assert [record.key for record in result.trials].count("7,3") == 1


def test_one_search_at_a_time(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(RunError, match=r"one search at a time .* name another --run"),
    ):
        search(PairSpace(), TableEvaluator(), settings(tmp_path))
    assert len(trained(search(PairSpace(), TableEvaluator(), settings(tmp_path)))) == 12


def test_a_study_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to be taken for one" * 99)
    with pytest.raises(RunError, match="restore the file, or name another --run"):
        search(PairSpace(), TableEvaluator(), settings(tmp_path))


def test_the_database_is_whole_after_a_search(tmp_path: Path) -> None:
    search(PairSpace(), TableEvaluator(), settings(tmp_path))
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_unwritable_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be writable"):
        search(PairSpace(), TableEvaluator(), settings(tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": 0}, "--trials must be at least 1"),
        ({"budgets": ()}, "budgets must rise"),
        ({"budgets": (3, 3)}, "budgets must rise"),
        ({"budgets": (0, 1)}, "budgets must rise"),
        ({"timeout_s": 0.0}, "--timeout must be above 0"),
        ({"sampler": "best"}, "--sampler must be one of"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(tmp_path, **changes)


def test_samplers_differ_by_seed_only_in_their_draws() -> None:
    for name in SAMPLERS:
        values = []
        for seed in (1, 1, 2):
            study = optuna.create_study(sampler=make_sampler(name, seed))
            values.append([study.ask().suggest_float("x", 0, 1) for _ in range(3)])
        assert values[0] == values[1] != values[2]
