"""The comparison of engines on images that are small enough for seconds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from nas.data.demo import draw
from nas.study import read_records
from tests.benchmarks import xrays
from tests.benchmarks.xrays import ENGINES, main

NAMES, TRIALS = ("random-full", "default"), 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for patient in range(18):
        folder = root / ("train" if patient < 16 else "test") / "AB"[patient % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for view in range(2):
            picture = Image.fromarray(draw(patient, view, patient % 2 == 1)).resize((16, 16))
            picture.save(folder / f"demo{patient:04d}_{view}.png")
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two engines, one seed each, whose time is enough for two genomes; and one without time."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xrays, "ENDLESS", TRIALS)
        assert main(["search", *common(data, runs), "--minutes", "10", "--clock", "cpu"]) == 0
    hasty = ["--minutes", "1e-6", "--engines", "default", "--seeds", "1"]
    assert main(["search", *common(data, runs), *hasty]) == 0
    return runs


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def common(data: Path, runs: Path) -> list[str]:
    return [
        *("--data", str(data), "--runs", str(runs), "--engines", *NAMES, "--seeds", "0"),
        *("--size", "16", "--epochs", "3", "--threads", "1"),
        *("--fold", "patients-1", "--folds", "patients-2", "patients-3", "--repeats", "1"),
    ]


def test_every_engine_searches_as_it_should(runs: Path) -> None:
    ended = sorted(path.parent.name for path in runs.glob("*/done.json"))
    assert ended == ["default-0", "default-1", "random-full-0"]
    assert json.loads((runs / "default-1" / "done.json").read_text())["best"] is None
    for name in NAMES:
        told = json.loads((runs / f"{name}-0" / "done.json").read_text())
        records = read_records(runs / f"{name}-0" / "study.db")
        assert told["trials"] == sum(record.counts for record in records) == TRIALS
        assert told["full"] == sum(record.budget == 3 for record in records)
        best = records[told["best"]["number"]]
        assert best.score == told["best"]["score"]
        assert (told["clock"], told["threads"], told["minutes"]) == ("cpu", 1, 10)
        reached = {rung.budget for record in records for rung in record.rungs}
        assert reached <= ({3} if ENGINES[name].full_only else {1, 3})
        assert all(set(record.facts) == {"parameters", "multiply_adds"} for record in records)


def test_a_search_that_has_ended_is_not_run_again(
    runs: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/study.db")}
    assert main(["search", *common(data, runs)]) == 0
    assert "trials" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*/study.db")} == before


def test_the_best_are_judged_on_divisions_that_no_search_saw(
    runs: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", *common(data, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "default 1 scored nothing" in lines
    for name in NAMES:
        kept = json.loads((runs / f"{name}-0" / "judged.json").read_text())
        assert set(kept) == {"robust", "auroc"}
        for scores in kept.values():
            assert list(scores) == ["patients-2", "patients-3"]
            assert all(0 <= value <= 1 for found in scores.values() for value in found)
            assert all(len(found) == 1 for found in scores.values())
        mean = sum(found[0] for found in kept["robust"].values()) / 2
        pattern = rf"{name} +n = 1 searches  robust {mean:.4f} ± nan  auroc 0\.\d+ ± nan"
        assert sum(re.fullmatch(pattern, line) is not None for line in lines) == 1
    # Not trained once more: what is kept is told.
    file = runs / f"{NAMES[0]}-0" / "judged.json"
    file.write_text(json.dumps({name: {"patients-2": [0.25]} for name in ("robust", "auroc")}))
    assert main(["judge", *common(data, runs)]) == 0
    assert "robust 0.2500 ± nan" in capsys.readouterr().out
