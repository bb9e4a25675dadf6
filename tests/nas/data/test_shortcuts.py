from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from nas.data import shortcuts, telling
from nas.data import statistics as module
from nas.data.cache import decode_all, hash_files
from nas.data.folders import read_folder
from nas.data.prepare import THUMBNAIL
from nas.data.shortcuts import domain_difference, shortcut_floor, split_difference
from nas.data.statistics import STATISTICS, statistics
from nas.data.table import FileStore, Source
from nas.data.telling import clustered_interval, draw_sample
from nas.errors import DataError
from nas.intervals import delong_interval
from nas.thumbnails import of_thumbnails
from tests.pictures import write_pictures

Floats = npt.NDArray[np.float64]


def source(
    labels: npt.NDArray[np.int64],
    *,
    splits: npt.NDArray[np.str_] | str = "train",
    domains: npt.NDArray[np.str_] | str = "",
    patients: list[str] | None = None,
    classes: tuple[str, ...] = ("A", "B"),
) -> Source:
    """A table without files."""
    paths = [f"{row}.png" for row in range(len(labels))]
    table = pd.DataFrame({"path": paths, "label": labels, "patient": patients or paths})
    table = table.assign(domain=domains, split=splits)
    return Source("made", "made", FileStore(Path()), classes, table)


def figures(rows: int, **given: Floats) -> pd.DataFrame:
    """Statistics that say nothing, but for those that are given."""
    draws = np.random.default_rng(0)
    return pd.DataFrame({name: given.get(name, draws.normal(size=rows)) for name in STATISTICS})


# Statistics


def test_statistics_of_known_pictures() -> None:
    gray = np.full((64, 64), 100)
    halves = np.repeat([[0, 255]], 32, axis=1).repeat(64, axis=0)
    checks = 100 + 2 * (np.indices((64, 64)).sum(0) % 2)
    found = of_thumbnails(np.stack([gray, halves, checks])[:, None].astype(np.uint8))
    table = pd.DataFrame(found, columns=list(STATISTICS)[6:])
    flat = table.loc[0].to_dict()
    for name in ("mean", "dark", "median", "bright", "border"):
        assert flat[name] == 100
    for name in ("std", "black", "white", "sharpness"):
        assert flat[name] == 0
    assert list(table.loc[1, ["mean", "std", "dark", "bright"]]) == [127.5, 127.5, 0, 255]
    assert list(table.loc[1, ["black", "white"]]) == [0.5, 0.5]
    assert table.loc[2, "sharpness"] == 64  # the Laplacian is ±4 · 2, its variance 8²


def test_border_is_the_outermost_sixteenth() -> None:
    picture = np.zeros((1, 1, 64, 64), dtype=np.uint8)
    picture[..., 4:-4, 4:-4] = 200
    border = list(STATISTICS)[6:].index("border")
    assert of_thumbnails(picture)[0, border] == 0
    picture[..., 3, 3:-3] = 200
    assert of_thumbnails(picture)[0, border] > 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paths = [
        f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "AB" for i in "12"
    ]
    root = write_pictures(tmp_path / "data", paths)
    (root / "train/A/0.png").write_bytes(b"broken")
    return root


def test_statistics_are_of_readable_rows(folder: Path, tmp_path: Path) -> None:
    opened = read_folder(folder)
    found = statistics(opened, tmp_path / "cache")
    assert opened.table["path"][0] == "train/A/0.png"
    assert found.index.tolist() == list(range(1, 9))
    assert list(found.columns) == [*STATISTICS, "format", "mode"]
    sizes = [(folder / opened.table["path"][row]).stat().st_size for row in found.index]
    assert found["file_bytes"].tolist() == sizes
    assert (found["bytes_per_pixel"] == found["file_bytes"] / 144).all()
    assert set(found["width"]) == set(found["height"]) == {12}
    assert set(found["aspect"]) == {1}
    assert set(zip(found["format"], found["mode"], found["colour"], strict=True)) == {
        ("PNG", "L", 0)
    }


def test_statistics_are_kept_by_contents(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = statistics(read_folder(folder), cache)
    with monkeypatch.context() as patch:
        patch.setattr(module, "look", None)
        pd.testing.assert_frame_equal(statistics(read_folder(folder), cache), first)
    write_pictures(folder, ["train/A/other.png"])
    assert len(statistics(read_folder(folder), cache)) == len(first) + 1


def test_a_file_that_changes_meanwhile_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = read_folder(folder)
    decoded = decode_all(opened, THUMBNAIL, tmp_path / "cache")
    digests = hash_files(opened, tmp_path / "cache")
    monkeypatch.setattr(module, "decode_all", lambda *_: decoded)
    monkeypatch.setattr(module, "hash_files", lambda *_: digests)
    (folder / "train/B/1.png").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"must not change.*train/B/1\.png"):
        statistics(opened, tmp_path / "cache")


# The floor


def test_a_planted_shortcut_is_found() -> None:
    labels = np.arange(200) % 2
    frame = figures(200, sharpness=-labels + np.random.default_rng(1).normal(0, 0.3, 200))
    floor = shortcut_floor(draw_sample(source(labels), frame))
    assert floor.images == 200
    assert floor.singles[0].name == "sharpness"
    assert floor.singles[0].auroc > 0.97  # in the better direction: here less is more
    assert floor.auroc is not None
    assert floor.auroc > 0.95
    assert floor.interval is not None
    assert 0.9 < floor.interval[0] < floor.auroc < floor.interval[1] <= 1


def test_noise_tells_nothing() -> None:
    labels = np.arange(300) % 2
    floor = shortcut_floor(draw_sample(source(labels), figures(300)))
    assert floor.interval is not None
    assert floor.interval[0] < 0.5 < floor.interval[1]
    assert all(0.5 <= one.auroc < 0.6 for one in floor.singles)


def test_a_patient_that_was_learned_from_is_not_asked_about() -> None:
    """A number that only names the patient tells the labels of that patient's other images."""
    patient = np.arange(400) // 10
    labels = np.random.default_rng(3).integers(0, 2, 40)[patient]
    frame = figures(400, mean=patient.astype(float))
    alone = shortcut_floor(draw_sample(source(labels), frame))
    grouped = shortcut_floor(draw_sample(source(labels, patients=[str(p) for p in patient]), frame))
    assert alone.auroc is not None
    assert grouped.auroc is not None
    assert alone.auroc > 0.85
    assert grouped.auroc < 0.65


def test_test_labels_play_no_part() -> None:
    labels = np.arange(300) % 2
    splits = np.where(np.arange(300) < 200, "train", "test")
    frame = figures(300, mean=labels + np.random.default_rng(1).normal(0, 1, 300))
    turned = np.where(splits == "test", 1 - labels, labels)
    skewed = np.where(splits == "test", 0, labels)
    floors = [
        shortcut_floor(draw_sample(source(one, splits=splits), frame))
        for one in (labels, turned, skewed)
    ]
    assert floors[0] == floors[1] == floors[2]
    assert floors[0].images == 200


def test_three_classes_are_told_each_from_the_rest() -> None:
    labels = np.arange(240) % 3
    frame = figures(240, mean=(labels == 2) + np.random.default_rng(1).normal(0, 0.1, 240))
    floor = shortcut_floor(draw_sample(source(labels, classes=("A", "B", "C")), frame))
    assert floor.interval is None
    assert floor.auroc is not None
    # C is told from the rest surely; A and B from C only, which is half of their rest.
    assert floor.auroc == pytest.approx((1 + 0.75 + 0.75) / 3, abs=0.05)
    assert floor.singles[0].auroc == pytest.approx((1 + 0.75 + 0.75) / 3, abs=0.05)


@pytest.mark.parametrize(("first", "second"), [(19, 100), (100, 19), (6, 6), (0, 0)])
def test_too_few_images_give_no_floor(first: int, second: int) -> None:
    labels = np.repeat([0, 1], [first, second])
    floor = shortcut_floor(draw_sample(source(labels), figures(len(labels))))
    assert (floor.auroc, floor.interval, floor.singles) == (None, None, ())


def test_one_patient_with_all_of_a_class_gives_no_floor() -> None:
    labels = np.repeat([0, 1], [50, 50])
    patients = [*["one"] * 50, *map(str, range(50))]
    assert (
        shortcut_floor(draw_sample(source(labels, patients=patients), figures(100))).auroc is None
    )


def test_what_does_not_vary_is_left_out() -> None:
    frame = figures(100, **{name: np.ones(100) for name in ("width", "height", "black")})
    names = draw_sample(source(np.arange(100) % 2), frame).names
    # With one width and height the bytes of a pixel are the file size again.
    assert not {"width", "height", "black", "bytes_per_pixel"} & set(names)
    assert {"file_bytes", "sharpness"} <= set(names)


def test_whole_groups_are_drawn_from_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST_IMAGES", 100)
    patients = [str(row // 5) for row in range(1000)]
    made = source(np.arange(1000) % 2, patients=patients)
    sample = draw_sample(made, figures(1000))
    assert 95 < len(sample.labels) <= 100
    assert set(np.unique(sample.groups, return_counts=True)[1]) == {5}
    assert (draw_sample(made, figures(1000)).groups == sample.groups).all()


# Differences


def test_splits_that_differ_are_told_apart() -> None:
    rows = np.arange(400)
    labels, test = rows % 2, rows >= 300
    # Only the normals of the test split are others, as in the chest X-rays.
    moved = (test & (labels == 0)) * 3.0
    frame = figures(400, bright=moved + np.random.default_rng(2).normal(size=400))
    made = source(labels, splits=np.where(test, "test", "train"))
    whole, first, second = split_difference(draw_sample(made, frame))
    assert [one.within for one in (whole, first, second)] == [None, "A", "B"]
    assert (first.of, first.first, first.second, first.images) == (
        "split",
        "train",
        "test",
        (150, 50),
    )
    assert first.auroc is not None
    assert first.auroc > 0.9
    assert first.strongest is not None
    assert first.strongest.name == "bright"
    assert second.auroc is not None
    assert second.auroc < 0.65
    assert whole.auroc is not None
    assert second.auroc < whole.auroc < first.auroc


def test_every_pair_of_splits_is_asked_about() -> None:
    splits = np.array(["train", "val", "test"])[np.arange(300) % 3]
    made = source(np.arange(300) // 3 % 2, splits=splits)
    pairs = [(one.first, one.second) for one in split_difference(draw_sample(made, figures(300)))]
    assert pairs[::3] == [("train", "val"), ("train", "test"), ("val", "test")]


def test_domains_are_compared_within_a_class_of_train() -> None:
    rows = np.arange(400)
    labels = rows % 2
    domains = np.where(labels == 0, np.where(rows % 4 == 0, "IM", "OTHER"), "virus")
    frame = figures(400, mean=(domains == "IM") + np.random.default_rng(1).normal(0, 0.2, 400))
    made = source(labels, domains=domains, splits=np.where(rows < 320, "train", "test"))
    (found,) = domain_difference(draw_sample(made, frame))
    assert (found.of, found.within, found.images) == ("domain", "A", (80, 80))
    assert {found.first, found.second} == {"IM", "OTHER"}
    assert found.auroc is not None
    assert found.auroc > 0.95


def test_many_domains_are_compared_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "MOST_DOMAINS", 3)
    domains = np.array(["a", "b", "c", "d", "d", ""])[np.arange(600) % 6]
    sample = draw_sample(source(np.arange(600) // 6 % 2, domains=domains), figures(600))
    found = domain_difference(sample)
    assert [one.first for one in found[:3]] == ["d", "a", "b"]
    assert {one.second for one in found} == {"the rest"}
    assert found[0].images == (100, 150)  # images of no domain are in neither


# The interval


def scored(seed: int, rows: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    draws = np.random.default_rng(seed)
    positive = draws.random(rows) < 0.4
    return np.round(draws.normal(size=rows) + positive, 1), positive


@pytest.mark.parametrize("seed", range(5))
def test_of_single_images_the_interval_is_delongs(seed: int) -> None:
    scores, positive = scored(seed, 60)
    expected = delong_interval(scores, positive.astype(np.int64))
    assert clustered_interval(scores, positive, np.arange(60)) == pytest.approx(expected)


def test_copies_within_a_group_do_not_narrow_the_interval() -> None:
    scores, positive = scored(0, 60)
    low, high = clustered_interval(scores, positive, np.arange(60))
    row = np.repeat(np.arange(60), 3)
    assert clustered_interval(scores[row], positive[row], row) == pytest.approx((low, high))
    narrow = delong_interval(scores[row], positive[row].astype(np.int64))
    assert narrow[1] - narrow[0] < 0.7 * (high - low)


def test_the_interval_holds_the_truth_in_most_samples_of_patients() -> None:
    """Patients with five images that share a disturbance; a difference of scores is N(1, 4)."""
    draws = np.random.default_rng(4)
    truth = 0.6915  # of N(1, 4) to be above 0
    held = 0
    for _ in range(200):
        group = np.repeat(np.arange(60), 5)
        positive = group % 2 == 1
        scores = positive + draws.normal(size=60)[group] + draws.normal(size=300)
        low, high = clustered_interval(scores, positive, group)
        held += low <= truth <= high
    assert 180 <= held <= 200


def test_pairs_of_one_patient_are_compared_more_exactly() -> None:
    """A disturbance that a positive and a negative share does not blur what differs."""
    draws = np.random.default_rng(5)
    group = np.repeat(np.arange(100), 2)
    positive = np.arange(200) % 2 == 1
    scores = positive + 2 * draws.normal(size=100)[group] + 0.2 * draws.normal(size=200)
    low, high = clustered_interval(scores, positive, group)
    wide = delong_interval(scores, positive.astype(np.int64))
    assert high - low < 0.6 * (wide[1] - wide[0])
