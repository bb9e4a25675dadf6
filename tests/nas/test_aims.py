"""Several aims: mixtures, the order for schedulers, and the front, each against its definition."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas import aims
from nas.front import Array, Direction, ranks
from nas.ledger import Ledger
from nas.study import Ended, Rung, TrialRecord
from tests.nas.tables import PairSpace

# Few values, so that equal ones are frequent; costs as parameters are.
SCORES = st.sampled_from([0.5, 0.6, 0.61, 0.9, 0.95])
COSTS = st.sampled_from([1e3, 1.5e3, 4e4, 1e6])


def tables(size: int = 12) -> st.SearchStrategy[Array]:
    """[n, 3]: a score and two costs."""
    return st.lists(st.tuples(SCORES, COSTS, COSTS), min_size=2, max_size=size).map(np.array)


@st.composite
def weights(draw: st.DrawFn) -> Array:
    """[3] above 0, with a sum of 1."""
    parts = np.array([draw(st.floats(0.01, 1)) for _ in range(3)])
    return np.asarray(parts / parts.sum())


def test_directions() -> None:
    assert aims.directions(0) == [Direction.MAXIMIZE]
    assert aims.directions(2) == [Direction.MAXIMIZE, Direction.MINIMIZE, Direction.MINIMIZE]


# The mixture


@given(tables(), weights())
def test_who_is_better_in_one_aim_and_no_worse_in_others_has_a_better_mixture(
    points: Array, weighed: Array
) -> None:
    mixed = aims.chebyshev(weighed)(points[:, 0], points[:, 1:])
    rising = points * [1, -1, -1]
    for one, other in zip(*np.nonzero(dominating(rising)), strict=True):
        assert mixed[one] > mixed[other]


def dominating(rising: Array) -> NDArray[np.bool_]:
    """[n, n] whether the row's point dominates the column's, where higher is better in all."""
    no_worse = (rising[:, None] >= rising[None]).all(2)
    return np.asarray(no_worse & (rising[:, None] > rising[None]).any(2))


@given(tables(), st.integers(0, 2))
def test_with_all_weight_on_one_aim_that_aim_is_the_order(points: Array, aim: int) -> None:
    mixed = aims.chebyshev(np.eye(3)[aim])(points[:, 0], points[:, 1:])
    rising = (points * [1, -1, -1])[:, aim]
    assert (np.sign(mixed[:, None] - mixed) == np.sign(rising[:, None] - rising)).all()


def test_the_mixture_worked_out_by_hand() -> None:
    """Losses: of the score 0, 1/2, 1; of the cost, by its logarithm, 1, 2/3, 0."""
    mixed = aims.chebyshev(np.array([0.25, 0.75]))
    found = mixed(np.array([0.9, 0.8, 0.7]), np.array([[1e6], [1e5], [1e3]]))
    expected = [-(0.75 + 0.05 * 0.75), -(0.5 + 0.05 * 0.625), -(0.25 + 0.05 * 0.25)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 3])
def test_where_nothing_differs_the_mixture_is_the_same_for_all(count: int) -> None:
    mixed = aims.chebyshev(np.array([0.5, 0.5]))(np.full(count, 0.7), np.full((count, 1), 9.0))
    assert mixed.tolist() == [0.0] * count


def test_a_cost_of_zero_is_no_trouble() -> None:
    mixed = aims.chebyshev(np.array([0.5, 0.5]))(np.array([0.7, 0.7]), np.array([[0.0], [1.0]]))
    assert mixed[0] > mixed[1]
    assert np.isfinite(mixed).all()


def test_alone_the_score_is_the_mixture() -> None:
    scores = np.array([0.3, 0.1])
    assert aims.score_alone(scores, np.array([[1.0], [2.0]])) is scores


def test_weights_are_drawn_evenly_from_all() -> None:
    """Each is uniform among two, and has a mean of a third among three."""
    rng = np.random.default_rng(0)
    two = np.array([aims.drawn_weights(2, rng) for _ in range(2000)])
    three = np.array([aims.drawn_weights(3, rng) for _ in range(2000)])
    for drawn in (two, three):
        assert (drawn >= 0).all()
        np.testing.assert_allclose(drawn.sum(1), 1)
        np.testing.assert_allclose(drawn.mean(0), 1 / drawn.shape[1], atol=0.02)
    quarters = np.bincount((two[:, 0] * 4).astype(int), minlength=4)
    np.testing.assert_allclose(quarters, 500, atol=80)


# The order for schedulers


@given(tables())
def test_worth_is_the_order_of_non_dominated_sorting(points: Array) -> None:
    worth = aims.worth(points[:, 0], points[:, 1:])
    rank = ranks(points, aims.directions(2))
    assert len(set(worth.tolist())) == len(points)  # a scheduler needs an order without ties
    assert ((worth[:, None] > worth) <= (rank[:, None] <= rank)).all()
    assert not (dominating(points * [1, -1, -1]) & (worth[:, None] <= worth)).any()


def test_within_a_front_the_ends_and_the_lonely_come_first() -> None:
    """All four are on the front; the third is close to both of its neighbours."""
    worth = aims.worth([0.9, 0.8, 0.55, 0.5], np.array([[100.0], [20.0], [11.0], [10.0]]))
    assert np.argsort(-worth).tolist() == [0, 3, 1, 2]


def test_what_is_not_finite_is_worth_least() -> None:
    worth = aims.worth([np.nan, 0.5, 0.9], np.array([[1.0], [9.0], [8.0]]))
    assert np.argsort(-worth).tolist() == [2, 1, 0]


@given(tables(), st.randoms(use_true_random=False))
def test_worth_of_a_dominated_trial_changes_nothing_above_it(points: Array, random: Any) -> None:
    worst = [[0.1, 1e9, 1e9]]
    before = aims.worth(points[:, 0], points[:, 1:])
    more = np.vstack([points, worst])
    after = aims.worth(more[:, 0], more[:, 1:])
    assert np.argsort(-after)[:-1].tolist() == np.argsort(-before).tolist()


# The front


def record(number: int, budget: int, score: float, size: float, **changes: Any) -> TrialRecord:
    rungs = tuple(Rung(b, score, 1.0, {}) for b in (1, 3) if b <= budget)
    fields: dict[str, Any] = {"ended": Ended.COMPLETED if budget == 3 else None}
    facts = {"size": size, "other": -size}
    return TrialRecord(
        number, {}, str(number), facts, rungs, reason=None, duplicate_of=None, seed=0,
        **{**fields, **changes},
    )  # fmt: skip


trials = st.lists(st.tuples(st.sampled_from([1, 3]), SCORES, COSTS), max_size=12).map(
    lambda rows: [record(number, *row) for number, row in enumerate(rows)]
)


@given(trials)
def test_the_front_is_whoever_nobody_beats(records: Sequence[TrialRecord]) -> None:
    furthest = [r for r in records if r.budget == max(one.budget for one in records)]

    def beats(one: TrialRecord, other: TrialRecord) -> bool:
        mine, theirs = ((r.score or 0.0, -r.facts["size"]) for r in (one, other))
        return mine != theirs and mine[0] >= theirs[0] and mine[1] >= theirs[1]

    expected = {r.number for r in furthest if not any(beats(one, r) for one in furthest)}
    found = aims.front(records, ["size"])
    assert {r.number for r in found} == expected
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)  # type: ignore[type-var]


@given(trials)
def test_with_no_further_aim_the_front_is_the_best(records: Sequence[TrialRecord]) -> None:
    assume(records)
    furthest = max(r.budget for r in records)
    best = max(r.score or 0.0 for r in records if r.budget == furthest)
    found = aims.front(records, [])
    assert found
    assert all((r.score, r.budget) == (best, furthest) for r in found)


def test_who_has_no_score_or_is_a_duplicate_is_not_on_the_front() -> None:
    records = [
        record(0, 3, 0.7, 10),
        record(1, 3, 0.9, 5, ended=Ended.DUPLICATE),
        record(2, 0, 0.0, 1, ended=Ended.FAILED),
        record(3, 1, 0.99, 1),
    ]
    assert [r.number for r in aims.front(records, ["size"])] == [0]
    assert aims.front([records[2]], ["size"]) == ()
    assert aims.front([], ["size"]) == ()


def test_the_front_goes_by_means_over_seeds() -> None:
    lucky = record(0, 3, 0.9, 10, repeats=(Rung(3, 0.5, 1.0, {}),))
    assert [r.number for r in aims.front([lucky, record(1, 3, 0.8, 10)], ["size"])] == [1]


# What samplers are shown


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Four trials: two done, one that pauses at 1, one that is being trained; and one too large."""
    ledger = Ledger(tmp_path / "study.db", ("size",))
    for number, size in enumerate((10.0, 1000.0, 100.0, 1.0)):
        add(ledger, number, size)
    for number, score in ((0, 0.6), (1, 0.9), (2, 0.7)):
        ledger.add_rung(number, Rung(1, score, 1.0, {}))
    for number, score in ((0, 0.7), (1, 0.8)):
        assert ledger.begin(number, {"budget": 3})
        ledger.add_rung(number, Rung(3, score, 1.0, {}), last=True)
        assert ledger.end(number, Ended.COMPLETED, "done")
    proposal = ledger.propose(RandomSampler(seed=9), PairSpace().suggest, {"a": 9, "b": 9})
    known = {"key": "9,9", "facts": {"size": 1e9}, "seed": 0, "genome": {}}
    ledger.add_ended(proposal, known, Ended.OVER_LIMIT, "too large", excess={"size": 2.0})
    return ledger


def add(ledger: Ledger, number: int, size: float) -> None:
    fixed = {"a": number, "b": 0}
    proposal = ledger.propose(RandomSampler(seed=0), PairSpace().suggest, fixed)
    facts = {"size": size}
    ledger.add(proposal, {"key": str(number), "facts": facts, "seed": 0, "genome": fixed})


def test_a_study_that_is_mixed_has_the_mixture_at_each_budget(ledger: Ledger) -> None:
    mixture = aims.chebyshev(np.array([0.5, 0.5]))
    study = aims.mixed_study(ledger, mixture)
    low = mixture(np.array([0.6, 0.9, 0.7]), np.array([[10.0], [1000.0], [100.0]]))
    high = mixture(np.array([0.7, 0.8]), np.array([[10.0], [1000.0]]))
    shown = study.get_trials()
    assert [trial.intermediate_values for trial in shown] == [
        {1: low[0], 3: high[0]},
        {1: low[1], 3: high[1]},
        {1: low[2]},
        {},
        {},
    ]
    assert [trial.params for trial in shown] == [trial.params for trial in ledger.study.trials]
    pruned, running = TrialState.PRUNED, TrialState.RUNNING
    assert [t.state for t in shown] == [pruned, pruned, pruned, running, pruned]
    assert [t.value for t in shown] == [high[0], high[1], low[2], None, None]
    assert shown[4].constraints == {"size": 2.0}


def test_to_mix_changes_nothing(ledger: Ledger) -> None:
    before = [(t.state, t.values, t.intermediate_values) for t in ledger.study.get_trials()]
    study = aims.mixed_study(ledger, aims.score_alone)
    study.sampler = RandomSampler(seed=0)
    PairSpace().suggest(study.ask())
    after = [(t.state, t.values, t.intermediate_values) for t in ledger.study.get_trials()]
    assert after == before
    assert len(study.trials) == len(before) + 1


def test_schedulers_are_shown_worth_at_each_rung_among_those_that_are_there(
    ledger: Ledger,
) -> None:
    low = aims.worth([0.6, 0.9, 0.7], np.array([[10.0], [1000.0], [100.0]]))
    high = aims.worth([0.7, 0.8], np.array([[10.0], [1000.0]]))
    found = aims.ranked_standings(ledger)
    assert [(s.number, s.scores, s.paused) for s in found] == [
        (0, (low[0], high[0]), False),
        (1, (low[1], high[1]), False),
        (2, (low[2],), True),
    ]


def test_with_nothing_scored_nobody_stands(tmp_path: Path) -> None:
    assert aims.ranked_standings(Ledger(tmp_path / "study.db", ("size",))) == []
