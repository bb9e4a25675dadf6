"""Finals with an evaluator that scores by table, in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import (
    Interrupted,
    RunError,
    SettingsError,
    TrainingError,
    TrainingFailure,
    WorkerLost,
)
from nas.executors import Done, Inline
from nas.finals import Final, FinalsSettings, deepening
from nas.finals_folder import FinalsFolder
from nas.finals_session import LOST, Finals, members_of, run_finals
from nas.genome import ConvBlock, Genome
from nas.jobs import Job, Outcome
from nas.study import TrialRecord

DIVISIONS = ("patients-2", "patients-3", "domain-a")
GOOD = {4: 0.8, 9: 0.9, 11: 0.7}
"""Score of each finalist; 9 wins."""


def record(number: int) -> TrialRecord:
    genome = Genome((ConvBlock(number, 3),))
    return TrialRecord(number, genome.to_json(), genome.key, {}, (), None, None, None, number)


@dataclass
class Table:
    """Scores by GOOD, and ends as it is told to at some calls."""

    calls: list[Job] = field(default_factory=list)
    endings: dict[int, Exception] = field(default_factory=dict)
    failing: frozenset[int] = frozenset()

    def evaluate(self, job: Job) -> Outcome:
        self.calls.append(job)
        if (error := self.endings.get(len(self.calls))) is not None:
            raise error
        trial = job.genome.blocks[0].filters
        if trial in self.failing:
            raise TrainingError(TrainingFailure.NOT_FINITE, "it diverged")
        assert job.checkpoint is not None
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.write_bytes(b"to go on from")
        score = GOOD[trial] + job.fold / 100
        return Outcome(score, 2.0, {"robust": score, "auroc": 0.99, "balanced_accuracy": 0.9})


class Losing(Inline):
    """Whose workers die at some jobs."""

    def __init__(self, lost: set[int], *given: Any) -> None:
        super().__init__(*given)
        self._lost, self._count = lost, 0

    def wait(self) -> Done:
        done = super().wait()
        self._count += 1
        return Done(done.ticket, WorkerLost("it died")) if self._count in self._lost else done


def finals(
    path: Path,
    table: Table,
    *,
    stop: Callable[[], bool] = lambda: False,
    lost: set[int] = frozenset(),  # type: ignore[assignment]
    told: list[Any] | None = None,
    trials: tuple[int, ...] = (4, 9, 11),
) -> Finals:
    def tell(*said: Any) -> None:
        if told is not None:
            told.append(said)

    return Finals(
        folder=FinalsFolder(path),
        settings=FinalsSettings(finalists=3, epochs=7, seeds=2),
        divisions=DIVISIONS,
        finalists=tuple(record(number) for number in trials),
        seed=5,
        make=lambda report, asked: Losing(set(lost), table, report, asked),
        stop=stop,
        device="cpu",
        tell=tell,
    )


def test_the_winner_is_trained_with_every_seed(tmp_path: Path) -> None:
    table, told = Table(), list[Any]()
    summary = run_finals(finals(tmp_path, table, told=told))
    assert summary is not None
    assert summary == json.loads((tmp_path / "finals.json").read_text())
    assert summary["winner"] == 9
    assert [one["trial"] for one in summary["standings"]] == [9, 4, 11]
    members = deepening(9, DIVISIONS, 2)
    assert summary["members"] == [final.name for final in members]
    assert len(table.calls) == 3 * 3 + 2
    assert [(done, total) for _, _, done, total in told] == [(n, 11) for n in range(1, 12)]
    assert {job.budget for job in table.calls} == {7}
    assert len({job.seed for job in table.calls}) == 2
    assert members_of(summary) == members
    assert members_of(summary, 1) == [final for final in members if final.seed == 0]
    with pytest.raises(SettingsError, match="must leave at least one network, but is 0"):
        members_of(summary, 0)
    assert not list(tmp_path.glob("*/checkpoint.pt"))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = run_finals(finals(tmp_path, Table()))
    table = Table()
    assert run_finals(finals(tmp_path, table)) == first
    assert table.calls == []


@pytest.mark.parametrize("at", range(1, 12))
def test_stopped_anywhere_the_same_call_goes_on(tmp_path: Path, at: int) -> None:
    whole = run_finals(finals(tmp_path / "whole", Table()))
    table = Table(endings={at: Interrupted("stopped before epoch 3")})
    assert run_finals(finals(tmp_path / "parts", table)) is None
    assert not FinalsFolder(tmp_path / "parts").summary.exists()
    again = Table()
    assert run_finals(finals(tmp_path / "parts", again)) == whole
    assert len(table.calls) + len(again.calls) == 12  # the one that was stopped, twice


def test_asked_to_stop_between_trainings(tmp_path: Path) -> None:
    table = Table()
    assert run_finals(finals(tmp_path, table, stop=lambda: len(table.calls) >= 3)) is None
    assert len(table.calls) == 3
    assert run_finals(finals(tmp_path, Table(), stop=lambda: True)) is None
    assert run_finals(finals(tmp_path, Table())) is not None


def test_a_finalist_that_fails_is_last(tmp_path: Path) -> None:
    summary = run_finals(finals(tmp_path, Table(failing=frozenset({9}))))
    assert summary is not None
    assert summary["winner"] == 4
    assert [one["trial"] for one in summary["standings"]] == [4, 11]
    assert sum("failed" in training for training in summary["trainings"]) == 3


def test_where_all_fail_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="need a finalist that can be trained"):
        run_finals(finals(tmp_path, Table(failing=frozenset(GOOD))))


def test_a_member_that_fails_is_left_out(tmp_path: Path) -> None:
    table = Table(endings={10: TrainingError(TrainingFailure.OUT_OF_MEMORY, "too large")})
    summary = run_finals(finals(tmp_path, table))
    assert summary is not None
    assert len(summary["members"]) == 3


def test_a_worker_that_dies_is_replaced_and_too_many_are_a_failure(tmp_path: Path) -> None:
    summary = run_finals(finals(tmp_path / "some", Table(), lost={1, 3}))
    assert summary is not None
    assert all("score" in training for training in summary["trainings"])
    lost = set(range(1, LOST + 1))
    summary = run_finals(finals(tmp_path / "many", Table(), lost=lost))
    assert summary is not None
    # Both rounds have an executor of their own, which counts anew.
    assert [t["failed"] for t in summary["trainings"] if "failed" in t] == ["it died"] * 2


def test_more_finalists_later_train_what_is_new(tmp_path: Path) -> None:
    run_finals(finals(tmp_path, Table(), trials=(4, 11)))
    table = Table()
    summary = run_finals(finals(tmp_path, table))
    assert summary is not None
    assert summary["winner"] == 9
    assert {job.genome.blocks[0].filters for job in table.calls} == {9}


def test_other_epochs_do_not_compare(tmp_path: Path) -> None:
    run_finals(finals(tmp_path, Table()))
    other = replace(finals(tmp_path, Table()), settings=FinalsSettings(epochs=8, seeds=2))
    with pytest.raises(RunError, match="keep to 7 epochs and 2 seeds, but 8 and 2"):
        run_finals(other)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}'])
def test_a_damaged_summary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "finals.json").write_text(content)
    with pytest.raises(RunError, match="delete it"):
        FinalsFolder(tmp_path).read()
    assert FinalsFolder(tmp_path / "none").read() is None


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be able to write"):
        run_finals(finals(tmp_path / "file" / "finals", Table()))


def test_names_of_folders_are_those_of_trainings() -> None:
    assert Final(12, "domain-IM", 2).name == "00012-domain-IM-2"
