"""The evaluate command on small folders; and docs/evaluation.md, which lists every key."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from nas import export
from nas.bundle import save
from nas.data.demo import draw
from nas.data.folders import read_folder
from nas.data.likeness import summary
from nas.data.statistics import statistics
from nas.errors import WeightsError
from nas.evaluate import main
from nas.evaluation import evaluate
from nas.predictor import Predictor
from nas.search_command import main as search_main
from tests.nas.bundles import TINY, make
from tests.nas.commands import refused
from tests.pictures import write_pictures

TWO = ("NORMAL", "PNEUMONIA")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A bundle whose card knows what the phantoms of train/ look like."""
    folder = tmp_path_factory.mktemp("model")
    source = read_folder(images)
    frame = statistics(source, folder / "cache")
    learned = (source.table["split"] == "train")[frame.index]
    card = {"data": {"synthetic": False, "statistics": summary(frame[learned])}}
    save(replace(TINY, classes=TWO, card=card), folder / "tiny.pth")
    return folder / "tiny.pth"


def run(model: Path, data: object, *options: str, monkeypatch: pytest.MonkeyPatch) -> int:
    arguments = ["nas.evaluate", str(model), "--data", str(data), "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", arguments)
    return main()


def test_a_folder_is_scored_by_the_bundle_alone(
    model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--json", "out/e.json", "--predictions", "out/p.csv")
    assert run(model, images, *options, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    for word in ("n = 8", "AUROC", "sensitivity (PNEUMONIA)", "sharpness", "Research use only."):
        assert word in shown
    assert "warning" not in shown
    assert "not like those" not in shown
    told = json.loads((tmp_path / "out" / "e.json").read_text())
    with (tmp_path / "out" / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = sorted((images / "test").rglob("*.png"))
    assert [row["path"] for row in rows] == [str(path.relative_to(images)) for path in files]
    answers = Predictor.load(model).predict([path.read_bytes() for path in files])
    for row, answer in zip(rows, answers, strict=True):
        for name in TWO:
            assert float(row[f"tiny:{name}"]) == pytest.approx(answer.probabilities[name], abs=1e-6)
    chances = np.array([[float(row[f"tiny:{name}"]) for name in TWO] for row in rows])
    labels = np.array([TWO.index(row["label"]) for row in rows])
    groups = np.array([row["group"] for row in rows])
    again = evaluate(chances, labels, TWO, threshold=0.375, groups=groups).to_json()
    figures = told["models"]["tiny"]
    assert again == {name: figures[name] for name in again}
    assert figures["threshold_policy"] == "Youden"
    assert told["images"] == {
        "n": 8,
        "classes": {"NORMAL": 4, "PNEUMONIA": 4},
        "groups": 4,
        "domains": {},
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no image is kept


def test_the_split_is_an_option(
    model: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for split, count in (("train", 32), ("all", 40), ("test", 8)):
        assert run(model, images, "--split", split, monkeypatch=monkeypatch) == 0
        assert f"n = {count}" in capsys.readouterr().out


def test_another_hospital(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names of its own, one class, colour, larger and brighter images, a broken file."""
    folder = tmp_path / "clinic" / "healthy"
    folder.mkdir(parents=True)
    for patient in range(6):
        picture = Image.fromarray(draw(patient, 0, False) // 4 + 190)
        picture.convert("RGB").resize((90, 60)).save(folder / f"sub-{patient}.png")
    (folder / "broken.png").write_bytes(b"no image")
    options = ("--map", "healthy=NORMAL", "--json", str(tmp_path / "e.json"))
    assert run(model, tmp_path / "clinic", *options, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "there is no image of PNEUMONIA" in shown
    assert "warning: 1 files could not be read and are in no figure: healthy/broken.png" in shown
    for name in ("colour", "width", "mean"):
        assert f"warning: {name} (" in shown
    assert "where all training images were alike" in shown
    assert "These images are not like those that the model was trained on" in shown
    assert "AUROC" not in shown
    told = json.loads((tmp_path / "e.json").read_text())
    figures = told["models"]["tiny"]
    assert (figures["sensitivity"], figures["auroc"], figures["skipped"]) == (None, None, 1)
    assert 0 <= figures["specificity"] <= 1
    assert figures["bootstrap"]["groups"] == 6
    assert told["inputs"]["colour"]["far"] is True


def test_three_classes_and_a_card_without_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three = replace(make(TINY.members[0].genome, classes=3), classes=("A", "B", "C"), card={})
    save(three, tmp_path / "three.pth")
    write_pictures(tmp_path / "films", [f"{n}/{i}.png" for n in "ABC" for i in range(4)])
    options = ("--json", str(tmp_path / "e.json"))
    assert run(tmp_path / "three.pth", tmp_path / "films", *options, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "AUROC, macro" in shown
    assert "sensitivity" not in shown
    assert "card has no statistics" in shown
    told = json.loads((tmp_path / "e.json").read_text())
    assert (told["positive"], told["inputs"]) == (None, None)
    assert len(told["models"]["three"]["confusion"]) == 3


def test_a_synthetic_model_says_so(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save(replace(TINY, classes=TWO), tmp_path / "model.pth")
    assert run(tmp_path / "model.pth", images, monkeypatch=monkeypatch) == 0
    assert "SYNTHETIC DATA" in capsys.readouterr().out


def test_what_cannot_be_evaluated_gets_one_sentence(
    model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def message(model: Path, data: object, *options: str) -> str:
        return refused(capsys, run(model, data, *options, monkeypatch=monkeypatch))

    assert "no such file" in message(tmp_path / "none.pth", images)
    assert "the data must be a folder" in message(model, tmp_path / "none")
    assert "--data" in refused(capsys, _without_data(model, monkeypatch))
    (tmp_path / "empty").mkdir()
    assert "one or more classes, but has none" in message(model, tmp_path / "empty")
    write_pictures(tmp_path / "foreign", ["COVID/1.png", "NORMAL/2.png"])
    assert "--map COVID=NORMAL" in message(model, tmp_path / "foreign")
    assert "--split test needs images" in message(
        model, tmp_path / "foreign", "--split", "test", "--map", "COVID=PNEUMONIA"
    )
    for pair in ("NORMAL", "=NORMAL", "NORMAL="):
        assert f"is {pair!r}" in message(model, images, "--map", pair)
    twice = ("--map", "NORMAL=NORMAL", "--map", "NORMAL=PNEUMONIA")
    assert "once for each NAME" in message(model, images, *twice)
    (tmp_path / "file").touch()
    unwritable = str(tmp_path / "file" / "e.json")
    assert "--json must be a file" in message(model, images, "--json", unwritable)
    assert "predictions must be written" in message(model, images, "--predictions", unwritable)


def _without_data(model: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["nas.evaluate", str(model)])
    return main()


# docs/evaluation.md -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A small search on films with domains; its folder of films, and what exports wrote of it:
    with a baseline and without its weights."""
    root = tmp_path_factory.mktemp("documented")
    for patient in range(24):
        sick, split = patient % 2 == 1, "test" if patient >= 16 else "train"
        folder = root / "films" / split / TWO[sick]
        folder.mkdir(parents=True, exist_ok=True)
        kind = ("bacteria", "virus")[patient // 2 % 2]
        series = ("IM", "NORMAL2-IM")[patient // 2 % 2]
        for view in range(2):
            name = f"person{patient}_{kind}_{view}" if sick else f"{series}-{patient:04d}-{view}"
            picture = Image.fromarray(draw(patient, view, sick)).resize((32, 32))
            picture.save(folder / f"{name}.png")
    torch.manual_seed(0)
    weights = root / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    runs = ("--runs", str(root / "runs"), "--device", "cpu")
    search = ("nas.search", "--data", str(root / "films"), "--trials", "1", "--size", "16")

    def missing(*_: Any, **__: Any) -> Any:
        raise WeightsError("no network")

    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*search, "--epochs", "1", "--run", "r", *runs])
        assert search_main() == 0
        for options in (("--weights", str(weights)), ()):
            patch.setattr(sys, "argv", ["nas.export", "best", *options, *runs])
            assert export.main() == 0
            file = root / "runs" / "r" / "export" / "evaluation.json"
            written.append(json.loads(file.read_text()))
            patch.setattr("nas.export.train_baseline", missing)
    return root, written


def documented() -> dict[str, set[str]]:
    """Keys by section of the page."""
    sections = (ROOT / "docs" / "evaluation.md").read_text().split("\n## ")[1:]
    return {
        part.partition("\n")[0]: set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE))
        for part in sections
    }


def written_keys(values: Any, known: set[str], path: str = "") -> Iterator[str]:
    """Leaves, as the page names them: names of models and such as placeholders."""
    if path in known and not (isinstance(values, dict) and f"{path}." in "\n".join(known)):
        yield path  # a leaf, or an object that the page leaves as a whole
    elif isinstance(values, dict):
        start = f"{path}." if path else ""
        placeholder = {k[len(start) :].split(".")[0] for k in known if k.startswith(f"{start}<")}
        for name, value in values.items():
            step = next(iter(placeholder)) if placeholder else name
            yield from written_keys(value, known, start + step)
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        for value in values:
            yield from written_keys(value, known, f"{path}[]")
    elif values or not any(key.startswith((f"{path}.", f"{path}[]")) for key in known):
        yield path  # null may stand for a whole object, and a list may be empty


def test_the_page_lists_exactly_the_keys_that_are_written(
    exported: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, evaluations = exported
    both, of_export, of_evaluate = documented().values()
    assert not both & of_export
    assert not (both | of_export) & of_evaluate
    known = both | of_export
    assert set().union(*(written_keys(one, known) for one in evaluations)) == known
    assert evaluations[0]["format"] == 2
    bundle = root / "runs" / "r" / "export" / "the_nas_model.pth"
    options = ("--json", str(tmp_path / "e.json"))
    assert run(bundle, root / "films", *options, monkeypatch=monkeypatch) == 0
    told = json.loads((tmp_path / "e.json").read_text())
    assert set(written_keys(told, both | of_evaluate)) == both | of_evaluate

    # The bundle alone gives what the export gave of it.
    ours = told["models"]["the_nas_model"]
    theirs = evaluations[1]["models"]["the_nas_model"]
    for name in ("accuracy", "auroc", "auprc", "brier", "ece", "specificity"):
        assert ours[name] == pytest.approx(theirs[name]), name
    assert ours["confusion"] == theirs["confusion"]
    assert set(ours["domains"]) == {"IM", "NORMAL2-IM", "bacteria", "virus"}
    assert ours["domains"]["virus"]["specificity"] is None


def test_a_page_that_lacks_a_key_is_noticed(
    exported: tuple[Path, list[dict[str, Any]]],
) -> None:
    both, of_export, _ = documented().values()
    known = both | of_export
    for key in ("models.<model>.ece", "comparisons[].mcnemar.p", "images.n"):
        assert key in set(written_keys(exported[1][0], known - {key}))
