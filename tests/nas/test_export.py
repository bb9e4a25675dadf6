"""The export command on a small real search."""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision

from nas.bundle import load
from nas.choosing import choose_genome, choose_trial
from nas.errors import RunError, SettingsError, WeightsError
from nas.evaluation import evaluate
from nas.export import main
from nas.paired import delong_test, mcnemar
from nas.predictor import Predictor
from nas.runfolder import RunFolder
from nas.sealed import SEEN
from nas.search_command import main as search_main
from nas.study import Ended, best_first, read_records
from tests.nas.commands import refused

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "1M", "--device", "cpu", "--finals", "0")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A folder of runs with one finished search. Not to be changed."""
    runs = tmp_path_factory.mktemp("searched")
    arguments = ["--runs", str(runs), "--data", str(images), "--run", "r", "--trials", "4", *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nas.search", *arguments])
        assert search_main() == 0
    return runs


@pytest.fixture
def runs(tmp_path: Path, searched: Path) -> Path:
    """A copy of the finished search."""
    shutil.copytree(searched, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> RunFolder:
    return RunFolder(runs / "r")


def export(runs: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> int:
    arguments = ["nas.export", *(options or ("best",)), "--runs", str(runs), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    return main()


def evaluation(run: RunFolder) -> dict[str, Any]:
    values = json.loads((run.export / "evaluation.json").read_text())
    assert isinstance(values, dict)
    return values


def test_the_best_trial_is_exported_and_its_figures_are_those_of_the_file(
    runs: Path,
    run: RunFolder,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(runs, "best", "--baseline", "none", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    for word in ("accuracy", "F1", "AUROC", "sensitivity", "specificity", "parameters", "latency"):
        assert word in shown
    assert "Research use only." in shown
    best = best_first(read_records(run.study))[0]
    told = evaluation(run)
    assert told["trial"] == best.number
    figures = told["models"]["the_nas_model"]
    assert figures["parameters"] == best.facts["parameters"]
    assert figures["multiply_adds"] == best.facts["multiply_adds"]

    # A reader who has the file and the images alone computes the same figures.
    predictor = Predictor.load(run.export / "the_nas_model.pth")
    files = sorted((images / "test").rglob("*.png"))
    labels = torch.tensor([path.parent.name == "PNEUMONIA" for path in files]).long().numpy()
    answers = predictor.predict([path.read_bytes() for path in files])
    chances = torch.tensor([list(a.probabilities.values()) for a in answers]).double().numpy()
    again = evaluate(chances, labels, predictor.classes).to_json()
    for name in ("accuracy", "auroc", "auprc", "sensitivity", "specificity", "brier", "ece"):
        assert figures[name] == pytest.approx(again[name]), name
    assert figures["confusion"] == again["confusion"]
    assert figures["n"] == len(files) == 8
    assert predictor.bundle.card["search"]["score"] == best.score
    assert predictor.bundle.card["data"]["synthetic"] is False
    assert sorted(path.name for path in run.export.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "curves.svg",
        "evaluation.json",
        "predictions.csv",
        "the_nas_model.onnx",
        "the_nas_model.pth",
        "the_nas_model.safetensors",
    ]


def test_every_opening_of_the_test_split_is_counted(
    runs: Path,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        assert export(runs, "best", "--baseline", "none", monkeypatch=monkeypatch) == 0
    readings = run.read_manifest()["test_readings"]
    assert len(readings) == 2
    assert set(readings[0]) == {"date", "model", "trial", "weights_sha256", *SEEN}
    figures = evaluation(run)["models"]["the_nas_model"]
    assert {name: readings[1][name] for name in SEEN} == {name: figures[name] for name in SEEN}
    assert readings[1]["weights_sha256"] == figures["weights_sha256"]
    # Aloud: on the console, in the evaluation, in the card.
    told = figures["test_readings"]
    assert (told["count"], told["models"]) == (2, 1)
    assert told["dates"] == [reading["date"] for reading in readings]
    assert f"read 2 times for this model, first on {readings[0]['date']}" in told["warning"]
    assert f"TEST SPLIT READ AGAIN: {told['warning']}" in capsys.readouterr().out
    assert load(run.export / "the_nas_model.pth").card["test"]["test_readings"] == told


def test_another_model_after_the_figures_of_the_first_were_seen_is_told_too(
    runs: Path,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = [record for record in read_records(run.study) if record.score is not None]
    for record in trained[:2]:
        capsys.readouterr()
        options = (str(record.number), "--baseline", "none")
        assert export(runs, *options, monkeypatch=monkeypatch) == 0
    assert "2 models of this run were scored on it" in capsys.readouterr().out


def test_the_first_reading_gives_no_warning(
    runs: Path,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(runs, "best", "--baseline", "none", monkeypatch=monkeypatch) == 0
    assert "READ AGAIN" not in capsys.readouterr().out
    assert evaluation(run)["models"]["the_nas_model"]["test_readings"]["warning"] is None


def test_a_reviewer_computes_every_figure_from_the_predictions(
    runs: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    assert export(runs, "best", "--weights", str(weights), monkeypatch=monkeypatch) == 0
    told = evaluation(run)
    table = pd.read_csv(run.export / "predictions.csv", keep_default_na=False)
    assert len(table) == told["images"]["n"] == 8
    assert told["images"]["groups"] == table["group"].nunique() == 4
    classes = told["classes"]
    labels = table["label"].map(classes.index).to_numpy(dtype=np.int64)
    right, scores = [], []
    for name, figures in told["models"].items():
        chances = table[[f"{name}:{label}" for label in classes]].to_numpy(dtype=np.float64)
        again = evaluate(
            chances,
            labels,
            classes,
            threshold=figures["threshold"],
            groups=table["group"].to_numpy(dtype=np.str_),
            domains=table["domain"].to_numpy(dtype=np.str_),
        ).to_json()
        assert again == {key: figures[key] for key in again}
        right.append((chances[:, 1] >= figures["threshold"]) == (labels == 1))
        scores.append(chances[:, 1])
    (compared,) = told["comparisons"]
    assert (compared["first"], compared["second"]) == ("the_nas_model", "resnet18")
    assert compared["mcnemar"] == asdict(mcnemar(*right))
    expected = delong_test(scores[0], scores[1], labels)
    assert compared["auroc"]["difference"] == expected.difference
    assert compared["auroc"]["p"] == expected.p
    root = ElementTree.parse(run.export / "curves.svg").getroot()
    assert "resnet18: AUROC" in (root.findtext("{http://www.w3.org/2000/svg}desc") or "")
    readings = run.read_manifest()["test_readings"]
    assert [reading["model"] for reading in readings] == ["the_nas_model", "resnet18"]


def test_without_pretrained_weights_the_winner_is_exported_all_the_same(
    runs: Path,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise WeightsError("no network; do this, or that")

    monkeypatch.setattr("nas.export.train_baseline", refuse)
    assert export(runs, monkeypatch=monkeypatch) == 0
    assert "BASELINE MISSING: resnet18: no network; do this, or that" in capsys.readouterr().out
    assert evaluation(run)["models"]["resnet18"] == {"missing": "no network; do this, or that"}
    card = load(run.export / "the_nas_model.pth").card
    assert card["baselines"] == {"resnet18": {"missing": "no network; do this, or that"}}


def test_the_baseline_is_a_bundle(
    runs: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    assert export(runs, "best", "--weights", str(weights), monkeypatch=monkeypatch) == 0
    figures = evaluation(run)["models"]["resnet18"]
    assert (figures["trainable"], figures["n"]) == (1026, 8)
    predictor = Predictor.load(run.export / "resnet18.pth")
    assert predictor.bundle.card["test"]["auroc"] == figures["auroc"]
    assert predictor.bundle.parameters == figures["parameters"]
    baseline = load(run.export / "the_nas_model.pth").card["baselines"]["resnet18"]
    assert baseline["auroc"] == figures["auroc"]


def test_any_trained_trial_can_be_exported(
    runs: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for record in read_records(run.study):
        if record.score is None or record.ended is Ended.DUPLICATE:
            continue
        options = (str(record.number), "--baseline", "none", "--run", "r")
        assert export(runs, *options, monkeypatch=monkeypatch) == 0
        assert load(run.export / "the_nas_model.pth").genome_key == record.key


def test_which_trial_is_meant(run: RunFolder) -> None:
    records = read_records(run.study)
    best = best_first(records)[0]
    assert choose_trial(records, "best", run) == best
    twin = replace(best, number=99, ended=Ended.DUPLICATE, duplicate_of=best.number)
    assert choose_trial((*records, twin), "99", run) == best
    untrained = replace(best, number=98, rungs=(), ended=Ended.OVER_LIMIT, reason="too large")
    with pytest.raises(RunError, match=r"trial 98 .* was not \(too large\)"):
        choose_trial((*records, untrained), "98", run)
    with pytest.raises(RunError, match=r"trial 500 .* was not \(there is none\)"):
        choose_trial(records, "500", run)
    with pytest.raises(RunError, match="let the search go on"):
        choose_trial((untrained,), "best", run)
    for wish in ("worst", "-1", "1.0"):
        for choose in (choose_trial, choose_genome):
            with pytest.raises(SettingsError, match="must be best or a number"):
                choose(records, wish, run)


def test_a_genome_can_be_looked_at_without_having_been_trained(run: RunFolder) -> None:
    records = read_records(run.study)
    best = best_first(records)[0]
    assert choose_genome(records, "best", run) == best
    untrained = replace(best, number=98, rungs=(), ended=Ended.OVER_LIMIT, reason="too large")
    assert choose_genome((*records, untrained), "98", run) == untrained
    without = replace(untrained, number=99, genome=None)
    with pytest.raises(RunError, match=r"trial 99 .* has none \(those with one: 0 to \d+\)"):
        choose_genome((*records, without), "99", run)
    with pytest.raises(RunError, match=r"trial 5 .* has none \(those with one: none\)"):
        choose_genome((without,), "5", run)
    with pytest.raises(RunError, match="let the search go on"):
        choose_genome((untrained,), "best", run)


def test_what_cannot_be_exported_gets_one_sentence(
    runs: Path,
    run: RunFolder,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    none = ("--baseline", "none")
    status = export(tmp_path / "empty", "best", monkeypatch=monkeypatch)
    assert "run python -m nas.search first" in refused(capsys, status)
    status = export(runs, "best", "--run", "other", monkeypatch=monkeypatch)
    assert "name another --run" in refused(capsys, status)
    status = export(runs, "best", "--baseline", "resnet19", monkeypatch=monkeypatch)
    assert "invalid choice: 'resnet19'" in refused(capsys, status)

    other = tmp_path / "other"
    shutil.copytree(images, other)
    next((other / "train" / "NORMAL").iterdir()).unlink()
    status = export(runs, "best", *none, "--data", str(other), monkeypatch=monkeypatch)
    assert "has changed since" in refused(capsys, status)
    assert run.read_manifest()["test_readings"] == []

    best = best_first(read_records(run.study))[0]
    (run.trial(best.number) / "weights.pt").write_bytes(b"damaged")
    status = export(runs, "best", *none, monkeypatch=monkeypatch)
    assert "export another trial" in refused(capsys, status)
    assert not run.export.exists()


@pytest.mark.parametrize("name", ["evaluation.json", "predictions.csv", "curves.svg"])
def test_figures_that_cannot_be_written_leave_the_model(
    runs: Path,
    run: RunFolder,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (run.export / name).mkdir(parents=True)
    status = export(runs, "best", "--baseline", "none", monkeypatch=monkeypatch)
    assert "mend the folder's permissions" in refused(capsys, status)
    assert load(run.export / "the_nas_model.pth").card["test"]["n"] == 8


def test_images_that_moved_are_found_by_option(
    runs: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(images, tmp_path / "moved")
    options = ("best", "--baseline", "none", "--data", str(tmp_path / "moved"))
    assert export(runs, *options, monkeypatch=monkeypatch) == 0
