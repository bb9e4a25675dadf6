"""From options of the search command to SearchSettings: limits, aims, first genomes, workers."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch

from nas.devices import Device, choose
from nas.errors import SettingsError
from nas.evaluator import Objective, TrainingEvaluator
from nas.genome import Genome
from nas.measuring import FIGURES, SHORT, Measure
from nas.network import build
from nas.proxies import BATCH, proxies
from nas.runfolder import RunFolder
from nas.running import Running
from nas.search import SearchSettings
from nas.search_command import multiply_adds_limit
from nas.search_finals import finals_share
from nas.seeds import derive
from nas.storage import Place
from nas.training import failures, initial_network
from nas.warm_start import Point, earlier_best, kept, screened
from search_spaces.loading import LoadedSpace

WARM_START = "warm_start.json"
"""In the run folder: what was tried first."""

DEFINITION = "space_definition"
"""In a run's identity: what its space chooses from; see search_spaces.loading."""


def pareto(options: argparse.Namespace) -> tuple[Objective, tuple[str, ...]]:
    """The score that is maximised, and the figures that are minimised beside it.

    Raises:
        SettingsError: ``--pareto`` names something else, or something twice.
    """
    objective = Objective(options.objective)
    if options.pareto is None:
        return objective, ()
    score, *costs = options.pareto.split(",")
    scores = {"score": objective} | {str(one): one for one in Objective}
    known = SHORT | {name: name for name in FIGURES}
    aims = tuple(known.get(name, "") for name in costs)
    if score not in scores or not costs or "" in aims or len(set(aims)) < len(aims):
        raise SettingsError(
            f"--pareto must be one of {', '.join(scores)} and then some of {', '.join(SHORT)}, "
            f"separated by commas, but is {options.pareto!r}; for example auroc,params"
        )
    return scores[score], aims


def plan_search(
    options: argparse.Namespace,
    run: RunFolder,
    budgets: tuple[int, ...],
    device: Device,
    evaluator: TrainingEvaluator,
    space: LoadedSpace,
    *,
    elapsed_s: float,
) -> SearchSettings:
    """The settings of a search.

    Args:
        options: of the command.
        run: its folder.
        budgets: epochs at which genomes are compared.
        device: that trains.
        evaluator: of the search.
        space: likewise.
        elapsed_s: what ``--timeout`` counts already.

    Raises:
        SettingsError: an option outside its rule.
    """
    limits = limits_of(options, device)
    _, aims = pareto(options)
    measure = Measure(
        image=evaluator.image,
        classes=len(evaluator.fold.classes),
        device=device.name,
        wanted=frozenset((*limits, *aims)),
        limits=limits,
    )
    several = device.name.startswith("cuda") and options.device in ("auto", "cuda")
    timeout_s = None if options.timeout is None else max(1e-3, options.timeout - elapsed_s)

    def decide() -> list[Point]:
        points: list[Point] = list(space.starts)
        for name in options.warm_start:
            points += _earlier(options, name, space)
        if options.screen:
            told = _proxies(evaluator, options.seed)
            points += screened(space.space, measure, limits, told, options.screen, options.seed)
        return points

    return SearchSettings(
        run=run.path,
        trials=options.trials,
        budgets=budgets,
        sampler=options.sampler,
        scheduler=options.scheduler,
        seed=options.seed,
        timeout_s=timeout_s,
        finals_share=finals_share(options),
        repeats=options.repeats,
        running=Running(
            executor=options.executor,
            workers=options.workers,
            device="cuda" if several else device.name,
            ray_address=options.ray_address,
            gpus_per_job=options.gpus_per_job,
            cpus_per_job=options.cpus_per_job,
        ),
        measure=measure,
        limits=limits,
        aims=aims,
        warm_start=kept(run.path / WARM_START, decide),
        inherit=options.inherit,
        storage=options.storage,
    )


def limits_of(options: argparse.Namespace, device: Device) -> dict[str, float]:
    """Highest values of figures that genomes may have."""
    wanted: Mapping[str, float | None] = {
        "parameters": options.max_params,
        "multiply_adds": multiply_adds_limit(options.max_macs, device.name, options.size),
        "memory_mb": options.max_memory_mb,
        "latency_ms": options.max_latency_ms,
    }
    return {name: limit for name, limit in wanted.items() if limit is not None}


def _earlier(options: argparse.Namespace, name: str, space: LoadedSpace) -> list[Point]:
    """Parameters of the best genomes of an earlier run on the space, or on a variant of it."""
    run = RunFolder.named(options.runs, name)
    known: dict[str, Any] = run.read_manifest()["identity"]
    if known.get("space") != space.space.name:
        raise SettingsError(
            f"--warm-start takes runs of the same space, but {name} searched {known.get('space')} "
            f"and this one {space.space.name}; leave it out"
        )
    alike = known.get(DEFINITION) == space.definition
    return earlier_best(Place.file(run.study), space.space, alike=alike)


def _proxies(evaluator: TrainingEvaluator, seed: int) -> Callable[[Genome], Mapping[str, float]]:
    """What an untrained network of a genome tells, on images that are trained on."""
    fold = evaluator.fold
    drawn = torch.Generator().manual_seed(derive(seed, "proxies"))
    rows = torch.randperm(len(fold.train), generator=drawn)[:BATCH]
    images = fold.preprocessing.normalize(fold.train.take(rows))
    classes, place = len(fold.classes), derive(seed, "proxies") % 2**31
    device = choose("cpu").device

    def told(genome: Genome) -> Mapping[str, float]:
        with failures():
            network = initial_network(lambda: build(genome, evaluator.image, classes), place)
            return proxies(network.to(device), images, place)

    return told
