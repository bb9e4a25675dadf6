"""A database that another program holds: for a moment it is waited for, for longer it is told."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from nas.errors import RunError
from nas.jobs import Job
from nas.search import search
from tests.nas.faults import check_kept, facts_of, look, settings
from tests.nas.steps import Stepping, epochs
from tests.nas.tables import PairSpace


class Locker:
    """Another program that holds a study's file from some moment on."""

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)

    def lock(self) -> None:
        self.connection.execute("begin exclusive")

    def release(self) -> None:
        self.connection.execute("rollback")

    def close(self) -> None:
        self.connection.close()


@contextmanager
def locker(file: Path) -> Iterator[Locker]:
    found = Locker(file)
    try:
        yield found
    finally:
        found.close()


@dataclass
class AtJob:
    """Does something in the n-th epoch, from 1."""

    number: int
    act: Callable[[], None]
    count: int = 0

    def __call__(self, _: Job, __: int) -> None:
        self.count += 1
        if self.count == self.number:
            self.act()


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    plain = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "plain"))
    run, held_s = tmp_path / "run", 0.2
    run.mkdir()
    locked_s, wrote_s = [0.0], [0.0]

    def hold() -> None:
        other.lock()
        locked_s.append(time.monotonic())
        timer.start()

    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        if len(locked_s) > len(wrote_s) and statement.startswith(("INSERT", "UPDATE")):
            wrote_s.append(time.monotonic())

    with locker(run / "study.db") as other:
        timer = threading.Timer(held_s, other.release)
        sqlalchemy.event.listen(Engine, "after_cursor_execute", after)
        try:
            evaluator = Stepping(tmp_path / "log", harm=AtJob(5, hold))
            result = search(PairSpace(), evaluator, settings(run))
        finally:
            sqlalchemy.event.remove(Engine, "after_cursor_execute", after)
        timer.join()
    assert wrote_s[1] - locked_s[1] >= held_s
    assert facts_of(result.trials) == facts_of(plain.trials)


@pytest.mark.parametrize("job", [1, 20])
def test_a_lock_that_stays_ends_in_one_sentence_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: int
) -> None:
    plain = search(PairSpace(), Stepping(tmp_path / "log 0"), settings(tmp_path / "plain"))
    monkeypatch.setattr("nas.storage.LOCKED_S", 0.05)
    run, log = tmp_path / "run", tmp_path / "log"
    run.mkdir()
    with locker(run / "study.db") as other:
        with pytest.raises(RunError) as caught:
            search(PairSpace(), Stepping(log, harm=AtJob(job, other.lock)), settings(run))
        assert str(caught.value) == (
            f"the study of {run} must be writable, but its database refused (database is locked); "
            "free space, or end whatever holds it: the same command goes on"
        )
        before = look(run)
        for _ in range(2):
            with pytest.raises(RunError, match=r"\(database is locked\); free space, or"):
                search(PairSpace(), Stepping(log), settings(run))
        other.release()
    result = search(PairSpace(), Stepping(log), settings(run))
    check_kept(run, before, result.trials)
    assert facts_of(result.trials) == facts_of(plain.trials)
    assert epochs(log) == epochs(tmp_path / "log 0")  # the job that was done counts
