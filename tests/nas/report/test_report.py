"""The report of a run: its sections, its files, and what it must not do."""

import csv
import json
import random
import re
import shlex
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.data.audit_style import STYLE
from nas.events import ENDED, EPOCH, EventFile
from nas.predictions import Predictions, write_predictions
from nas.report import __main__ as report
from nas.report.figures import figures
from nas.report.importance import importance
from nas.report.mistakes import mistakes
from nas.report.provenance import command
from nas.report.raster import LIGHT
from nas.report.read import read_run
from nas.report.sections import sections_of
from nas.report.summary import mean_interval
from nas.report.values import Figure, Point, RunData, TableData
from nas.report.writing import csv_bytes
from nas.runfolder import RunFolder
from nas.search import SearchSettings, search
from nas.search_command import _parser
from nas.study import Rung
from tests.nas.tables import DiesAt, Killed, PairSpace, TableEvaluator

IDENTITY = {
    "space": "pairs", "fold": "patients-1", "data_checksum": "a", "epochs": 9, "size": 16,
    "channels": 1, "classes": ["NORMAL", "PNEUMONIA"], "objective": "robust", "seed": 0,
}  # fmt: skip
HOSTILE = '<script>alert("x")</script>&amp;'
TITLES = [
    "Summary", "History", "Choices and scores", "Importance of each choice", "Rungs and promotions",
    "Score against cost", "Learning curves", "The winner&#x27;s architecture",
    "Filters and feature maps", "Test figures", "Where the winner looked (Grad-CAM)",
    "Errors by domain and patient", "Baselines side by side", "The data", "Provenance",
]  # fmt: skip


def begun(runs: Path, name: str, **session: Any) -> RunFolder:
    run = RunFolder(runs / name)
    run.begin(IDENTITY, {"data": "data/chestxrays", "storage": None, **session})
    return run


def settings(run: RunFolder, trials: int = 14) -> SearchSettings:
    return SearchSettings(
        run=run.path, trials=trials, budgets=(1, 3, 9), sampler="random", scheduler="halving"
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one whose search has ended."""
    runs = tmp_path_factory.mktemp("runs")
    run = begun(runs, "first")
    search(PairSpace(), TableEvaluator(), settings(run))
    return runs


@pytest.fixture
def runs(tmp_path: Path, searched: Path) -> Path:
    shutil.copytree(searched, tmp_path / "runs")
    return tmp_path / "runs"


def make(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: str) -> int:
    command = ["nas.report", "--runs", str(runs), "--no-images", *words]
    monkeypatch.setattr("sys.argv", command)
    return report.main()


def exported(run: RunFolder, model: str = "the_nas_model") -> None:
    """An export as far as a report reads it."""
    generator = np.random.default_rng(0)
    labels = np.array([0, 1] * 20)
    chance = (0.3 * labels + 0.7 * generator.random(40)).clip(0.01, 0.99)
    one = Predictions(
        classes=("NORMAL", "PNEUMONIA"),
        paths=np.array([f"test/{i}{HOSTILE if i == 3 else ''}.png" for i in range(40)]),
        labels=labels,
        groups=np.array([f"patient {i // 2}" for i in range(40)]),
        domains=np.array(["a", "b"] * 20),
        probabilities=np.stack([1 - chance, chance], 1),
    )
    run.export.mkdir()
    write_predictions(run.export / "predictions.csv", {model: one})
    evaluation = {
        "format": 2, "trial": 0, "classes": ["NORMAL", "PNEUMONIA"], "images": {}, "data": {},
        "models": {model: one.evaluation().to_json(), "lacking": {"missing": "no weights"}},
    }  # fmt: skip
    (run.export / "evaluation.json").write_text(json.dumps(evaluation))


def state(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "report" not in path.parts
    }


def test_a_run_without_finals_and_export_has_every_section(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(runs)
    assert make(monkeypatch, runs) == 0
    folder = runs / "first" / "report"
    page = (folder / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES
    assert state(runs) == before
    assert "files beside it" in capsys.readouterr().out
    assert "There were no finals" in page
    assert "Nothing was exported, so there are no test figures" in page
    assert "No trial reported its epochs" in page
    assert "cannot be drawn" in page  # a pair is no network
    pictures = sorted(path.name for path in (folder / "figures").iterdir())
    assert pictures == ["history.png", "importance.png", "parallel.png", "rungs.png"]
    for name in pictures:
        with Image.open(folder / "figures" / name) as image:
            assert len(image.convert("L").getcolors(256) or ()) > 8, name


def test_the_page_needs_nothing_else(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(RunFolder(runs / "first"))
    assert make(monkeypatch, runs, "first") == 0
    page = (runs / "first" / "report" / "report.html").read_text()
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page
    assert not re.search(r"<(script|link|iframe|object)\b", page)
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
    assert "default-src 'none'" in page


def test_an_export_gives_curves_and_errors(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(RunFolder(runs / "first"))
    assert make(monkeypatch, runs, "first", "--output", str(runs / "out")) == 0
    page = (runs / "out" / "report.html").read_text()
    there = {path.name for path in (runs / "out" / "figures").iterdir()}
    names = {"roc", "precision-recall", "calibration", "confusion", "baselines"}
    assert {f"{name}.png" for name in names} <= there
    assert "missing: no weights" in page
    assert not (runs / "first" / "report").exists()
    with (runs / "out" / "data" / "errors-by-domain.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = read_run(RunFolder(runs / "first")).predictions["the_nas_model"]
    assert sum(int(row["wrong"]) for row in rows) == int((~told.right).sum()) > 0
    assert [row["images"] for row in rows] == ["20", "20"]


def test_three_classes(runs: Path) -> None:
    run = RunFolder(runs / "first")
    labels = np.arange(60) % 3
    chances = np.random.default_rng(0).dirichlet(np.ones(3), 60) + np.eye(3)[labels]
    one = Predictions(
        classes=("a", "b", "c"),
        paths=np.arange(60).astype(str),
        labels=labels,
        groups=(np.arange(60) // 2).astype(str),
        domains=np.full(60, ""),
        probabilities=chances / 2,
    )
    data = RunData(
        run=run,
        manifest=run.read_manifest(),
        evaluation={"models": {"m": one.evaluation().to_json()}, "classes": ["a", "b", "c"]},
        predictions={"m": one},
    )
    drawn = [part.name for part in figures(data).parts if isinstance(part, Figure)]
    assert drawn == ["roc", "precision-recall", "calibration", "confusion"]
    assert "The domains of the images are not known." in mistakes(data).parts


def test_names_from_outside_are_escaped(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(runs, "hostile", note=HOSTILE)
    search(PairSpace(), TableEvaluator(), settings(run))
    exported(run, model=f"m{HOSTILE}")
    assert make(monkeypatch, runs, "hostile") == 0
    page = (run.path / "report" / "report.html").read_text()
    assert "<script" not in page
    assert "alert(&quot;x&quot;)" in page


def test_a_killed_search_is_reported_as_far_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(tmp_path, "killed")
    with pytest.raises(Killed):
        search(PairSpace(), TableEvaluator(DiesAt({8})), settings(run))
    assert make(monkeypatch, tmp_path) == 0
    data = read_run(run)
    assert 3 <= sum(record.score is not None for record in data.records) <= 8
    page = (run.path / "report" / "report.html").read_text()
    assert "Importance needs 10 trials" in page


def test_events_tell_whether_a_search_has_ended(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(runs / "first")
    events = EventFile(run.events)
    events.event(EPOCH, trial=3)
    assert make(monkeypatch, runs) == 0
    page = (run.path / "report" / "report.html").read_text()
    assert "it goes on, or was killed" in page
    events.event(ENDED, complete=False)
    assert make(monkeypatch, runs) == 0
    assert "stopped before it was complete" in (run.path / "report" / "report.html").read_text()
    events.event(ENDED, complete=True)
    events.close()
    assert make(monkeypatch, runs) == 0
    assert "The search had ended when" in (run.path / "report" / "report.html").read_text()


def test_the_command_is_one_that_the_search_understands(runs: Path) -> None:
    words = shlex.split(command(read_run(RunFolder(runs / "first"))))
    assert words[:3] == ["python", "-m", "nas.search"]
    options = _parser().parse_args(words[3:])
    assert (options.trials, options.epochs, options.seed, options.run) == (14, 9, 0, "first")


def test_the_interval_of_a_mean_is_students() -> None:
    """Student's additional hours of sleep by L-hyoscyamine (1908); t(9) at 0.975 is 2.2622."""
    values = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]  # mean 2.33, s 2.002
    assert mean_interval(values) == "95 % 0.8977 to 3.7623"


def test_a_search_that_goes_on_is_read_beside_its_lock(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another connection committed is there although it is in SQLite's log only."""
    run = RunFolder(runs / "first")
    writer = sqlite3.connect(run.study)
    writer.execute("pragma journal_mode=wal")
    writer.execute("update trial_user_attributes set value_json='\"committed\"' where key='reason'")
    writer.commit()
    writer.execute("begin immediate")  # and it is writing just now
    with run.locked():
        assert {r.reason for r in read_run(run).records if r.reason} == {"committed"}
        assert make(monkeypatch, runs) == 0
    writer.close()


def test_a_run_that_cannot_be_written_is_read(runs: Path) -> None:
    run = RunFolder(runs / "first")
    expected = read_run(run).records
    for path in (run.path, run.study):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert read_run(run).records == expected
    finally:
        run.path.chmod(0o755)


def test_an_empty_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path, "empty")
    assert make(monkeypatch, tmp_path) == 0
    page = (run.path / "report" / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES
    assert "No trial is there yet." in page
    assert "study.db is not there" in page


@pytest.mark.parametrize(
    ("file", "content"),
    [("study.db", "no database"), ("export/evaluation.json", "{"), ("finals/finals.json", "[]"),
     ("export/predictions.csv", "path,label\nx,y\n")],
)  # fmt: skip
def test_damage_is_told_and_hides_nothing_else(
    runs: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str
) -> None:
    run = RunFolder(runs / "first")
    exported(run)
    (run.path / file).parent.mkdir(exist_ok=True)
    (run.path / file).write_text(content)
    assert make(monkeypatch, runs) == 0
    page = (run.path / "report" / "report.html").read_text()
    assert Path(file).name in page
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES


def test_an_unknown_run_and_a_full_disk_are_one_sentence(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(monkeypatch, runs, "nobody") == 2
    assert "has none" in capsys.readouterr().err
    (runs / "file").write_text("")
    assert make(monkeypatch, runs, "first", "--output", str(runs / "file")) == 2
    assert "name another folder with --output" in capsys.readouterr().err


def test_tables_round_trip(runs: Path) -> None:
    data = read_run(RunFolder(runs / "first"))
    tables = {
        part.name: part
        for section in sections_of(data)
        for part in (*section.parts, *section.hidden)
        if isinstance(part, TableData)
    }
    assert {"trials", "history", "genomes", "rungs", "rung-scores", "importance"} <= set(tables)
    for table in tables.values():
        head, *read = csv.reader(csv_bytes(table).decode().splitlines())
        assert head == list(table.head)
        assert read == [["" if c is None else str(c) for c in row] for row in table.rows]
    rows = tables["genomes"].rows
    assert {str(row[0]): (row[3], row[4]) for row in rows} == {
        str(record.number): (record.genome["a"], record.genome["b"])
        for record in data.records
        if record.genome is not None
    }
    finished = [row for row in tables["history"].rows if row[1] == 9]
    best = [float(str(row[3])) for row in finished]
    assert best == sorted(best)
    assert best[-1] == max(float(str(row[2])) for row in finished)


def test_colours_of_pictures_are_those_of_the_page() -> None:
    light = STYLE.partition("@media")[0]
    for name, colour in LIGHT.items():
        assert re.search(rf"--{name}: {colour}|--{name}: #fff;", light), name


def test_importance_stays_within_its_time(runs: Path) -> None:
    ticks = iter(range(0, 10_000, 100))  # every look at the clock is 100 s later
    section = importance(read_run(RunFolder(runs / "first")), lambda: float(next(ticks)))
    caption = str(section.parts[0])
    assert "of 3 draws" in caption


def test_numbers_of_many_values_are_binned(runs: Path) -> None:
    """A continuous parameter that decides the score is found among one that does not."""
    found = read_run(RunFolder(runs / "first"))
    generator = random.Random(0)
    records, points = [], []
    for number in range(200):
        values = {"worth": generator.random(), "idle": generator.random()}
        rung = Rung(1, values["worth"], 1.0, {})
        records.append(replace(found.records[0], number=number, rungs=(rung,), repeats=()))
        points.append(Point(number, values))
    section = importance(replace(found, records=tuple(records), points=tuple(points)))
    (figure,) = section.parts
    assert isinstance(figure, Figure)
    assert "Clearly above chance: worth." in figure.caption
