"""A bundle's answers for labelled images of somebody else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.data.folders import read_labelled
from nas.data.statistics import STATISTICS, statistics
from nas.data.table import Source
from nas.errors import DataError, SettingsError
from nas.predictor import Predictor
from nas.scoring import BLOCK, mapped, of_split, score
from tests.nas.bundles import TINY
from tests.pictures import write_pictures

TWO = ("NORMAL", "PNEUMONIA")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(replace(TINY, classes=TWO), name="tiny", sha256="0" * 64)


def source(folder: Path, *paths: str) -> Source:
    return read_labelled(write_pictures(folder, paths))


# Splits -------------------------------------------------------------------------------------------


def paths_of(some: Source) -> list[str]:
    assert some.table.index.tolist() == list(range(len(some.table)))
    paths: list[str] = some.table["path"].tolist()
    return paths


def test_the_test_split_is_meant_where_there_is_one(tmp_path: Path) -> None:
    films = source(tmp_path, "train/A/1.png", "train/B/2.png", "test/A/3.png", "test/B/4.png")
    assert paths_of(of_split(films, None)) == ["test/A/3.png", "test/B/4.png"]
    assert paths_of(of_split(films, "test")) == ["test/A/3.png", "test/B/4.png"]
    assert paths_of(of_split(films, "train")) == ["train/A/1.png", "train/B/2.png"]
    assert len(paths_of(of_split(films, "all"))) == 4


def test_all_is_meant_where_there_is_none(tmp_path: Path) -> None:
    films = source(tmp_path, "A/1.png", "B/2.png")
    assert len(paths_of(of_split(films, None))) == 2
    with pytest.raises(DataError, match="give --split all, or a folder with test/"):
        of_split(films, "test")


# Names of classes ---------------------------------------------------------------------------------


def labels_of(some: Source) -> list[int]:
    labels: list[int] = some.table["label"].tolist()
    return labels


def test_names_are_mapped_to_the_models(tmp_path: Path) -> None:
    films = source(tmp_path, "COVID/1.png", "PNEUMONIA/2.png", "healthy/3.png")
    found = mapped(films, TWO, {"COVID": "PNEUMONIA", "healthy": "NORMAL"})
    assert labels_of(found) == [1, 1, 0]
    assert found.classes == TWO


def test_classes_may_be_exchanged(tmp_path: Path) -> None:
    films = source(tmp_path, "NORMAL/1.png", "PNEUMONIA/2.png")
    assert labels_of(mapped(films, TWO, {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})) == [1, 0]


def test_a_foreign_class_is_refused_by_name(tmp_path: Path) -> None:
    films = source(tmp_path, "COVID/1.png", "NORMAL/2.png")
    with pytest.raises(SettingsError, match=r"model \(NORMAL, PNEUMONIA\), but there is COVID in"):
        mapped(films, TWO, {})
    with pytest.raises(SettingsError, match="such as --map COVID=NORMAL"):
        mapped(films, TWO, {})


def test_a_foreign_class_of_another_split_does_not_matter(tmp_path: Path) -> None:
    films = source(tmp_path, "test/NORMAL/1.png", "train/COVID/2.png", "train/NORMAL/3.png")
    assert labels_of(mapped(of_split(films, "test"), TWO, {})) == [0]
    with pytest.raises(SettingsError, match="there is COVID in"):
        mapped(of_split(films, "all"), TWO, {})


@pytest.mark.parametrize("names", [{"normal": "NORMAL"}, {"NORMAL": "healthy"}])
def test_a_name_that_leads_nowhere_is_refused(tmp_path: Path, names: dict[str, str]) -> None:
    films = source(tmp_path, "NORMAL/1.png", "PNEUMONIA/2.png")
    with pytest.raises(SettingsError, match="correct it"):
        mapped(films, TWO, names)


# Answers ------------------------------------------------------------------------------------------


def test_answers_are_the_predictors(tmp_path: Path, predictor: Predictor) -> None:
    names = [f"{TWO[n % 2]}/sub-{n // 2}_{n}.png" for n in range(BLOCK + 5)]
    films = mapped(source(tmp_path, *names), TWO, {})
    counts: list[tuple[int, int]] = []
    found = score(predictor, films, lambda *now: counts.append(now))
    expected = predictor.predict([films.store.read(path) for path in films.table["path"]])
    chances = [[one.probabilities[name] for name in TWO] for one in expected]
    np.testing.assert_allclose(found.predictions.probabilities, chances, atol=1e-6)
    assert found.predictions.paths.tolist() == films.table["path"].tolist()
    assert found.predictions.labels.tolist() == films.table["label"].tolist()
    assert found.predictions.groups.tolist() == films.table["patient"].tolist()
    assert found.predictions.threshold == predictor.bundle.threshold == 0.375
    assert found.skipped == ()
    assert counts == [(BLOCK, BLOCK + 5), (BLOCK + 5, BLOCK + 5)]
    kept = statistics(films, tmp_path / "cache")[list(STATISTICS)]
    pd.testing.assert_frame_equal(found.statistics, kept, check_index_type=False)


def test_what_cannot_be_read_is_skipped_and_told(tmp_path: Path, predictor: Predictor) -> None:
    films = mapped(source(tmp_path, "NORMAL/1.png", "NORMAL/2.png", "PNEUMONIA/3.png"), TWO, {})
    (tmp_path / "NORMAL" / "1.png").write_bytes(b"no image")
    (tmp_path / "NORMAL" / "2.png").unlink()
    found = score(predictor, films)
    assert found.predictions.paths.tolist() == ["PNEUMONIA/3.png"]
    assert len(found.statistics) == 1
    (broken, why), (gone, why_gone) = found.skipped
    assert (broken, gone) == ("NORMAL/1.png", "NORMAL/2.png")
    assert "must be one of JPEG" in why
    assert "could not be read" in why_gone


def test_without_an_image_there_is_nothing_to_score(tmp_path: Path, predictor: Predictor) -> None:
    films = mapped(source(tmp_path, "NORMAL/1.png"), TWO, {})
    (tmp_path / "NORMAL" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"of 1 files in .* none can; the first failed with: "):
        score(predictor, films)
