"""Schedulers in simulation: the true quality of the genome that a search would hand out.

    python tests/benchmarks/schedulers.py --searches 2000

A genome's quality is normal with standard deviation 1. Its score after full training is the quality
with noise between seeds (0.36, as seen on chest X-rays); at the first rung a score correlates with
it by ``--low`` (0.82 is NASA-Bench-201's rank correlation of 12 epochs and 200). Proposals are
random, so what differs is only who trains further. All searches of a row cost the same: further
trainings from another seed are paid for with fewer genomes.
"""

import argparse
import math
import random
import statistics
import sys
from collections.abc import Sequence

from nas.scheduler import (
    NOISE_SHARE,
    SCHEDULERS,
    Field,
    New,
    Promotion,
    Repeat,
    Standing,
    make_scheduler,
    noise,
)

BUDGETS = (2, 6)


class Simulation:
    """One search: what the scheduler asks for is drawn from the model."""

    def __init__(self, scheduler: str, cost: float, repeats: int, low: float, seed: int) -> None:
        self._scheduler, self._random = make_scheduler(scheduler), random.Random(seed)
        self._repeats, self._low = repeats, low
        # The share of genomes that is trained in full differs by scheduler: trials follow from it.
        self._cost, self.spent = cost, 0.0
        self._reserved = (
            repeats * BUDGETS[-1]
        )  # all of it from the start: what is left is not spent
        self.quality: list[float] = []
        self.scores: list[list[list[float]]] = []  # genome -> rung -> scores

    def run(self) -> float:
        """The true quality of the best by mean score at the last rung."""
        while (step := self._scheduler.next(self._field())) is not None:
            match step:
                case New():
                    self.quality.append(self._random.gauss(0, 1))
                    self.scores.append([[self._draw(len(self.quality) - 1, 0)]])
                    self.spent += BUDGETS[0]
                case Promotion():
                    self.scores[step.number].append([self._draw(step.number, 1)])
                    self.spent += BUDGETS[1] - BUDGETS[0]
                case Repeat():
                    self._repeats -= 1
                    self.scores[step.number][step.rung].append(self._draw(step.number, step.rung))
                    self.spent += BUDGETS[step.rung]
        full = [n for n, rungs in enumerate(self.scores) if len(rungs) == len(BUDGETS)]
        best = max(full, key=lambda n: statistics.fmean(self.scores[n][-1]))
        return self.quality[best]

    def _draw(self, number: int, rung: int) -> float:
        quality = self.quality[number]
        if rung == len(BUDGETS) - 1:
            return quality + self._random.gauss(0, NOISE_SHARE)
        rest = math.sqrt(1 - self._low**2)
        return self._low * quality + self._random.gauss(0, rest)

    def _field(self) -> Field:
        standings = [
            Standing(
                number,
                tuple(statistics.fmean(scores) for scores in rungs),
                len(rungs) < len(BUDGETS),
                tuple(len(scores) for scores in rungs),
            )
            for number, rungs in enumerate(self.scores)
        ]
        first, full = BUDGETS
        further = sum((full - first) * (len(rungs) - 1) for rungs in self.scores)
        spread = [
            noise([rungs[rung] for rungs in self.scores if len(rungs) > rung])
            for rung in range(len(BUDGETS))
        ]
        left = self._cost - self.spent - self._repeats * full
        return Field(
            standings=standings,
            rungs=len(BUDGETS),
            coming=left >= first + (full - first) / 3,
            settled=True,
            idle=True,
            explored=float(first * len(self.scores)),
            promoted=float(further),
            total=self._cost - self._reserved,
            price=float(first),
            climb=float(full - first),
            timed=False,
            repeats=self._repeats,
            spread=spread.__getitem__,
            expected=lambda numbers: [standings[n].scores[-1] for n in numbers],
        )


def measured(name: str, cost: float, repeats: int, low: float, seeds: Sequence[int]) -> str:
    """A line: mean quality with its standard error, and mean cost."""
    runs = [Simulation(name, cost, repeats, low, seed) for seed in seeds]
    found = [run.run() for run in runs]
    error = statistics.stdev(found) / math.sqrt(len(found))
    spent = statistics.fmean(run.spent for run in runs)
    return (
        f"{name:10} repeats {repeats:2}  low {low:.2f}  quality {statistics.fmean(found):.3f} "
        f"± {error:.3f} (standard error)  cost {spent:.0f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--cost", type=float, default=200.0, help="epochs a search")
    parser.add_argument("--low", type=float, nargs="+", default=[0.5, 0.82])
    parser.add_argument("--repeats", type=int, nargs="+", default=[0, 2, 4, 8])
    options = parser.parse_args(arguments)
    for low in options.low:
        for name in SCHEDULERS:
            for repeats in options.repeats:
                line = measured(name, options.cost, repeats, low, range(options.searches))
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
