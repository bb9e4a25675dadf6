"""Options of the search command on who is tried, limits, aims and workers, on small real files."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.measuring import FIGURES
from nas.runfolder import RunFolder
from nas.search_command import main
from nas.search_plan import WARM_START
from nas.study import TrialRecord, best_first, read_records
from tests.nas.commands import refused

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "1M", "--device", "cpu", "--finals", "0")


@pytest.fixture
def search(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*options: str, trials: int = 2) -> int:
        common = ("--runs", str(tmp_path), "--data", str(images), "--trials", str(trials))
        monkeypatch.setattr(sys, "argv", ["nas.search", *common, *SMALL, *options])
        return main()

    return run


def records_of(tmp_path: Path, name: str) -> tuple[TrialRecord, ...]:
    return read_records(RunFolder(tmp_path / name).study)


@pytest.mark.slow
def test_two_workers_on_real_images(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--run", "r", "--workers", "2", "--sampler", "random", trials=4) == 0
    shown = capsys.readouterr().out
    assert "The best of 4 trained genomes" in shown
    records = records_of(tmp_path, "r")
    assert sum(record.counts for record in records) == 4
    assert all(record.ended is not None or record.paused for record in records)
    for record in records:
        for rung in record.rungs:
            assert {"robust", "auroc", "balanced_accuracy", "shifts", "epochs"} == set(rung.metrics)
            assert rung.metrics["epochs"][-1]["epoch"] == rung.budget
        if record.rungs:
            assert (RunFolder(tmp_path / "r").trial(record.number) / "weights.pt").is_file()
    (session,) = RunFolder(tmp_path / "r").read_manifest()["sessions"]
    assert (session["workers"], session["executor"]) == (2, "auto")


def test_a_front_is_found_drawn_and_kept_to(
    tmp_path: Path, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aims = ("--pareto", "auroc,params,memory")
    assert search("--run", "r", *aims, "--scheduler", "expecting", trials=4) == 0
    shown = capsys.readouterr().out
    for name in ("parameters", "memory_mb"):
        path = tmp_path / "r" / f"front-{name}.svg"
        assert f"wrote {path}" in shown
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert not (tmp_path / "r" / "front-multiply_adds.svg").exists()
    identity = RunFolder(tmp_path / "r").read_manifest()["identity"]
    assert (identity["objective"], identity["pareto"]) == ("auroc", ["parameters", "memory_mb"])
    records = records_of(tmp_path, "r")
    assert all(set(FIGURES[:2]) <= set(record.facts) for record in records)
    study = optuna.load_study(study_name="nas", storage=f"sqlite:///{tmp_path}/r/study.db")
    assert len(study.directions) == 3
    found = {tuple(trial.values) for trial in study.best_trials}
    assert found <= {
        (r.score, r.facts["parameters"], r.facts["memory_mb"]) for r in records if r.score
    }
    for other in ((), ("--pareto", "auroc,params"), ("--pareto", "robust,params,memory")):
        assert "a run keeps to one" in refused(capsys, search("--run", "r", *other))
    assert records_of(tmp_path, "r") == records
    assert search("--run", "r", *aims, "--scheduler", "expecting", trials=4) == 0


def test_the_best_of_another_run_and_screened_genomes_are_tried_first(
    tmp_path: Path, search: Any
) -> None:
    assert search("--run", "old", trials=3) == 0
    old = best_first(records_of(tmp_path, "old"))
    warm = ("--warm-start", "old", "--screen", "8", "--max-params", "60k")
    assert search("--run", "new", *warm, trials=4) == 0
    points = json.loads((tmp_path / "new" / WARM_START).read_text())["points"]
    # The space's own, the earlier best, and half of those that were drawn, or more.
    assert 1 + len(old) + 4 <= len(points) < 1 + len(old) + 8
    records = records_of(tmp_path, "new")
    keys = [record.key for record in records]
    assert keys[1 : 1 + len(old)] == [record.key for record in old]
    decided = (tmp_path / "new" / WARM_START).read_bytes()
    assert search("--run", "new", trials=5) == 0  # it goes on with what was decided
    assert (tmp_path / "new" / WARM_START).read_bytes() == decided
    after = records_of(tmp_path, "new")
    assert [record.key for record in after][: len(keys)] == keys
    study = optuna.load_study(study_name="nas", storage=f"sqlite:///{tmp_path}/new/study.db")
    shown = [trial.params for trial in study.trials][: len(points)]
    assert shown == points[: len(shown)]


def test_limits_on_what_is_measured(tmp_path: Path, search: Any) -> None:
    limits = ("--max-memory-mb", "0.4", "--max-latency-ms", "10000", "--max-params", "100k")
    assert search("--run", "r", *limits, trials=2) == 0
    records = records_of(tmp_path, "r")
    within = [record for record in records if record.counts]
    assert len(within) == 2
    for record in within:
        assert list(record.facts) == list(FIGURES)
        assert record.facts["memory_mb"] <= 0.4
        assert 0 < record.facts["latency_ms"] <= 10_000
    assert all("latency_ms" not in r.facts for r in records if "memory" in str(r.reason))
    (session,) = RunFolder(tmp_path / "r").read_manifest()["sessions"]
    assert session["limits"] == {
        "parameters": 100_000,
        "multiply_adds": 1_000_000,
        "memory_mb": 0.4,
        "latency_ms": 10_000,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scheduler", "hyperband"), "invalid choice: 'hyperband'"),
        (("--repeats", "-1"), "repeats must be at least 0"),
        (("--repeats", "some"), "invalid int value: 'some'"),
        (("--pareto", "score"), "--pareto must be one of score, robust, auroc and then some of"),
        (("--pareto", "score,size"), "--pareto must be one of score, robust, auroc"),
        (("--warm-start", "nowhere"), "a run folder has a run.json"),
        (("--warm-start", "../up"), "--run must be 1 to 100 letters"),
        (("--warm-start",), "expected at least one argument"),
        (("--screen", "1"), "--screen must be at least 4, but is 1"),
        (("--screen", "many"), "invalid int value: 'many'"),
        (("--screen", "4", "--max-params", "1"), "--screen needs 4 genomes within the limits"),
        (("--finals-share", "1"), "--finals-share must be at least 0 and below 1"),
        (("--finals-share", "half"), "invalid float value: 'half'"),
        (("--max-latency-ms", "0"), "must be a number above 0, but is '0'"),
        (("--max-latency-ms", "fast"), "must be a number above 0, but is 'fast'"),
        (("--max-memory-mb", "nan"), "must be a number above 0, but is 'nan'"),
        (("--max-memory-mb", "inf"), "must be a number above 0, but is 'inf'"),
        (("--workers", "0"), "must be a whole number of at least 1, or auto, but is '0'"),
        (("--workers", "-2"), "must be a whole number of at least 1, or auto, but is '-2'"),
        (("--workers", "1.5"), "must be a whole number of at least 1, or auto, but is '1.5'"),
        (("--workers", "99999"), "--workers must be at most the"),
        (("--executor", "threads"), "invalid choice: 'threads'"),
        (("--executor", "inline", "--workers", "2"), "--executor inline has one worker"),
        (("--executor", "ray", "--cpus-per-job", "0"), "more than 0 CPUs a job"),
        (("--executor", "ray", "--gpus-per-job", "-1"), "at least 0 GPUs"),
        (("--gpus-per-job", "one"), "invalid float value: 'one'"),
        (("--cpus-per-job", "one"), "invalid float value: 'one'"),
        (("--storage", "a file"), "--storage must be a database's URL"),
    ],
)
def test_wrong_values_get_one_sentence_and_status_2(
    options: tuple[str, ...], words: str, search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, search(*options))
