"""An evaluator that works as a real training does, epoch by epoch, and to which harm is done.

It imports little, since worker processes import it.
"""

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.errors import Interrupted
from nas.files import write_bytes
from nas.jobs import Job, Outcome
from tests.nas.deeds import until
from tests.nas.tables import score

WEIGHTS = "weights.pt"

Harm = Callable[[Job, int], None]
"""Is done in the middle of an epoch: after its work, before its checkpoint."""


def harmless(_: Job, __: int) -> None:
    """Nothing."""


def noisy(job: Job) -> float:
    """The table's score, and what chance adds to it."""
    return score(job.genome, job.budget) + random.Random(job.seed).gauss(0, 0.05)


@dataclass(frozen=True)
class Bad:
    """A score that is no number, for some genomes, or for trainings from another seed."""

    value: float
    repeated: bool = False

    def __call__(self, job: Job) -> float:
        return self.value if self.strikes(job) else noisy(job)

    def strikes(self, job: Job) -> bool:
        assert job.checkpoint is not None
        again = job.checkpoint.parent.name.startswith("again")
        return again if self.repeated else bool(job.genome.a >= 5)


def never() -> bool:
    return False


@dataclass(frozen=True)
class Stepping:
    """Notes every epoch in a log before it is saved, so the log shows what was done twice.

    Attributes:
        log: lines of key, seed and epoch; several processes may add to it.
        harm: see Harm.
        scored: gives the score.
        stop: see nas.jobs.Watchable.
    """

    log: Path
    harm: Harm = harmless
    scored: Callable[[Job], float] = noisy
    stop: Callable[[], bool] = never

    def watched(self, report: Callable[[Any], None], stop: Callable[[], bool]) -> "Stepping":
        return replace(self, stop=stop)

    def evaluate(self, job: Job) -> Outcome:
        assert job.checkpoint is not None
        done = int(job.checkpoint.read_text()) if job.checkpoint.is_file() else 0
        assert done >= job.start_budget, "a job must go on from where the genome was"
        for epoch in range(done + 1, job.budget + 1):
            if self.stop():
                raise Interrupted(f"stopped before epoch {epoch}")
            with self.log.open("a") as log:
                log.write(f"{job.genome.key} {job.seed} {epoch}\n")
            self.harm(job, epoch)
            write_bytes(job.checkpoint, str(epoch).encode())
        write_bytes(job.checkpoint.with_name(WEIGHTS), f"{job.genome.key} {job.budget}".encode())
        return Outcome(self.scored(job), cost_s=1.0, metrics={"budget": job.budget})


def epochs(log: Path) -> list[str]:
    """What was done, in order."""
    return log.read_text().splitlines() if log.exists() else []


@dataclass(frozen=True)
class Kills:
    """Kills its process in the middle of an epoch of some genomes.

    Attributes:
        marks: a folder that remembers whom it killed.
        epoch: in which.
        keys: of the genomes.
        once: whether a genome is spared the second time.
    """

    marks: Path
    epoch: int
    keys: tuple[str, ...]
    once: bool

    def __call__(self, job: Job, epoch: int) -> None:
        mark = self.marks / f"killed {job.genome.key}"
        if (epoch, job.genome.key in self.keys) != (self.epoch, True):
            return
        if self.once and mark.exists():
            return
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Holds:
    """Holds every process in the middle of its first epoch until the folder has a file "free"."""

    folder: Path

    def __call__(self, job: Job, epoch: int) -> None:
        (self.folder / f"held {os.getpid()}").touch()
        until((self.folder / "free").exists)


@dataclass(frozen=True)
class Fills:
    """Takes all space of a disk in the middle of an epoch, once.

    Attributes:
        disk: its folder.
        line: of the log, from 1, at which it does so.
        log: see Stepping.
    """

    disk: Path
    line: int
    log: Path

    def __call__(self, _: Job, __: int) -> None:
        if len(epochs(self.log)) == self.line and not (self.disk / "filler").exists():
            fill(self.disk)


def fill(disk: Path, spare: int = 0) -> None:
    """Take all space, but for some bytes."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
        file.truncate(max(0, file.tell() - spare))
