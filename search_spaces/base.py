"""What a search space is."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.genome import BackboneName, Genome
from nas.jobs import GenomeLike


class Space(Protocol):
    """Which genomes exist: all that the search engine asks for."""

    @property
    def name(self) -> str:
        """Short, kept in the run's manifest."""

    def suggest(self, trial: optuna.Trial) -> GenomeLike:
        """A genome from the trial's parameters; every call on the same parameters gives the same.

        Best with a fixed set of parameters, unused ones being ignored: samplers model that better
        than parameters that come and go, and duplicates are recognised by the genome's key.
        """


@runtime_checkable
class SparseSpace(Protocol):
    """A Space that can say which parameters matter; a surrogate then learns from fewer trials.

    Told only what matters, a Gaussian process ranked chest X-ray networks of the chain space it had
    not seen with a correlation of 0.54, 0.63 and 0.71 after 10, 20 and 40 trainings; told all
    parameters, with 0.15, 0.23 and 0.44 (81 genomes, 30 random splits).
    """

    def used(self, values: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.bool_]]:
        """Which parameters make a difference, for many points at once.

        Args:
            values: parameter -> its value in each point [n]; a category by its place among the
                choices.

        Returns:
            parameter -> whether another value of it could change the genome [n]; parameters that
            always do may be left out.
        """


@runtime_checkable
class LearntSpace(Protocol):
    """A space some of whose genomes begin with ImageNet weights."""

    def learnt(self) -> tuple[BackboneName, ...]:
        """The backbones whose weights are needed: a search has them at hand before it begins."""


class GenomeSpace(Protocol):
    """A space of networks: a Space whose genomes are those of nas.genome."""

    @property
    def name(self) -> str:
        """See Space."""

    def suggest(self, trial: optuna.Trial) -> Genome:
        """See Space."""


class NetworkSpace(GenomeSpace, Protocol):
    """A space of the table SPACES: it knows good beginnings too."""

    def warm_starts(self) -> list[dict[str, Any]]:
        """Parameters of genomes that are worth trying first; may be empty."""
