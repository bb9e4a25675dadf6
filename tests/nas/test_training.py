"""Training: it learns, repeats itself, and does what the recipe says."""

import itertools
import math
import random
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas import metrics, stepping, training
from nas.data.folds import Fold
from nas.devices import Device
from nas.errors import SettingsError
from nas.judging import probabilities
from nas.network import FrozenSequential
from nas.recipe import TrainingSettings
from nas.training import Trained, initial_network
from tests.nas.trainings import (
    EXACT,
    NO_AUGMENTATION,
    RECIPE,
    STEPS,
    Seen,
    Watching,
    check_same,
    same_weights,
    small,
    train_small,
)
from tests.pictures import bar_fold

# It learns, and the same every time


def test_it_learns(fold: Fold) -> None:
    trained = train_small(fold, TrainingSettings(epochs=6, batch_size=16, learning_rate=1e-2))
    assert [score.epoch for score in trained.epochs] == [1, 2, 3, 4, 5, 6]
    assert trained.epochs[-1].auroc > 0.9
    assert trained.epochs[-1].balanced_accuracy > 0.8
    assert trained.epochs[-1].loss < 0.7 * trained.epochs[0].loss


def test_it_learns_three_classes_of_unequal_frequency_in_colour() -> None:
    labels = [0] * 60 + [1] * 30 + [2] * 30
    fold = bar_fold(labels, [0, 1, 2] * 12, channels=3)
    recipe = TrainingSettings(epochs=6, batch_size=16, learning_rate=1e-2)
    network = initial_network(lambda: small(3, 3), 0)
    trained = train_small(fold, recipe, network=network)
    assert trained.epochs[-1].auroc > 0.9
    assert trained.epochs[-1].balanced_accuracy > 0.7


def test_the_same_seed_gives_the_same_to_the_last_bit(fold: Fold, uninterrupted: Trained) -> None:
    check_same(train_small(fold), uninterrupted)


def test_another_seed_gives_another_training_of_the_same_initial_weights(
    fold: Fold, uninterrupted: Trained
) -> None:
    other = train_small(fold, seed=2, network=initial_network(small, 1))
    assert not same_weights(other.network, uninterrupted.network)
    assert [s.loss for s in other.epochs] != [s.loss for s in uninterrupted.epochs]


def test_a_network_in_evaluation_mode_is_trained_all_the_same(
    fold: Fold, uninterrupted: Trained
) -> None:
    check_same(train_small(fold, network=initial_network(small, 1).eval()), uninterrupted)


def test_global_generators_are_neither_used_nor_moved(fold: Fold, uninterrupted: Trained) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    check_same(train_small(fold), uninterrupted)
    assert torch.equal(before[0], torch.get_rng_state())
    assert str(before[1]) == str(np.random.get_state(legacy=False))
    assert before[2] == random.getstate()


def test_the_scores_are_those_of_the_returned_network(fold: Fold, uninterrupted: Trained) -> None:
    assert not any(module.training for module in uninterrupted.network.modules())
    chances = probabilities(
        uninterrupted.network, fold.validation.images, fold.preprocessing, EXACT
    )
    labels = fold.validation.labels.numpy()
    assert uninterrupted.epochs[-1].auroc == metrics.auroc(chances, labels)
    assert uninterrupted.epochs[-1].balanced_accuracy == metrics.balanced_accuracy(chances, labels)


def watched(seed: int, epochs: int, device: Device = EXACT) -> Seen:
    fold = bar_fold([0, 1] * 11, size=8, channels=3)
    fold.train.pixels[:, 0, -1, -1] = torch.arange(22)
    fold = replace(
        fold, preprocessing=replace(fold.preprocessing, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    )
    recipe = TrainingSettings(epochs=epochs, batch_size=5, augmentation=NO_AUGMENTATION)
    network = Watching()
    train_small(fold, recipe, seed=seed, network=network, device=device)
    seen = network.seen
    seen.batches = [[round(value) for value in batch] for batch in seen.batches]
    return seen


def test_an_epoch_sees_each_image_at_most_once_in_full_batches_in_a_new_order() -> None:
    batches = watched(0, epochs=3).batches
    assert [len(batch) for batch in batches] == [5] * 4 * 3  # 22 images: 2 are left out each time
    orders = [tuple(itertools.chain(*batches[i : i + 4])) for i in (0, 4, 8)]
    for order in orders:
        assert len(set(order)) == 20
        assert set(order) <= set(range(22))
        assert list(order) != sorted(order)
    assert len(set(orders)) == 3
    assert watched(0, epochs=1).batches == batches[:4]
    assert watched(1, epochs=1).batches != batches[:4]


def test_every_epoch_draws_other_variants() -> None:
    fold = bar_fold([0, 1] * 4, size=8, channels=3)
    fold.train.pixels[:] = 100
    augmentation = replace(NO_AUGMENTATION, exposure=0.2)
    recipe = TrainingSettings(epochs=3, batch_size=8, augmentation=augmentation)
    network = Watching()
    train_small(fold, recipe, network=network)
    values = [value for batch in network.seen.batches for value in batch]
    assert len(values) == len(set(values)) == 3 * 8


def test_the_loss_is_the_mean_over_steps() -> None:
    fold = bar_fold([0, 1] * 20, size=8, channels=3)
    recipe = TrainingSettings(
        epochs=1,
        batch_size=10,
        learning_rate=0.0,
        label_smoothing=0.0,
        augmentation=NO_AUGMENTATION,
    )
    network = Watching().eval()
    # Nothing is learned, and classes weigh the same: the mean over batches is that over images.
    chances = probabilities(network, fold.train.images, fold.preprocessing, EXACT)
    right = chances[np.arange(40), fold.train.labels.numpy()]
    (score,) = train_small(fold, recipe, network=network).epochs
    assert len(network.seen.batches) == 4
    assert score.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_is_the_devices(channels_last: bool) -> None:
    device = Device("cpu", bf16=False, channels_last=channels_last)
    assert watched(0, epochs=1, device=device).channels_last is channels_last


def test_a_batch_larger_than_the_data_is_the_data(fold: Fold) -> None:
    trained = train_small(fold, TrainingSettings(epochs=1, batch_size=1000))
    assert len(trained.epochs) == 1


# The recipe


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.1),  # 1/20 of the way, against a warm-up of half of it
        (4, 0.5),
        (8, 0.9),
        (9, 1.0),
        (10, 1.0),
        (15, 0.5),
        (19, 0.5 * (1 + math.cos(0.9 * math.pi))),
    ],
)
def test_rate(step: int, factor: float) -> None:
    recipe = TrainingSettings(learning_rate=0.02, warmup=0.5)
    assert recipe.rate(step, 20) == pytest.approx(0.02 * factor)


@settings(deadline=None)
@given(st.integers(10, 500), st.sampled_from([0.0, 0.1, 0.15, 0.2]))
def test_the_rate_rises_to_its_peak_and_falls_to_0(steps: int, warmup: float) -> None:
    recipe = TrainingSettings(learning_rate=0.004, warmup=warmup)
    rates = [recipe.rate(step, steps) for step in range(steps)]
    top = max(range(steps), key=rates.__getitem__)
    assert min(rates) > 0
    assert rates[top] == pytest.approx(0.004)
    assert abs(top / steps - warmup) < 2.01 / steps
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    falling = steps - round(warmup * steps)
    assert rates[-1] == pytest.approx(0.004 * (math.pi / falling) ** 2 / 4, rel=0.03)


class Recording(TrainingSettings):
    """A recipe that writes down for which steps a rate was asked."""

    asked: list[tuple[int, int]] = []  # noqa: RUF012 - a slot would be part of the recipe

    def rate(self, step: int, steps: int) -> float:
        self.asked.append((step, steps))
        return super().rate(step, steps)


def test_the_schedule_spans_the_recipes_epochs_wherever_a_training_pauses(
    fold: Fold, tmp_path: Path
) -> None:
    recipe = Recording(epochs=5, batch_size=16)
    recipe.asked.clear()
    train_small(fold, recipe, until=1, checkpoint=tmp_path / "c")
    # Asked once for each group of parameters.
    assert sorted(set(recipe.asked)) == [(step, 5 * STEPS) for step in range(STEPS)]
    recipe.asked.clear()
    train_small(fold, recipe, until=3, checkpoint=tmp_path / "c")
    assert sorted(set(recipe.asked)) == [(step, 5 * STEPS) for step in range(STEPS, 3 * STEPS)]


def test_the_judged_weights_are_an_average(fold: Fold) -> None:
    live = initial_network(small, 1)
    averaged = train_small(fold, network=live).network
    assert averaged is not live
    for name, value in live.named_parameters():
        assert not torch.equal(value, averaged.state_dict()[name]), name
    for name, buffer in live.named_buffers():
        if buffer.is_floating_point():
            assert not torch.equal(buffer, averaged.state_dict()[name]), name


def test_without_averaging_the_judged_weights_are_the_live_ones(fold: Fold) -> None:
    live = initial_network(small, 1)
    trained = train_small(fold, replace(RECIPE, averaging=0.0), network=live).network
    for name, value in live.named_parameters():
        torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-7, rtol=1e-6)


def test_after_few_steps_norms_have_the_statistics_of_their_weights(fold: Fold) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(2, 1, 12, 12))
    recipe = replace(RECIPE, augmentation=NO_AUGMENTATION)
    trained = train_small(fold, recipe, until=1, network=network).network
    conv, norm = trained.get_submodule("0"), trained.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    inputs = fold.preprocessing.normalize(fold.train.images)
    with torch.no_grad():
        mean = conv(inputs).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean, atol=1e-4, rtol=1e-3)
    assert norm.momentum == 0.1
    assert not norm.training


def test_frozen_norms_keep_what_they_have_learnt(fold: Fold) -> None:
    learnt = FrozenSequential(OrderedDict(conv=nn.Conv2d(1, 4, 3), norm=nn.BatchNorm2d(4)))
    network = nn.Sequential(learnt, nn.Flatten(), nn.Linear(400, 2))
    trained = train_small(fold, until=2, network=network).network
    norm = trained.get_submodule("0.norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert torch.equal(trained.get_parameter("0.conv.weight"), learnt.get_parameter("conv.weight"))


def test_after_many_steps_statistics_stay(fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = train_small(fold, until=1).network
    asked: list[int] = []
    monkeypatch.setattr(stepping.Training, "settle", lambda self, seed: asked.append(seed))
    unsettled = train_small(fold, until=1).network
    assert len(asked) == 1
    pairs = zip(settled.named_buffers(), unsettled.named_buffers(), strict=True)
    assert any(not torch.equal(one, other) for (_, one), (_, other) in pairs)
    monkeypatch.setattr(training, "SETTLED_STEPS", STEPS)
    train_small(fold, until=1)
    assert len(asked) == 1


def test_augmentation_is_used(fold: Fold, uninterrupted: Trained) -> None:
    plain = train_small(fold, replace(RECIPE, augmentation=NO_AUGMENTATION))
    assert plain.epochs[0].loss != uninterrupted.epochs[0].loss


@pytest.mark.parametrize("mixup", [-0.1, 0.6])
def test_mixup_outside_its_range_is_refused(mixup: float) -> None:
    with pytest.raises(SettingsError, match=r"mixup must be from 0 to 0\.5"):
        replace(RECIPE, mixup=mixup)


def test_mixup_that_is_off_is_not_told() -> None:
    """Runs of before keep their recipe."""
    assert "mixup" not in RECIPE.to_json()
    assert replace(RECIPE, mixup=0.3).to_json() == {**RECIPE.to_json(), "mixup": 0.3}


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 64), (-1, 64), (3, 1), (3, 0)])
def test_other_recipes_are_refused(epochs: int, batch_size: int) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainingSettings(epochs=epochs, batch_size=batch_size)
    assert str(caught.value) == (
        "epochs must be at least 1 and batch_size at least 2, but are "
        f"{epochs} and {batch_size}; raise them"
    )
