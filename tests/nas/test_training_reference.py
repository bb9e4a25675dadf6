"""The trainer against the loop that says plainly what it does."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.data.augmentation import Augmentation
from nas.data.folds import Fold
from nas.devices import Device
from nas.genome import Activation, ConvBlock, Genome, ImageShape, Order, Pool
from nas.network import build
from nas.recipe import Imbalance, TrainingSettings
from nas.seeds import derive
from nas.training import initial_network, train
from tests.nas.data.references import default_augmentation
from tests.pictures import bar_fold

GENOME = Genome(
    (
        ConvBlock(6, 3, pool=Pool.MAX, order=Order.POOL_BEFORE_NORM),
        ConvBlock(8, 2, Activation.LEAKY_RELU, pool=Pool.MAX),
    )
)
IMAGE = ImageShape(1, 12, 12)
UNEVEN = [0, 1, 1] * 32
RECIPE = TrainingSettings(
    epochs=3, batch_size=16, augmentation=Augmentation(), imbalance=Imbalance.WEIGHTS
)


def initial() -> nn.Module:
    return initial_network(lambda: build(GENOME, IMAGE, 2), 5)


def plain_losses(fold: Fold, seed: int, mixup: float = 0.0) -> tuple[list[float], nn.Module]:
    """Losses of every epoch, and the averaged network: no tricks, one thing after the other."""
    network, mean = initial(), initial()
    images, labels = fold.train.images, fold.train.labels
    counts = torch.bincount(labels)
    weights = len(labels) / (len(counts) * counts.float())
    moments: dict[nn.Parameter, tuple[torch.Tensor, torch.Tensor]] = {}
    losses, step = [], 0
    steps = len(images) // 16
    for epoch in range(1, 4):
        place = derive(seed, "epoch", epoch)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(place))
        draws = torch.Generator().manual_seed(derive(place, "augmentation"))
        total = 0.0
        for number in range(steps):
            rows = order[16 * number : 16 * (number + 1)]
            changed = default_augmentation(images[rows], draws)
            share = torch.zeros(len(rows))
            if mixup:
                share = torch.rand(len(rows), generator=draws) * mixup
                each = share.view(-1, 1, 1, 1)
                changed = (1 - each) * changed + each * changed[torch.arange(len(rows)) - 1]
            how = fold.preprocessing
            mid, spread = 255 * how.mean[0], 255 * how.std[0]
            network.train()
            logits = network((changed - mid) / spread)
            loss = _mixed_loss(logits, labels[rows], weights, share)
            network.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rate = RECIPE.rate(step, 3 * steps)
            with torch.no_grad():
                for parameter in network.parameters():
                    _adamw(parameter, moments, step + 1, rate)
                decay = min(0.97, (1 + step) / (10 + step))
                pairs = zip(
                    [*mean.parameters(), *mean.buffers()],
                    [*network.parameters(), *network.buffers()],
                    strict=True,
                )
                for kept, live in pairs:
                    if kept.is_floating_point():
                        kept.copy_(decay * kept + (1 - decay) * live)
            total += loss.item()
            step += 1
        losses.append(total / steps)
    return losses, mean


def _mixed_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Weighed mean of cross-entropies with smoothed targets, image by image (and its neighbour)."""
    chances = logits.log_softmax(1)
    total, weight = torch.zeros(()), torch.zeros(())
    for row in range(len(labels)):
        for part, label in ((1 - share[row], labels[row]), (share[row], labels[row - 1])):
            smooth = torch.full((2,), 0.05 / 2)
            smooth[label] += 0.95
            # As torch smooths: every class's term has that class's own weight.
            total = total - part * (smooth * weights * chances[row]).sum()
            weight = weight + part * weights[label]
    return total / weight


def _adamw(
    parameter: nn.Parameter,
    moments: dict[nn.Parameter, tuple[torch.Tensor, torch.Tensor]],
    step: int,
    rate: float,
) -> None:
    """Loshchilov and Hutter 2019, with torch's default betas and epsilon."""
    gradient = parameter.grad
    assert gradient is not None
    first, second = moments.get(
        parameter, (torch.zeros_like(parameter), torch.zeros_like(parameter))
    )
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    moments[parameter] = first, second
    if parameter.ndim > 1:
        parameter.mul_(1 - rate * 0.02)
    corrected = first / (1 - 0.9**step)
    parameter.sub_(rate * corrected / ((second / (1 - 0.999**step)).sqrt() + 1e-8))


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_losses_and_weights_are_those_of_a_plain_loop(
    channels_last: bool, mixup: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.training.SETTLED_STEPS", 0)
    fold = bar_fold(UNEVEN)
    expected, mean = plain_losses(fold, seed=3, mixup=mixup)
    device = Device("cpu", bf16=False, channels_last=channels_last)
    trained = train(initial(), fold, replace(RECIPE, mixup=mixup), device, seed=3, until=3)
    losses = [score.loss for score in trained.epochs]
    assert losses == pytest.approx(expected, rel=1e-4)
    assert not math.isclose(losses[0], losses[-1], rel_tol=1e-2)
    for (name, ours), theirs in zip(
        trained.network.state_dict().items(), mean.state_dict().values(), strict=True
    ):
        if ours.is_floating_point():
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_another_recipe_is_another_training() -> None:
    """That the test above can fail."""
    fold = bar_fold()
    expected, _ = plain_losses(fold, seed=3)
    device = Device("cpu", bf16=False, channels_last=True)
    for other in (
        replace(RECIPE, label_smoothing=0.0),
        replace(RECIPE, weight_decay=0.5),
        replace(RECIPE, mixup=0.4),
        replace(RECIPE, augmentation=Augmentation(noise=0.0)),
    ):
        losses = [s.loss for s in train(initial(), fold, other, device, seed=3, until=3).epochs]
        assert losses != pytest.approx(expected, rel=1e-4)
