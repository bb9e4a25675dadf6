"""Weights of a parent: what the child computes, where it can be, is what its parent does."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FixedTrial, FrozenTrial
from torch import nn

from nas.evaluator import TrainingEvaluator
from nas.genome import (
    Activation,
    CellsBlock,
    ConvBlock,
    Genome,
    ImageShape,
    InvertedBlock,
    Norm,
    Order,
    Pool,
    ResidualBlock,
)
from nas.heirs import parent_of
from nas.inheritance import inherit
from nas.jobs import Job
from nas.network import build
from nas.observations import observe
from nas.search import SearchSettings, search
from nas.study import read_records
from tests.nas.fault_trainings import RECIPE, Nets
from tests.networks import season
from tests.pictures import bar_fold

IMAGE, CLASSES = ImageShape(1, 20, 17), 3


def parent_network(genome: Genome, seed: int = 0) -> nn.Module:
    """As if it had been trained: no norm has the statistics that it begins with."""
    torch.manual_seed(seed)
    network = build(genome, IMAGE, CLASSES).eval()
    season(network, shift=0.3, most_variance=2)
    return network


def difference(parent: Genome, child: Genome) -> tuple[float, float]:
    """Largest difference of logits, and the share that was inherited."""
    theirs = parent_network(parent)
    ours = build(child, IMAGE, CLASSES).eval()
    share = inherit(ours, child, theirs.state_dict(), IMAGE, CLASSES, seed=1)
    images = torch.randn(4, 1, IMAGE.height, IMAGE.width)
    with torch.inference_mode():
        return float((ours(images) - theirs(images)).abs().max()), share


def chain(*rows: tuple[int, int], **head: Any) -> Genome:
    """Filters and kernels; the first two blocks pool."""
    return Genome(
        tuple(
            ConvBlock(
                filters,
                kernel,
                Activation.RELU,
                Pool.MAX if place < 2 else Pool.NONE,
                order=Order.POOL_BEFORE_NORM,
            )
            for place, (filters, kernel) in enumerate(rows)
        ),
        **head,
    )


@st.composite
def grown(draw: st.DrawFn) -> tuple[Genome, Genome]:
    """A genome, and one with more filters or a larger kernel in any of its blocks."""
    blocks = draw(
        st.lists(
            st.builds(
                ConvBlock,
                st.integers(1, 6),
                st.integers(1, 4),
                st.sampled_from(Activation),
                st.sampled_from(Pool),
                st.sampled_from(Norm),
                st.sampled_from(Order),
                st.sampled_from([1, 2]),
                st.sampled_from([1, 2]),
            ),
            min_size=1,
            max_size=3,
        ).filter(lambda found: sum(b.pool is not Pool.NONE or b.stride > 1 for b in found) < 3)
    )
    more = [
        ConvBlock(
            block.filters + draw(st.integers(0, 5)),
            block.kernel + draw(st.integers(0, 3)),
            block.activation,
            block.pool,
            block.norm,
            block.order,
            block.repeats,
            block.stride,
        )
        for block in blocks
    ]
    hidden, grid = draw(st.sampled_from([(), (4,)])), draw(st.sampled_from([1, 2]))
    return tuple(Genome(tuple(some), 0.1, hidden, grid) for some in (blocks, more))  # type: ignore[return-value]


@given(grown())
@settings(max_examples=60)
def test_more_filters_and_larger_kernels_compute_the_same(pair: tuple[Genome, Genome]) -> None:
    # Strided kernels of another parity lie otherwise on the image, by their padding.
    for one, other in zip(pair[0].blocks, pair[1].blocks, strict=True):
        assert isinstance(one, ConvBlock)
        assert isinstance(other, ConvBlock)
    apart, share = difference(*pair)
    assert apart < 1e-4
    assert share == 1


def test_a_further_block_behind_relu_computes_the_same() -> None:
    apart, share = difference(chain((6, 3), (5, 2)), chain((6, 3), (5, 2), (9, 4)))
    assert apart < 1e-4
    assert 0 < share < 1


def test_copies_do_not_stay_equal() -> None:
    """Divided equally they would be given equal gradients for ever."""
    parent, child = chain((2, 3), (3, 3)), chain((4, 3), (3, 3))
    network = build(child, IMAGE, CLASSES)
    inherit(network, child, parent_network(parent).state_dict(), IMAGE, CLASSES, seed=1)
    network(torch.randn(8, 1, 20, 17)).square().sum().backward()
    gradient = network.get_submodule("conv1").weight.grad
    assert isinstance(gradient, torch.Tensor)
    for one, other in itertools.combinations(gradient, 2):
        assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("parent", "child", "least"),
    [
        (chain((6, 3), (8, 3)), chain((4, 3), (8, 3)), 1.0),  # fewer filters
        (chain((6, 3), (8, 3)), chain((6, 2), (8, 3)), 1.0),  # a smaller kernel
        (chain((6, 3), (8, 3), (8, 3)), chain((6, 3), (8, 3)), 1.0),  # a block less
        (chain((6, 3), (8, 3)), chain((6, 3), (8, 3), (4, 3)), 0.5),  # a narrow block more
    ],
)
def test_what_cannot_be_kept_takes_over_what_fits(
    parent: Genome, child: Genome, least: float
) -> None:
    apart, share = difference(parent, child)
    assert apart < float("inf")
    assert least <= share <= 1


@pytest.mark.parametrize(
    "block",
    [
        ResidualBlock(6, 3, squeeze=True, repeats=2),
        InvertedBlock(6, 3, repeats=2),
        CellsBlock("231413", 2, 1, 2),
    ],
    ids=lambda block: str(block.kind),
)
def test_equal_networks_of_all_kinds_are_taken_over_whole(block: Any) -> None:
    genome = Genome((ConvBlock(6, 3), block))
    assert difference(genome, genome) == (0.0, 1.0)


def test_an_unrelated_parent_changes_nothing_that_does_not_fit() -> None:
    child, parent = chain((6, 3), (8, 3)), Genome((ResidualBlock(5, 3),))
    network = build(child, IMAGE, CLASSES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    share = inherit(network, child, parent_network(parent).state_dict(), IMAGE, CLASSES, seed=1)
    assert share == 0
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=2, max_size=4),
)
@settings(max_examples=40)
def test_any_two_networks_go_together(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    apart, share = difference(chain(*one), chain(*other))
    assert np.isfinite(apart)
    assert 0 <= share <= 1


# Who is the parent --------------------------------------------------------------------------------


def study_of(points: list[tuple[int, int, dict[int, float]]]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    whole: BaseDistribution = IntDistribution(1, 9)
    space = dict.fromkeys("ab", whole)
    for a, b, scores in points:
        study.add_trial(
            optuna.create_trial(
                params={"a": a, "b": b},
                distributions=space,
                state=optuna.trial.TrialState.PRUNED if scores else optuna.trial.TrialState.FAIL,
                value=list(scores.values())[-1] if scores else None,
                intermediate_values=scores,
            )
        )
    return study


def child_of(study: optuna.Study, a: int, b: int) -> FrozenTrial:
    study.add_trial(study_of([(a, b, {})]).trials[0])
    return study.trials[-1]


def chosen(points: list[tuple[int, int, dict[int, float]]], a: int, b: int) -> int | None:
    study = study_of(points)
    child = child_of(study, a, b)
    return parent_of(observe(study, child.number), child, None)


def test_the_parent_differs_in_one_choice_and_is_the_best_trained_of_them() -> None:
    points = [
        (1, 1, {2: 0.9, 6: 0.95}),  # differs in both
        (5, 2, {2: 0.99}),
        (7, 2, {2: 0.7, 6: 0.8}),
        (3, 4, {2: 0.7, 6: 0.9}),
        (3, 5, {2: 0.7, 6: 0.9}),
        (3, 6, {}),  # failed
    ]
    assert chosen(points, 3, 2) == 3
    assert chosen(points[:3], 3, 2) == 2  # more budget counts before score
    assert chosen(points[:2], 3, 2) == 1
    assert chosen(points[:1], 3, 2) is None
    assert chosen(points[5:], 3, 2) is None
    assert chosen([], 3, 2) is None


def test_the_same_point_is_no_parent() -> None:
    assert chosen([(3, 2, {2: 0.9})], 3, 2) is None


def test_what_makes_no_difference_does_not_count() -> None:
    study = study_of([(3, 7, {2: 0.9}), (4, 2, {2: 0.5})])
    child = child_of(study, 3, 2)
    known = observe(study, child.number)
    assert parent_of(known, child, None) == 0
    # b matters only where a is above 3: trial 0 is the same network then, and trial 1 is apart by a
    assert parent_of(known, child, lambda columns: {"b": columns["a"] > 3}) == 1


# A search with it ---------------------------------------------------------------------------------


def searched(run: Path, trials: int) -> tuple[Any, ...]:
    wanted = SearchSettings(
        run=run, trials=trials, budgets=(1, 3), sampler="local", repeats=0, inherit=True
    )
    search(Nets(), TrainingEvaluator(bar_fold(), RECIPE, clock=lambda: 0.0), wanted)
    return read_records(run / "study.db")


def test_a_search_hands_weights_down_and_says_so(tmp_path: Path) -> None:
    records = searched(tmp_path / "run", 8)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'run' / 'study.db'}")
    parents = {t.number: t.user_attrs["parent"] for t in study.trials if "parent" in t.user_attrs}
    assert parents
    for number, parent in parents.items():
        assert parent < number
        assert records[parent].rungs
        if records[number].rungs:
            assert 0 < records[number].rungs[0].metrics["inherited"] <= 1
    first = records[0].rungs[0].metrics
    assert "inherited" not in first


def test_the_same_search_in_two_goes_hands_down_the_same(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 8)
    searched(tmp_path / "parts", 3)
    parts = searched(tmp_path / "parts", 8)

    def told(records: tuple[Any, ...]) -> list[Any]:
        return [(r.key, r.rungs[:1]) for r in records if r.rungs]

    assert told(whole)[:3] == told(parts)[:3]
    assert [key for key, _ in told(whole)] != []


def test_a_parent_without_weights_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    genome = Nets().suggest(FixedTrial({"a": 4, "b": 6}))  # type: ignore[arg-type]
    evaluator = TrainingEvaluator(bar_fold(), RECIPE)
    alone = evaluator.evaluate(Job(genome, 0, 1, seed=3))
    orphan = evaluator.evaluate(Job(genome, 0, 1, seed=3, parent=tmp_path / "gone" / "c.pt"))
    assert "nothing is inherited" in caplog.text
    assert orphan.metrics["inherited"] == 0
    assert orphan.score == alone.score
