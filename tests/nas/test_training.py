import itertools
import json
import logging
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas import metrics, tensorfile, training
from nas.data.augment import Augmentation
from nas.data.fold import Fold
from nas.data.shifts import SHIFTS, shifted
from nas.devices import Device, choose
from nas.errors import Interrupted, SettingsError, TrainingError, TrainingFailure
from nas.training import (
    EpochScore,
    Trained,
    TrainingSettings,
    initial_network,
    probabilities,
    robustness,
    state_of,
    train,
)
from tests.pictures import bar_fold

EXACT = Device("cpu", bf16=False, channels_last=True)
NO_AUGMENTATION = Augmentation(**dict.fromkeys(Augmentation.__slots__, 0.0))
RECIPE = TrainingSettings(epochs=3, batch_size=16)
STEPS = 6
"""An epoch's, with RECIPE and 96 images."""


def small(channels: int = 1, classes: int = 2) -> nn.Module:
    """A network for 12 × 12 images, with everything that has a state: batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(6 * 6 * 6, classes),
    )


@pytest.fixture(scope="module")
def fold() -> Fold:
    return bar_fold()


def train_small(
    fold: Fold,
    recipe: TrainingSettings = RECIPE,
    *,
    seed: int = 1,
    until: int | None = None,
    checkpoint: Path | None = None,
    network: nn.Module | None = None,
    device: Device = EXACT,
    on_epoch: Callable[[EpochScore], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    return train(
        network or initial_network(small, seed),
        fold,
        recipe,
        device,
        seed=seed,
        until=until or recipe.epochs,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        stop=stop,
        clock=lambda: 0.0,
    )


@pytest.fixture(scope="module")
def uninterrupted(fold: Fold) -> Trained:
    return train_small(fold)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def check_same(one: Trained, other: Trained) -> None:
    """Equal to the last bit."""
    assert same_weights(one.network, other.network)
    assert one.epochs == other.epochs


class Asked:
    """A stop that never comes, and how often it was asked for."""

    times = 0

    def __call__(self) -> bool:
        self.times += 1
        return False


def after(calls: int) -> Callable[[], bool]:
    """A stop that is asked for once it was asked about ``calls`` times."""
    count = itertools.count()
    return lambda: next(count) >= calls


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


@dataclass
class Seen:
    """Which training images a network saw, batch by batch: their last pixel tells."""

    batches: list[list[int]]
    channels_last: bool = True


class Watching(nn.Module):
    """A linear network that writes down what it is given while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 64, 2)
        self.seen = Seen([])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.batches.append(images[:, 0, -1, -1].tolist())
            self.seen.channels_last &= images.is_contiguous(memory_format=torch.channels_last)
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]


def watched(seed: int, epochs: int, device: Device = EXACT) -> Seen:
    fold = bar_fold([0, 1] * 11, size=8, channels=3)
    fold.train.images[:, 0, -1, -1] = torch.arange(22)
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
    fold.train.images[:] = 100
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
    recipe = TrainingSettings(epochs=1, batch_size=1000)
    stop = Asked()
    trained = train_small(fold, recipe, stop=stop)
    assert len(trained.epochs) == stop.times == 1


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
    class_weights = [len(labels) / (classes * count) for count in counts]
    inputs = fold.train.images.double() / 255
    inputs = (inputs - fold.preprocessing.mean[0]) / fold.preprocessing.std[0]
    for step in range(steps):
        rising = round(recipe.warmup * recipe.epochs)  # one step an epoch
        if step < rising:
            rate = recipe.learning_rate * (step + 1) / rising
        else:
            angle = math.pi * (step - rising) / (recipe.epochs - rising)
            rate = recipe.learning_rate * (1 + math.cos(angle)) / 2
        logits = network(inputs)
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


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_are_those_written_by_hand(steps: int) -> None:
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
    for name, value in (*live.named_parameters(), *live.named_buffers()):
        if value.is_floating_point():
            torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-7, rtol=1e-6)


def test_augmentation_is_used(fold: Fold, uninterrupted: Trained) -> None:
    plain = train_small(fold, replace(RECIPE, augmentation=NO_AUGMENTATION))
    assert plain.epochs[0].loss != uninterrupted.epochs[0].loss


@pytest.mark.parametrize(("epochs", "batch_size"), [(0, 64), (-1, 64), (3, 1), (3, 0)])
def test_other_recipes_are_refused(epochs: int, batch_size: int) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainingSettings(epochs=epochs, batch_size=batch_size)
    assert str(caught.value) == (
        "epochs must be at least 1 and batch_size at least 2, but are "
        f"{epochs} and {batch_size}; raise them"
    )


# Pauses, interruptions and kills


@pytest.mark.parametrize("steps", [STEPS, STEPS + 1, 2 * STEPS - 1, 2 * STEPS, 3 * STEPS - 1])
def test_an_interrupted_training_ends_in_the_same(
    fold: Fold, uninterrupted: Trained, tmp_path: Path, steps: int
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    seen: list[EpochScore] = []
    with pytest.raises(Interrupted, match=rf"stopped in epoch {steps // STEPS + 1};"):
        train_small(fold, checkpoint=checkpoint, on_epoch=seen.append, stop=after(steps))
    assert seen == list(uninterrupted.epochs[: steps // STEPS])
    resumed = train_small(fold, checkpoint=checkpoint, on_epoch=seen.append)
    check_same(resumed, uninterrupted)
    assert seen == list(uninterrupted.epochs)  # each epoch was trained, and told of, once


def test_an_interruption_in_the_first_epoch_leaves_no_checkpoint(
    fold: Fold, uninterrupted: Trained, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match="stopped in epoch 1"):
        train_small(fold, checkpoint=tmp_path / "c", stop=after(2))
    assert list(tmp_path.iterdir()) == []
    check_same(train_small(fold, checkpoint=tmp_path / "c"), uninterrupted)


def test_a_paused_training_goes_on_as_if_it_had_not(
    fold: Fold, uninterrupted: Trained, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "new" / "checkpoint.pt"
    for until in (1, 3):
        # The network passed later does not matter: all state is in the checkpoint.
        network = initial_network(small, 1 if until == 1 else 77)
        trained = train_small(fold, until=until, checkpoint=checkpoint, network=network)
        assert trained.epochs == uninterrupted.epochs[:until]
    check_same(trained, uninterrupted)


def test_a_finished_training_is_not_repeated(
    fold: Fold, uninterrupted: Trained, tmp_path: Path
) -> None:
    train_small(fold, checkpoint=tmp_path / "c")
    before = (tmp_path / "c").stat().st_mtime_ns
    seen: list[EpochScore] = []
    network = initial_network(small, 77)
    again = train_small(
        fold, checkpoint=tmp_path / "c", network=network, on_epoch=seen.append, stop=lambda: True
    )
    check_same(again, uninterrupted)
    assert seen == []
    assert (tmp_path / "c").stat().st_mtime_ns == before


def test_an_epoch_is_saved_before_it_is_told_of(fold: Fold, tmp_path: Path) -> None:
    saved: list[tuple[int, int]] = []

    def look(score: EpochScore) -> None:
        content = tensorfile.read(tmp_path / "c")
        saved.append((score.epoch, len(json.loads(content["epochs"]))))

    train_small(fold, checkpoint=tmp_path / "c", on_epoch=look)
    assert saved == [(1, 1), (2, 2), (3, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_without_a_checkpoint_nothing_is_written(
    fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_small(fold, until=1)
    assert list(tmp_path.iterdir()) == []


def test_stop_is_asked_before_every_step(fold: Fold) -> None:
    stop = Asked()
    train_small(fold, stop=stop)
    assert stop.times == 3 * STEPS


def test_seconds_are_the_clocks(fold: Fold) -> None:
    times = itertools.count(100, 7)
    network = initial_network(small, 1)
    trained = train(network, fold, RECIPE, EXACT, seed=1, until=2, clock=lambda: float(next(times)))
    assert [score.seconds for score in trained.epochs] == [7.0, 7.0]


def other_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 7, 3), nn.BatchNorm2d(7), nn.Flatten(), nn.Linear(700, 2))


Damage = Callable[[Path, Fold], None]


def rewritten(**changes: object) -> Damage:
    """A whole, readable file in which some entries are something else (None: missing)."""

    def damage(path: Path, fold: Fold) -> None:
        content = {**tensorfile.read(path), **changes}
        tensorfile.write(path, {name: value for name, value in content.items() if value})

    return damage


def bytes_of(change: Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path, fold: Fold) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


def of_another_network(path: Path, fold: Fold) -> None:
    path.unlink()
    train_small(fold, until=1, checkpoint=path, network=other_network())


def with_the_average_of_another(path: Path, fold: Fold) -> None:
    content = tensorfile.read(path)
    tensorfile.write(path, {**content, "averaged": other_network().state_dict()})


def empty_optimizer(path: Path, fold: Fold) -> None:
    content = tensorfile.read(path)
    content["optimizer"]["param_groups"] = []
    tensorfile.write(path, content)


DAMAGES: dict[str, Damage] = {
    "empty": bytes_of(lambda whole: b""),
    "garbage": bytes_of(lambda whole: b"garbage" * 100),
    "cut off": bytes_of(lambda whole: whole[:-200]),
    "half": bytes_of(lambda whole: whole[: len(whole) // 2]),
    "another network's": of_another_network,
    "half another network's": with_the_average_of_another,
    "no network": rewritten(network=None),
    "no average": rewritten(averaged=None),
    "no optimizer": rewritten(optimizer=None),
    "no epochs": rewritten(epochs=None),
    "epochs not JSON": rewritten(epochs="]["),
    "epochs of another kind": rewritten(epochs='[{"epoch": 1}]'),
    "epochs numbers": rewritten(epochs="[1]"),
    "network a text": rewritten(network="text"),
    "optimizer a number": rewritten(optimizer=1),
    "optimizer of no parameters": empty_optimizer,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_told_of_and_training_starts_over(
    fold: Fold,
    uninterrupted: Trained,
    tmp_path: Path,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    train_small(fold, until=2, checkpoint=checkpoint)
    DAMAGES[kind](checkpoint, fold)
    seen: list[EpochScore] = []
    with caplog.at_level(logging.WARNING, logger="nas.training"):
        trained = train_small(fold, checkpoint=checkpoint, on_epoch=seen.append)
    check_same(trained, uninterrupted)
    assert seen == list(uninterrupted.epochs)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(checkpoint) in record.getMessage()
    assert "damaged" in record.getMessage()
    assert "starts over" in record.getMessage()
    # The damaged file was replaced by a good one.
    caplog.clear()
    check_same(train_small(fold, checkpoint=checkpoint, stop=lambda: True), uninterrupted)
    assert caplog.records == []


def test_a_good_checkpoint_is_no_cause_for_a_warning(
    fold: Fold, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for until in (1, 2):
        train_small(fold, until=until, checkpoint=tmp_path / "c")
    assert caplog.records == []


# Failures


def check_not_finite(run: Callable[[], object]) -> None:
    with pytest.raises(TrainingError, match=r"finite.*lower the learning rate") as caught:
        run()
    assert caught.value.failure is TrainingFailure.NOT_FINITE
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite(fold: Fold, tmp_path: Path) -> None:
    told: list[EpochScore] = []
    check_not_finite(
        lambda: train_small(
            fold,
            replace(RECIPE, learning_rate=1e30),
            checkpoint=tmp_path / "c",
            on_epoch=told.append,
        )
    )
    assert told == []
    assert list(tmp_path.iterdir()) == []  # or it would go on from there


def test_weights_that_are_not_finite_after_the_last_step_of_an_epoch(fold: Fold) -> None:
    """The epoch's one loss was finite: it was computed before the step."""
    recipe = TrainingSettings(epochs=2, batch_size=96, learning_rate=math.inf, averaging=0.0)
    check_not_finite(lambda: train_small(fold, recipe))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_initial_weights_that_are_not_finite(fold: Fold, value: float) -> None:
    network = initial_network(small, 1)
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] = value
    check_not_finite(lambda: train_small(fold, network=network))


class Raising(nn.Module):
    """A network that raises in training, or only when it is judged."""

    def __init__(self, error: Exception, *, judged: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(144, 2)
        self.error, self.judged = error, judged

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training != self.judged:
            raise self.error
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]


CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 99999999999 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee\nthe manual"),
        MemoryError(),
        MemoryError("Unable to allocate 7 GiB"),
        RuntimeError(CPU_ALLOCATOR),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
)
def test_out_of_memory(fold: Fold, error: Exception, judged: bool) -> None:
    with pytest.raises(TrainingError) as caught:
        train_small(fold, network=Raising(error, judged=judged))
    assert caught.value.failure is TrainingFailure.OUT_OF_MEMORY
    message = str(caught.value)
    assert (str(error).splitlines() or ["MemoryError"])[0] in message
    assert message.startswith("the network and a batch must fit into memory")
    assert message.endswith("lower --max-params or --max-macs")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("x")]
)
def test_other_errors_are_defects_and_stay_as_they_are(fold: Fold, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        train_small(fold, network=Raising(error, judged=False))
    assert caught.value is error


# Judging


def test_probabilities_against_plain_arithmetic(fold: Fold, uninterrupted: Trained) -> None:
    images = fold.validation.images
    inputs = (images.double() / 255 - 0.35) / 0.15
    with torch.no_grad():
        logits = uninterrupted.network(inputs.float()).double()
    powers = torch.exp(logits)
    expected = (powers / powers.sum(1, keepdim=True)).numpy()
    result = probabilities(uninterrupted.network, images, fold.preprocessing, EXACT)
    assert result.dtype == np.float64
    assert result == pytest.approx(expected, abs=1e-5)
    assert result.sum(1) == pytest.approx(1.0, abs=1e-12)


def test_more_images_than_one_batch(fold: Fold, uninterrupted: Trained) -> None:
    images = fold.validation.images.repeat(14, 1, 1, 1)
    batch = training.CPU_EVALUATION_BATCH
    assert len(images) > 2 * batch
    assert len(images) % batch
    once = probabilities(uninterrupted.network, fold.validation.images, fold.preprocessing, EXACT)
    result = probabilities(uninterrupted.network, images, fold.preprocessing, EXACT)
    assert result == pytest.approx(np.tile(once, (14, 1)), abs=1e-6)


def halves(labels: list[int]) -> tuple[list[int], list[int]]:
    """Rows of every class's first, third, fifth ... image, and of the others."""
    one: list[int] = []
    other: list[int] = []
    for label in sorted(set(labels)):
        mine = [row for row, value in enumerate(labels) if value == label]
        one += mine[::2]
        other += mine[1::2]
    return sorted(one), sorted(other)


def test_robustness_is_balanced_accuracy_clean_and_of_one_half_under_each_shift() -> None:
    # Classes of odd counts, in an order in which every second row is not every second of a class.
    fold = bar_fold(validation=[0, 0, 1, 1, 1, 0, 1] * 3 + [0, 0])
    trained = train_small(fold, replace(RECIPE, learning_rate=5e-3))
    result = robustness(trained.network, fold, EXACT)
    assert list(result) == ["clean", *SHIFTS]
    labels = fold.validation.labels.numpy()
    sides = halves(labels.tolist())
    assert not set(sides[0]) & set(sides[1])
    for place, name in enumerate(result, start=-1):
        if name == "clean":
            rows, images = list(range(len(labels))), fold.validation.images
        else:
            rows = sides[place % 2]
            images = shifted(fold.validation.images[rows], name)
        chances = probabilities(trained.network, images, fold.preprocessing, EXACT)
        right = chances.argmax(1) == labels[rows]
        recalls = [right[labels[rows] == label].mean() for label in (0, 1)]
        assert result[name] == pytest.approx(sum(recalls) / 2), name
    assert result["clean"] == trained.epochs[-1].balanced_accuracy
    assert len(set(result.values())) > 3


def test_robustness_where_a_class_has_one_image() -> None:
    """It is in one half; the other shifts are judged by the other classes."""
    fold = bar_fold(validation=[0, 1, 0, 0])
    result = robustness(initial_network(small, 1), fold, EXACT)
    assert list(result) == ["clean", *SHIFTS]
    assert all(0 <= value <= 1 for value in result.values())


def test_robustness_where_every_class_has_one_image() -> None:
    """Then one half has none: half of the shifts are left out."""
    fold = bar_fold(validation=[0, 1])
    result = robustness(initial_network(small, 1), fold, EXACT)
    assert list(result) == ["clean", *list(SHIFTS)[::2]]


def test_robustness_in_more_than_one_batch(
    fold: Fold, uninterrupted: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = robustness(uninterrupted.network, fold, EXACT)
    monkeypatch.setattr(training, "CPU_EVALUATION_BATCH", 7)
    parts = robustness(uninterrupted.network, fold, EXACT)
    del whole["noise"], parts["noise"]  # each batch draws its own
    assert parts == whole


@pytest.mark.skipif(not choose("cpu").bf16, reason="this processor does not compute in bfloat16")
def test_half_precision_gives_nearly_the_same(fold: Fold, uninterrupted: Trained) -> None:
    half = Device("cpu", bf16=True, channels_last=True)
    fast = train_small(fold, device=half)
    plain = train_small(fold, device=Device("cpu", bf16=False, channels_last=False))
    exact = [score.loss for score in uninterrupted.epochs]
    losses = [score.loss for score in fast.epochs]
    assert losses == pytest.approx(exact, rel=0.05)
    assert losses != exact
    assert [score.loss for score in plain.epochs] == pytest.approx(exact, rel=1e-3)
    assert all(value.dtype == torch.float32 for value in fast.network.parameters())
    images = fold.validation.images
    one, other = (
        probabilities(fast.network, images, fold.preprocessing, device) for device in (half, EXACT)
    )
    assert one == pytest.approx(other, abs=0.02)
    assert not np.array_equal(one, other)


# Weights


def test_initial_weights_are_a_function_of_the_seed() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = initial_network(small, 1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    assert same_weights(first, initial_network(small, 1))
    assert not same_weights(first, initial_network(small, 2))


def test_state_of_is_plain_contiguous_and_complete() -> None:
    network = initial_network(lambda: small(3), 1).to(memory_format=torch.channels_last)
    state = state_of(network)
    assert not network.state_dict()["0.weight"].is_contiguous()
    assert state.keys() == network.state_dict().keys()
    for name, value in state.items():
        assert value.is_contiguous()
        assert not value.requires_grad
        assert torch.equal(value, network.state_dict()[name])


def test_scores_are_plain_values(uninterrupted: Trained) -> None:
    for score in uninterrupted.epochs:
        assert EpochScore(**json.loads(json.dumps(asdict(score)))) == score
