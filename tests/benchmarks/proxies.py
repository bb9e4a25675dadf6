"""Do proxies of untrained networks tell which will score well on real X-rays?

    python tests/benchmarks/proxies.py --runs DIR --data data/chestxrays --size 32

DIR has run folders of tests/benchmarks/xrays.py, which may still be written. What is told: rank
correlations of proxies with the scores of genomes that were trained in full; how well a Gaussian
process predicts the scores of genomes that it was not told, from codes alone or with figures known
before training; and what pre-screening would have discarded. Nothing here looks at the test split.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FixedTrial, TrialState, create_trial
from rich.console import Console
from scipy.stats import rankdata, spearmanr

from nas.belief import Belief
from nas.data.cache import load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE, opened
from nas.genome import Genome, ImageShape
from nas.network import build
from nas.observations import observe
from nas.proxies import PROXIES, proxies
from nas.screening import keep
from nas.seeds import derive
from nas.storage import open_study
from nas.study import Ended, record_of
from nas.training import initial_network
from search_spaces import SPACES, NetworkSpace

Point = Mapping[str, Any]
Array = NDArray[np.float64]

COSTS = ("parameters", "multiply_adds")

FLOW = (*COSTS, "synflow")
EVERY = (*COSTS, *PROXIES)

FEATURES: Mapping[str, tuple[bool, tuple[str, ...]]] = {
    "codes": (False, ()),
    "codes + costs": (False, COSTS),
    "codes + 4 costs": (False, COSTS * 4),
    "codes + costs + proxies": (False, EVERY),
    "codes + 4 (costs + proxies)": (False, EVERY * 4),
    "active": (True, ()),
    "active + costs": (True, COSTS),
    "active + 4 costs": (True, COSTS * 4),
    "active + costs + synflow": (True, FLOW),
    "active + 4 (costs + synflow)": (True, FLOW * 4),
    "active + costs + proxies": (True, EVERY),
}
"""What the process is told of a point: its codes, or those alone that make a difference to its
genome; and figures. What it is told four times weighs as much as four columns."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "costs": COSTS,
    "proxies": PROXIES,
    "costs + proxies": EVERY,
    "parameters + synflow": ("parameters", "synflow"),
}
"""What genomes are screened by."""


FEWEST = 8
"""Genomes that a rank correlation is told of."""


@dataclass(frozen=True)
class Trained:
    """A genome that was trained in full.

    Attributes:
        engine: that trained it first.
        point: its parameters in the space.
        active: those of them that make a difference.
        score: after the first training.
        figures: known before.
    """

    engine: str
    point: Point
    active: Point
    score: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Pool:
    """Genomes to look at, each once, and their space."""

    trained: tuple[Trained, ...]
    space: Mapping[str, BaseDistribution]

    def of(self, engine: str) -> "Pool":
        """Those that an engine trained first."""
        return Pool(tuple(t for t in self.trained if t.engine == engine), self.space)

    @property
    def scores(self) -> Array:
        """(N,) of all."""
        return np.array([one.score for one in self.trained])

    def column(self, name: str) -> Array:
        """(N,) a figure of all; "mean log-rank" is that of nas.screening, turned."""
        if name != "mean log-rank":
            return np.array([one.figures[name] for one in self.trained])
        ranks = [rankdata(-self.column(other)) for other in EVERY]
        return np.asarray(-np.log(ranks).mean(axis=0))


def read_pool(
    runs: Path, epochs: int, space_of: NetworkSpace, measure: Callable[[Genome], Any]
) -> Pool:
    """Every genome trained to ``epochs`` in the runs, each once; figures are facts and proxies."""
    found: dict[str, Trained] = {}
    space: dict[str, BaseDistribution] = {}
    for path in sorted(runs.glob("*/study.db")):
        with _copied(path) as copy:
            trials = open_study(copy).get_trials(deepcopy=False)
        for trial in trials:
            record = record_of(trial)
            scores = record.scores_at(epochs)
            known = record.key is None or record.key in found or record.ended is Ended.DUPLICATE
            if known or not scores:
                continue
            figures = {**record.facts, **measure(Genome.from_json(record.genome))}
            engine = path.parent.name.rpartition("-")[0]
            active = active_part(trial.params, trial.distributions, space_of)
            found[str(record.key)] = Trained(engine, trial.params, active, scores[0], figures)
            space.update(trial.distributions)
    return Pool(tuple(found.values()), space)


def active_part(
    point: Point, distributions: Mapping[str, BaseDistribution], space: NetworkSpace
) -> Point:
    """The parameters of which another value would give another genome."""

    def key(changed: Point) -> str:
        return space.suggest(cast(optuna.Trial, FixedTrial(dict(changed)))).key

    own = key(point)
    return {
        name: value
        for name, value in point.items()
        if any(key({**point, name: other}) != own for other in _values(distributions[name]))
    }


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution)
    return range(distribution.low, distribution.high + 1, distribution.step)


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """A study's file in a folder of its own, with what is not yet written into it."""
    with tempfile.TemporaryDirectory() as folder:
        for part in (path, path.with_name(f"{path.name}-wal")):
            if part.is_file():
                shutil.copy(part, folder)
        yield Path(folder) / path.name


def correlations(pool: Pool) -> dict[str, dict[str, float]]:
    """Spearman's with the score: of all, of all but the best quarter, and of the best quarter."""
    scores = pool.scores
    border = np.quantile(scores, 0.75)
    parts = {"all": scores > -np.inf, "bulk": scores < border, "top quarter": scores >= border}
    return {
        name: {
            part: round(float(spearmanr(pool.column(name)[rows], scores[rows])[0]), 3)
            for part, rows in parts.items()
        }
        for name in (*EVERY, "mean log-rank")
    }


def predicted(
    pool: Pool, known: Sequence[int], names: Sequence[str], active: bool
) -> tuple[float, float]:
    """Spearman's of what a process expects of all others with their scores.

    And that among those of them that are in the pool's best quarter; NaN if they are too few.
    """
    points = [one.active if active else one.point for one in pool.trained]
    figures = {
        _key(point): {f"{name} {i}": one.figures[name] for i, name in enumerate(names)}
        for point, one in zip(points, pool.trained, strict=True)
    }
    study = optuna.create_study(direction="maximize")
    told = set(known)
    for place, (point, one) in enumerate(zip(points, pool.trained, strict=True)):
        # Failed trials tell no score, and that their parameters are of the space.
        study.add_trial(
            create_trial(
                params=dict(point),
                distributions={name: pool.space[name] for name in point},
                state=TrialState.COMPLETE if place in told else TrialState.FAIL,
                value=one.score if place in told else None,
            )
        )
    describe = (lambda point: figures[_key(point)]) if names else None
    belief = Belief.of(observe(study, -1), describe)
    others = [place for place in range(len(points)) if place not in told]
    mean, _ = belief.predict([points[place] for place in others])
    return _among_all_and_best(mean, pool, others)


def _among_all_and_best(column: Array, pool: Pool, rows: Sequence[int]) -> tuple[float, float]:
    scores = pool.scores[rows]
    best = scores >= np.quantile(pool.scores, 0.75)
    top = spearmanr(column[best], scores[best])[0] if best.sum() >= FEWEST else math.nan
    return float(spearmanr(column, scores)[0]), float(top)


def predictions(pool: Pool, told: int, splits: int, seed: int) -> dict[str, dict[str, float]]:
    """Over random splits: mean and standard error of ``predicted``, and of its gain over codes.

    And the mean in the best quarter, over splits that leave enough of it.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for split in range(splits):
        rng = np.random.default_rng(derive(seed, "split", told, split))
        known = rng.choice(len(pool.trained), told, replace=False).tolist()
        for name, (active, names) in FEATURES.items():
            found.setdefault(name, []).append(predicted(pool, known, names, active))
        rest = [place for place in range(len(pool.trained)) if place not in set(known)]
        for name in ("parameters", "synflow"):
            alone = _among_all_and_best(pool.column(name)[rest], pool, rest)
            found.setdefault(f"{name} alone", []).append(alone)
    codes = [value for value, _ in found["codes"]]
    table = {}
    for name, pairs in found.items():
        values = [value for value, _ in pairs]
        gains = [value - base for value, base in zip(values, codes, strict=True)]
        tops = [top for _, top in pairs if not math.isnan(top)]
        figures = [statistics.fmean(values), _error(values), statistics.fmean(gains), _error(gains)]
        figures.append(statistics.fmean(tops) if tops else math.nan)
        names = ("mean", "se", "gain", "gain se", "top quarter")
        table[name] = {n: round(value, 3) for n, value in zip(names, figures, strict=True)}
    return table


def screened(pool: Pool, share: float, count: int, draws: int, seed: int) -> dict[str, Any]:
    """What screening of ``count`` random genomes discards, over random draws from the pool.

    Of the best tenth of the pool, and of the best of a draw, the share that is discarded; chance
    is ``share``. And how much the mean of those that stay is above the mean of all.
    """
    best = pool.scores >= np.quantile(pool.scores, 0.9)
    table: dict[str, Any] = {}
    for name, names in COLUMNS.items():
        lost, had, top, lifts = 0, 0, 0, list[float]()
        for draw in range(draws):
            rng = np.random.default_rng(derive(seed, "draw", draw))
            rows = rng.choice(len(pool.trained), min(count, len(pool.trained)), replace=False)
            figures = [{n: pool.trained[row].figures[n] for n in names} for row in rows]
            kept = rows[keep(figures, share)]
            had += int(best[rows].sum())
            lost += int(best[rows].sum() - best[kept].sum())
            top += int(pool.scores[kept].max() < pool.scores[rows].max())
            lifts.append(float(pool.scores[kept].mean() - pool.scores[rows].mean()))
        table[name] = {
            "best tenth discarded": round(lost / had, 3),
            "best discarded": round(top / draws, 3),
            "mean score gained": round(statistics.fmean(lifts), 4),
        }
    return table


def _key(point: Point) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items()))


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def measuring(options: argparse.Namespace, seconds: list[float]) -> Callable[[Genome], Any]:
    """Proxies of a genome on training images of the fold; appends how long each took."""
    cache = options.cache or options.runs / CACHE
    prepared = opened(options.data, cache, Console(highlight=False))
    images = load_images(
        prepared.source, ("train", "val"), size=options.size, channels=1, cache=cache
    )
    division = choose_division(divisions(images, 0), options.fold)
    fold = make_fold(images, prepared.source.classes, division)
    batch = fold.preprocessing.normalize(fold.train.images)
    shape = ImageShape(1, options.size, options.size)

    def measure(genome: Genome) -> Mapping[str, float]:
        network = initial_network(lambda: build(genome, shape, len(fold.classes)), options.seed)
        started = time.thread_time()
        found = proxies(network, batch, options.seed)
        seconds.append(time.thread_time() - started)
        return found

    return measure


def lines(pool: Pool, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """What is told, one after the other."""
    for engine in sorted({one.engine for one in pool.trained}):
        part = pool.of(engine)
        if len(part.trained) >= 12:
            yield f"Spearman, {engine}, n = {len(part.trained)}", correlations(part)
    yield f"Spearman, all, n = {len(pool.trained)}", correlations(pool)
    for name, part in ((options.engine, pool.of(options.engine)), ("all", pool)):
        for told in options.told:
            if told <= len(part.trained) - 10:
                text = f"predicted, {name}, {told} of {len(part.trained)} told"
                yield text, predictions(part, told, options.splits, options.seed)
    part = pool.of(options.engine)
    for share in options.shares:
        text = f"screening, {options.engine}, share {share}, {options.count} of {len(part.trained)}"
        yield text, screened(part, share, options.count, options.draws, options.seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path, default=None, help="by default in --runs")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--space", default="chain", choices=list(SPACES))
    parser.add_argument("--fold", default="patients-1", help="what the searches validate on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--engine", default="random-full", help="whose genomes are unbiased")
    parser.add_argument("--told", type=int, nargs="*", default=[10, 20, 40])
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5])
    parser.add_argument("--count", type=int, default=40, help="genomes that are screened at once")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of weights, images and splits")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    seconds: list[float] = []
    space = SPACES[options.space](ImageShape(1, options.size, options.size))
    pool = read_pool(options.runs, options.epochs, space, measuring(options, seconds))
    spread = [round(1000 * value) for value in np.quantile(seconds, [0, 0.5, 0.9, 1])]
    print(f"proxies: ms of one thread, least, median, 90 %, most: {spread} (n = {len(seconds)})")
    for text, table in lines(pool, options):
        print(text, flush=True)
        for name, values in table.items():
            print(f"    {name:28}{json.dumps(values)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
