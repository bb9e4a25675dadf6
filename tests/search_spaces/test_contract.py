"""What every search space must keep, over the whole table SPACES."""

import inspect
import json
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.axes import Axes
from nas.genome import Genome, ImageShape
from nas.neighbours import neighbours
from search_spaces import SPACES
from search_spaces.base import SparseSpace
from tests.strategies import distributions, fixed, parameters

SIDES = (8, 9, 28, 64, 224)

spaces = pytest.mark.parametrize("name", SPACES)


def ask(name: str, image: ImageShape, seed: int) -> tuple[Genome, optuna.Trial]:
    sampler = optuna.samplers.RandomSampler(seed=seed)
    trial = optuna.create_study(sampler=sampler).ask()
    return SPACES[name](image).suggest(trial), trial


def images() -> st.SearchStrategy[ImageShape]:
    sides = st.sampled_from(SIDES) | st.integers(8, 224)
    return st.builds(ImageShape, st.sampled_from([1, 3]), sides, sides)


def test_there_are_spaces_and_the_default_is_among_them() -> None:
    assert "chain" in SPACES


@spaces
def test_a_space_bears_the_name_it_is_listed_under(name: str) -> None:
    assert SPACES[name](ImageShape(1, 64, 64)).name == name


@spaces
@given(data=st.data())
def test_every_suggestion_can_be_built(name: str, data: st.DataObject) -> None:
    image = data.draw(images())
    genome = SPACES[name](image).suggest(fixed(data.draw(parameters(name))))
    assert genome.layers(image, 2)[-1].shape == (2, 1, 1)
    assert Genome.from_json(json.loads(json.dumps(genome.to_json()))) == genome


@spaces
@given(data=st.data())
def test_the_same_parameters_give_the_same_genome(name: str, data: st.DataObject) -> None:
    image, values = data.draw(images()), data.draw(parameters(name))
    space = SPACES[name](image)
    first = space.suggest(fixed(values))
    data.draw(parameters(name).map(fixed).map(space.suggest))  # another one, in between
    assert space.suggest(fixed(values)) == first
    assert SPACES[name](image).suggest(fixed(values)).key == first.key


@spaces
@given(data=st.data())
def test_what_is_not_used_makes_no_difference(name: str, data: st.DataObject) -> None:
    image, values = data.draw(images()), data.draw(parameters(name))
    space = SPACES[name](image)
    if not isinstance(space, SparseSpace):
        return
    kinds = distributions(name)
    places = {
        key: np.array([kinds[key].to_internal_repr(value)], np.float64)
        for key, value in values.items()
    }
    used = space.used(places)
    assert set(used) <= set(values)
    other = data.draw(parameters(name))
    unused = {key: other[key] for key, told in used.items() if not told[0]}
    changed = space.suggest(fixed({**values, **unused}))
    assert changed.key == space.suggest(fixed(values)).key


@spaces
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_neighbours_differ_in_one_choice(name: str, seed: int) -> None:
    """And in what is built, if that choice is used; at 1,024 pixels nothing is left out."""
    space = SPACES[name](ImageShape(1, 1024, 1024))
    axes = Axes(distributions(name))
    row = axes.drawn(1, np.random.default_rng(seed))
    values = {key: row[:, place] for place, key in enumerate(axes.space)}
    used = space.used(values) if isinstance(space, SparseSpace) else {}
    point = axes.point(row[0])
    key = space.suggest(fixed(point)).key
    near = [axes.point(one) for one in neighbours(axes, row)]
    assert near
    for other in near:
        (changed,) = (parameter for parameter in point if other[parameter] != point[parameter])
        told = used.get(changed, np.ones(1, bool))
        # Cells that compute the same are one genome: there a choice that is used may change none.
        if name != "cell" or not told[0]:
            assert (space.suggest(fixed(other)).key != key) is bool(told[0]), changed


@spaces
@settings(max_examples=10)
@given(image=images(), seed=st.integers(0, 1000))
def test_the_parameters_are_always_the_same(name: str, image: ImageShape, seed: int) -> None:
    """Samplers model a fixed set best, and Optuna refuses other choices under one name."""
    _, trial = ask(name, image, seed)
    assert list(trial.params) == list(distributions(name))
    assert trial.distributions == distributions(name)


@spaces
def test_random_genomes_are_hardly_ever_the_same(name: str) -> None:
    """Of 15,625 cells many compute the same, so that 30 include a few equal ones."""
    keys = {ask(name, ImageShape(1, 64, 64), seed)[0].key for seed in range(30)}
    assert len(keys) >= (25 if name == "cell" else 28)


@spaces
@pytest.mark.parametrize("side", SIDES)
def test_warm_starts_are_members(name: str, side: int) -> None:
    space = SPACES[name](ImageShape(1, side, side))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    starts: list[dict[str, Any]] = space.warm_starts()
    for start in starts:
        assert list(start) == list(distributions(name))
        study.enqueue_trial(start)
    genomes = []
    for start in starts:
        trial = study.ask()  # Optuna warns, and so fails here, about a value out of its range
        genomes.append(space.suggest(trial))
        assert trial.params == start
        study.tell(trial, 0.0)
    for genome in genomes:
        genome.layers(ImageShape(1, side, side), 2)
    assert len({genome.key for genome in genomes}) == len(starts)


@spaces
def test_warm_starts_are_the_callers_own(name: str) -> None:
    space = SPACES[name](ImageShape(1, 64, 64))
    for start in space.warm_starts():
        start.clear()
    assert all(space.warm_starts())


@spaces
def test_a_space_says_what_it_is(name: str) -> None:
    """Of its file a list of spaces shows the first line."""
    assert inspect.getdoc(SPACES[name])
    assert inspect.getdoc(inspect.getmodule(SPACES[name]))
