"""Events of a search, in its file and in trackers."""

import json
import logging
import sys
import types
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nas import events
from nas.errors import SettingsError, TrainingError, TrainingFailure
from nas.events import EventFile, finite, read_events
from nas.jobs import Job
from nas.runfolder import RunFolder
from nas.search import SearchSettings, search
from nas.trackers import make_trackers, scalars
from nas.tracking import Trackers
from tests.nas.tables import DiesAt, Killed, PairSpace, TableEvaluator


def settings(run: Path, trials: int = 12) -> SearchSettings:
    return SearchSettings(
        run=run, trials=trials, budgets=(1, 3, 9), sampler="random", scheduler="halving"
    )


def names(run: Path) -> list[str]:
    return [event["event"] for event in read_events(run / "events.jsonl")]


def test_a_search_tells_all_that_happens(tmp_path: Path) -> None:
    evaluator = TableEvaluator()
    result = search(PairSpace(), evaluator, settings(tmp_path / "run"))
    told = list(read_events(tmp_path / "run" / "events.jsonl"))
    found = [event["event"] for event in told]
    assert found[0] == events.STARTED
    assert found[-1] == events.ENDED
    assert found.count(events.PROPOSED) == len(result.trials)
    assert (
        found.count(events.JOB_STARTED) == found.count(events.JOB_FINISHED) == len(evaluator.jobs)
    )
    promoted = sum(bool(job.start_budget) for job in evaluator.jobs)
    assert found.count(events.PROMOTED) == promoted > 0
    assert result.best is not None
    assert told[-1]["best"] == {"trial": result.best.number, "score": result.best.score}
    moments = [datetime.fromisoformat(event["at"]) for event in told]
    assert moments == sorted(moments)
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    job = next(event for event in told if event["event"] == events.JOB_FINISHED)
    assert {"trial", "budget", "score", "seconds", "metrics"} <= set(job)


def test_failed_and_refused_trials_are_told(tmp_path: Path) -> None:
    def fail(job: Job) -> None:
        if job.genome.a == 2:
            raise TrainingError(TrainingFailure.NOT_FINITE, "the loss is not finite")

    search(PairSpace(size=4), TableEvaluator(fail), settings(tmp_path / "run", 16))
    told = list(read_events(tmp_path / "run" / "events.jsonl"))
    assert any(e["event"] == events.FAILED and "not finite" in e["reason"] for e in told)
    assert any(e["event"] == events.REFUSED and e["why"] == "duplicate" for e in told)


def test_a_killed_search_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        search(PairSpace(), TableEvaluator(DiesAt({5})), settings(run))
    path = run / "events.jsonl"
    whole = names(run)
    with path.open("a") as file:
        file.write('{"at": "2026-01-01T00')
    assert names(run) == whole
    search(PairSpace(), TableEvaluator(), settings(run))
    found = names(run)
    assert found[len(whole)] == events.RESUMED
    proposed = [e["trial"] for e in read_events(path) if e["event"] == events.PROPOSED]
    assert len(proposed) == len(set(proposed))


def test_what_json_cannot_say_is_none(tmp_path: Path) -> None:
    assert finite({"a": [float("nan"), 1.0, Path("x")]}) == {"a": [None, 1.0, "x"]}
    file = EventFile(tmp_path / "events.jsonl")
    file.event("x", value=float("inf"))
    file.close()
    assert json.loads((tmp_path / "events.jsonl").read_text())["value"] is None


class Failing:
    """Takes two events, and no more."""

    def __init__(self) -> None:
        self.taken = 0

    def event(self, name: str, **values: Any) -> None:
        self.taken += 1
        if self.taken > 2:
            raise ConnectionError("no server")

    def close(self) -> None:
        raise AssertionError("it was dropped")


def test_a_tracker_that_fails_is_dropped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    tracker = Trackers({"mine": failing, "file": EventFile(tmp_path / "events.jsonl")})
    with caplog.at_level(logging.WARNING):
        search(PairSpace(), TableEvaluator(), settings(tmp_path / "run"), tracker=tracker)
        tracker.close()
    assert failing.taken == 3
    (warning,) = caplog.messages
    assert "mine failed (ConnectionError: no server)" in warning
    assert list(read_events(tmp_path / "events.jsonl"))[-1]["event"] == events.ENDED


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SettingsError, match=r'pip install "\.\[wandb\]"'):
        make_trackers(RunFolder(tmp_path), ["wandb"])
    with pytest.raises(SettingsError, match="one of tensorboard"):
        make_trackers(RunFolder(tmp_path), ["paper"])


def test_scalars_of_events() -> None:
    values = {"trial": 3, "budget": 6, "score": 0.9, "seconds": 1.0, "metrics": {"auroc": 0.8}}
    assert next(scalars(events.JOB_FINISHED, values)) == ("after 6 epochs/score", 0.9, 3)
    assert list(scalars(events.EPOCH, {"trial": 1, "epoch": 2, "loss": 0.5})) == [
        ("trial 1/loss", 0.5, 2)
    ]
    failed = {"trial": 3, "division": "patients-2", "failed": "out of memory"}
    assert list(scalars(events.FINAL_FINISHED, failed)) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_can_read_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = RunFolder(tmp_path / "run")
    with make_trackers(run, ["tensorboard"]) as tracker:
        result = search(PairSpace(), TableEvaluator(), settings(run.path), tracker=tracker)
    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    written = {one.step: one.value for one in read.Scalars("after 1 epochs/score")}
    assert len(written) == 12
    own = {r.number: r.rungs[0].score for r in result.trials if r.number in written}
    assert written == pytest.approx(own, abs=1e-6)


class Recorder:
    """Stands for a library's client: keeps every call."""

    def __init__(self, calls: list[tuple[str, Any]]) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **more: Any) -> Any:
            self.calls.append((name, (values, more)))
            if name == "get_experiment_by_name":
                return None
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r"))

        return call


def test_mlflow_is_called_as_its_client_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in: MLflow itself is not among the libraries of the tests."""
    calls: list[tuple[str, Any]] = []
    stand_in = types.SimpleNamespace(MlflowClient=lambda tracking_uri: Recorder(calls))
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", stand_in)
    run = RunFolder(tmp_path / "run")
    with make_trackers(run, ["mlflow"]) as tracker:
        search(PairSpace(), TableEvaluator(), settings(run.path), tracker=tracker)
    made = [name for name, _ in calls]
    assert made[:3] == ["get_experiment_by_name", "create_experiment", "create_run"]
    assert made[-1] == "set_terminated"
    logged = [values for name, (values, _) in calls if name == "log_metric"]
    assert sum(key == "after 1 epochs/score" for _, key, _ in logged) == 12


def test_wandb_is_called_as_its_run_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in: it needs an account."""
    calls: list[tuple[str, Any]] = []
    stand_in = types.SimpleNamespace(init=lambda **_: Recorder(calls))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    run = RunFolder(tmp_path / "run")
    with make_trackers(run, ["wandb"]) as tracker:
        search(PairSpace(), TableEvaluator(), settings(run.path), tracker=tracker)
    assert [name for name, _ in calls][-1] == "finish"
    assert "after 1 epochs/score" in calls[0][1][0][0]
