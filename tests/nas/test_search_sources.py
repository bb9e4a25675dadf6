"""From every kind of ``--data`` to an exported model, on small files in the real formats."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.bundle import load
from nas.data import medmnist
from nas.export import main as export_main
from nas.images import Resize
from nas.predictor import Predictor
from nas.search_command import main as search_main
from tests.nas.data.arraysets import (
    md5,
    noise,
    parts,
    publish_cifar10,
    write_cifar10,
    write_idx,
    write_npz,
)

SMALL = ("--size", "16", "--epochs", "1", "--max-macs", "1M", "--device", "cpu", "--finals", "0")
NAMES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def _no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a second or two an export; tests/nas/test_export.py has it."""
    monkeypatch.setattr("nas.export_files.missing_packages", lambda: ["onnx"])


def found(data: str, patch: pytest.MonkeyPatch, *options: str) -> Path:
    """Search, then export, both as commands in another folder's ``runs``; the model."""
    search = ["--data", data, "--run", "r", "--trials", "1", *SMALL, *options]
    patch.setattr(sys, "argv", ["nas.search", *search])
    assert search_main() == 0
    patch.setattr(sys, "argv", ["nas.export", "best", "--baseline", "none", "--device", "cpu"])
    assert export_main() == 0
    return Path("runs/r/export/the_nas_model.pth")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_idx(tmp_path / "sets", parts({"train": 60, "test": 20}, (28, 28), classes=10))
    bundle = load(found(f"mnist:{root}", monkeypatch))
    assert len(bundle.classes) == 10
    assert bundle.card["test"]["n"] == 20
    assert bundle.card["data"]["licence"] == "CC BY-SA 3.0"


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = parts({"train": 60, "test": 20}, (32, 32, 3), classes=10)
    publish_cifar10(monkeypatch, write_cifar10(tmp_path / "sets", given, NAMES))
    bundle = load(found(f"cifar10:{tmp_path / 'sets'}", monkeypatch, "--channels", "3"))
    assert bundle.classes == tuple(NAMES)
    assert bundle.preprocessing.channels == 3


def test_medmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sets" / "pneumoniamnist_64.npz"
    write_npz(file, parts({"train": 40, "val": 100, "test": 20}, (64, 64)))
    known = medmnist.published()["pneumoniamnist"]
    digests = {**known.md5, 64: md5(file.read_bytes())}
    facts = {**medmnist.published(), "pneumoniamnist": medmnist.Facts("CC BY 4.0", digests,
                                                                    known.classes)}  # fmt: skip
    monkeypatch.setattr(medmnist, "published", lambda: facts)
    bundle = load(found(f"medmnist:pneumoniamnist@64:{file.parent}", monkeypatch))
    assert bundle.classes == ("normal", "pneumonia")
    assert bundle.card["data"]["fold"] == "val"
    assert bundle.card["data"]["licence"] == "CC BY 4.0"


def test_a_list_in_csv_with_domains_of_which_one_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films").mkdir()
    rows = []
    for number, pixels in enumerate(noise(60, 24, 32)):
        Image.fromarray(np.array(pixels)).save(tmp_path / "films" / f"{number}.png")
        patient, site = f"p{number // 2}", "AB"[number // 4 % 2]
        split = "test" if number >= 48 else "train"
        rows.append((f"films/{number}.png", "ill" if number % 4 < 2 else "well", patient, site,
                     split))  # fmt: skip
    with (tmp_path / "films.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("File", "Diagnosis", "Patient", "Site", "Split"), *rows])
    options = ("--fold", "domain-B", "--resize", "letterbox")
    bundle = load(found(str(tmp_path / "films.csv"), monkeypatch, *options))
    assert bundle.classes == ("ill", "well")
    assert bundle.preprocessing.resize is Resize.LETTERBOX
    assert bundle.card["data"]["fold"] == "domain-B"
    evaluation = json.loads(Path("runs/r/export/evaluation.json").read_text())
    assert evaluation["models"]["the_nas_model"]["n"] == 12


def test_a_folder_of_dicom_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    from tests.nas.dicoms import RLE, dicom

    for number, pixels in enumerate(noise(60, 24, 32)):
        folder = tmp_path / "films" / ("ill" if number % 2 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        deep = pixels.astype(np.uint16) * 16
        options = {"PhotometricInterpretation": "MONOCHROME1"} if number % 3 else {"syntax": RLE}
        (folder / f"patient{number:03d}.dcm").write_bytes(dicom(deep, bits=12, **options))
    bundle = load(found(str(tmp_path / "films"), monkeypatch, "--resize", "crop"))
    assert bundle.classes == ("ill", "well")
    predictor = Predictor.load(Path("runs/r/export/the_nas_model.pth"))
    file = (tmp_path / "films" / "ill" / "patient001.dcm").read_bytes()
    assert predictor.predict([file])[0].label in bundle.classes
