"""A search of a table whose jobs may run in other processes, which import next to nothing for it.

    python -m tests.nas.lookups RUN LOG DIES_AT

searches in RUN with two worker processes, and kills itself when it begins the job numbered DIES_AT.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.jobs import Job, Outcome

TRIALS, BUDGETS = 9, (1, 3)


@dataclass(frozen=True)
class Spot:
    """A genome: a number, of which 13 is the best, and something that costs nothing to score."""

    width: int
    kind: int = 0

    @property
    def key(self) -> str:
        return f"{self.width}-{self.kind}"

    def to_json(self) -> dict[str, Any]:
        return {"width": self.width, "kind": self.kind}


@dataclass(frozen=True)
class SpotSpace:
    """30 × 2 genomes."""

    name: str = "spots"

    def suggest(self, trial: Any) -> Spot:
        return Spot(trial.suggest_int("width", 1, 30), trial.suggest_int("kind", 0, 1))


def score(genome: Spot, budget: int) -> float:
    """No two genomes have the same."""
    return -abs(genome.width - 13.2) - genome.kind / 10 - 1 / budget


def step(job: Job) -> str:
    """A line that tells a job from all others."""
    return f"{job.genome.key} {job.start_budget} {job.budget} {job.seed}\n"


@dataclass(frozen=True)
class Lookup:
    """Looks scores up, and adds a line to a file for each job that it begins and that it ends.

    Attributes:
        log: that file.
        deaths: of so many jobs the first attempt kills the process that it is in.
    """

    log: Path
    deaths: int = 0

    def evaluate(self, job: Job) -> Outcome:
        self._note("begin " + step(job))
        if self._dies():
            os.kill(os.getpid(), signal.SIGKILL)
        assert job.checkpoint is not None
        spent = int(job.checkpoint.read_text()) if job.checkpoint.is_file() else 0
        assert spent >= job.start_budget, "a job must go on from where the genome was"
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job.checkpoint.write_text(str(job.budget))
        self._note("end " + step(job))
        return Outcome(score(job.genome, job.budget), cost_s=1.0, metrics={"pid": os.getpid()})

    def _dies(self) -> bool:
        """Whether a death was left; each is taken once, whoever asks at the same moment."""
        for number in range(self.deaths):
            try:
                self.log.with_name(f"death-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    def _note(self, text: str) -> None:
        with self.log.open("a") as file:  # short lines that are added arrive whole
            file.write(text)


def steps(log: Path, what: str) -> list[str]:
    """Jobs that began, or ended, in any order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted(line.partition(" ")[2] for line in lines if line.startswith(what))


def main() -> None:
    # Only here: worker processes import this module, and need none of it.
    from nas.driver import Silent
    from nas.running import Running
    from nas.search import SearchSettings, search
    from nas.study import TrialRecord

    run, log, dies_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

    class Dying(Silent):
        begun = 0

        def started(self, trial: TrialRecord, budget: int) -> None:
            self.begun += 1
            if self.begun == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    running = Running(executor="processes", workers=2)
    wanted = SearchSettings(run, TRIALS, BUDGETS, "random", "halving", repeats=0, running=running)
    search(SpotSpace(), Lookup(log), wanted, listener=Dying())


if __name__ == "__main__":
    main()
