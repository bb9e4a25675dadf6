"""Fixtures for the tests of nas."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from PIL import Image

from nas.data.demo import draw
from nas.data.folds import Fold
from nas.training import Trained
from tests.nas.bundles import TINY, stored
from tests.nas.trainings import train_small
from tests.pictures import bar_fold


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """SQLite without fsync: as safe against a killed process, and several times as fast."""

    def relax(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("pragma synchronous=off")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", relax)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", relax)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 phantoms of 20 patients as a user has them, in train/ and test/. Not to be changed."""
    root = tmp_path_factory.mktemp("films")
    for patient in range(20):
        sick = patient % 2 == 1
        folder = root / ("test" if patient >= 16 else "train") / ("PNEUMONIA" if sick else "NORMAL")
        folder.mkdir(parents=True, exist_ok=True)
        for view in range(2):
            picture = Image.fromarray(draw(patient, view, sick)).resize((32, 32))
            picture.save(folder / f"demo{patient:04d}_{view}.png")
    return root


@pytest.fixture(scope="module")
def fold() -> Fold:
    return bar_fold()


@pytest.fixture(scope="module")
def uninterrupted(fold: Fold) -> Trained:
    return train_small(fold)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return stored(TINY, tmp_path_factory.mktemp("bundle"))
