"""What a search space is."""

from typing import Any, Protocol

import optuna

from nas.genome import Genome
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


class NetworkSpace(Protocol):
    """A space of networks, as the command line needs it: a Space that knows good beginnings."""

    @property
    def name(self) -> str:
        """See Space."""

    def suggest(self, trial: optuna.Trial) -> Genome:
        """See Space."""

    def warm_starts(self) -> list[dict[str, Any]]:
        """Parameters of genomes that are worth trying first; may be empty."""
