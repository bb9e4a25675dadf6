"""Runs looked at, compared and cleaned, and what a search itself keeps."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nas import runs
from nas.events import EventFile, read_events
from nas.jobs import Job, Outcome
from nas.runfolder import RunFolder
from nas.search import SearchSettings, search
from nas.tidying import CHECKPOINT
from tests.nas.commands import refused
from tests.nas.tables import PairSpace, TableEvaluator, checkpoints, score

IDENTITY = {"space": "pairs", "fold": "patients-1", "data_checksum": "a", "epochs": 9}


def made(folder: Path, name: str, trials: int = 12, **identity: str) -> RunFolder:
    """A run whose search has ended."""
    run = RunFolder(folder / name)
    run.begin(IDENTITY | identity, {"data": "data/chestxrays", "storage": None})
    settings = SearchSettings(
        run=run.path, trials=trials, budgets=(1, 3, 9), sampler="random", scheduler="halving"
    )
    search(PairSpace(), TableEvaluator(), settings)
    return run


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["nas.runs", *map(str, words)])
    return runs.main()


def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> Any:
    assert command(monkeypatch, *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *words: told(monkeypatch, capsys, *words)


def test_list_tells_of_every_run_and_whether_it_goes_on(tmp_path: Path, say: Any) -> None:
    run = made(tmp_path, "one")
    (found,) = say("list", "--runs", tmp_path)
    assert found["name"] == "one"
    assert found["trials"]["paused"] + found["trials"]["completed"] == 12
    assert found["going_on"] is False
    assert found["bytes"]["study"] > 0
    with run.locked():
        assert say("list", "--runs", tmp_path)[0]["going_on"] is True


def test_a_damaged_run_is_told_and_hides_no_other(tmp_path: Path, say: Any) -> None:
    made(tmp_path, "good")
    made(tmp_path, "bad").study.write_bytes(b"no database at all, but long enough" * 9)
    found = {one["name"]: one["problem"] for one in say("list", "--runs", tmp_path)}
    assert found["good"] is None
    assert "must be a readable database" in found["bad"]


def test_show_has_rungs_and_the_dashboard(tmp_path: Path, say: Any) -> None:
    made(tmp_path, "one")
    found = say("show", "one", "--runs", tmp_path)
    assert found["rungs"]["1"] == 12
    assert found["dashboard"] == f"optuna-dashboard sqlite:///{tmp_path}/one/study.db"
    assert found["settings"]["fold"] == "patients-1"


def test_tables_are_printed_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "one")
    made(tmp_path, "two", fold="patients-2")
    assert command(monkeypatch, "list", "--runs", tmp_path) == 0
    assert command(monkeypatch, "show", "two", "--runs", tmp_path) == 0
    assert command(monkeypatch, "compare", "one", "two", "--runs", tmp_path) == 0
    shown = capsys.readouterr().out
    assert "WARNING: the scores of these runs are not comparable: they differ in fold" in shown


def test_compare_tells_what_differs(tmp_path: Path, say: Any) -> None:
    made(tmp_path, "one")
    made(tmp_path, "two", trials=15)
    found = say("compare", "one", "two", "--runs", tmp_path)
    assert found["comparable"]
    assert found["figures"]["trials trained"] == [12, 15]
    made(tmp_path, "three", data_checksum="b")
    found = say("compare", "one", "three", "--runs", tmp_path)
    assert found["not_comparable_for"] == ["data_checksum"]


def test_an_unknown_run_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "one")
    shown = refused(capsys, command(monkeypatch, "show", "won", "--runs", tmp_path))
    assert "there are: one" in shown


def test_clean_tells_first_and_keeps_the_best(tmp_path: Path, say: Any) -> None:
    run = made(tmp_path, "one", 30)
    before = checkpoints(run.path)
    found = say("clean", "--runs", tmp_path, "--keep", 20)
    assert found["items"]
    assert checkpoints(run.path) == before
    say("clean", "--runs", tmp_path, "--keep", 20, "--yes")
    assert len(checkpoints(run.path)) == len(before) - len(found["items"]) > 0


def test_a_cleaned_search_goes_on(tmp_path: Path, say: Any) -> None:
    run = made(tmp_path, "one")
    say("clean", "--runs", tmp_path, "--keep", 0, "--yes")
    assert checkpoints(run.path) == []
    settings = SearchSettings(
        run=run.path, trials=40, budgets=(1, 3, 9), sampler="random", scheduler="halving"
    )
    result = search(PairSpace(), StartsOver(), settings)
    assert sum(record.counts for record in result.trials) == 40


@pytest.mark.parametrize("last", ["search_ended", "search_resumed"])
def test_an_open_search_keeps_its_checkpoints(tmp_path: Path, say: Any, last: str) -> None:
    """Interrupted, or killed, even though its finals were decided before."""
    run = made(tmp_path, "one")
    run.finals.mkdir()
    (run.finals / "finals.json").write_text("{}")
    EventFile(run.events).event(last, complete=False)
    assert say("clean", "--runs", tmp_path, "--keep", 0)["items"] == []


def test_a_run_that_goes_on_is_not_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path, "one")
    with run.locked():
        for more in ([], ["--yes"]):
            words = ["clean", "one", "--runs", tmp_path, "--keep", 0, *more]
            refused(capsys, command(monkeypatch, *words))
    assert checkpoints(run.path)


def test_old_caches_go_and_new_ones_stay(tmp_path: Path, say: Any) -> None:
    folder = tmp_path / ".cache" / "images-1"
    folder.mkdir(parents=True)
    (folder / "pixels.npy").write_bytes(b"x" * 100)
    assert say("clean", "--runs", tmp_path, "--caches", "--yes")["items"] == []
    assert folder.is_dir()
    assert say("clean", "--runs", tmp_path, "--caches", "--days", 0, "--yes")["freed"] == 100
    assert not folder.exists()


# What a search itself keeps -----------------------------------------------------------------------


@dataclass
class StartsOver:
    """Writes checkpoints of 1,710 bytes and weights of 465; counts trainings that start over."""

    run: Path | None = None
    over: int = 0
    promoted: int = 0
    peak: int = 0
    sizes: dict[Path, int] = field(default_factory=dict)

    def evaluate(self, job: Job) -> Outcome:
        assert job.checkpoint is not None
        if job.start_budget:
            self.promoted += 1
            self.over += not job.checkpoint.is_file()
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.write_bytes(b"c" * 1710)
        job.checkpoint.with_name("weights.pt").write_bytes(b"w" * 465)
        if self.run is not None:
            files = (self.run / "trials").glob("*/*.pt")
            self.peak = max(self.peak, sum(path.stat().st_size for path in files))
        return Outcome(score(job.genome, job.budget), cost_s=1.0)


def bounded(tmp_path: Path, scheduler: str, trials: int) -> StartsOver:
    """A search at a thousandth of the measured sizes, and of the default bound by its trials."""
    run = tmp_path / "run"
    evaluator = StartsOver(run)
    for so_far in (trials // 2, trials):  # it ends half-way, and goes on
        settings = SearchSettings(
            run=run, trials=so_far, budgets=(2, 6), sampler="random", scheduler=scheduler,
            checkpoint_bytes=1000 * trials,
        )  # fmt: skip
        search(PairSpace(size=60), evaluator, settings)
    assert evaluator.promoted > trials / 10
    return evaluator


@pytest.mark.parametrize("trials", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_search_stays_within_its_bound_and_promotes_from_checkpoints(
    tmp_path: Path, trials: int
) -> None:
    evaluator = bounded(tmp_path, "halving", trials)
    assert evaluator.peak <= (1000 + 465 + 30) * trials  # below 2 GB, for 1,000 trials
    assert evaluator.over == 0


def test_without_a_bound_more_is_kept(tmp_path: Path) -> None:
    kept = bounded(tmp_path, "halving", 60)
    loose = SearchSettings(run=tmp_path / "loose", trials=60, budgets=(2, 6), sampler="random",
        scheduler="halving")  # fmt: skip
    search(PairSpace(size=60), StartsOver(), loose)
    bound = list(tmp_path.glob(f"run/trials/*/{CHECKPOINT}"))
    assert len(bound) < len(list(tmp_path.glob(f"loose/trials/*/{CHECKPOINT}")))
    assert kept.over == 0


def test_events_of_a_run_can_be_read(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    assert [event["event"] for event in read_events(run.events)][-1] == "search_ended"
