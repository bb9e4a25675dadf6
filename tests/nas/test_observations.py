"""What a study tells: kept beside it, and the same as if it were read anew."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.observations import FULL, NOTE, Observations, observe

optuna.logging.set_verbosity(optuna.logging.WARNING)


def same(one: Observations, other: Observations) -> bool:
    for field in dataclasses.fields(Observations):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "seen":
            asked = one.axes.filled(np.r_[one.rows, one.axes.drawn(20, np.random.default_rng(0))],
                                    np.random.default_rng(1))  # fmt: skip
            equal = (a.among(asked) == b.among(asked)).all()
        elif field.name == "axes":
            equal = list(a.space.items()) == list(b.space.items())
        elif isinstance(a, np.ndarray):
            floats = a.dtype == np.float64
            equal = a.dtype == b.dtype and np.array_equal(a, b, equal_nan=floats)
        else:
            equal = a == b
        if not equal:
            return False
    return True


def anew(study: optuna.Study, number: int) -> Observations:
    """Read through another object, for which nothing is kept."""
    return observe(copy.copy(study), number)


def change(study: optuna.Study, rng: np.random.Generator) -> None:
    """Something that may happen in a search."""
    trials = study.get_trials(deepcopy=False)
    open_ones = [t.number for t in trials if t.state is TrialState.RUNNING]
    what = rng.integers(6)
    if what < 2 or not open_ones:
        trial = study.ask()
        trial.suggest_categorical("kind", ("a", None, 3))
        for name in ("x", "y")[: rng.integers(3)]:
            trial.suggest_int(name, 0, int(rng.integers(2, 5)))
        if what:
            trial.report(rng.random(), 2)
        return
    number = open_ones[rng.integers(len(open_ones))]
    trial = optuna.Trial(study, trials[number]._trial_id)
    if what == 2:
        trial.suggest_float("late", 0, 1)
    elif what == 3:
        trial.set_constraint("size", rng.normal())
        study.tell(number, state=TrialState.PRUNED)
    elif what == 4:
        study._storage.set_trial_system_attr(trial._trial_id, NOTE, {"count": number})
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, rng.random())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]))
def test_what_is_kept_is_what_would_be_read(seed: int, direction: StudyDirection) -> None:
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction=direction)
    for _ in range(25):
        change(study, rng)
        number = int(rng.integers(-1, len(study.trials)))
        assert same(observe(study, number), anew(study, number))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_what_was_told_stays_as_it_was(seed: int) -> None:
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize")
    told = []
    for _ in range(25):
        change(study, rng)
        known = observe(study, int(rng.integers(-1, len(study.trials))))
        parts = (known.rows, known.scores, known.excess, known.pending, known.lonely)
        told += [(part, part.copy()) for part in parts]
    assert all(np.array_equal(*pair, equal_nan=pair[0].dtype == np.float64) for pair in told)


def test_a_paused_trial_that_goes_on_is_read_again() -> None:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_int("x", 0, 9)
    trial.report(0.5, 2)
    study.tell(trial, state=TrialState.PRUNED)
    before = observe(study, -1)
    further = copy.copy(study.get_trials(deepcopy=False)[0])
    further.intermediate_values = {2: 0.6, 6: 0.7}
    study._storage._set_trial(further._trial_id, further)  # type: ignore[attr-defined]
    after = observe(study, -1)
    assert (before.budgets, before.scores.tolist()) == ((2,), [[0.5]])
    assert (after.budgets, after.scores.tolist()) == ((2, 6), [[0.6, 0.7]])


def test_a_study_on_disk_is_read_the_same(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", direction="maximize")
    rng = np.random.default_rng(2)
    for _ in range(12):
        change(study, rng)
        assert same(observe(study, -1), anew(study, -1))
    assert len(observe(study, -1).numbers) >= 5


def told(
    *trials: dict[str, Any], direction: StudyDirection = StudyDirection.MAXIMIZE
) -> Observations:
    """Of trials with parameters from 0 to 9, and further arguments of optuna's create_trial."""
    study = optuna.create_study(direction=direction)
    distribution: BaseDistribution = IntDistribution(0, 9)
    for trial in trials:
        params = trial.pop("params")
        distributions = dict.fromkeys(params, distribution)
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, **trial))
    return observe(study, -1)


def test_scores_budgets_and_limits() -> None:
    pruned = TrialState.PRUNED
    known = told(
        {"params": {"x": 1}, "value": 0.4},
        {"params": {"x": 2}, "state": pruned, "intermediate_values": {2: 0.1, 6: float("nan")}},
        {"params": {}, "state": TrialState.FAIL},
        {"params": {"x": 3}, "state": TrialState.FAIL, "intermediate_values": {1: 0.3}},
        {"params": {"x": 4}, "state": pruned, "intermediate_values": {2: 0.2}},
        direction=StudyDirection.MINIMIZE,
    )
    assert known.numbers.tolist() == [0, 1, 3, 4]
    assert known.budgets == (2, FULL)
    assert known.scores == pytest.approx(
        np.array([[np.nan, -0.4], [-0.1, np.nan], [np.nan, np.nan], [-0.2, np.nan]]), nan_ok=True
    )
    assert known.scored.tolist() == [1, 3]
    assert known.allowed.all()


def test_lonely_points_differ_in_several_parameters_from_all_before() -> None:
    points = ({"x": 1, "y": 1}, {"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 3, "y": 4, "z": 1})
    known = told(*({"params": point, "value": 0.0} for point in points))
    assert known.lonely.tolist() == [True, False, True, False]


def test_half_a_point_is_not_seen() -> None:
    study = optuna.create_study(direction="maximize")
    for names in ("xy", "xy", "x"):
        trial = study.ask()
        for name in names:
            trial.suggest_int(name, 0, 99)
        if trial.number == 0:
            study.tell(trial, 0.0)
    known = observe(study, -1)
    assert known.seen.among(known.axes.filled(known.rows, np.random.default_rng(0))).tolist() == [
        True,
        True,
        False,
    ]


def test_the_latest_note_counts() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(4):
        trial = study.ask()
        trial.suggest_int("x", 0, 99)
        if number % 2:
            study._storage.set_trial_system_attr(trial._trial_id, NOTE, {"count": number})
    assert observe(study, -1).note == {"count": 3}
    assert observe(study, 3).note == {"count": 1}
