"""The cache: what is given back, and when it is decoded again."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data import cache as module
from nas.data.cache import load_images
from nas.data.sources import read_folder
from tests.nas.data.caches import SIZE, TEST, TRAIN, expected, load
from tests.pictures import encoded, write_pictures

# What is given back


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_the_decoded_files_in_the_order_of_the_table(
    root: Path, cache: Path, channels: int
) -> None:
    images = load(root, cache, channels=channels)
    assert images.pixels.shape == (8, channels, SIZE, SIZE)
    assert images.pixels.dtype == np.uint8
    assert np.array_equal(images.pixels, expected(root, TRAIN, channels))
    assert images.paths.tolist() == TRAIN
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert images.patients.tolist() == ["patient1", "patient1", "patient2", "patient2"] * 2
    assert images.splits.tolist() == ["train"] * 8
    assert images.skipped == ()


def test_more_files_than_one_block_keep_their_order(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "data"
    paths = [f"train/{c}/{i:03d}.png" for c in "AB" for i in range(280)]
    write_pictures(root, [*paths, "test/A/x.png", "test/B/x.png"])
    images = load(root, cache)
    assert images.paths.tolist() == paths
    assert np.array_equal(images.pixels, expected(root, paths))


def test_pixels_are_mapped_and_cannot_be_written(root: Path, cache: Path) -> None:
    for _ in range(2):  # built, then found
        pixels = load(root, cache).pixels
        assert isinstance(pixels, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0, 0, 0] = 1


def test_other_splits_are_never_decoded(root: Path, cache: Path, decoded: list[bytes]) -> None:
    images = load(root, cache, "train", "val")
    assert images.paths.tolist() == TRAIN
    assert sorted(decoded) == sorted((root / path).read_bytes() for path in TRAIN)
    decoded.clear()
    images = load(root, cache, "test")
    assert images.paths.tolist() == TEST
    assert images.splits.tolist() == ["test"] * 4
    assert np.array_equal(images.pixels, expected(root, TEST))
    assert sorted(decoded) == sorted((root / path).read_bytes() for path in TEST)


def test_several_splits_come_together(root: Path, cache: Path) -> None:
    images = load(root, cache, "test", "train")
    assert images.paths.tolist() == TRAIN + TEST
    assert images.splits.tolist() == ["train"] * 8 + ["test"] * 4


def test_progress_is_reported_once_per_file_and_not_for_a_found_cache(
    root: Path, cache: Path
) -> None:
    (root / TRAIN[3]).write_bytes(b"broken")
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        load_images(
            read_folder(root),
            ["train"],
            size=SIZE,
            channels=1,
            cache=cache,
            report=lambda *counts: seen.append(counts),
        )
    assert seen == [(done, 8) for done in range(1, 9)]


# When it is decoded, and when not


def test_a_second_call_decodes_nothing(root: Path, cache: Path, decoded: list[bytes]) -> None:
    first = load(root, cache)
    assert len(decoded) == 8
    second = load(root, cache)
    assert len(decoded) == 8
    assert np.array_equal(first.pixels, second.pixels)
    assert first.checksum == second.checksum
    assert first.paths.tolist() == second.paths.tolist()


def test_another_size_or_channel_count_is_another_cache(
    root: Path, cache: Path, decoded: list[bytes]
) -> None:
    source = read_folder(root)
    for size, channels in ((8, 1), (9, 1), (8, 3), (8, 1)):
        images = load_images(source, ["train"], size=size, channels=channels, cache=cache)
        assert images.pixels.shape == (8, channels, size, size)
    assert len(decoded) == 3 * 8


def test_another_version_of_the_decoder_is_another_cache(
    root: Path, cache: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root, cache)
    monkeypatch.setattr(module, "CACHE_VERSION", "next")
    load(root, cache)
    assert len(decoded) == 16


def test_a_changed_file_is_decoded_again(root: Path, cache: Path) -> None:
    before = load(root, cache)
    path = root / TRAIN[5]
    status = path.stat()
    path.write_bytes(encoded(1) + b"\0")  # the same time of change, another size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load(root, cache)
    assert np.array_equal(after.pixels, expected(root, TRAIN))
    assert not np.array_equal(after.pixels[5], before.pixels[5])
    assert after.checksum != before.checksum


def test_a_file_changed_at_equal_size_is_decoded_again(root: Path, cache: Path) -> None:
    path = root / TRAIN[5]
    length = 10_000
    path.write_bytes(encoded(1).ljust(length, b"\0"))
    os.utime(path, ns=(10**18, 10**18))
    before = load(root, cache)
    path.write_bytes(encoded(2).ljust(length, b"\0"))
    os.utime(path, ns=(10**18, 10**18 + 1))
    after = load(root, cache)
    assert not np.array_equal(after.pixels[5], before.pixels[5])
    assert after.checksum != before.checksum


def test_an_added_file_is_seen(root: Path, cache: Path) -> None:
    before = load(root, cache)
    write_pictures(root, ["train/A/new.png"])
    after = load(root, cache)
    assert len(after.pixels) == 9
    assert after.checksum != before.checksum


# The checksum is of contents


def test_a_copied_folder_has_the_same_checksum(root: Path, tmp_path: Path, cache: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert (copy / TRAIN[0]).stat().st_mtime_ns != (root / TRAIN[0]).stat().st_mtime_ns
    assert load(copy, cache).checksum == load(root, cache).checksum


def test_the_checksum_knows_content_label_path_and_split(root: Path, cache: Path) -> None:
    source = read_folder(root)
    original = load(source, cache).checksum
    assert load(source, cache, "train", "test").checksum != original

    table = source.table.copy()
    table.loc[0, "label"] = 1
    assert load(dataclasses.replace(source, table=table), cache).checksum != original

    content = (root / TRAIN[0]).read_bytes()
    (root / TRAIN[0]).rename(root / "train/A/patient1_0.png")
    assert load(root, cache).checksum != original
    (root / "train/A/patient1_0.png").unlink()
    (root / TRAIN[0]).write_bytes(content)
    assert load(root, cache).checksum == original

    # Two files that change places have the same contents under other paths.
    (root / TRAIN[0]).write_bytes((root / TRAIN[1]).read_bytes())
    (root / TRAIN[1]).write_bytes(content)
    assert load(root, cache).checksum != original
