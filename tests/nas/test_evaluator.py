import itertools
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from nas import evaluator as module
from nas import learnt_weights, metrics
from nas.data.folds import Fold
from nas.data.shifts import SHIFTS
from nas.devices import Device, HalfPrecision, choose
from nas.errors import (
    GenomeError,
    Interrupted,
    SettingsError,
    TrainingError,
    TrainingFailure,
)
from nas.evaluator import WEIGHTS, Objective, TrainingEvaluator, read_weights, write_weights
from nas.executors import watching
from nas.genome import ConvBlock, Genome, ImageShape, InvertedBlock, Pool
from nas.jobs import Job, Outcome
from nas.judging import probabilities
from nas.network import build
from nas.recipe import TrainingSettings
from nas.training import EpochScore, Trained, initial_network, train
from tests.pictures import bar_fold

EXACT = Device("cpu", bf16=False, channels_last=True)
GENOME = Genome((ConvBlock(6, 3, pool=Pool.MAX), ConvBlock(8, 3, pool=Pool.MAX)), dropout=0.1)
IMAGE = ImageShape(1, 12, 12)
RECIPE = TrainingSettings(epochs=3, batch_size=16, learning_rate=2e-3)
"""Too short to learn the bars in full: scores of 1 would all be alike."""
STEPS = 6


@pytest.fixture(scope="module")
def fold() -> Fold:
    return bar_fold()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every device that is asked for is the CPU in float32."""
    wishes: list[str] = []

    def exact(wish: str) -> Device:
        wishes.append(wish)
        return EXACT

    monkeypatch.setattr(module, "choose", exact)
    return wishes


@pytest.fixture
def evaluator(fold: Fold, asked: list[str]) -> TrainingEvaluator:
    return TrainingEvaluator(fold, RECIPE, clock=lambda: 0.0)


def job(start: int, budget: int, checkpoint: Path | None = None, seed: int = 3) -> Job:
    return Job(GENOME, start, budget, seed=seed, checkpoint=checkpoint)


def trained_network(fold: Fold, budget: int, seed: int = 3) -> nn.Module:
    network = initial_network(lambda: build(GENOME, IMAGE, 2), seed)
    return train(network, fold, RECIPE, EXACT, seed=seed, until=budget).network


def test_an_outcome_is_the_trained_networks(
    fold: Fold, evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "trial" / "checkpoint.pt"
    outcome = evaluator.evaluate(job(0, 2, checkpoint))
    chances = probabilities(
        trained_network(fold, 2), fold.validation.images, fold.preprocessing, EXACT
    )
    labels = fold.validation.labels.numpy()
    assert outcome.checkpoint == checkpoint
    assert outcome.metrics["auroc"] == metrics.auroc(chances, labels)
    assert outcome.metrics["balanced_accuracy"] == metrics.balanced_accuracy(chances, labels)
    assert outcome.metrics["shifts"]["clean"] == outcome.metrics["balanced_accuracy"]
    epochs = [EpochScore(**entry) for entry in outcome.metrics["epochs"]]
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert epochs[-1].auroc == outcome.metrics["auroc"]
    assert set(outcome.metrics) == {"robust", "auroc", "balanced_accuracy", "shifts", "epochs"}
    assert json.loads(json.dumps(outcome.metrics)) == outcome.metrics
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["checkpoint.pt", WEIGHTS]


def test_it_learns(fold: Fold, asked: list[str]) -> None:
    recipe = replace(RECIPE, epochs=6, learning_rate=2e-2)
    outcome = TrainingEvaluator(fold, recipe).evaluate(job(0, 6))
    assert outcome.metrics["auroc"] > 0.9
    assert outcome.score > 0.7


def test_the_robust_score_is_the_mean_over_clean_and_every_shift(
    evaluator: TrainingEvaluator,
) -> None:
    outcome = evaluator.evaluate(job(0, 3))
    shifts = outcome.metrics["shifts"]
    assert list(shifts) == ["clean", *SHIFTS]
    assert outcome.score == pytest.approx(sum(shifts.values()) / 11, rel=1e-12)
    assert outcome.metrics["robust"] == outcome.score
    assert len(set(shifts.values())) > 3


def test_the_other_objective_is_the_clean_auroc(evaluator: TrainingEvaluator) -> None:
    robust = evaluator.evaluate(job(0, 2))
    plain = replace(evaluator, objective=Objective.AUROC).evaluate(job(0, 2))
    first, last = (epoch["auroc"] for epoch in plain.metrics["epochs"])
    assert first != last
    assert plain.score == last
    assert plain.score == plain.metrics["auroc"]
    assert plain.metrics == robust.metrics  # all figures are recorded either way
    assert plain.score != robust.score


def test_stored_names_of_objectives_stay() -> None:
    assert {member.name: member.value for member in Objective} == {
        "ROBUST": "robust",
        "AUROC": "auroc",
    }


def test_a_job_is_a_function_of_its_seed(evaluator: TrainingEvaluator) -> None:
    first = evaluator.evaluate(job(0, 1))
    assert evaluator.evaluate(job(0, 1)) == first
    assert evaluator.evaluate(job(0, 1, seed=4)).metrics != first.metrics


@pytest.mark.parametrize("rungs", [(1, 3), (1, 2, 3), (2, 3)])
def test_rungs_end_where_one_job_does(
    evaluator: TrainingEvaluator, tmp_path: Path, rungs: tuple[int, ...]
) -> None:
    whole = evaluator.evaluate(job(0, 3, tmp_path / "whole" / "c"))
    start, epochs = 0, []
    for budget in rungs:
        outcome = evaluator.evaluate(job(start, budget, tmp_path / "rungs" / "c"))
        assert [e["epoch"] for e in outcome.metrics["epochs"]] == list(range(start + 1, budget + 1))
        epochs += outcome.metrics["epochs"]
        start = budget
    assert outcome.score == whole.score
    assert outcome.metrics["shifts"] == whole.metrics["shifts"]
    assert epochs == whole.metrics["epochs"]
    one, other = (read_weights(tmp_path / name / WEIGHTS) for name in ("whole", "rungs"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_kept_weights_are_those_that_were_judged(
    fold: Fold, evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    outcome = evaluator.evaluate(job(0, 2, tmp_path / "c"))
    network = build(GENOME, IMAGE, 2).eval()
    network.load_state_dict(read_weights(tmp_path / WEIGHTS))
    expected = trained_network(fold, 2)
    images, labels = fold.validation.images, fold.validation.labels.numpy()
    chances = probabilities(network, images, fold.preprocessing, EXACT)
    again = probabilities(expected, images, fold.preprocessing, EXACT)
    assert np.allclose(chances, again, rtol=0, atol=1e-6)  # another memory format
    assert metrics.auroc(chances, labels) == pytest.approx(outcome.metrics["auroc"], abs=0.01)
    state = expected.state_dict()
    assert read_weights(tmp_path / WEIGHTS).keys() == state.keys()
    for name, value in read_weights(tmp_path / WEIGHTS).items():
        assert torch.equal(value, state[name])
        assert value.is_contiguous()


def test_without_a_checkpoint_nothing_is_kept(
    evaluator: TrainingEvaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluator.evaluate(job(0, 1)).checkpoint is None
    assert list(tmp_path.iterdir()) == []


def ticking() -> Callable[[], float]:
    """A clock of which each look takes 10 seconds: an epoch lasts 10, and judging lasts 10."""
    return itertools.count(0.0, 10.0).__next__


def test_cost_is_that_of_the_jobs_epochs_and_of_judging(
    evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    evaluator = replace(evaluator, clock=ticking())
    assert evaluator.evaluate(job(0, 2, tmp_path / "c")).cost_s == 30.0
    assert evaluator.evaluate(job(2, 3, tmp_path / "c")).cost_s == 20.0


def test_cost_counts_the_epochs_before_a_kill(evaluator: TrainingEvaluator, tmp_path: Path) -> None:
    asked = itertools.count()
    stopping = replace(evaluator, clock=ticking(), stop=lambda: next(asked) >= 2, settings=RECIPE)
    with pytest.raises(Interrupted):
        stopping.evaluate(job(0, 3, tmp_path / "c"))
    assert not (tmp_path / WEIGHTS).exists()
    told: list[int] = []
    again = replace(evaluator, clock=ticking(), on_epoch=lambda score: told.append(score.epoch))
    outcome = again.evaluate(job(0, 3, tmp_path / "c"))
    assert told == [3]
    assert outcome.cost_s == 40.0
    assert [epoch["epoch"] for epoch in outcome.metrics["epochs"]] == [1, 2, 3]


def test_a_job_killed_after_its_training_is_judged_only(
    evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    first = evaluator.evaluate(job(0, 2, tmp_path / "c"))
    (tmp_path / WEIGHTS).unlink()
    again = replace(evaluator, stop=lambda: True).evaluate(job(0, 2, tmp_path / "c"))
    assert again == first
    assert (tmp_path / WEIGHTS).is_file()


def test_the_jobs_device_is_used(evaluator: TrainingEvaluator, asked: list[str]) -> None:
    evaluator.evaluate(replace(job(0, 1), device="cuda:7"))
    assert asked == ["cuda:7"]


def test_on_the_cpu_as_it_is(fold: Fold) -> None:
    """With bfloat16 where the processor has it."""
    outcome = TrainingEvaluator(fold, RECIPE).evaluate(job(0, 1))
    assert 0 <= outcome.score <= 1
    assert outcome.cost_s > 0


def test_a_budget_above_the_recipes_epochs_is_refused(evaluator: TrainingEvaluator) -> None:
    with pytest.raises(SettingsError) as caught:
        evaluator.evaluate(job(0, 4))
    assert str(caught.value) == (
        "a budget must be at most the recipe's 3 epochs, but is 4; raise epochs"
    )


def test_an_unknown_device_is_refused(fold: Fold) -> None:
    with pytest.raises(SettingsError, match="--device must be"):
        TrainingEvaluator(fold, RECIPE).evaluate(replace(job(0, 1), device="tpu"))


def test_a_genome_that_does_not_fit_the_images_is_refused(evaluator: TrainingEvaluator) -> None:
    deep = Genome((ConvBlock(2, 3, pool=Pool.MAX),) * 4)
    with pytest.raises(GenomeError, match="pool4"):
        evaluator.evaluate(replace(job(0, 1), genome=deep))


@pytest.mark.parametrize("where", ["build", "robustness"])
def test_memory_that_runs_out_while_building_or_judging(
    evaluator: TrainingEvaluator, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr({"build": learnt_weights, "robustness": module}[where], where, full)
    with pytest.raises(TrainingError) as caught:
        evaluator.evaluate(job(0, 1))
    assert caught.value.failure is TrainingFailure.OUT_OF_MEMORY


def test_a_training_that_diverges_has_no_score(
    evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    wild = replace(evaluator, settings=replace(RECIPE, learning_rate=1e30))
    with pytest.raises(TrainingError) as caught:
        wild.evaluate(job(0, 3, tmp_path / "c"))
    assert caught.value.failure is TrainingFailure.NOT_FINITE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_the_shape_of_a_networks_input(channels: int) -> None:
    fold = bar_fold([0, 1, 2], [0, 1, 2], size=16, channels=channels)
    assert TrainingEvaluator(fold, RECIPE).image == ImageShape(channels, 16, 16)


# The kept weights


def test_weights_round_trip(tmp_path: Path) -> None:
    network = build(GENOME, IMAGE, 2).to(memory_format=torch.channels_last)
    write_weights(tmp_path / "new" / WEIGHTS, network)
    tensors = read_weights(tmp_path / "new" / WEIGHTS)
    assert tensors.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / WEIGHTS)


@pytest.mark.parametrize("kind", ["empty", "garbage", "cut off", "other content", "no dictionary"])
def test_damaged_weights(tmp_path: Path, kind: str) -> None:
    path = tmp_path / WEIGHTS
    write_weights(path, build(GENOME, IMAGE, 2))
    if kind == "other content":
        torch.save({"tensor": torch.zeros(1)}, path)
    elif kind == "no dictionary":
        torch.save({"tensors": torch.zeros(1)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "garbage": b"x" * 999, "cut off": whole[:-99]}[kind])
    with pytest.raises(ValueError, match=r"\w"):
        read_weights(path)


def test_an_outcome_without_more_is_a_score_and_its_cost() -> None:
    outcome = Outcome(0.5, 1.0)
    assert (outcome.metrics, outcome.checkpoint) == ({}, None)


# In another process, and watched


@dataclass(frozen=True)
class Reopened:
    """Makes the fold that the tests have, and counts how often."""

    count: ClassVar[list[int]] = []

    def __call__(self) -> Fold:
        self.count.append(1)
        return bar_fold()


def test_it_is_sent_without_images_and_listeners(fold: Fold, asked: list[str]) -> None:
    here: list[EpochScore] = []
    evaluator = TrainingEvaluator(
        fold, RECIPE, Objective.AUROC, here.append, lambda: True, reopen=Reopened()
    )
    content = pickle.dumps(evaluator)
    assert len(content) < 2000
    Reopened.count.clear()
    there = pickle.loads(content)
    assert len(Reopened.count) == 1
    assert (there.settings, there.objective, there.reopen) == (RECIPE, Objective.AUROC, Reopened())
    outcome = there.evaluate(job(0, 1))  # nobody asks it to stop
    assert here == []
    mine = TrainingEvaluator(fold, RECIPE, Objective.AUROC).evaluate(job(0, 1))
    assert outcome.score == mine.score
    assert len(Reopened.count) == 1
    assert evaluator.fold is fold


def test_without_a_way_to_reopen_the_images_are_sent(fold: Fold, asked: list[str]) -> None:
    content = pickle.dumps(TrainingEvaluator(fold, RECIPE))
    assert len(content) > fold.train.images.numel()
    there = pickle.loads(content)
    assert torch.equal(there.fold.train.images, fold.train.images)
    assert (
        there.evaluate(job(0, 1)).score == TrainingEvaluator(fold, RECIPE).evaluate(job(0, 1)).score
    )


def test_it_can_be_sent_on_from_where_it_came(fold: Fold) -> None:
    evaluator = TrainingEvaluator(fold, RECIPE, reopen=Reopened())
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(evaluator))))
    assert torch.equal(again.fold.validation.images, fold.validation.images)


def test_watched_it_reports_epochs_and_stops_between_them(
    evaluator: TrainingEvaluator, tmp_path: Path
) -> None:
    said: list[EpochScore] = []
    watched = watching(evaluator, said.append, lambda: len(said) >= 2)
    with pytest.raises(Interrupted):
        watched.evaluate(job(0, 3, tmp_path / "c"))
    assert [score.epoch for score in said] == [1, 2]
    assert pickle.loads(pickle.dumps(said)) == said  # as they are sent
    assert evaluator.evaluate(job(0, 1)).score >= 0  # which is not watched
    assert len(said) == 2


def test_depthwise_networks_are_trained_in_float32_on_a_cpu(fold: Fold) -> None:
    """bfloat16 takes twice as long there."""
    evaluator, plain = TrainingEvaluator(fold, RECIPE), job(0, 1)
    mobile = replace(plain, genome=Genome((InvertedBlock(4, 3),)))
    assert evaluator._device(plain, 2) == choose("cpu")
    assert evaluator._device(mobile, 2) == choose("cpu").exact()


@pytest.mark.skipif(not choose("cpu").bf16, reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_cpu_trains_in_the_arithmetic_that_was_found_faster(
    evaluator: TrainingEvaluator, plain: bool, depthwise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bool] = []

    def noted(*args: Any, **options: Any) -> Trained:
        used.append(args[3].bf16)
        return train(*args, **options)

    monkeypatch.setattr(module, "train", noted)
    monkeypatch.setattr(module, "choose", lambda _: Device("cpu", bf16=True, channels_last=True))
    tuned = replace(evaluator, half=HalfPrecision(plain, depthwise))
    mobile = Genome((InvertedBlock(4, 3, 1),))
    tuned.evaluate(job(0, 1))
    tuned.evaluate(replace(job(0, 1), genome=mobile))
    assert used == [plain, depthwise]
