"""Searches in processes of their own, to which harm is done, and what must hold after it."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

import nas.driver
from nas.runfolder import RunFolder
from nas.search import SearchSettings, search
from nas.storage import Place
from nas.study import TrialRecord, best_first, earlier_records
from tests.nas.deeds import PATIENCE_S
from tests.nas.steps import WEIGHTS, Stepping
from tests.nas.tables import PairSpace


def nothing() -> None:
    """To be done."""


KILLED = -signal.SIGKILL
PRELOADED = [
    __name__,
    "tests.nas.fault_trainings",
    "sqlalchemy.dialects.sqlite",
    *(f"alembic.{name}" for name in ("command", "config", "migration", "script")),
    "optuna.storages._rdb.alembic",
]


def settings(run: Path, **changes: Any) -> SearchSettings:
    """Of a search with several rungs and, among scores that chance has a part in, repeats."""
    plain = SearchSettings(
        run=run, trials=12, budgets=(1, 3, 9), sampler="random", scheduler="halving", seed=2
    )
    return replace(plain, **changes)


def apart(
    deed: Callable[..., Any],
    *arguments: Any,
    after_s: float | None = None,
    meanwhile: Callable[[], None] = nothing,
) -> Any:
    """Do something in a fork of a clean process that has imported everything.

    Args:
        deed: a function with a name.
        arguments: its.
        after_s: seconds after which it is killed with signal 9.
        meanwhile: is done here.

    Returns:
        What it returned or raised, or KILLED.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(theirs, deed, arguments))
    process.start()
    theirs.close()
    try:
        meanwhile()
        if not connection.wait([ours], PATIENCE_S if after_s is None else after_s):
            assert after_s is not None, "it does not end"
            process.kill()
        try:
            said = ours.recv()
        except EOFError:
            said = KILLED
        process.join(PATIENCE_S)
        assert process.exitcode == (KILLED if said == KILLED else 0)
        return said
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _do(line: connection.Connection, deed: Callable[..., Any], arguments: Any) -> None:
    # Tests that a shell runs in its background are born with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        said = deed(*arguments)
    except Exception as error:  # noqa: BLE001 - the parent looks at it
        said = error
    line.send(said)


class DyingAt:
    """Kills this process at the n-th moment: before or after a statement or a commit, in a job."""

    def __init__(self, moment: int | None) -> None:
        self.moment, self.count = moment, itertools.count(1)
        self.seen = 0
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            sqlalchemy.event.listen(Engine, name, self)

    def __call__(self, *_: Any) -> None:
        self.seen = next(self.count)
        if self.seen == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def table_search(
    run: Path, moment: int | None = None, changes: Mapping[str, Any] | None = None
) -> int:
    """A search that dies at a moment; returns how many there were if it came to its end.

    Its log lies beside its folder.
    """
    # Whoever kills again and again within one epoch is not to be mistaken for its genome.
    nas.driver.MAX_DEATHS = 1_000
    dying = DyingAt(moment)
    wanted = settings(run, **(changes or {}))
    inline = wanted.running.executor != "processes"
    log = run.with_suffix(".log")
    evaluator = Stepping(log, harm=dying) if inline else Stepping(log)
    search(PairSpace(), evaluator, wanted)
    return dying.seen


def look(run: Path) -> tuple[TrialRecord, ...]:
    """What a killed search left, read from a copy: the next process finds it untouched."""
    with TemporaryDirectory() as folder:
        for path in run.glob("study.db*"):
            shutil.copy(path, folder)
        return earlier_records(Place.file(Path(folder, "study.db")))


def facts_of(records: tuple[TrialRecord, ...]) -> list[Any]:
    """What two searches must agree on."""
    return [
        (r.number, r.key, r.rungs, r.repeats, r.ended, r.reason, r.seed, r.duplicate_of)
        for r in records
    ]


def check_kept(run: Path, before: tuple[TrialRecord, ...], after: tuple[TrialRecord, ...]) -> None:
    """Nothing that was known is forgotten or changed, the best and its weights least of all."""
    assert [record.number for record in after] == list(range(len(after)))
    assert len(after) >= len(before)
    for was, now in zip(before, after, strict=False):
        assert (now.key, now.seed, now.facts) == (was.key, was.seed, was.facts)
        assert now.rungs[: len(was.rungs)] == was.rungs
        assert now.repeats[: len(was.repeats)] == was.repeats
        assert was.ended is None or (now.ended, now.reason) == (was.ended, was.reason)
    for record in after:
        if record.rungs and record.duplicate_of is None:
            assert (RunFolder(run).trial(record.number) / WEIGHTS).is_file()
    for was in best_first(before)[:1]:
        best = best_first(after)[0]
        if after[was.number].repeats == was.repeats:  # or its mean may have fallen
            assert (best.budget, best.score or 0) >= (was.budget, was.score or 0)


def check_whole(records: tuple[TrialRecord, ...], trials: int) -> None:
    """Every trial counted once, every genome trained once, nothing open but what pauses."""
    counted = [record for record in records if record.counts]
    assert len(counted) == trials
    assert len({record.key for record in counted}) == trials
    assert all(record.ended is not None or record.paused for record in records)


def damage(path: Path, rng: random.Random) -> None:
    """Cut a file off anywhere, or turn around one bit of it."""
    content = bytearray(path.read_bytes()) or bytearray(1)
    if rng.random() < 0.5:
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
