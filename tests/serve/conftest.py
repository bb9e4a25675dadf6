from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from nas.bundle import Bundle, save
from nas.genome import ConvBlock, Genome, ImageShape, Pool
from nas.network import build
from nas.predictor import Predictor
from nas.preprocessing import Preprocessing
from serve.main import create_app
from serve.settings import Settings

CLASSES = ("NORMAL", "PNEUMONIA")
MAX_UPLOAD_BYTES = 200_000


def write_bundle(path: Path, *, seed: int = 0, synthetic: bool = False) -> Path:
    genome = Genome((ConvBlock(4, 3, pool=Pool.MAX), ConvBlock(8, 3)))
    preprocessing = Preprocessing(16, 1, (0.5,), (0.25,))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(genome, ImageShape(1, 16, 16), len(CLASSES))
    card = {"name": "tiny", "data": {"synthetic": synthetic}}
    save(Bundle.single(genome, CLASSES, preprocessing, network.state_dict(), card=card), path)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "tiny.pth")


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    return Predictor.load(model)


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    settings = Settings(model=model, max_upload_bytes=MAX_UPLOAD_BYTES)
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def no_model(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(runs=tmp_path))) as client:
        yield client
