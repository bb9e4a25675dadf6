"""Fixtures for the tests of data."""

from pathlib import Path

import pytest

from nas.data import cache as module
from nas.data.table import FileStore
from nas.images import Pixels, Resize, decode
from tests.nas.data.arraysets import COUNTS, parts, write_npz
from tests.nas.data.caches import TEST, TRAIN
from tests.pictures import write_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", TRAIN + TEST)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A .npz file as MedMNIST's are."""
    return write_npz(tmp_path / "lungs.npz", parts(COUNTS))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The file contents that are decoded from here on; threads append in any order."""
    seen: list[bytes] = []

    def counting(data: bytes, *, size: int, channels: int, resize: Resize) -> Pixels:
        seen.append(data)
        return decode(data, size=size, channels=channels, resize=resize)

    monkeypatch.setattr(module, "decode", counting)
    return seen


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files that are read from here on, to be hashed or decoded."""
    seen: list[str] = []
    whole = FileStore.read

    def counting(store: FileStore, path: str) -> bytes:
        seen.append(path)
        return whole(store, path)

    monkeypatch.setattr(FileStore, "read", counting)
    return seen
