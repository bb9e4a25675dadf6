"""A space as code: a class in a Python file, ``my_space.py:TwoConvs``.

The class is called with an ImageShape, and gives an object with a ``name`` and ``suggest(trial)``,
which returns a Genome; ``warm_starts()`` and ``used`` may be there too (see search_spaces.base).
Everything that a search will rely on is tried here, so that a mistake is told before any data is
read. Workers are sent genomes and never the space, so the file is needed only where the search is
started.
"""

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.trial import FixedTrial

from nas.errors import SettingsError
from nas.genome import Genome, ImageShape
from search_spaces.base import GenomeSpace
from search_spaces.members import genome_of

DRAWS = 20
"""Genomes that are drawn to try a space; a tenth of a second for the chain space."""


def made(content: bytes, path: Path, name: str, image: ImageShape) -> GenomeSpace:
    """The space that a class makes for images of a shape.

    Args:
        content: of the file.
        path: of the file, to be named in messages.
        name: of the class.
        image: shape of the images.

    Raises:
        SettingsError: the file cannot be run, has no such class, or what it makes is no space.
    """
    module = _module(content, path)
    if not callable(getattr(module, name, None)):
        own = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise SettingsError(
            f"{path} must have the class that --space names, but has no {name}; its classes are "
            f"{', '.join(own) or 'none'}: name one of these"
        )
    with _telling(path, f"{name} must be callable with an ImageShape"):
        space = getattr(module, name)(image)
    space_name = getattr(space, "name", None)
    if not isinstance(space_name, str) or not space_name:
        raise SettingsError(
            f"{path}: {name} must have a name, which is kept with the run, but it is "
            f'{space_name!r}; add name = "..." to the class'
        )
    if not callable(getattr(space, "suggest", None)):
        raise SettingsError(
            f"{path}: {name} must have a method suggest, but has none; add "
            "def suggest(self, trial), which returns a Genome"
        )
    found: GenomeSpace = space
    _try(found, path, name, image)
    return found


def starts(space: GenomeSpace, path: Path) -> list[Mapping[str, Any]]:
    """Parameters that a space of one's own wants tried first; none where it has no ``warm_starts``.

    Raises:
        SettingsError: they are no parameters of the space.
    """
    ask = getattr(space, "warm_starts", None)
    if ask is None:
        return []
    where = type(space).__name__
    with _telling(path, f"warm_starts of {where} must give a list of parameters"):
        points = [dict(point) for point in ask()]
        strangers = [point for point in points if genome_of(space, point) is None]
    if strangers:
        raise SettingsError(
            f"{path}: warm_starts of {where} must be what suggest could ask for, but one is "
            f"{strangers[0]!r}; give every parameter a value of its range"
        )
    return list(points)


def _module(content: bytes, path: Path) -> ModuleType:
    # By hand, so that what runs is what the run's manifest has the checksum of, and nothing is
    # written beside a file that is not ours.
    module = ModuleType(f"space_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look their own module up
    with _telling(path, "the file of --space must run"):
        exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))
    return module


def _try(space: GenomeSpace, path: Path, name: str, image: ImageShape) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(DRAWS):
        trial = study.ask()
        with _telling(path, f"suggest of {name} must give a Genome"):
            genome = space.suggest(trial)
            again = space.suggest(FixedTrial(trial.params))  # type: ignore[arg-type]
        if type(genome) is not Genome:  # a class of that file would be unknown to workers
            raise SettingsError(
                f"{path}: suggest of {name} must give a nas.genome.Genome, but gave a "
                f"{type(genome).__name__}; end it with return Genome(...)"
            )
        if genome != again:
            raise SettingsError(
                f"{path}: suggest of {name} must give the same genome for the same parameters, but "
                f"{trial.params} gave two; let everything it draws come from the trial"
            )
        height, width = image.height, image.width
        with _telling(path, f"every genome of {name} must fit images of {height}×{width}"):
            genome.layers(image, 2)


@contextmanager
def _telling(path: Path, rule: str) -> Iterator[None]:
    """Within the block a stranger's code runs: what it raises becomes one sentence."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        where = f", line {lines[-1]}" if lines else ""
        what = " ".join(str(error).split())
        raise SettingsError(
            f"{path}{where}: {rule}, but that raised {type(error).__name__}"
            f"{f' ({what})' if what else ''}; mend the file"
        ) from error
