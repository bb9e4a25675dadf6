"""What a search tries first: references, the best of earlier runs, and genomes that were screened.

All of it is decided once, at a run's first start, and kept in the run folder: going on with the
search must propose the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from nas import screening
from nas.errors import RunError, SettingsError
from nas.files import write_json
from nas.genome import Genome
from nas.seeds import derive
from nas.storage import Place, open_study, storage_of
from nas.study import best_first, read_records
from search_spaces.base import GenomeSpace, Space
from search_spaces.members import genome_of

Point = Mapping[str, Any]

EARLIER_BEST = 5
"""Genomes that are taken over from an earlier run."""

DISCARDED = 0.25
"""Share of the drawn genomes that screening discards: none of the best tenth was lost so, and 14 %
of them with a half (81 chest X-ray networks, 200 draws of 40)."""

SCREENED_BY = ("parameters", "synflow")
"""What screening goes by; with jacob_cov and naswot beside them more of the best were lost."""

MOST_DRAWS = 50
"""Draws for every genome that is wanted, before a space counts as hardly within the limits."""


def kept(file: Path, decide: Callable[[], Sequence[Point]]) -> list[Point]:
    """What is tried first, as it was decided at the first start.

    Raises:
        RunError: the file is damaged.
    """
    if not file.is_file():
        write_json(file, {"points": [dict(point) for point in decide()]})
    try:
        points = json.loads(file.read_text())["points"]
        if not all(isinstance(point, dict) for point in points):
            raise TypeError
    except (OSError, ValueError, LookupError, TypeError):
        raise RunError(
            f"what a run tries first must be as it was written, but {file} is damaged; restore "
            "it, or name another --run"
        ) from None
    return list(points)


def earlier_best(
    place: Place, space: Space, count: int = EARLIER_BEST, *, alike: bool = True
) -> list[Point]:
    """Parameters of the best genomes of an earlier run, as far as they are members of ``space``.

    Args:
        place: of the earlier run's study.
        space: of this run.
        count: genomes at most.
        alike: whether the earlier run's space had the same choices. Where it had others, the same
            parameters may be another genome here, and are then left out.

    Raises:
        RunError: the run has no study, or no genome of it is a member.
    """
    records = best_first(read_records(place))[:count]
    study = open_study(place)
    try:
        trials = study.get_trials(deepcopy=False)
        points: list[tuple[Point, str | None]] = [(trials[r.number].params, r.key) for r in records]
    finally:
        storage_of(study).close()
    found = [(point, key, genome_of(space, point)) for point, key in points]
    members = [point for point, key, genome in found if genome and (alike or genome.key == key)]
    if not members:
        raise RunError(
            f"an earlier run must have scored genomes of the space {space.name}, but "
            f"{place.shown} has none; leave it out of --warm-start"
        )
    return members


def screened(
    space: GenomeSpace,
    measure: Callable[[Genome], Mapping[str, float]],
    limits: Mapping[str, float],
    proxies: Callable[[Genome], Mapping[str, float]],
    count: int,
    seed: int,
) -> list[Point]:
    """Random genomes within the limits, without the share that looks worst before training.

    Args:
        space: to draw from.
        measure: figures of a genome.
        limits: highest value of some figures.
        proxies: figures of an untrained network; see nas.proxies.
        count: genomes to draw, at least 4: of fewer none is discarded.
        seed: of the draws.

    Raises:
        SettingsError: fewer than four, or hardly any genome is within the limits.
    """
    if count < 4:
        raise SettingsError(f"--screen must be at least 4, but is {count}; 20 is usual")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=derive(seed, "screening") % 2**32)
    study = optuna.create_study(sampler=sampler)
    points: list[Point] = []
    rows: list[Mapping[str, float]] = []
    for _ in range(MOST_DRAWS * count):
        trial = study.ask()
        genome = space.suggest(trial)
        figures = measure(genome)
        if all(figures[name] <= limit for name, limit in limits.items() if name in figures):
            points.append(dict(trial.params))
            told = {**figures, **proxies(genome)}
            rows.append({name: told[name] for name in SCREENED_BY})
        if len(points) == count:
            return [points[place] for place in screening.keep(rows, DISCARDED)]
    raise SettingsError(
        f"--screen needs {count} genomes within the limits, but {MOST_DRAWS * count} random ones "
        f"had {len(points)}; raise the limits"
    )
