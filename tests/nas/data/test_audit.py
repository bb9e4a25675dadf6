import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from nas.data import audit as module
from nas.data.audit import audit, brief
from nas.data.audit_table import tables
from nas.data.audit_values import Audit, Copies, Finding, Level, SharedPatient, Unreadable
from nas.data.findings import precision
from nas.data.prepare import LeakKind, Prepared, prepare
from tests.pictures import encoded, write_pictures

HOSTILE = "train/B/patient0_<b>&\x1b[31m[red]\u202e.png"


def patients(*parts: str, count: int, start: int = 0, images: int = 1) -> list[str]:
    return [
        f"{part}/patient{number}_{image}.png"
        for part in parts
        for number in range(start, start + count)
        for image in range(images)
    ]


def audited(root: Path, cache: Path, size: int | None = None) -> Audit:
    return audit(prepare(str(root), cache), cache, size=size)


def found(result: Audit, code: str) -> list[Finding]:
    return [one for one in result.findings if one.code == code]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Audit, Path]:
    """60 + 30 images and one of every fault."""
    root, cache = tmp_path_factory.mktemp("planted"), tmp_path_factory.mktemp("cache")
    write_pictures(root, patients("train/A", count=30))
    write_pictures(root, patients("train/B", count=30, start=100))
    write_pictures(root, patients("test/A", count=15, start=200))
    write_pictures(root, patients("test/B", count=15, start=300))
    write_pictures(root, ["test/A/patient3_9.png"])  # the patient of train/A/patient3_0
    copy = (root / "train/A/patient5_0.png").read_bytes()
    (root / "test/A/patient401_0.png").write_bytes(copy)
    (root / "train/B/patient402_0.png").write_bytes(copy)  # and as the other class
    with Image.open(root / "train/B/patient107_0.png") as image:
        image.point(lambda value: 0.8 * value).save(root / "test/B/patient403_0.png")
    (root / "train/A/patient404_0.png").write_bytes(encoded(1)[:60])
    (root / HOSTILE).write_bytes(b"nothing")
    prepared = prepare(str(root), cache)
    return prepared, audit(prepared, cache, size=64), cache


# What is counted


def test_counts(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    train, test = result.splits
    assert (train.name, train.images, train.unreadable, train.patients) == ("train", 61, 2, 61)
    assert (test.name, test.images, test.unreadable, test.patients) == ("test", 33, 0, 33)
    assert [(one.name, one.images, one.patients) for one in test.classes] == [
        ("A", 17, 17),
        ("B", 16, 16),
    ]
    assert test.classes[0].prevalence == pytest.approx(17 / 33)
    assert train.domains == {"": 61}
    assert result.images == 94
    assert result.sizes is not None
    assert result.sizes.formats == {"PNG": 94}
    assert result.sizes.modes == {"L": 94}
    assert (result.sizes.width.least, result.sizes.short_side.most) == (12, 12)
    assert result.sizes.distinct == 1


def test_unreadable_files_are_told_with_reasons(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    broken = {(one.path, one.split, one.label) for one in result.unreadable}
    assert broken == {("train/A/patient404_0.png", "train", "A"), (HOSTILE, "train", "B")}
    assert all(len(one.reason) > 20 for one in result.unreadable)
    (finding,) = found(result, "unreadable")
    assert finding.level is Level.WARNING


def test_copies_are_found(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    (group,) = result.identical
    assert group == Copies(
        ("train/A/patient5_0.png", "train/B/patient402_0.png", "test/A/patient401_0.png"),
        ("train", "train", "test"),
        ("A", "B", "A"),
    )
    assert group.contradicting
    assert group.crossing
    (pair,) = result.similar
    assert set(pair.paths) == {"train/B/patient107_0.png", "test/B/patient403_0.png"}
    assert (pair.contradicting, pair.crossing) == (False, True)
    (finding,) = found(result, "contradiction")
    assert finding.level is Level.WARNING
    assert "patient5_0.png: A" in finding.value
    assert "patient402_0.png: B" in finding.value


def test_leaks_are_errors(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    assert {leak.kind for leak in result.leaks} == set(LeakKind)
    assert result.shared == (SharedPatient("patient3", {"train": 1, "test": 1}),)
    leaks = found(result, "leak")
    assert len(leaks) == 3
    assert {one.level for one in leaks} == {Level.ERROR}
    assert all("--allow-leaks" in one.remedy for one in leaks)
    assert result.errors == 3
    assert result.verdict.startswith("Not usable as it is: mend 3 errors first, and read ")
    assert [one.level for one in result.findings] == sorted(
        (one.level for one in result.findings), key=list(Level).index
    )


def test_leaks_of_a_published_benchmark_are_warnings(
    planted: tuple[Prepared, Audit, Path],
) -> None:
    prepared, _, cache = planted
    published = replace(prepared, source=replace(prepared.source, published=True))
    result = audit(published, cache)
    assert {one.level for one in found(result, "leak")} == {Level.WARNING}
    assert result.errors == 0
    assert result.verdict.startswith("Usable, but read ")


# Round trips


def test_json_round_trip(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Audit.from_json(json.loads(text)) == result


def test_json_has_neither_nan_nor_names_that_cannot_be_written(
    planted: tuple[Prepared, Audit, Path],
) -> None:
    _, result, _ = planted
    odd = replace(
        result,
        floor=replace(result.floor, auroc=math.nan),
        unreadable=(Unreadable("train/\udcff.png", "train", "A", "why"),),
    )
    values = odd.to_json()
    json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
    assert values["floor"]["auroc"] is None
    assert values["unreadable"][0]["path"] == "train/\\udcff.png"


def test_the_second_time_nothing_is_measured(
    planted: tuple[Prepared, Audit, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, result, cache = planted
    monkeypatch.setattr(module, "draw_sample", None)
    assert audit(prepared, cache, size=64) == result


@pytest.mark.parametrize("column", ["label", "split", "group", "domain"])
def test_other_labels_splits_groups_or_domains_are_measured_anew(
    planted: tuple[Prepared, Audit, Path], monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    prepared, _, cache = planted
    table = prepared.source.table.copy()
    values = table[column].tolist()
    # Row 0 gets what another row has, or a new name.
    values[0] = next((one for one in values if one != values[0]), "new")
    table[column] = values
    changed = replace(prepared, source=replace(prepared.source, table=table))
    monkeypatch.setattr(module, "draw_sample", None)
    with pytest.raises(TypeError):
        audit(changed, cache)


# Findings


def test_precision_of_one_pair_is_that_of_a_coin() -> None:
    assert precision([1, 1]).error == pytest.approx(math.sqrt(0.95 * 0.05))


def test_precision_as_hanley_and_mcneil_have_it() -> None:
    """A hundred of either, by hand: Q1 = .95/1.05, Q2 = 2·.9025/1.95."""
    by_hand = math.sqrt((0.0475 + 99 * (0.9047619 - 0.9025) + 99 * (0.9256410 - 0.9025)) / 1e4)
    assert precision([100, 100]).error == pytest.approx(by_hand, rel=1e-5)


def test_precision_takes_the_smallest_class_for_the_positives() -> None:
    by_hand = 0.0475 + 9 * (0.9047619 - 0.9025) + 89 * (0.9256410 - 0.9025)
    assert precision([10, 90]).error == pytest.approx(math.sqrt(by_hand / 900), rel=1e-5)


def test_precision_is_of_the_smallest_class_against_the_rest() -> None:
    assert precision([10, 30, 60]) == replace(precision([10, 90]), images=100)
    assert precision([0, 9]).error is None
    assert precision([0, 0]).error is None


def test_more_images_are_more_precise() -> None:
    errors = [precision([n, 2 * n]).error or 0 for n in (5, 20, 100, 1000)]
    assert errors == sorted(errors, reverse=True)


def test_without_a_test_split_one_was_made(tmp_path: Path) -> None:
    write_pictures(tmp_path / "d", patients("A", "B", "C", count=20, images=2))
    result = audited(tmp_path / "d", tmp_path / "cache")
    assert [split.name for split in result.splits] == ["train", "test"]
    assert len(result.splits[0].classes) == 3
    assert any("there is no test split" in one.rule for one in found(result, "source"))
    assert result.leaks == ()


def test_a_small_val_is_a_warning_though_it_joined_train(tmp_path: Path) -> None:
    write_pictures(tmp_path / "d", patients("train/A", "train/B", "test/A", "test/B", count=3))
    write_pictures(tmp_path / "d", patients("val/A", "val/B", count=8, start=50))
    result = audited(tmp_path / "d", tmp_path / "cache")
    joined = [one for one in found(result, "small") if "val has 16 images" in one.rule]
    assert [one.level for one in joined] == [Level.WARNING]


def test_unknown_patients_are_told_once(tmp_path: Path) -> None:
    paths = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "AB" for i in range(5)]
    result = audited(write_pictures(tmp_path / "d", paths), tmp_path / "cache")
    (finding,) = found(result, "patients")
    assert "for 20 of 20 images" in finding.value
    assert [split.patients for split in result.splits] == [0, 0]
    assert [split.unknown for split in result.splits] == [10, 10]
    assert not [one for one in result.findings if "no patient that is known" in one.text]


def test_twelve_images_are_too_few_for_anything(tmp_path: Path) -> None:
    write_pictures(tmp_path / "d", [f"{c}/{i}.png" for c in "AB" for i in range(6)])
    result = audited(tmp_path / "d", tmp_path / "cache", size=64)
    assert result.floor.auroc is None
    assert all(one.auroc is None for one in result.differences)
    assert len(found(result, "small")) == 2
    json.dumps(result.to_json(), allow_nan=False)
    assert 3 <= len(brief(result)) <= 6
    assert "too few images" in brief(result)[2]


def test_a_class_with_no_readable_image_is_survived(tmp_path: Path) -> None:
    write_pictures(tmp_path / "d", patients("train/A", "test/A", "test/B", count=4))
    (tmp_path / "d/train/B").mkdir()
    (tmp_path / "d/train/B/b.png").write_bytes(b"")
    result = audited(tmp_path / "d", tmp_path / "cache")
    assert result.splits[0].classes[1].images == 0
    assert any("no AUROC at all" in one.value for one in found(result, "small"))


def test_nothing_readable_is_survived(tmp_path: Path) -> None:
    for part in ("train/A", "train/B", "test/A", "test/B"):
        (tmp_path / "d" / part).mkdir(parents=True)
        (tmp_path / "d" / part / "b.png").write_bytes(part.encode())
    result = audited(tmp_path / "d", tmp_path / "cache", size=64)
    assert (result.images, result.sizes) == (0, None)
    assert [split.classes[0].prevalence for split in result.splits] == [None, None]
    json.dumps(result.to_json(), allow_nan=False)
    assert brief(result)
    assert shown(result)


def test_prevalence_that_differs_is_a_warning_where_it_is_not_chance(tmp_path: Path) -> None:
    write_pictures(tmp_path / "d", patients("train/A", count=120))
    write_pictures(tmp_path / "d", patients("train/B", count=40, start=200))
    write_pictures(tmp_path / "d", patients("test/A", "test/B", count=60, start=300))
    (finding,) = found(audited(tmp_path / "d", tmp_path / "cache"), "prevalence")
    assert "B is 25% of train and 50% of test" in finding.value
    few = tmp_path / "few"
    write_pictures(few, patients("train/A", count=6) + patients("train/B", count=2, start=9))
    write_pictures(few, patients("test/A", "test/B", count=3, start=20))
    assert not found(audited(few, tmp_path / "cache"), "prevalence")


def darker(root: Path, paths: Iterable[str], change: Callable[[int], float]) -> None:
    write_pictures(root, paths)
    for path in paths:
        with Image.open(root / path) as image:
            changed = image.point(change)
        changed.save(root / path)


def test_a_shortcut_and_a_shift_are_warnings(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_pictures(root, patients("train/A", count=40))
    darker(root, patients("train/B", count=40, start=100), lambda value: value / 2)
    darker(root, patients("test/A", count=30, start=200), lambda value: value / 3)
    darker(root, patients("test/B", count=30, start=300), lambda value: value / 2)
    result = audited(root, tmp_path / "cache")
    (shortcut,) = found(result, "shortcut")
    assert shortcut.level is Level.WARNING
    assert result.floor.auroc is not None
    assert f"AUROC {result.floor.auroc:.3f}" in shortcut.value
    assert any(one.value.startswith("A of train and test") for one in found(result, "shift"))
    assert not any(one.value.startswith("B of") for one in found(result, "shift"))


def test_the_search_size_matters_only_if_it_is_larger(
    planted: tuple[Prepared, Audit, Path],
) -> None:
    prepared, result, cache = planted
    assert found(result, "resolution")
    assert not found(audit(prepared, cache, size=12), "resolution")
    assert not found(audit(prepared, cache), "resolution")


# For people


def shown(result: Audit) -> str:
    file = io.StringIO()
    console = Console(file=file, width=80, highlight=False, soft_wrap=True)
    for part in tables(result):
        console.print(part)
    return file.getvalue()


def test_brief_has_three_to_six_lines(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    lines = brief(result)
    assert 3 <= len(lines) <= 6
    assert "94 images of 2 classes" in lines[0]
    assert "train 61 (61 patients), test 33 (33 patients)" in lines[0]
    assert "2 unreadable, 1 group of equal files, 1 near duplicate" in lines[1]
    assert lines[3].startswith("error: train and test share 1 patient")
    assert "more" in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_tables_fit_80_columns_and_escape_names(planted: tuple[Prepared, Audit, Path]) -> None:
    _, result, _ = planted
    text = shown(result)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<b>&\\x1b[31m[red]\\u202e.png" in text.replace("│\n│ ", "")
    assert "Patients in several splits: 1" in text
    assert "patient3: 1 in train, 1 in test" in text
    assert "Copies in several splits: 2" in text
