"""What is thought of points: improvement, who promises most, whom it is told, when it is fitted."""

import copy
import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState
from scipy.integrate import quad
from scipy.special import ndtr

from nas import belief as module
from nas.belief import Belief, log_improvement
from nas.observations import NOTE, Observations, observe

SPACE: dict[str, BaseDistribution] = {name: IntDistribution(0, 9) for name in "abcd"}


def study_of(count: int, *, far: int = 0, over: int = 0, seed: int = 0) -> optuna.Study:
    """Trials with a score at budget 2; the first ``far`` at 6, too; ``over`` above a limit."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize")
    for number in range(count):
        params = {name: int(rng.integers(10)) for name in SPACE}
        score = params["a"] - abs(params["b"] - 5) + 0.1 * rng.normal()
        arguments: dict[str, Any] = {"intermediate_values": {2: score}}
        if number < far:
            arguments["intermediate_values"][6] = score + 3
        if number >= count - over:
            arguments = {"constraints": {"size": 0.1 * params["c"]}}
        study.add_trial(
            optuna.create_trial(
                params=params, distributions=SPACE, state=TrialState.PRUNED, **arguments
            )
        )
    return study


@given(st.floats(-5, 5), st.floats(0.05, 3), st.floats(-5, 5))
def test_the_improvement_is_the_integral(mean: float, spread: float, best: float) -> None:
    def gain(y: float) -> float:
        return (y - best) * math.exp(-(((y - mean) / spread) ** 2) / 2)

    top = max(best, mean) + 10 * spread
    middle = [p for p in (mean, best + spread) if best < p < top]
    expected = quad(gain, best, top, points=middle)[0] / spread / math.sqrt(2 * math.pi)
    found = log_improvement(np.array([mean]), np.array([spread]), best)[0]
    if expected > 1e-9:
        assert found == pytest.approx(math.log(expected), abs=0.05)
    assert np.isfinite(found)


@given(st.floats(-0.25, 5), st.floats(0.05, 3), st.floats(1.001, 3))
def test_more_spread_promises_more(mean: float, spread: float, factor: float) -> None:
    low, high = (log_improvement(np.array([mean]), np.array([s]), 0.0)[0]
                 for s in (spread, factor * spread))  # fmt: skip
    assert low <= high + 1e-9


@pytest.mark.parametrize("over", [0, 8])
def test_the_most_promising_is_the_one_that_a_look_at_all_finds(over: int) -> None:
    known = observe(study_of(60, far=12, over=over), -1)
    belief = Belief.of(known)
    rows = known.axes.drawn(400, np.random.default_rng(1))
    x = known.axes.encoded(rows)
    mean, spread = belief._scores.predict(x, belief.aim)
    promise = log_improvement(mean, spread, float(belief.means.max()))
    assert (belief._limits is not None) == bool(over)
    if belief._limits is not None:
        mean, spread = belief._limits.predict(x, 0)
        promise += np.log(np.maximum(ndtr(-mean / spread), 1e-12))
    found = belief.most_promising(rows)
    assert found is not None
    assert found[0] == promise.argmax()
    assert found[1] == pytest.approx(promise.max())
    assert belief.most_promising(rows, above=found[1]) is None
    assert belief.most_promising(rows, above=found[1] - 1e-9) == found
    assert belief.most_promising(rows[:0]) is None


def test_expects_of_trials_what_it_predicts_for_their_points() -> None:
    study = study_of(40, far=12)
    belief = Belief.of(observe(study, 3))
    numbers = [2, 30, 7]
    points = [study.trials[number].params for number in numbers]
    assert belief.expected(numbers) == pytest.approx(belief.predict(points)[0])
    assert belief.budgets == (2, 6)
    assert belief.aim == 1


def test_of_many_scores_the_best_the_furthest_and_the_latest_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 40)
    known = observe(study_of(100, far=30), -1)
    belief = Belief.of(known)
    told = ~np.isnan(known.scores[belief.places])
    assert 38 <= told.sum() <= 40
    assert told[:, 1].sum() >= 10
    ranked = np.argsort(-known.scores[:, 0])
    assert set(ranked[:5]) <= set(belief.places)
    assert set(range(95, 100)) <= set(belief.places)
    assert (np.diff(known.scores[belief.places, 0]) <= 0).all()
    assert len(belief._scores.x) == told.sum()


def noted(study: optuna.Study, note: Any) -> Observations:
    """The study, after its latest trial was left with a note."""
    trial = copy.copy(study.get_trials(deepcopy=False)[-1])
    trial.system_attrs = {NOTE: note}
    study._storage._set_trial(trial._trial_id, trial)  # type: ignore[attr-defined]
    return observe(study, -1)


def test_the_kernel_is_fitted_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARE", 10)
    study = study_of(40, over=5)
    first = Belief.of(observe(study, -1))
    assert first.note is not None
    assert set(first.note) == {"scores", "limits"}
    assert first.note["scores"]["count"] == 35
    again = Belief.of(noted(study, first.note))
    assert again.note is None  # 35 scored trials wait for 3 more
    assert again._scores.theta.tolist() == first.note["scores"]["theta"]
    assert (again.means == first.means).all()
    for count, due in ((34, False), (32, True), (36, True)):
        scores = {**first.note["scores"], "count": count}
        then = Belief.of(noted(study, {**first.note, "scores": scores}))
        assert (then.note is not None) == due
        assert then.note is None or then.note["limits"] == first.note["limits"]


def test_a_note_of_another_shape_is_not_used() -> None:
    study = study_of(120)
    first = Belief.of(observe(study, -1))
    assert first.note is not None
    assert Belief.of(noted(study, first.note)).note is None
    trial = copy.copy(study.get_trials(deepcopy=False)[0])
    trial.intermediate_values = {2: 1.0, 6: 2.0}
    study._storage._set_trial(trial._trial_id, trial)  # type: ignore[attr-defined]
    second = Belief.of(observe(study, -1))
    assert second.note is not None
    assert [one["scores"]["shape"] for one in (first.note, second.note)] == [[4, 0], [4, 1]]
