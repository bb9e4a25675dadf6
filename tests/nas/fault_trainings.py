"""Real trainings to which harm is done: small networks, and the search command on small images."""

import os
import re
import resource
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

import nas.driver
import nas.search_session  # which the command imports late
import nas.stepping
from nas.data.augment import augment
from nas.evaluator import TrainingEvaluator
from nas.genome import ConvBlock, Genome, Pool
from nas.jobs import Job, Outcome
from nas.recipe import TrainingSettings
from nas.search import search
from nas.search_command import main
from tests.nas.faults import DyingAt, settings
from tests.nas.steps import Stepping
from tests.nas.tables import PairSpace
from tests.pictures import bar_fold

RECIPE = TrainingSettings(epochs=3, batch_size=16, learning_rate=2e-3)
HUGE = 4096
"""Filters of networks whose weights take 600 MB."""


@dataclass(frozen=True)
class Nets:
    """Networks of one or two convolutions; ``sizes`` are their filters."""

    sizes: tuple[int, ...] = (2, 3, 4, 6, 8)
    name: str = "nets"

    def suggest(self, trial: optuna.Trial) -> Genome:
        first, second = (trial.suggest_categorical(name, self.sizes) for name in ("a", "b"))
        if HUGE in (first, second):
            first = second = HUGE  # only together are they too much
        return Genome((ConvBlock(first, 3, pool=Pool.MAX), ConvBlock(second, 3)))


def still() -> float:
    """A clock that stands still: seconds would be all that differs."""
    return 0.0


def training() -> TrainingEvaluator:
    return TrainingEvaluator(bar_fold(), RECIPE, clock=still)


@dataclass(frozen=True)
class Wild:
    """Trains some genomes with a learning rate that explodes."""

    tame: TrainingEvaluator

    def evaluate(self, job: Job) -> Outcome:
        rate = 1e30 if wild(job.genome.to_json()) else RECIPE.learning_rate
        return replace(self.tame, settings=replace(RECIPE, learning_rate=rate)).evaluate(job)


def wild(genome: Any) -> bool:
    return bool(genome["blocks"][0]["filters"] % 2)


def trained_search(run: Path, moment: int | None, changes: dict[str, Any]) -> int:
    """Real trainings; see table_search. A training has a moment in each of its steps."""
    nas.driver.MAX_DEATHS = 1_000
    dying = DyingAt(moment)

    def step(*given: Any) -> Any:
        dying()
        return augment(*given)

    setattr(nas.stepping, "augment", step)  # noqa: B010 - it is the training's own name
    search(Nets(), training(), settings(run, **{"budgets": (1, 3), "repeats": 0, **changes}))
    return dying.seen


def search_in_little_memory(run: Path, spare: int) -> None:
    """A search in which networks of HUGE filters cannot be had, and others can.

    Args:
        run: its folder.
        spare: bytes that are left when it begins.
    """
    evaluator = training()
    evaluator.evaluate(Job(Genome((ConvBlock(6, 3),)), 0, 1, seed=0))  # loads what is loaded once
    found = re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    resource.setrlimit(resource.RLIMIT_AS, (int(found[1]) * 1024 + spare, resource.RLIM_INFINITY))
    changes: dict[str, Any] = {"budgets": (1, 3), "trials": 4}
    search(Nets((4, HUGE, 6)), evaluator, settings(run, **changes))


def limit_file_size(size: int) -> None:
    """Let no file of this process become larger, as if its disk were full then."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def search_in_little_space(run: Path, size: int | None, trained: bool) -> None:
    """A search, of trainings or of a table, with files of limited size; see limit_file_size."""
    if size is not None:
        limit_file_size(size)
    if trained:
        search(Nets(), training(), settings(run, budgets=(1, 3), trials=4))
    else:
        search(PairSpace(), Stepping(run.with_suffix(".log")), settings(run))


def search_command(arguments: list[str], signals: tuple[int, ...], said: Path) -> int:
    """The search command, to which SIGINT comes in the middle of some epochs.

    Args:
        arguments: its own.
        signals: numbers of batches, from 1, at which it comes; one twice for twice.
        said: file for what it prints.
    """
    count = 0

    def interrupted(*given: Any) -> Any:
        nonlocal count
        count += 1
        for _ in range(signals.count(count)):
            os.kill(os.getpid(), signal.SIGINT)
        return augment(*given)

    setattr(nas.stepping, "augment", interrupted)  # noqa: B010 - see above
    with said.open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        sys.argv = ["nas.search", *arguments]
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    return status
