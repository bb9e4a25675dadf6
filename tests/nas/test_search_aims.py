"""Searches with several aims, with scores from a table: what is found, kept, and survives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.errors import RunError, SettingsError, TrainingError, TrainingFailure
from nas.jobs import Job
from nas.samplers import SAMPLERS
from nas.scheduler import SCHEDULERS
from nas.search import Finish, SearchResult, SearchSettings, search
from nas.storage import STUDY_NAME
from nas.study import Ended, TrialRecord, read_records
from tests.nas.tables import DiesAt, Killed, PairSpace, TableEvaluator

BUDGETS = (1, 3)
FEW = {"gp": 11}
"""Trials: with gp, whose process takes its time, one more than are drawn at random."""


def size(genome: Any) -> dict[str, float]:
    return {"size": 10.0 ** (1 + genome.a / 3)}


def settings(run: Path, sampler: str = "random", **changes: Any) -> SearchSettings:
    trials = FEW.get(sampler, 13)
    plain = SearchSettings(run, trials, BUDGETS, sampler, "halving")
    return replace(plain, **{"measure": size, "aims": ("size",), **changes})


def every(side: int) -> list[dict[str, int]]:
    """All points of a space."""
    return [{"a": a, "b": b} for a in range(side) for b in range(side)]


def study_of(run: Path) -> optuna.Study:
    return optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{run / 'study.db'}")


def facts_of(result: SearchResult) -> list[Any]:
    return [
        (r.number, r.key, r.rungs, r.ended, r.reason, r.seed, r.duplicate_of) for r in result.trials
    ]


def aims_of(record: TrialRecord) -> tuple[float, float]:
    """Both of a trained trial, so that higher is better."""
    assert record.score is not None
    return record.score, -record.facts["size"]


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]


def check_front(result: SearchResult) -> None:
    full = [r for r in result.trials if r.budget == BUDGETS[-1] and r.ended is Ended.COMPLETED]
    points = [aims_of(record) for record in full]
    expected = [r for r in full if not any(beats(point, aims_of(r)) for point in points)]
    assert sorted(result.front, key=lambda r: r.number) == expected
    scores = [aims_of(record)[0] for record in result.front]
    assert scores == sorted(scores, reverse=True)
    assert result.best is not None
    assert result.best.score == scores[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_and_scheduler_finds_a_front_whatever_kills_the_search(
    tmp_path: Path, sampler: str, scheduler: str
) -> None:
    evaluator = TableEvaluator()
    wanted = settings(tmp_path / "plain", sampler, scheduler=scheduler)
    result = search(PairSpace(), evaluator, wanted)
    assert result.finish is Finish.TRIALS
    assert sum(record.counts for record in result.trials) == wanted.trials
    check_front(result)
    steps = [(job.genome.key, job.start_budget) for job in evaluator.jobs]
    assert len(steps) == len(set(steps))  # no repeats, and nothing twice
    check_study(study_of(wanted.run), result)
    if scheduler == "halving" or sampler == "surrogate":  # the others differ in nothing more
        killed = search_with_deaths(replace(wanted, run=tmp_path / "killed"), {2, 8, 15})
        assert facts_of(killed) == facts_of(result)
        assert [r.number for r in killed.front] == [r.number for r in result.front]


def check_study(study: optuna.Study, result: SearchResult) -> None:
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    found = {(value, -cost) for value, cost in (trial.values for trial in study.best_trials)}
    assert found == {aims_of(record) for record in result.front}
    # Of stopped trials Optuna's samplers want no scores where there are several aims.
    stopped = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert not any(trial.intermediate_values for trial in stopped)


def search_with_deaths(wanted: SearchSettings, at: set[int]) -> SearchResult:
    """Begin again whenever a job killed it."""
    evaluator = TableEvaluator(fail=DiesAt(at))
    for _ in at:
        with pytest.raises(Killed):
            search(PairSpace(), evaluator, wanted)
    return search(PairSpace(), evaluator, wanted)


def test_optuna_itself_goes_on_with_the_trials(tmp_path: Path) -> None:
    """With a sampler that looks at stopped trials, too; duplicates of paused ones are there."""
    wanted = settings(tmp_path, trials=12, warm_start=2 * every(4)[:8])
    result = search(PairSpace(size=4), TableEvaluator(), wanted)
    assert any(r.ended is Ended.DUPLICATE and r.budget == BUDGETS[0] for r in result.trials)
    kept = study_of(tmp_path)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=3)
    study = optuna.create_study(directions=kept.directions, sampler=sampler)
    study.add_trials([trial for trial in kept.trials if trial.state.is_finished()])
    assert 0 <= PairSpace(size=4).suggest(study.ask()).a < 4


def test_the_front_reaches_from_the_best_score_to_the_least_cost(tmp_path: Path) -> None:
    """Where the score alone is searched for, hardly anything small is trained in full."""
    result = search(PairSpace(), TableEvaluator(), settings(tmp_path, "surrogate", trials=40))
    check_front(result)
    assert result.front[0].facts["size"] >= size(_At(6))["size"]
    assert result.front[-1].facts["size"] == size(_At(0))["size"]
    assert len(result.front) >= 5


class _At:
    def __init__(self, a: int) -> None:
        self.a = a


def test_the_same_run_keeps_to_its_number_of_aims(tmp_path: Path) -> None:
    two, one = settings(tmp_path / "two"), settings(tmp_path / "one", aims=())
    for wanted in (two, one):
        search(PairSpace(), TableEvaluator(), replace(wanted, trials=3))
    before = read_records(tmp_path / "two" / "study.db")
    asked = (
        (replace(two, aims=()), 2, 1),
        (replace(two, aims=("size", "more")), 2, 3),
        (replace(one, aims=("size",)), 1, 2),
    )
    for wanted, there, now in asked:
        with pytest.raises(RunError) as caught:
            search(PairSpace(), TableEvaluator(), wanted)
        assert str(caught.value) == (
            f"a run keeps to its number of aims, but sqlite:///{wanted.run}/study.db has {there} "
            f"and is now asked for {now}; give the old --pareto, or another name with --run"
        )
    assert read_records(tmp_path / "two" / "study.db") == before


def test_an_aim_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    with pytest.raises(SettingsError) as caught:
        search(PairSpace(), evaluator, settings(tmp_path, aims=("latency_ms",)))
    assert str(caught.value) == (
        "aims must be on measured figures (size), but one is on 'latency_ms'; measure it, or "
        "leave it out"
    )
    assert evaluator.jobs == []


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "surrogate"])
def test_genomes_above_a_limit_need_not_have_the_figure_that_is_an_aim(
    tmp_path: Path, sampler: str
) -> None:
    def measure(genome: Any) -> dict[str, float]:
        return {"b": genome.b} | (size(genome) if genome.b <= 5 else {})

    evaluator = TableEvaluator()
    wanted = settings(tmp_path, sampler, measure=measure, limits={"b": 5.0})
    result = search(PairSpace(), evaluator, wanted)
    assert any(record.ended is Ended.OVER_LIMIT for record in result.trials)
    assert all(job.genome.b <= 5 for job in evaluator.jobs)
    check_front(result)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "local"])
def test_trainings_that_fail_are_on_no_front(tmp_path: Path, sampler: str) -> None:
    def fail(job: Job) -> None:
        if job.genome.a < 3:
            raise TrainingError(TrainingFailure.OUT_OF_MEMORY, "too much")

    wanted = settings(tmp_path, sampler)
    result = search(PairSpace(), TableEvaluator(fail=fail), wanted)
    assert sum(record.counts for record in result.trials) == wanted.trials
    assert any(record.ended is Ended.FAILED for record in result.trials)
    check_front(result)


def test_genomes_seen_before_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.driver.MAX_REJECTED", 30)
    evaluator = TableEvaluator()
    wanted = settings(tmp_path, trials=50, warm_start=2 * every(3))
    result = search(PairSpace(size=3), evaluator, wanted)
    assert result.finish is Finish.EXHAUSTED
    assert len([job for job in evaluator.jobs if job.start_budget == 0]) == 9
    again = [record for record in result.trials if record.ended is Ended.DUPLICATE]
    assert any(record.budget == BUDGETS[-1] for record in again)
    check_front(result)


def test_with_one_aim_the_front_is_the_best(tmp_path: Path) -> None:
    result = search(PairSpace(), TableEvaluator(), settings(tmp_path, aims=()))
    assert result.best is not None
    assert result.best in result.front
    assert {record.score for record in result.front} == {result.best.score}
