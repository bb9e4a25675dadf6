"""A fold that is made again, as another process makes it."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.data.cache import load_images
from nas.data.folds import Fold, Labelled, choose_division, divisions, make_fold
from nas.data.prepare import prepare
from nas.data.reopening import FoldSource
from nas.errors import DataError, SettingsError
from nas.images import Resize
from tests.pictures import encoded, write_pictures

PATHS = [f"train/{c}/patient{p}_{i}.png" for c in "AB" for p in range(6) for i in (1, 2)] + [
    f"test/{c}/patient{p}_1.png" for c in "AB" for p in (8, 9)
]
CHANGED = "train/A/patient0_1.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", PATHS)


def opened(
    root: Path, cache: Path, *, seed: int = 0, channels: int = 1, resize: Resize = Resize.SQUASH
) -> dict[str, tuple[Fold, FoldSource]]:
    """As a search opens its folds, by name, each with what makes it again."""
    source = prepare(str(root), cache).source
    images = load_images(
        source, ("train", "val"), size=8, channels=channels, resize=resize, cache=cache
    )
    found = divisions(images, seed)
    return {
        division.name: (
            make_fold(images, source.classes, choose_division(found, division.name)),
            FoldSource(
                spec=source.spec,
                cache=cache,
                size=8,
                channels=channels,
                resize=resize,
                seed=seed,
                division=division.name,
                checksum=images.checksum,
            ),
        )
        for division in found
    }


def check_same(one: Fold, other: Fold) -> None:
    assert (one.classes, one.preprocessing) == (other.classes, other.preprocessing)
    for mine, others in ((one.train, other.train), (one.validation, other.validation)):
        assert same(mine, others)


def same(one: Labelled, other: Labelled) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_every_fold_is_made_again(root: Path, cache: Path, decoded: list[bytes]) -> None:
    folds = opened(root, cache)
    assert len(folds) >= 2
    decoded.clear()
    for fold, source in folds.values():
        check_same(source(), fold)
    assert decoded == []  # from the cache
    (first, _), (second, _), *_ = folds.values()
    assert not same(first.validation, second.validation)


@pytest.mark.parametrize(
    ("seed", "channels", "resize"), [(1, 1, Resize.SQUASH), (0, 3, Resize.CROP)]
)
def test_as_it_was_asked_for(
    root: Path, cache: Path, seed: int, channels: int, resize: Resize
) -> None:
    usual, _ = opened(root, cache)["patients-1"]
    fold, source = opened(root, cache, seed=seed, channels=channels, resize=resize)["patients-1"]
    check_same(source(), fold)
    assert fold.preprocessing.channels == channels
    assert fold.preprocessing.resize is resize
    assert fold.validation.images.shape != usual.validation.images.shape or not same(
        fold.validation, usual.validation
    )


def test_it_is_sent_to_another_process_without_the_images(root: Path, cache: Path) -> None:
    fold, source = opened(root, cache)["patients-1"]
    content = pickle.dumps(source)
    assert len(content) < 1000
    check_same(pickle.loads(content)(), fold)


def test_in_a_process_with_an_empty_cache_it_is_the_same(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    fold, source = opened(root, cache)["patients-1"]
    check_same(replace(source, cache=tmp_path / "other")(), fold)


def test_images_that_changed_are_refused(root: Path, cache: Path) -> None:
    _, source = opened(root, cache)["patients-1"]
    (root / CHANGED).write_bytes(encoded(123456))
    with pytest.raises(DataError) as caught:
        source()
    assert str(caught.value) == (
        f"images must not change while a search uses them, but those of {root} did; restore them, "
        "or begin another --run"
    )
    write_pictures(root, [CHANGED])
    source()


def test_images_that_came_or_went_are_refused(root: Path, cache: Path) -> None:
    _, source = opened(root, cache)["patients-1"]
    more = write_pictures(root, ["train/B/patient7_1.png"]) / "train/B/patient7_1.png"
    with pytest.raises(DataError, match="images must not change"):
        source()
    more.unlink()
    source()
    (root / CHANGED).unlink()
    with pytest.raises(DataError, match="images must not change"):
        source()


def test_images_that_are_gone_are_refused(root: Path, cache: Path) -> None:
    _, source = opened(root, cache)["patients-1"]
    root.rename(root.with_name("moved"))
    with pytest.raises(DataError, match="the data must be a folder"):
        source()


def test_an_unknown_division_is_refused(root: Path, cache: Path) -> None:
    _, source = opened(root, cache)["patients-1"]
    with pytest.raises(SettingsError, match="--fold must be one of"):
        replace(source, division="domain-X")()
