"""What a change of the recipe brings, judged on images that were held out by patient and by series.

    python -m tests.benchmarks.recipes --data data/chestxrays --name twice --set epochs=12

Genomes are trained by the recipe with the changes on every division that is asked for. Told are the
score under shifts and the clean AUROC of each, and their means. The test split is not read.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.data.augmentation import Augmentation
from nas.data.cache import load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE
from nas.data.prepare import prepare
from nas.devices import HalfPrecision, choose, keep_freed_memory
from nas.evaluator import TrainingEvaluator
from nas.genome import Genome
from nas.jobs import Job
from nas.recipe import TrainingSettings


def changed(settings: TrainingSettings, changes: Sequence[str]) -> TrainingSettings:
    """The recipe with NAME=NUMBER changes."""
    for change in changes:
        name, _, text = change.partition("=")
        kind = type(getattr(settings, name))
        settings = replace(settings, **{name: kind(text)})
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--name", required=True, help="of the variant, in what is printed")
    parser.add_argument(
        "--genomes", type=Path, nargs="+", default=[Path("docs/genomes/chain.json")]
    )
    parser.add_argument(
        "--folds", nargs="+", default=["patients-2", "domain-IM", "domain-NORMAL2-IM"]
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", dest="changes")
    parser.add_argument("--augment", nargs="*", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 on a CPU")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, help="append a line for every training here")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings = replace(
        changed(TrainingSettings(), options.changes),
        augmentation=Augmentation.parsed(options.augment),
    )
    cache = options.runs / CACHE
    source = prepare(options.data, cache).source
    images = load_images(source, ("train", "val"), size=options.size, channels=1, cache=cache)
    found = divisions(images, 0)
    results: list[dict[str, Any]] = []
    for path in options.genomes:
        genome = Genome.from_json(json.loads(path.read_text()))
        for name in options.folds:
            fold = make_fold(images, source.classes, choose_division(found, name))
            half = HalfPrecision(plain=not options.float32)
            evaluator = TrainingEvaluator(fold, settings, half=half)
            for seed in options.seeds:
                job = Job(genome, 0, settings.epochs, seed, device=choose("auto").name)
                outcome = evaluator.evaluate(job)
                result = {
                    "variant": options.name,
                    "genome": path.stem,
                    "fold": name,
                    "seed": seed,
                    "robust": outcome.metrics["robust"],
                    "auroc": outcome.metrics["auroc"],
                    "seconds": outcome.cost_s,
                }
                results.append(result)
                print(json.dumps(result), flush=True)
                if options.json is not None:
                    with options.json.open("a") as file:
                        file.write(json.dumps(result) + "\n")
    for figure in ("robust", "auroc", "seconds"):
        values = [result[figure] for result in results]
        print(f"{options.name}: mean {figure} {statistics.mean(values):.4f} (n = {len(values)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
