"""Both schedulers: near ties, noise between seeds, what may be asked for, and whole searches."""

import random
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.scheduler import (
    EXPLORING,
    NOISE_SHARE,
    NOISE_WEIGHT,
    SCHEDULERS,
    Field,
    New,
    Promotion,
    Repeat,
    Standing,
    Step,
    explores,
    make_scheduler,
    noise,
    tie,
)

LADDER = 3


def at(*scores: float, paused: bool = True) -> Standing:
    return Standing(0, scores, paused)


def numbered(*standings: Standing) -> list[Standing]:
    return [replace(one, number=number) for number, one in enumerate(standings)]


# Near ties

NEAR = Field(
    standings=[],
    rungs=2,
    coming=False,
    settled=True,
    idle=True,
    explored=0.0,
    promoted=0.0,
    total=1.0,
    price=1.0,
    climb=2.0,
    timed=False,
    repeats=3,
    spread=[0.1, 0.1].__getitem__,
    expected=lambda numbers: [0.0 for _ in numbers],
)


def near(*standings: Standing, **changes: Any) -> Field:
    return replace(NEAR, standings=numbered(*standings), **changes)


def test_of_two_that_are_near_the_earlier_one_is_trained_again() -> None:
    """Means of one training each with a spread of 0.1: 0.1414 is one standard error."""
    field = near(at(0.7), at(0.61), at(0.1))
    assert tie(field, 0, 1) == Repeat(
        0, 0, "places 1 and 2 differ by 0.0900, within 0.1414 by chance"
    )
    assert tie(near(at(0.7), at(0.55)), 0, 1) is None  # 0.15 apart
    assert tie(field, 0, 2) is None
    lower = near(at(0.1), at(0.61), at(0.7))
    assert tie(lower, 0, 1) == Repeat(
        1, 0, "places 1 and 2 differ by 0.0900, within 0.1414 by chance"
    )


def test_the_one_that_was_trained_from_fewer_seeds_is_trained_again() -> None:
    """With more seeds the error shrinks: √(1/4 + 1/1) and √(1/4 + 1/4) of the spread."""
    twice = [Standing(0, (0.7,), True, (4,)), Standing(1, (0.62,), True, (1,))]
    found = tie(replace(NEAR, standings=twice), 0, 1)
    assert found == Repeat(1, 0, "places 1 and 2 differ by 0.0800, within 0.1118 by chance")
    both = [twice[0], replace(twice[1], seeds=(4,))]
    assert tie(replace(NEAR, standings=both), 0, 1) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"repeats": 0},
        {"repeats": -1},
        {"idle": False},
        {"spread": [None, 0.1].__getitem__},
        {"spread": [0.0, 0.1].__getitem__},
    ],
)
def test_nobody_is_trained_again(changes: dict[str, Any]) -> None:
    assert tie(near(at(0.7), at(0.61)), 0, 1) is not None
    assert tie(near(at(0.7), at(0.61), **changes), 0, 1) is None


def test_what_is_decided_is_not_asked_again() -> None:
    assert tie(near(at(0.7, 0.8), at(0.69)), 0, 1) is None
    assert tie(near(at(0.7), at(0.69, 0.8)), 0, 1) is None
    assert tie(near(at(0.7, 0.8, paused=False), at(0.69, 0.79, paused=False)), 1, 1) is not None


@pytest.mark.parametrize("places", [0, 2, 3])
def test_without_somebody_on_either_side_there_is_no_tie(places: int) -> None:
    assert tie(near(at(0.7), at(0.69)), 0, places) is None


spread_out = st.lists(st.floats(0, 1), min_size=1, max_size=5)


def test_noise_worked_out_by_hand() -> None:
    """The upper half of the means is 0.6 and 0.8, its variance 0.02; within, two of 0.0002 each."""
    groups = [[0.1], [0.3], [0.59, 0.61], [0.79, 0.81]]
    guess = NOISE_WEIGHT * NOISE_SHARE**2 * 0.02
    expected = ((guess + 4 * 0.01**2) / (NOISE_WEIGHT + 2)) ** 0.5
    assert noise(groups) == pytest.approx(expected, rel=1e-12)
    assert noise(groups[:3]) is None  # nothing is known of so few


def test_with_many_repeats_noise_is_what_they_say() -> None:
    random_ = random.Random(0)
    groups = [[n + random_.uniform(-0.1, 0.1) for _ in range(6)] for n in range(60)]
    within = statistics.fmean(statistics.variance(group) for group in groups) ** 0.5
    assert noise([[sum(group) / 6] for group in groups]) > 2  # type: ignore[operator]
    # 300 degrees of freedom against 2 of a guess from genomes that differ by 100 times as much.
    assert noise([[n / 200 + value - n for value in group] for n, group in enumerate(groups)]) == (
        pytest.approx(within, rel=0.02)
    )


@given(st.lists(spread_out, max_size=12), st.randoms(use_true_random=False))
def test_noise_is_never_negative_and_has_no_order(
    groups: list[list[float]], shuffler: random.Random
) -> None:
    found = noise(groups)
    assert (found is None) == (len(groups) < 4)
    if found is not None:
        assert 0 <= found <= 1
        shuffled = shuffler.sample(groups, len(groups))
        assert noise(shuffled) == pytest.approx(found, rel=1e-9, abs=1e-12)
        assert noise([[5 + x / 2 for x in group] for group in groups]) == pytest.approx(
            found / 2, rel=1e-6, abs=1e-12
        )


# Both schedulers

paths = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=LADDER)
seeds = st.tuples(*[st.integers(1, 4)] * LADDER)
standings = st.lists(
    st.builds(
        lambda scores, paused, seeds: Standing(
            0, tuple(scores), paused and len(scores) < LADDER, seeds[: len(scores)]
        ),
        paths,
        st.booleans(),
        seeds,
    ),
    max_size=14,
).map(lambda field: [replace(one, number=2 * n) for n, one in enumerate(field)])
costs = st.floats(0, 50)
some_fields = st.builds(
    Field,
    standings=standings,
    rungs=st.just(LADDER),
    coming=st.booleans(),
    settled=st.booleans(),
    idle=st.booleans(),
    explored=costs,
    promoted=costs,
    total=st.floats(1, 100),
    price=st.floats(0.1, 2),
    climb=st.floats(0.1, 10),
    timed=st.booleans(),
    repeats=st.integers(0, 3),
    spread=st.lists(st.none() | st.floats(0, 1), min_size=LADDER, max_size=LADDER).map(
        lambda every: every.__getitem__
    ),
    expected=st.just(lambda numbers: [-(n % 5) for n in numbers]),
)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(field=some_fields)
def test_whatever_is_asked_for_can_be_done(name: str, field: Field) -> None:
    known = {one.number: one for one in field.standings}
    match make_scheduler(name).next(field):
        case New():
            assert field.coming
        case Promotion(number):
            assert known[number].paused
            assert len(known[number].scores) < LADDER
        case Repeat(number, rung):
            assert field.repeats > 0
            assert field.idle
            assert 0 <= rung < len(known[number].scores)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(field=some_fields)
def test_the_same_is_asked_for_each_time(name: str, field: Field) -> None:
    assert make_scheduler(name).next(field) == make_scheduler(name).next(field)


def test_halving_tries_new_genomes_until_the_best_third_is_clear() -> None:
    halving = make_scheduler("halving")
    field = near(at(0.9), at(0.8), coming=True)
    assert halving.next(field) == New("nobody is to be promoted")
    three = near(at(0.9), at(0.8), at(0.7), coming=True)
    assert halving.next(three) == Promotion(0, "place 1 of 3; the first 1 go on")
    assert halving.next(replace(field, coming=False, settled=False)) is None


def test_halving_settles_a_tie_before_it_promotes_the_last() -> None:
    halving = make_scheduler("halving")
    field = near(at(0.7), at(0.69))
    assert halving.next(field) == tie(field, 0, 1)
    assert halving.next(replace(field, idle=False)) == Promotion(
        0, "place 1 of 2; the first 1 go on"
    )
    done = near(at(0.7, 0.8, paused=False), at(0.69, 0.79, paused=False), at(0.1))
    assert halving.next(done) == tie(done, 1, 1)
    assert halving.next(replace(done, repeats=0)) is None


EXPLORING_FIELD = replace(NEAR, coming=True, total=12.0, price=1.0, climb=2.0, repeats=0)


def test_expecting_explores_for_half_of_the_cost_and_then_promotes_the_best_expected() -> None:
    expecting = make_scheduler("expecting")
    field = replace(
        EXPLORING_FIELD,
        standings=numbered(at(0.9), at(0.8), at(0.7)),
        expected=lambda numbers: [{0: 0.1, 1: 0.5, 2: 0.5}[n] for n in numbers],
    )
    assert expecting.next(replace(field, explored=5.0)) == New("5 of 6 spent on exploring")
    promotion = Promotion(1, "expected to be the best of 3 that wait")
    assert expecting.next(replace(field, explored=5.5)) == promotion  # one more would be too much
    assert expecting.next(replace(field, explored=6.0)) == promotion
    assert expecting.next(replace(field, explored=0.0, coming=False)) == promotion


def test_expecting_sees_through_what_it_began() -> None:
    field = replace(
        EXPLORING_FIELD,
        rungs=3,
        explored=6.0,
        promoted=99.0,
        standings=numbered(at(0.9), at(0.8, 0.7), at(0.6)),
    )
    assert make_scheduler("expecting").next(field) == Promotion(1, "on its way to the last rung")


def test_expecting_promotes_one_at_least_and_no_more_than_there_is_room_for() -> None:
    expecting = make_scheduler("expecting")
    field = replace(EXPLORING_FIELD, explored=6.0, standings=numbered(at(0.9), at(0.8)))
    for promoted, climb, timed, room in (
        (0.0, 6.0, False, True),
        (0.0, 7.0, False, True),  # the first one, whatever it takes
        (2.0, 4.0, False, True),
        (2.0, 4.1, False, False),
        (99.0, 9.0, True, True),
    ):
        step = expecting.next(replace(field, promoted=promoted, climb=climb, timed=timed))
        assert isinstance(step, Promotion) == room


def test_while_time_is_left_expecting_goes_on_with_new_genomes() -> None:
    expecting = make_scheduler("expecting")
    field = replace(EXPLORING_FIELD, explored=6.0, promoted=6.0)
    done = replace(field, standings=numbered(at(0.9, 0.9, paused=False)))
    assert expecting.next(replace(done, timed=True)) == New("nobody waits to be trained further")
    assert expecting.next(replace(done, timed=True, coming=False)) is None
    assert expecting.next(done) is None


@pytest.mark.parametrize("name", SCHEDULERS)
@given(
    count=st.integers(1, 25), repeats=st.integers(0, 4), random_=st.randoms(use_true_random=False)
)
def test_a_whole_search_ends_and_has_trained_somebody_in_full(
    name: str, count: int, repeats: int, random_: random.Random
) -> None:
    steps, scores = whole(name, count, repeats, random_)
    again = [step for step in steps if isinstance(step, Repeat)]
    assert len(again) <= repeats
    assert sum(isinstance(step, New) for step in steps) == count == len(scores)
    full = [rungs_ for rungs_ in scores if len(rungs_) == LADDER]
    assert full
    if name == "expecting":
        # All explored first, and half of the cost goes further; once begun, to the end.
        assert all(isinstance(step, New) for step in steps[:count])
        assert all(len(rungs_) in (1, LADDER) for rungs_ in scores)
        assert len(full) == min(count, max(1, int(count * EXPLORING * 2 / 8)))


def whole(
    name: str, count: int, repeats: int, random_: random.Random
) -> tuple[list[Step], list[list[list[float]]]]:
    """A search with budgets 1, 3 and 9; scores are noise in part. Steps, and scores by rung."""
    scheduler, budgets = make_scheduler(name), (1, 3, 9)
    ability: list[float] = []
    scores: list[list[list[float]]] = []
    steps: list[Step] = []
    while len(steps) < 9 * count + 10:
        means = [[sum(s) / len(s) for s in rungs_] for rungs_ in scores]
        field = Field(
            standings=[
                Standing(n, tuple(m), len(m) < LADDER, tuple(map(len, scores[n])))
                for n, m in enumerate(means)
            ],
            rungs=LADDER,
            coming=len(scores) < count,
            settled=True,
            idle=True,
            explored=float(len(scores)),
            promoted=float(sum(budgets[len(rungs_) - 1] - 1 for rungs_ in scores)),
            total=2.0 * count,
            price=1.0,
            climb=8.0,
            timed=False,
            repeats=repeats - sum(isinstance(step, Repeat) for step in steps),
            spread=lambda rung: noise([r[rung] for r in scores if len(r) > rung]),
            expected=lambda numbers, means=means: [means[n][-1] for n in numbers],  # type: ignore[misc]
        )
        step = scheduler.next(field)
        if step is None:
            return steps, scores
        steps.append(step)
        match step:
            case New():
                ability.append(random_.random())
                scores.append([[ability[-1] + random_.uniform(-0.1, 0.1)]])
            case Promotion(number):
                scores[number].append([ability[number] + random_.uniform(-0.1, 0.1)])
            case Repeat(number, rung):
                scores[number][rung].append(ability[number] + random_.uniform(-0.1, 0.1))
    raise AssertionError("it goes on and on")


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        make_scheduler("hyperband")
    assert str(caught.value) == (
        "--scheduler must be one of expecting, halving, but is 'hyperband'; choose one"
    )


def test_the_last_exploration_stays_within_the_share() -> None:
    assert explores(4.8, 10.0, 0.2)
    assert not explores(4.9, 10.0, 0.2)
    assert not explores(5.0, 10.0, 0.0)
    assert explores(3 * 0.1, 0.8, 0.1)  # 0.30000000000000004 + 0.1
