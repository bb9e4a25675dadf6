"""The cache: what is given back, and when it is hashed or decoded again."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data import cache as module
from nas.data.cache import Form, Images, contents_key, decode_all, hash_files, load_images
from nas.data.folders import read_folder
from nas.files import sha256_of
from nas.images import Resize
from tests.nas.data.caches import SIZE, TEST, TRAIN, expected, load
from tests.pictures import encoded, write_pictures

# What is given back


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_the_decoded_files_in_the_order_of_the_table(
    root: Path, cache: Path, channels: int
) -> None:
    images = load(root, cache, channels=channels)
    assert images.pixels.shape == (8, channels, SIZE, SIZE)
    assert images.pixels.dtype == images.mapped.dtype == np.uint8
    assert np.array_equal(images.pixels, expected(root, TRAIN, channels))
    assert images.form == Form(SIZE, channels, Resize.SQUASH)
    assert images.paths.tolist() == TRAIN
    assert images.labels.dtype == images.rows.dtype == np.int64
    assert images.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert images.groups.tolist() == ["patient1", "patient1", "patient2", "patient2"] * 2
    assert images.domains.tolist() == [""] * 8
    assert images.splits.tolist() == ["train"] * 8
    assert images.sha256.tolist() == [sha256_of(root / path) for path in TRAIN]
    assert images.skipped == ()
    assert len(images) == 8


def test_groups_are_those_of_the_table_once_they_are_known(root: Path, cache: Path) -> None:
    source = read_folder(root)
    table = source.table.assign(group="one", domain=[f"d{row}" for row in range(12)])
    images = load(dataclasses.replace(source, table=table), cache)
    assert images.groups.tolist() == ["one"] * 8
    assert images.domains.tolist() == [f"d{row}" for row in range(8)]


@pytest.mark.parametrize(("part", "waiting"), [(1, 1), (5, 1), (2, 3), (12, 2)])
def test_files_keep_their_order_however_they_are_shared_out(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, part: int, waiting: int
) -> None:
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "PARTS_WAITING", waiting)
    images = load(root, cache, "train", "test")
    assert np.array_equal(images.pixels, expected(root, TRAIN + TEST))
    assert images.sha256.tolist() == [sha256_of(root / path) for path in TRAIN + TEST]


def test_writing_into_mapped_pixels_reaches_no_file(root: Path, cache: Path) -> None:
    for _ in range(2):  # built, then found
        images = load(root, cache)
        assert isinstance(images.mapped, np.memmap)
        images.mapped[:] = 93  # as torch might
        assert np.array_equal(load(root, cache).pixels, expected(root, TRAIN))


def test_pixels_are_a_copy(root: Path, cache: Path) -> None:
    images = load(root, cache)
    images.pixels[:] = 93
    assert np.array_equal(images.pixels, expected(root, TRAIN))


def check_sealed(images: Images, root: Path, paths: list[str]) -> None:
    """These paths, and no row of another split."""
    assert images.paths.tolist() == paths
    assert np.array_equal(images.mapped[images.rows], expected(root, paths))
    assert len(set(images.rows.tolist())) == len(paths)


def test_rows_of_other_splits_are_never_handed_out(root: Path, cache: Path) -> None:
    check_sealed(load(root, cache, "train", "val"), root, TRAIN)
    check_sealed(load(root, cache, "test"), root, TEST)
    assert load(root, cache, "test").splits.tolist() == ["test"] * 4


def test_rows_of_other_splits_are_never_handed_out_where_files_are_broken(
    root: Path, cache: Path
) -> None:
    for path in (TRAIN[0], TRAIN[5], TEST[1]):
        (root / path).write_bytes(b"broken")
    train = [path for path in TRAIN if path not in (TRAIN[0], TRAIN[5])]
    images = load(root, cache, "train", "val")
    check_sealed(images, root, train)
    assert [path for path, _ in images.skipped] == [TRAIN[0], TRAIN[5]]
    images = load(root, cache, "test")
    check_sealed(images, root, [TEST[0], *TEST[2:]])
    assert [path for path, _ in images.skipped] == [TEST[1]]


def test_several_splits_come_together(root: Path, cache: Path) -> None:
    images = load(root, cache, "test", "train")
    check_sealed(images, root, TRAIN + TEST)
    assert images.splits.tolist() == ["train"] * 8 + ["test"] * 4


def test_progress_is_reported_once_per_file_and_not_for_what_is_found(
    root: Path, cache: Path
) -> None:
    (root / TRAIN[3]).write_bytes(b"broken")
    source, seen = read_folder(root), list[tuple[int, int]]()
    once = [(done, 12) for done in range(1, 13)]
    for _ in range(2):
        hash_files(source, cache, lambda *counts: seen.append(counts))
        assert seen == once
    for _ in range(2):
        decode_all(source, Form(SIZE, 1), cache, lambda *counts: seen.append(counts))
        assert seen == once * 2


# When files are hashed and decoded, and when not


def test_a_second_call_reads_nothing(
    root: Path, cache: Path, decoded: list[bytes], read: list[str]
) -> None:
    first = load(root, cache)
    assert len(decoded) == 12
    assert len(read) == 24  # once to hash, once to decode
    second = load(root, cache)
    assert len(decoded) == 12
    assert len(read) == 24
    assert np.array_equal(first.pixels, second.pixels)
    assert first.checksum == second.checksum
    assert first.paths.tolist() == second.paths.tolist()


def test_all_splits_are_decoded_once(root: Path, cache: Path, decoded: list[bytes]) -> None:
    for splits in (("train", "val"), ("test",), ("train", "test")):
        load(root, cache, *splits)
    assert sorted(decoded) == sorted((root / path).read_bytes() for path in TRAIN + TEST)


def test_touched_files_are_hashed_again_and_not_decoded(
    root: Path, cache: Path, decoded: list[bytes], read: list[str]
) -> None:
    before = load(root, cache)
    decoded.clear()
    read.clear()
    os.utime(root / TRAIN[5], ns=(1, 1))
    after = load(root, cache)
    assert sorted(read) == sorted(TRAIN + TEST)
    assert decoded == []
    assert after.checksum == before.checksum
    assert np.array_equal(after.pixels, before.pixels)


def test_a_copied_folder_is_hashed_and_not_decoded(
    root: Path, tmp_path: Path, cache: Path, decoded: list[bytes]
) -> None:
    before = load(root, cache)
    decoded.clear()
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert (copy / TRAIN[0]).stat().st_mtime_ns != (root / TRAIN[0]).stat().st_mtime_ns
    after = load(copy, cache)
    assert decoded == []
    assert np.array_equal(after.pixels, before.pixels)
    assert after.checksum == before.checksum


def test_another_size_channel_count_or_shape_is_another_cache(
    root: Path, cache: Path, decoded: list[bytes]
) -> None:
    source = read_folder(root)
    for size, channels, resize in (
        (8, 1, Resize.SQUASH),
        (9, 1, Resize.SQUASH),
        (8, 3, Resize.SQUASH),
        (8, 1, Resize.CROP),
        (8, 1, Resize.SQUASH),
    ):
        images = load_images(
            source, ["train"], size=size, channels=channels, cache=cache, resize=resize
        )
        assert images.pixels.shape == (8, channels, size, size)
        assert images.form == Form(size, channels, resize)
    assert len(decoded) == 4 * 12


def test_another_version_of_the_decoder_is_another_cache(
    root: Path, cache: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root, cache)
    monkeypatch.setattr(module, "CACHE_VERSION", "next")
    load(root, cache)
    assert len(decoded) == 24


@pytest.mark.parametrize("time", [10**18, 10**18 + 1])
def test_a_changed_file_is_decoded_again(root: Path, cache: Path, time: int) -> None:
    """Of the same size; and of the same time, if it was set back."""
    path = root / TRAIN[5]
    path.write_bytes(encoded(1).ljust(10_000, b"\0"))
    os.utime(path, ns=(10**18, 10**18))
    before = load(root, cache)
    path.write_bytes(encoded(2).ljust(10_000, b"\0"))
    os.utime(path, ns=(10**18, time))
    after = load(root, cache)
    assert np.array_equal(after.pixels, expected(root, TRAIN))
    assert not np.array_equal(after.pixels[5], before.pixels[5])
    assert after.checksum != before.checksum


def test_an_added_file_is_seen(root: Path, cache: Path) -> None:
    before = load(root, cache)
    write_pictures(root, ["train/A/new.png"])
    after = load(root, cache)
    assert len(after.pixels) == 9
    assert after.checksum != before.checksum


def test_a_name_that_is_not_utf8_is_a_name_like_any_other(root: Path, cache: Path) -> None:
    name = os.fsdecode(b"train/A/caf\xe9.png")
    try:
        (root / name).write_bytes(encoded(5))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    images = load(root, cache)
    assert name in images.paths.tolist()
    assert load(root, cache).checksum == images.checksum


# What identifies contents


def test_a_key_is_of_contents_in_their_order_and_of_what_is_made_of_them(
    root: Path, cache: Path
) -> None:
    digests = hash_files(read_folder(root), cache)
    assert digests.sha256 == tuple(sha256_of(root / path) for path in TRAIN + TEST)
    assert digests.sizes.tolist() == [(root / path).stat().st_size for path in TRAIN + TEST]
    turned = dataclasses.replace(digests, sha256=digests.sha256[::-1])
    part = dataclasses.replace(digests, sha256=(None, *digests.sha256[1:]))
    keys = [contents_key(one, 8) for one in (digests, turned, part)]
    keys += [contents_key(digests, 9), contents_key(digests)]
    assert len(set(keys)) == 5
    assert contents_key(digests, 8) == keys[0]


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


def test_a_changed_test_split_leaves_the_checksum_of_train_alone(root: Path, cache: Path) -> None:
    before = load(root, cache).checksum
    (root / TEST[0]).write_bytes(encoded(77))
    assert load(root, cache).checksum == before
