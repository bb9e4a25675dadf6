"""Fixtures for the tests of the cache."""

from pathlib import Path

import pytest

from nas.data import cache as module
from nas.images import Pixels, decode
from tests.nas.data.caches import TEST, TRAIN
from tests.pictures import write_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", TRAIN + TEST)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The file contents that are decoded from here on; threads append in any order."""
    seen: list[bytes] = []

    def counting(data: bytes, *, size: int, channels: int) -> Pixels:
        seen.append(data)
        return decode(data, size=size, channels=channels)

    monkeypatch.setattr(module, "decode", counting)
    return seen
