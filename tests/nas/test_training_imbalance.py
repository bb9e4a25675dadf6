"""Training: its steps by hand, and what is done where classes are not equally frequent."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas import metrics
from nas.data.folds import Fold
from nas.judging import probabilities
from nas.recipe import Imbalance, TrainingSettings
from nas.training import initial_network
from tests.nas.trainings import (
    EXACT,
    NO_AUGMENTATION,
    RECIPE,
    Watching,
    check_same,
    same_weights,
    small,
    train_small,
)
from tests.pictures import bar_fold

EVERY = pytest.mark.parametrize("imbalance", list(Imbalance))
UNEQUAL = [0] * 66 + [1] * 22 + [2] * 8


@pytest.fixture(scope="module")
def unequal() -> Fold:
    return bar_fold(UNEQUAL, [0, 1, 2] * 8)


# One step, by hand


def plain_training(network: nn.Module, fold: Fold, recipe: TrainingSettings, steps: int) -> None:
    """``steps`` full-batch steps in float64, the formulas written out; leaves the average in it."""
    weights = dict(network.named_parameters())
    mean: dict[str, torch.Tensor]
    mean = {name: value.detach().clone() for name, value in weights.items()}
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    second = {name: torch.zeros_like(value) for name, value in weights.items()}
    labels = fold.train.labels.tolist()
    classes = len(fold.classes)
    counts = [labels.count(label) for label in range(classes)]
    class_weights, added = [1.0] * classes, [0.0] * classes
    if recipe.imbalance is Imbalance.WEIGHTS:
        class_weights = [len(labels) / (classes * count) for count in counts]
    elif recipe.imbalance is Imbalance.LOGIT_ADJUSTMENT:
        added = [math.log(count / len(labels)) for count in counts]
    inputs = fold.train.images.double() / 255
    inputs = (inputs - fold.preprocessing.mean[0]) / fold.preprocessing.std[0]
    for step in range(steps):
        rising = round(recipe.warmup * recipe.epochs)  # one step an epoch
        if step < rising:
            rate = recipe.learning_rate * (step + 1) / rising
        else:
            angle = math.pi * (step - rising) / (recipe.epochs - rising)
            rate = recipe.learning_rate * (1 + math.cos(angle)) / 2
        logits = network(inputs) + torch.tensor(added, dtype=torch.float64)
        loss, total = torch.zeros((), dtype=torch.float64), 0.0
        for row, label in zip(logits, labels, strict=True):
            logs = row - torch.log(torch.exp(row).sum())
            for other in range(classes):
                target = recipe.label_smoothing / classes
                target += (1 - recipe.label_smoothing) * (other == label)
                loss = loss - class_weights[other] * target * logs[other]
            total += class_weights[label]
        gradients = torch.autograd.grad(loss / total, list(weights.values()))
        decay = min(recipe.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for (name, value), gradient in zip(weights.items(), gradients, strict=True):
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                upper = first[name] / (1 - 0.9 ** (step + 1))
                lower = (second[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                shrink = rate * recipe.weight_decay if name.endswith("weight") else 0.0
                value.mul_(1 - shrink).sub_(rate * upper / lower)
                mean[name] = decay * mean[name] + (1 - decay) * value
    network.load_state_dict(mean)


@pytest.mark.parametrize(
    "imbalance", [Imbalance.NONE, Imbalance.WEIGHTS, Imbalance.LOGIT_ADJUSTMENT]
)
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_are_those_written_by_hand(steps: int, imbalance: Imbalance) -> None:
    fold = bar_fold([0] * 14 + [1] * 6, size=8)
    recipe = TrainingSettings(
        epochs=4,
        batch_size=64,
        learning_rate=0.01,
        warmup=0.4,
        weight_decay=2.0,
        label_smoothing=0.2,
        averaging=0.15,
        augmentation=NO_AUGMENTATION,
        imbalance=imbalance,
    )

    def plain_network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 64, 2)
        )

    by_hand = initial_network(plain_network, 0).double()
    plain_training(by_hand, fold, recipe, steps)
    trained = train_small(
        fold, recipe, network=initial_network(plain_network, 0), until=steps
    ).network
    for name, value in by_hand.state_dict().items():
        result = trained.state_dict()[name].double()
        torch.testing.assert_close(result, value, atol=2e-6, rtol=0, msg=name)


# What becomes of the prevalence


class Constant(nn.Module):
    """A network that can learn how frequent classes are, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), 3)


@EVERY
def test_only_none_learns_the_prevalence(unequal: Fold, imbalance: Imbalance) -> None:
    recipe = TrainingSettings(
        epochs=40,
        batch_size=96,
        learning_rate=0.2,
        label_smoothing=0.0,
        augmentation=NO_AUGMENTATION,
        imbalance=imbalance,
    )
    trained = train_small(unequal, recipe, network=Constant())
    images = unequal.validation.images[:1]
    (chances,) = probabilities(trained.network, images, unequal.preprocessing, EXACT)
    shares = [66 / 96, 22 / 96, 8 / 96] if imbalance is Imbalance.NONE else [1 / 3] * 3
    assert chances == pytest.approx(shares, abs=0.05)


@EVERY
def test_a_network_is_judged_as_it_is(unequal: Fold, imbalance: Imbalance) -> None:
    trained = train_small(unequal, replace(RECIPE, imbalance=imbalance), network=three())
    images, labels = unequal.validation.images, unequal.validation.labels.numpy()
    chances = probabilities(trained.network, images, unequal.preprocessing, EXACT)
    assert trained.epochs[-1].auroc == metrics.auroc(chances, labels)
    assert trained.epochs[-1].balanced_accuracy == metrics.balanced_accuracy(chances, labels)


def three(seed: int = 1) -> nn.Module:
    return initial_network(lambda: small(classes=3), seed)


def test_each_way_is_another_training_and_weights_are_the_usual_one(unequal: Fold) -> None:
    recipes = [replace(RECIPE, imbalance=imbalance) for imbalance in Imbalance]
    trained = [train_small(unequal, recipe, network=three()) for recipe in recipes]
    assert len({one.epochs[-1].loss for one in trained}) == len(Imbalance)
    usual = train_small(unequal, RECIPE, network=three())
    check_same(usual, trained[list(Imbalance).index(Imbalance.WEIGHTS)])


@pytest.mark.parametrize("imbalance", [Imbalance.WEIGHTS, Imbalance.LOGIT_ADJUSTMENT])
def test_equally_frequent_classes_need_nothing(fold: Fold, imbalance: Imbalance) -> None:
    plain = train_small(fold, replace(RECIPE, imbalance=Imbalance.NONE))
    other = train_small(fold, replace(RECIPE, imbalance=imbalance))
    for one, two in zip(plain.epochs, other.epochs, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-4)


def test_stored_names_of_imbalance_stay() -> None:
    assert {member.name: member.value for member in Imbalance} == {
        "NONE": "none",
        "WEIGHTS": "weights",
        "SAMPLING": "sampling",
        "LOGIT_ADJUSTMENT": "logit_adjustment",
    }


# Each goes on where it was interrupted


@EVERY
def test_a_paused_training_goes_on_as_if_it_had_not(
    unequal: Fold, tmp_path: Path, imbalance: Imbalance
) -> None:
    recipe = replace(RECIPE, imbalance=imbalance)
    whole = train_small(unequal, recipe, network=three())
    for until in (1, 3):
        parts = train_small(
            unequal, recipe, network=three(until), until=until, checkpoint=tmp_path / "c"
        )
    check_same(parts, whole)
    other = train_small(unequal, recipe, network=three(), seed=2)
    assert not same_weights(other.network, whole.network)


# Sampling


def drawn(seed: int, epochs: int, labels: list[int]) -> list[list[int]]:
    """Which images each epoch saw: their last pixel tells."""
    fold = bar_fold(labels, size=8, channels=3)
    fold.train.pixels[:, 0, -1, -1] = torch.arange(len(labels))
    plain = replace(fold.preprocessing, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    recipe = TrainingSettings(
        epochs=epochs, batch_size=5, augmentation=NO_AUGMENTATION, imbalance=Imbalance.SAMPLING
    )
    network = Watching()
    train_small(replace(fold, preprocessing=plain), recipe, seed=seed, network=network)
    steps = len(labels) // 5
    batches = [[round(value) for value in batch] for batch in network.seen.batches]
    assert [len(batch) for batch in batches] == [5] * steps * epochs
    starts = range(0, len(batches), steps)
    return [list(itertools.chain(*batches[i : i + steps])) for i in starts]


def test_sampling_draws_every_class_as_often_as_any_other() -> None:
    labels = [0] * 180 + [1] * 20
    rows = np.concatenate(drawn(0, epochs=20, labels=labels))
    share = np.array(labels)[rows].mean()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / len(rows) ** 0.5)  # 4 standard errors
    counts = np.bincount(rows, minlength=200)
    # With replacement, and every image of a class as often as any other.
    for mean, own in ((len(rows) / 2 / 180, counts[:180]), (len(rows) / 2 / 20, counts[180:])):
        assert abs(own - mean).max() < 6 * mean**0.5
    assert max(np.bincount(rows[:200])) > 1


def test_draws_are_a_function_of_seed_and_epoch() -> None:
    labels = [0] * 30 + [1] * 10
    first, second = drawn(0, epochs=2, labels=labels)
    assert first != second
    assert drawn(0, epochs=1, labels=labels) == [first]
    assert drawn(1, epochs=1, labels=labels) != [first]


def test_the_loss_of_sampled_images_is_not_weighed() -> None:
    fold = bar_fold([0] * 15 + [1] * 5, size=8, channels=3)
    fold.train.pixels[:, 0, -1, -1] = torch.arange(20)
    recipe = TrainingSettings(
        epochs=1,
        batch_size=20,
        learning_rate=0.0,
        label_smoothing=0.0,
        augmentation=NO_AUGMENTATION,
        imbalance=Imbalance.SAMPLING,
    )
    network = Watching().eval()
    chances = probabilities(network, fold.train.images, fold.preprocessing, EXACT)
    (score,) = train_small(fold, recipe, network=network).epochs
    mean, std = fold.preprocessing.mean[0], fold.preprocessing.std[0]
    (batch,) = network.seen.batches
    rows = [round((value * std + mean) * 255) for value in batch]
    right = chances[rows, fold.train.labels.numpy()[rows]]
    assert score.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)
