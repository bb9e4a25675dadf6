"""Does a genome that begins with its parent's weights do better than one that begins anew?

    python -m tests.benchmarks.inheritance --data data/chestxrays --pairs 20

Random genomes of a space are trained in full. Of each a child is made that differs in one choice,
and trained twice from the same seed: from random weights, and from its parent's. Told are scores
at every budget, and how well the scores at the lowest budget rank children as full training from
random weights does: that is what a search decides on. The test split is not read.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FixedTrial
from rich.console import Console
from scipy.stats import spearmanr

from nas.axes import Axes
from nas.data.cache import load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE, opened
from nas.devices import choose, keep_freed_memory
from nas.evaluator import TrainingEvaluator
from nas.files import write_json
from nas.genome import Genome, ImageShape
from nas.jobs import Job
from nas.neighbours import neighbours
from nas.recipe import TrainingSettings
from nas.scheduler import rungs
from nas.search_command import multiply_adds_limit
from nas.seeds import derive
from search_spaces import SPACES, NetworkSpace


def drawn_pair(
    space: NetworkSpace, image: ImageShape, limit: float, seed: int
) -> tuple[Genome, Genome, str]:
    """A random genome within the limit, a neighbour of it, and the parameter that differs."""
    rng = np.random.default_rng(seed)
    while True:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(int(rng.integers(2**31))))
        trial = study.ask()
        parent = space.suggest(trial)
        axes = Axes(trial.distributions)
        near = neighbours(axes, axes.rows([trial.params]))
        point = axes.point(near[rng.integers(len(near))])
        child = space.suggest(FixedTrial(point))  # type: ignore[arg-type]
        sizes = [genome.multiply_adds(image, 2) for genome in (parent, child)]
        if child.key != parent.key and max(sizes) <= limit:
            changed = next(name for name in point if point[name] != trial.params[name])
            return parent, child, changed


def scores(
    evaluator: TrainingEvaluator, genome: Genome, seed: int, folder: Path, parent: Path | None
) -> list[float]:
    """A genome's score at every budget."""
    folder.mkdir(parents=True)
    checkpoint, found, start = folder / "checkpoint.pt", [], 0
    for budget in rungs(evaluator.settings.epochs):
        job = Job(genome, start, budget, seed, checkpoint=checkpoint, parent=parent)
        found.append(evaluator.evaluate(job).score)
        start = budget
    return found


def measured(
    evaluator: TrainingEvaluator, space: NetworkSpace, limit: float, number: int
) -> dict[str, Any]:
    """One pair."""
    parent, child, changed = drawn_pair(space, evaluator.image, limit, derive("pair", number))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = scores(evaluator, parent, derive("parent", number), folder / "parent", None)
        begun = folder / "parent" / "checkpoint.pt"
        seed = derive("child", number)
        return {
            "changed": changed,
            "parent": first,
            "anew": scores(evaluator, child, seed, folder / "anew", None),
            "heir": scores(evaluator, child, seed, folder / "heir", begun),
        }


def summary(rows: Sequence[dict[str, Any]], budgets: Sequence[int]) -> str:
    """What the pairs tell, in words."""
    lines = []
    for place, budget in enumerate(budgets):
        gains = [row["heir"][place] - row["anew"][place] for row in rows]
        spread = statistics.stdev(gains) if len(gains) > 1 else float("nan")
        anew, heir = (statistics.fmean(row[who][place] for row in rows) for who in ("anew", "heir"))
        lines.append(
            f"after {budget} epochs: anew {anew:.4f}, with the parent's weights {heir:.4f}; "
            f"difference {statistics.fmean(gains):+.4f} ± {spread:.4f} (sd), "
            f"better in {sum(gain > 0 for gain in gains)} of {len(gains)}"
        )
    goal = [row["anew"][-1] for row in rows]
    for who, place in (("anew", 0), ("heir", 0), ("heir", -1), ("parent", -1)):
        rank = spearmanr([row[who][place] for row in rows], goal).statistic
        lines.append(
            f"rank correlation of {who} after {budgets[place]} with anew in full {rank:.2f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--space", default="chain", choices=list(SPACES))
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--fold", default="patients-1")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/inheritance-benchmark"))
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    choose("cpu")
    cache = options.out / CACHE
    source = opened(options.data, cache, Console(highlight=False)).source
    images = load_images(source, ("train", "val"), size=options.size, channels=1, cache=cache)
    fold = make_fold(images, source.classes, choose_division(divisions(images, 0), options.fold))
    evaluator = TrainingEvaluator(fold, TrainingSettings(epochs=options.epochs))
    space = SPACES[options.space](ImageShape(1, options.size, options.size))
    limit = float(multiply_adds_limit("auto", "cpu", options.size) or "inf")
    rows = []
    for number in range(options.pairs):
        file = options.out / f"{options.space}-{number}.json"
        if not file.is_file():
            write_json(file, measured(evaluator, space, limit, number))
        rows.append(json.loads(file.read_text()))
        print(number, json.dumps(rows[-1]), flush=True)
    print(summary(rows, rungs(options.epochs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
