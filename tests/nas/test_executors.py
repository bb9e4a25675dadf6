"""The contract that every executor keeps."""

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.errors import Interrupted, SettingsError, TrainingError, TrainingFailure, WorkerLost
from nas.jobs import Job, Outcome
from tests.nas.deeds import Unloadable, job
from tests.nas.pools import RAY, Pool, opened

KINDS = ["inline", "processes", RAY]
AT_ONCE = ["processes", RAY]


@pytest.fixture(scope="module")
def kept(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """One of each kind for the whole module: they take time to start."""
    with opened(request.param) as pool:
        yield pool


@pytest.fixture
def pool(kept: Pool) -> Pool:
    kept.said.clear()
    return kept


def over(kinds: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kept", kinds, indirect=True, scope="module")


@over(KINDS)
def test_outcomes_arrive_under_their_tickets(pool: Pool, tmp_path: Path) -> None:
    begun = 0
    results: dict[int, Any] = {}
    while len(results) < 5:
        while begun < 5 and begun - len(results) < pool.executor.slots:
            pool.executor.submit(10 + begun, job("score", begun, tmp_path))
            begun += 1
        results |= pool.all_of(1)
    for ticket, result in results.items():
        assert isinstance(result, Outcome)
        assert (result.score, result.cost_s) == (ticket - 10, 0.5)
        assert result.checkpoint == tmp_path / "checkpoint.pt"
        assert (result.metrics["device"], result.metrics["ballast"]) == ("cpu", True)


@over(KINDS)
def test_a_failed_training_arrives_with_its_failure(pool: Pool) -> None:
    pool.executor.submit(1, job("fail"))
    result = pool.executor.wait().result
    assert isinstance(result, TrainingError)
    assert result.failure is TrainingFailure.NOT_FINITE
    assert str(result) == "losses must be finite, but one was not"


@over(KINDS)
def test_any_other_error_is_raised_and_the_slot_works_again(pool: Pool) -> None:
    pool.executor.submit(1, job("err"))
    with pytest.raises(KeyError, match="wrong in err") as caught:
        pool.executor.wait()
    trace = "".join(getattr(caught.value, "__notes__", [])) or str(caught.getrepr())
    assert "deeds.py" in trace
    pool.executor.submit(1, job("score", 7))
    assert pool.all_of(1)[1].score == 7


@over(AT_ONCE)
@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        ("err_oddly", RuntimeError, "Odd: 1 and 2"),
        ("answer_oddly", (AttributeError, pickle.PicklingError), "lambda"),
        ("report_oddly", (AttributeError, pickle.PicklingError), "lambda"),
    ],
)
def test_what_cannot_be_sent_is_raised(pool: Pool, act: str, error: Any, words: str) -> None:
    pool.executor.submit(1, job(act))
    with pytest.raises(error, match=words):
        pool.executor.wait()


@over(KINDS)
def test_reports_arrive_in_order_and_before_the_end(pool: Pool) -> None:
    count = pool.executor.slots
    for ticket in range(count):
        pool.executor.submit(ticket, job("report", name=f"job {ticket}"))
    ended = set()
    for _ in range(count):
        done = pool.executor.wait()
        ended.add(done.ticket)
        mine = [what for ticket, what in pool.said if ticket == done.ticket]
        assert mine == [(f"job {done.ticket}", number) for number in range(5)]
    assert ended == set(range(count))


@over(KINDS)
def test_messages_may_be_large(pool: Pool) -> None:
    for ticket in range(pool.executor.slots):
        pool.executor.submit(ticket, job("report_much"))
    for result in pool.all_of(pool.executor.slots).values():
        assert len(result.metrics["much"]) == 1_000_000
    assert len(pool.said) == 3 * pool.executor.slots


@over(AT_ONCE)
def test_the_evaluator_is_loaded_once_in_a_process(pool: Pool) -> None:
    seen = []
    for _ in range(4):
        pool.executor.submit(1, job("score"))
        seen.append(pool.all_of(1)[1].metrics)
    assert len({metrics["process"] for metrics in seen}) < 4
    assert {metrics["loads"] for metrics in seen} == {1}


@over(AT_ONCE)
def test_slots_are_used_at_once(pool: Pool, tmp_path: Path) -> None:
    for name in ("one", "other"):
        pool.executor.submit(len(name), job("meet", folder=tmp_path, name=name))
    results = pool.all_of(2)
    assert len({result.metrics["process"] for result in results.values()}) == 2


@over(AT_ONCE)
def test_a_killed_worker_costs_its_own_job_only(pool: Pool, tmp_path: Path) -> None:
    pool.executor.submit(1, job("die_once", 1, tmp_path))
    pool.executor.submit(2, job("wait_for_again", 2, tmp_path))
    lost = pool.executor.wait()
    assert (lost.ticket, type(lost.result)) == (1, WorkerLost)
    pool.executor.submit(1, job("die_once", 1, tmp_path))
    assert {ticket: result.score for ticket, result in pool.all_of(2).items()} == {1: 1, 2: 2}


@over(AT_ONCE)
def test_too_many_or_no_jobs_are_refused(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="waiting needs a job under way"):
        pool.executor.wait()
    for ticket in range(2):
        pool.executor.submit(ticket, job("hold", folder=tmp_path))
    with pytest.raises(RuntimeError, match="all 2 are taken"):
        pool.executor.submit(2, job("score"))
    (tmp_path / "free").touch()
    assert len(pool.all_of(2)) == 2


class Stopping(Pool):
    """Asks to stop once a job in each slot has reported."""

    def report(self, ticket: int, what: Any) -> None:
        super().report(ticket, what)
        self.stopping = len(self.said) >= self.executor.slots


@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_jobs_after_their_epoch_also_those_that_begin_later(kind: str) -> None:
    with opened(kind, pool=Stopping()) as pool:
        count = pool.executor.slots
        for ticket in range(count):
            pool.executor.submit(ticket, job("linger", name=str(ticket)))
        for ticket, result in pool.all_of(count).items():
            assert isinstance(result, Interrupted)
            assert str(result) == f"stopped {ticket}"
        if kind != "inline":  # one of the next is of a worker that was not there to be told
            pool.executor.submit(0, job("leave"))
            assert isinstance(pool.executor.wait().result, WorkerLost)
        for ticket in range(count):
            pool.executor.submit(ticket, job("ask_once"))
        assert {type(result) for result in pool.all_of(count).values()} == {Interrupted}


@pytest.mark.parametrize("kind", AT_ONCE)
def test_an_evaluator_that_cannot_be_loaded_raises(kind: str) -> None:
    with opened(kind, Unloadable()) as pool:
        for _ in range(2):
            pool.executor.submit(1, job("score"))
            with pytest.raises(FileNotFoundError, match="the images are gone"):
                pool.executor.wait()


@over(AT_ONCE)
def test_a_job_that_cannot_be_loaded_raises(pool: Pool) -> None:
    for _ in range(2):
        pool.executor.submit(1, Job(Unloadable(), 0, 1, seed=0))
        with pytest.raises(FileNotFoundError, match="the images are gone"):
            pool.executor.wait()


@pytest.mark.parametrize("kind", AT_ONCE)
def test_an_evaluator_that_cannot_be_pickled_is_refused(kind: str) -> None:
    words = r"must be pickled .* lock cannot be .* one worker"
    with pytest.raises(SettingsError, match=words), opened(kind, threading.Lock()):
        pass


@pytest.mark.parametrize("error", [Interrupted("asked"), WorkerLost("gone")])
def test_errors_are_whole_after_a_pickle(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_a_failed_training_is_whole_after_a_pickle() -> None:
    error = TrainingError(TrainingFailure.OUT_OF_MEMORY, "it must fit")
    error.add_note("seen before")
    again = pickle.loads(pickle.dumps(error))
    assert (again.failure, str(again)) == (TrainingFailure.OUT_OF_MEMORY, "it must fit")
    assert again.__notes__ == ["seen before"]
