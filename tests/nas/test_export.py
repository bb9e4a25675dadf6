"""The export command on a small real search."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from nas import metrics
from nas.bundle import load
from nas.choosing import choose_genome, choose_trial
from nas.errors import RunError, SettingsError, WeightsError
from nas.export import main
from nas.predictor import Predictor
from nas.runfolder import RunFolder
from nas.search_command import main as search_main
from nas.study import Ended, best_first, read_records
from tests.nas.commands import refused

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "1M", "--device", "cpu")


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
    again = metrics.evaluate(chances, labels).to_json()
    for name, value in again.items():
        close = value if name == "confusion" else pytest.approx(value)
        assert figures[name] == close, name
    assert figures["n"] == len(files) == 8
    assert predictor.bundle.card["search"]["score"] == best.score
    assert predictor.bundle.card["data"]["synthetic"] is False
    assert sorted(path.name for path in run.export.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "evaluation.json",
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
    assert {"date", "trial", "weights_sha256", "n", "auroc", "accuracy"} == set(readings[0])
    assert "was read 2 times for this model" in capsys.readouterr().out
    assert load(run.export / "the_nas_model.pth").card["test"]["test_readings"] == 2


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
    assert "BASELINE MISSING: no network; do this, or that" in capsys.readouterr().out
    assert evaluation(run)["models"]["resnet18"] == {"missing": "no network; do this, or that"}
    card = load(run.export / "the_nas_model.pth").card
    assert card["baseline"] == {"missing": "no network; do this, or that"}


def test_the_baseline_is_a_state_dict_that_torchvision_loads(
    runs: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    assert export(runs, "best", "--weights", str(weights), monkeypatch=monkeypatch) == 0
    figures = evaluation(run)["models"]["resnet18"]
    assert (figures["trainable"], figures["n"]) == (1026, 8)
    network = torchvision.models.resnet18(num_classes=2)
    network.load_state_dict(torch.load(run.export / "resnet18.pth", weights_only=True))
    baseline = load(run.export / "the_nas_model.pth").card["baseline"]
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


def test_images_that_moved_are_found_by_option(
    runs: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(images, tmp_path / "moved")
    options = ("best", "--baseline", "none", "--data", str(tmp_path / "moved"))
    assert export(runs, *options, monkeypatch=monkeypatch) == 0
