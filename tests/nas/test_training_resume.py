"""Training: pauses, interruptions, kills and damaged checkpoints."""

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from nas import tensorfile
from nas.data.folds import Fold
from nas.errors import Interrupted
from nas.training import EpochScore, Trained, initial_network, train
from tests.nas.trainings import (
    EXACT,
    RECIPE,
    Asked,
    after,
    check_same,
    small,
    train_small,
)

# Pauses, interruptions and kills


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_training_ends_in_the_same(
    fold: Fold, uninterrupted: Trained, tmp_path: Path, epochs: int
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    seen: list[EpochScore] = []
    with pytest.raises(Interrupted, match=rf"stopped before epoch {epochs + 1};"):
        train_small(fold, checkpoint=checkpoint, on_epoch=seen.append, stop=after(epochs))
    assert seen == list(uninterrupted.epochs[:epochs])
    resumed = train_small(fold, checkpoint=checkpoint, on_epoch=seen.append)
    check_same(resumed, uninterrupted)
    assert seen == list(uninterrupted.epochs)  # each epoch was trained, and told of, once


def test_an_interruption_before_the_first_epoch_leaves_no_checkpoint(
    fold: Fold, uninterrupted: Trained, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match="stopped before epoch 1"):
        train_small(fold, checkpoint=tmp_path / "c", stop=after(0))
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


def test_stop_is_asked_before_every_epoch(fold: Fold) -> None:
    stop = Asked()
    train_small(fold, stop=stop)
    assert stop.times == 3


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
