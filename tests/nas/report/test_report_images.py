"""The report of a run that trained on images: network, filters, heat maps, audit."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from nas.report import __main__ as report
from nas.report.looking import learnt, seen
from nas.report.read import read_run
from nas.runfolder import RunFolder
from nas.search_command import main as search_main

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "1M", "--device", "cpu", "--finals", "0")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A folder of runs with one finished search."""
    runs = tmp_path_factory.mktemp("searched")
    arguments = ["--runs", str(runs), "--data", str(images), "--run", "r", "--trials", "3", *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nas.search", *arguments])
        assert search_main() == 0
    return runs


def make(monkeypatch: pytest.MonkeyPatch, runs: Path, folder: Path, *words: str) -> str:
    command = ["nas.report", "r", "--runs", str(runs), "--output", str(folder), *words]
    monkeypatch.setattr(sys, "argv", command)
    assert report.main() == 0
    return (folder / "report.html").read_text()


def test_the_network_its_filters_and_its_heat_are_shown(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = make(monkeypatch, runs, tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"architecture.svg", "filters.png", "maps-image.png", "learning-loss.png"} <= names
    assert {"front-parameters.png", "front-multiply-adds.png"} <= names
    heats = [name for name in names if name.startswith("heat-")]
    assert heats
    with Image.open(tmp_path / "figures" / heats[0]) as image:
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 20
    assert "which it has not learned from" in page
    assert "Shortcut floor" in page
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"layers.csv", "splits.csv"}


def test_what_the_network_says_is_what_the_search_kept(runs: Path) -> None:
    """The division, the preprocessing and the weights are those of the training."""
    cache = runs / ".cache"
    data = read_run(RunFolder(runs / "r"), cache=cache)
    found = seen(data, learnt(data))
    assert data.best is not None
    kept = data.best.rungs[-1].metrics["balanced_accuracy"]
    labels = found.fold.validation.labels
    recalls = [
        float(found.right[labels == k].float().mean()) for k in range(len(found.fold.classes))
    ]
    assert sum(recalls) / len(recalls) == pytest.approx(kept, abs=0.02)


def test_without_the_images_or_the_weights_a_sentence_says_so(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = make(monkeypatch, runs, tmp_path / "a", "--data", str(tmp_path / "nowhere"))
    assert page.count("The images could not be opened") == 3
    assert (tmp_path / "a" / "figures" / "filters.png").is_file()
    best = read_run(RunFolder(runs / "r")).best
    assert best is not None
    weights = runs / "r" / "trials" / f"{best.number:05d}" / "weights.pt"
    kept = weights.read_bytes()
    weights.unlink()
    page = make(monkeypatch, runs, tmp_path / "b", "--no-images")
    weights.write_bytes(b"no weights")
    damaged = make(monkeypatch, runs, tmp_path / "c", "--no-images")
    weights.write_bytes(kept)
    assert page.count("weights.pt is not there") == 2
    assert damaged.count("must hold the winner") == 2
    assert not re.search(r"data:image/png", page)
