"""A driver in a process of its own: python -m tests.nas.driver_process RUN URL LOG TRIALS DIES_AT

It says "ready", begins when it is told a line, and notes every job in LOG as it begins and ends.
At the job numbered DIES_AT, from 1, it kills itself with signal 9; 0 for never.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from nas.jobs import Job, Outcome
from nas.search import SearchSettings, search
from tests.nas.tables import PairSpace, score


@dataclass
class Noting:
    """Looks scores up, and notes each job."""

    log: Path
    dies_at: int
    count: int = 0

    def evaluate(self, job: Job) -> Outcome:
        self.count += 1
        self._note("begin", job)
        if self.count == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("end", job)
        return Outcome(score(job.genome, job.budget), cost_s=1.0)

    def _note(self, what: str, job: Job) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {job.genome.key} {job.budget}\n")


def main() -> None:
    run, url, log, trials, dies_at = sys.argv[1:]
    settings = SearchSettings(
        run=Path(run),
        trials=int(trials),
        budgets=(1, 3),
        sampler="random",
        storage=url,
        scheduler="halving",
        repeats=0,  # so that whatever is done twice is a fault
        heartbeat_s=0.5,  # dead after 6 s: a driver that only waits for a processor is not
    )
    print("ready", flush=True)
    sys.stdin.readline()
    result = search(PairSpace(), Noting(Path(log), int(dies_at)), settings)
    print(result.finish, sum(record.counts for record in result.trials), flush=True)


if __name__ == "__main__":
    main()
