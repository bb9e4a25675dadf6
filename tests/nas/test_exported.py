"""Models of the winner of finals, through the commands."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.calibration import softmax
from nas.data.cache import load_images
from nas.data.folds import choose_division, divisions
from nas.data.prepare import prepare
from nas.errors import RunError
from nas.export import main as export_main
from nas.exported import collect, make_bundle
from nas.finals_folder import FinalsFolder
from nas.predictor import Predictor
from nas.runfolder import RunFolder
from nas.search_command import main as search_main
from nas.study import read_records
from nas.thresholds import ThresholdPolicy

SMALL = ("--size", "16", "--epochs", "1", "--max-macs", "1M", "--device", "cpu")
FINALS = ("--finals", "2", "--finals-seeds", "2", "--finals-epochs", "2")


@pytest.fixture(autouse=True)
def _no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a second or two an export; tests/nas/test_export.py has it."""
    monkeypatch.setattr("nas.export_files.missing_packages", lambda: ["onnx"])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A folder of runs with one search and its finals. Not to be changed."""
    runs = tmp_path_factory.mktemp("finals")
    arguments = ["--runs", str(runs), "--data", str(images), "--run", "r", "--trials", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nas.search", *arguments, *SMALL, *FINALS])
        assert search_main() == 0
    return runs


@pytest.fixture
def runs(tmp_path: Path, searched: Path) -> Path:
    shutil.copytree(searched, tmp_path / "runs")
    return tmp_path / "runs"


def exported(runs: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    arguments = ["nas.export", "--runs", str(runs), "--device", "cpu", "--baseline", "none"]
    monkeypatch.setattr(sys, "argv", [*arguments, *options])
    return export_main()


def test_best_is_the_winner_of_finals(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.thresholds.LEAST_OF_A_CLASS", 4)
    finals = FinalsFolder(runs / "r" / "finals").read()
    assert finals is not None
    assert exported(runs, monkeypatch, "best", "--threshold", "youden") == 0
    predictor = Predictor.load(runs / "r" / "export" / "the_nas_model.pth")
    bundle = predictor.bundle
    assert len(bundle.members) == len(finals["members"]) > 2
    assert bundle.card["search"]["trial"] == finals["winner"]
    assert bundle.card["finals"]["standings"] == finals["standings"]
    assert "Youden" in bundle.threshold_policy
    assert bundle.threshold == bundle.card["finals"]["threshold"]["value"]
    assert bundle.calibration.temperature == bundle.card["finals"]["calibration"]["temperature"]
    evaluation = json.loads((runs / "r" / "export" / "evaluation.json").read_text())
    assert evaluation["trial"] == finals["winner"]
    assert evaluation["models"]["the_nas_model"]["parameters"] == bundle.parameters


def test_calibration_and_threshold_are_of_images_out_of_fold(
    runs: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed again, plainly: each network's answers on what it did not learn from."""
    monkeypatch.setattr("nas.thresholds.LEAST_OF_A_CLASS", 4)
    run, cache = RunFolder(runs / "r"), runs / ".cache"
    finals = FinalsFolder(run.finals).read()
    assert finals is not None
    source = prepare(str(images), cache).source
    record = next(r for r in read_records(run.study) if r.number == finals["winner"])
    manifest = run.read_manifest()
    material = collect(run, manifest, source, record, finals, cache, lambda *_: None)
    bundle = make_bundle(material, ThresholdPolicy.parse("youden"))
    decoded = load_images(source, ("train", "val"), size=16, channels=1, cache=cache)
    found = divisions(decoded, 0)
    said, labels, logits = [], [], []
    names = dict.fromkeys(name.split("-", 1)[1].rpartition("-")[0] for name in finals["members"])
    for name in names:
        held = choose_division(found, name).held
        of_seeds = []
        for place, member in enumerate(finals["members"]):
            if f"-{name}-" in member:
                single = Predictor(
                    type(bundle)((bundle.members[place],), bundle.classes), name="", sha256=""
                )
                of_seeds.append(single.logits(decoded.pixels[held])[0])
        assert len(of_seeds) == 2
        said.append(np.mean([softmax(o, bundle.calibration.temperature) for o in of_seeds], axis=0))
        labels.append(decoded.labels[held])
        logits += of_seeds
    everyone = np.concatenate(labels)
    outside = bundle.card["finals"]["out_of_fold"]
    assert outside["n"] == len(everyone)
    right = (np.concatenate(said)[:, 1] >= bundle.threshold) == (everyone == 1)
    accuracy = outside["accuracy"]
    assert accuracy == pytest.approx(right.mean())
    fit = bundle.card["finals"]["calibration"]
    assert fit["n"] == sum(len(o) for o in logits)
    assert fit["prevalences"] == [0.5, 0.5]  # the recipe weighs classes


def test_a_smaller_model_of_fewer_seeds(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exported(runs, monkeypatch, "best", "--seeds", "1") == 0
    bundle = Predictor.load(runs / "r" / "export" / "the_nas_model.pth").bundle
    finals = FinalsFolder(runs / "r" / "finals").read()
    assert finals is not None
    assert 2 * len(bundle.members) == len(finals["members"])
    assert all(name.endswith("-0") for name in bundle.card["finals"]["members"])


def test_a_number_is_that_trial_alone(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finals = FinalsFolder(runs / "r" / "finals").read()
    assert finals is not None
    number = str(finals["winner"])
    assert exported(runs, monkeypatch, number) == 0
    bundle = Predictor.load(runs / "r" / "export" / "the_nas_model.pth").bundle
    assert len(bundle.members) == 1
    assert (bundle.threshold, bundle.calibration.temperature) == (0.5, 1.0)
    assert exported(runs, monkeypatch, number, "--threshold", "youden") == 2


def test_few_images_leave_the_threshold_unless_a_policy_was_asked_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nas.thresholds.LEAST_OF_A_CLASS", 10_000)
    assert exported(runs, monkeypatch, "best", "--threshold", "youden") == 2
    assert "at least 10000 images of either class" in capsys.readouterr().err
    assert exported(runs, monkeypatch, "best") == 0
    bundle = Predictor.load(runs / "r" / "export" / "the_nas_model.pth").bundle
    assert bundle.threshold == 0.5
    assert bundle.threshold_policy.startswith("0.5, not tuned: a threshold needs")


def test_lost_weights_of_a_member_are_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finals = FinalsFolder(runs / "r" / "finals").read()
    assert finals is not None
    lost = runs / "r" / "finals" / finals["members"][1] / "weights.pt"
    lost.write_bytes(b"broken")
    run, cache = RunFolder(runs / "r"), runs / ".cache"
    manifest = run.read_manifest()
    source = prepare(manifest["sessions"][-1]["data"], cache).source
    record = next(r for r in read_records(run.study) if r.number == finals["winner"])
    material = collect(run, manifest, source, record, finals, cache, lambda *_: None)
    with pytest.raises(RunError, match=finals["members"][1]):
        make_bundle(material, None)


def test_the_same_search_goes_on_with_more_finalists(
    runs: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--runs", str(runs), "--data", str(images), "--run", "r", "--trials", "3"]
    more = ("--finals", "3", "--finals-seeds", "2", "--finals-epochs", "2")
    monkeypatch.setattr(sys, "argv", ["nas.search", *arguments, *SMALL, *more])
    before = FinalsFolder(runs / "r" / "finals").read()
    assert search_main() == 0
    after = FinalsFolder(runs / "r" / "finals").read()
    assert before is not None
    assert after is not None
    assert set(before["finalists"]) < set(after["finalists"])
    assert "finals: 3 genomes" in capsys.readouterr().out


def test_no_finals(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--runs", str(tmp_path), "--data", str(images), "--run", "r", "--trials", "1"]
    monkeypatch.setattr(sys, "argv", ["nas.search", *arguments, *SMALL, "--finals", "0"])
    assert search_main() == 0
    assert "finals:" not in capsys.readouterr().out
    assert not (tmp_path / "r" / "finals").exists()
