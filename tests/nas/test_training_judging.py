"""Training: failures, and how networks are judged."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas import judging
from nas.data.folds import Fold, Labelled
from nas.data.shifts import SHIFTS, shifted
from nas.devices import Device, choose
from nas.errors import TrainingError, TrainingFailure
from nas.judging import CPU_EVALUATION_BATCH, ShiftedImages, judged, probabilities, robustness
from nas.recipe import TrainingSettings
from nas.training import EpochScore, Trained, initial_network, state_of
from tests.nas.trainings import EXACT, RECIPE, same_weights, small, train_small
from tests.pictures import bar_fold

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
    batch = CPU_EVALUATION_BATCH
    assert len(images) > 2 * batch
    assert len(images) % batch
    once = probabilities(uninterrupted.network, fold.validation.images, fold.preprocessing, EXACT)
    result = probabilities(uninterrupted.network, images, fold.preprocessing, EXACT)
    assert result == pytest.approx(np.tile(once, (14, 1)), abs=1e-6)


@pytest.mark.parametrize("batch", [7, 32])
def test_some_images_are_judged_as_if_there_were_no_others(
    fold: Fold, uninterrupted: Trained, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(judging, "CPU_EVALUATION_BATCH", batch)
    network, data = uninterrupted.network, fold.validation
    scattered = Labelled(data.pixels, data.rows.flip(0)[:30], data.labels.flip(0)[:30])
    index = torch.tensor([29, 3, 4, 3, 0, 17, 8, 20, 11])
    some = judged(network, scattered, index, fold.preprocessing, EXACT)
    images = data.images.flip(0)[index]
    assert some.shape == (9, 2)
    assert np.array_equal(some, probabilities(network, images, fold.preprocessing, EXACT))


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
    monkeypatch.setattr(judging, "CPU_EVALUATION_BATCH", 7)
    parts = robustness(uninterrupted.network, fold, EXACT)
    del whole["noise"], parts["noise"]  # each batch draws its own
    assert parts == whole


def test_shifted_images_are_made_once_unless_they_take_too_much(
    fold: Fold, uninterrupted: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(images: torch.Tensor, name: str) -> torch.Tensor:
        made.append(name)
        return shifted(images, name)

    monkeypatch.setattr(judging, "shifted", counted)
    network = uninterrupted.network
    anew = robustness(network, fold, EXACT)
    once = len(made)
    assert set(made) == set(SHIFTS)
    for kept_bytes, times in ((1 << 30, 1), (0, 2)):
        made.clear()
        images = ShiftedImages(fold, EXACT, kept_bytes=kept_bytes)
        for _ in range(2):
            assert robustness(network, fold, EXACT, images=images) == anew
        assert len(made) == times * once


def test_what_is_known_of_clean_images_is_not_asked_again(
    fold: Fold, uninterrupted: Trained
) -> None:
    anew = robustness(uninterrupted.network, fold, EXACT)
    assert robustness(uninterrupted.network, fold, EXACT, clean=uninterrupted.validation) == anew
    wrong = uninterrupted.validation[:, ::-1]
    assert robustness(uninterrupted.network, fold, EXACT, clean=wrong)["clean"] != anew["clean"]


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
