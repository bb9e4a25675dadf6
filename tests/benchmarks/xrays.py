"""Search engines on real X-rays at equal cost: who finds the better network?

    python tests/benchmarks/xrays.py search --data data/chestxrays --minutes 60 --seeds 0 1 2
    python tests/benchmarks/xrays.py judge --data data/chestxrays

``search`` runs every engine for the same time with every seed, each in a run folder of its own; a
search that has ended is not run again. ``judge`` trains the best genome of each once more, by the
same recipe with new seeds, on divisions that no search validated on, and tells the mean and spread
of the scores there. Nothing here looks at the test split.

With ``--clock cpu`` time is that of the process's own processor use: several searches may then
share a machine, each on one thread, and get the same amount of work.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from rich.console import Console

from nas.data.cache import Images, load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE, opened
from nas.devices import choose, keep_freed_memory
from nas.evaluator import TrainingEvaluator
from nas.files import write_json
from nas.genome import Genome, ImageShape
from nas.jobs import Job
from nas.measuring import Measure
from nas.recipe import TrainingSettings
from nas.scheduler import rungs
from nas.search import SearchSettings, search
from nas.search_command import multiply_adds_limit
from nas.seeds import derive
from nas.study import read_records
from search_spaces import SPACES, NetworkSpace

ENDLESS = 100_000
"""Trials: time ends these searches, not a count."""


@dataclass(frozen=True)
class Engine:
    """How a search differs from the others: sampler, rungs, whether it begins with references."""

    changes: Mapping[str, Any]
    full_only: bool
    warm: bool


ENGINES: Mapping[str, Engine] = {
    "random-full": Engine({"sampler": "random"}, full_only=True, warm=False),
    "tpe-full": Engine({"sampler": "tpe"}, full_only=True, warm=False),
    "default": Engine({}, full_only=False, warm=True),
    "inherit": Engine({"inherit": True}, full_only=False, warm=True),
    "tpe-halving": Engine(
        {"sampler": "tpe", "scheduler": "halving", "repeats": 0}, full_only=False, warm=True
    ),
    "surrogate-halving": Engine(
        {"sampler": "surrogate", "scheduler": "halving"}, full_only=False, warm=True
    ),
    "surrogate-expecting": Engine(
        {"sampler": "surrogate", "scheduler": "expecting"}, full_only=False, warm=True
    ),
}


@dataclass(frozen=True)
class Setting:
    """What all searches share."""

    images: Images
    classes: tuple[str, ...]
    space: NetworkSpace
    epochs: int
    size: int

    def evaluator(self, division: str) -> TrainingEvaluator:
        """Trains on one division of the train split."""
        chosen = choose_division(divisions(self.images, 0), division)
        fold = make_fold(self.images, self.classes, chosen)
        return TrainingEvaluator(fold, TrainingSettings(epochs=self.epochs))


def run_searches(setting: Setting, options: argparse.Namespace, clock: Callable[[], float]) -> None:
    """One search for each engine and seed that has not ended yet."""
    evaluator = replace(setting.evaluator(options.fold), clock=clock)
    limit = multiply_adds_limit("auto", "cpu", setting.size)
    for seed in options.seeds:
        for name in options.engines:
            engine = ENGINES[name]
            run = options.runs / f"{name}-{seed}"
            if (run / "done.json").is_file():
                continue
            budgets = (setting.epochs,) if engine.full_only else rungs(setting.epochs)
            settings = SearchSettings(
                run=run,
                trials=ENDLESS,
                budgets=budgets,
                seed=seed,
                timeout_s=60 * options.minutes,
                measure=Measure(evaluator.image, len(setting.classes)),
                limits={"multiply_adds": limit} if limit else {},
                warm_start=setting.space.warm_starts() if engine.warm else (),
                **engine.changes,
            )
            started = time.monotonic()
            result = search(setting.space, evaluator, settings, clock=clock)
            best = result.best
            told = {
                "trials": sum(record.counts for record in result.trials),
                "full": sum(record.budget == setting.epochs for record in result.trials),
                "best": None if best is None else {"number": best.number, "score": best.score},
                "minutes": options.minutes,
                "clock": options.clock,
                "threads": torch.get_num_threads(),
                "wall_minutes": (time.monotonic() - started) / 60,
            }
            write_json(run / "done.json", told)
            print(name, seed, json.dumps(told), flush=True)


def judge(setting: Setting, options: argparse.Namespace) -> None:
    """Train the best of every search once more on divisions that no search saw, and tell."""
    evaluators = {name: setting.evaluator(name) for name in options.folds}
    table: dict[str, dict[str, list[float]]] = {}
    for path in sorted(options.runs.glob("*/done.json")):
        engine, _, seed = path.parent.name.rpartition("-")
        if json.loads(path.read_text())["best"] is None:
            print(engine, seed, "scored nothing", flush=True)
            continue
        kept = path.parent / "judged.json"
        if not kept.is_file():
            scores = _judged(path.parent, evaluators, options)
            write_json(kept, scores)
        scores = json.loads(kept.read_text())
        print(engine, seed, json.dumps(scores), flush=True)
        for name in ("robust", "auroc"):
            values = [value for fold in scores[name].values() for value in fold]
            table.setdefault(engine, {}).setdefault(name, []).append(statistics.fmean(values))
    for engine, columns in table.items():
        text = "  ".join(
            f"{name} {statistics.fmean(values):.4f} ± "
            f"{statistics.stdev(values) if len(values) > 1 else float('nan'):.4f}"
            for name, values in columns.items()
        )
        print(f"{engine:16} n = {len(columns['robust'])} searches  {text}")


def _judged(
    run: Path, evaluators: Mapping[str, TrainingEvaluator], options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    records = read_records(run / "study.db")
    number = json.loads((run / "done.json").read_text())["best"]["number"]
    genome = Genome.from_json(records[number].genome)
    scores: dict[str, dict[str, list[float]]] = {"robust": {}, "auroc": {}}
    for fold, evaluator in evaluators.items():
        for repeat in range(options.repeats):
            seed = derive("judge", fold, repeat)
            job = Job(genome, 0, evaluator.settings.epochs, seed)
            metrics = evaluator.evaluate(job).metrics
            for name, found in scores.items():
                found.setdefault(fold, []).append(round(metrics[name], 5))
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["search", "judge"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/xrays-benchmark"))
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--threads", type=int, default=None, help="of torch; all by default")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--space", default="chain", choices=list(SPACES))
    parser.add_argument("--fold", default="patients-1", help="what the searches validate on")
    parser.add_argument(
        "--folds", nargs="+",
        default=["patients-2", "patients-3", "domain-IM", "domain-NORMAL2-IM"],
        help="what the found networks are judged on",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=2, help="seeds on each of --folds")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    choose("cpu")
    cache = options.runs / CACHE
    prepared = opened(options.data, cache, Console(highlight=False))
    images = load_images(
        prepared.source, ("train", "val"), size=options.size, channels=1, cache=cache
    )
    shape = ImageShape(1, options.size, options.size)
    setting = Setting(
        images, prepared.source.classes, SPACES[options.space](shape), options.epochs, options.size
    )
    if options.what == "judge":
        judge(setting, options)
    else:
        clock = time.process_time if options.clock == "cpu" else time.monotonic
        run_searches(setting, options, clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
