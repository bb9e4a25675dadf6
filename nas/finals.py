"""Finals: which trainings decide between the best genomes of a search, and who wins. No torch.

A search's best score is partly luck: it is the largest of many noisy ones, on one division of the
images. So the finalists are trained anew, longer, on divisions that the search did not validate on:
some by patient, and every domain held out. Every finalist is trained once on each of them, with
seeds that take turns, the same for all finalists; then the winner with every seed on every division
by patient. These last networks see all images between them, each is judged on images that it did
not learn from, and together they are the exported model.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.errors import SettingsError

PATIENT_DIVISIONS = 3
DOMAIN_DIVISIONS = 3

MOST_SEEDS = 10

BY_PATIENT, BY_DOMAIN = "patients-", "domain-"
"""How the names of divisions begin; see nas.data.folds."""


@dataclass(frozen=True, slots=True)
class FinalsSettings:
    """How much is spent on finals.

    Attributes:
        finalists: how many of the search's best genomes.
        epochs: of every training.
        seeds: at least 1; 3 or more tell a network's spread.
    """

    finalists: int = 5
    epochs: int = 12
    seeds: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise SettingsError(f"--finals {name} must be at least 1, but is {value}; raise it")
        if self.seeds > MOST_SEEDS:
            raise SettingsError(
                f"--finals-seeds must be at most {MOST_SEEDS}, but is {self.seeds}; a model has at "
                f"most {PATIENT_DIVISIONS} networks for each seed, and 32 in all"
            )


@dataclass(frozen=True, slots=True, order=True)
class Final:
    """One training.

    Attributes:
        trial: number of the finalist.
        division: what is validated on.
        seed: number of the seed, from 0.
    """

    trial: int
    division: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.trial:05d}-{self.division}-{self.seed}"


def chosen_divisions(found: Sequence[str], searched: str) -> tuple[str, ...]:
    """What finals validate on, of all divisions of the images.

    Args:
        found: names of all divisions.
        searched: the one that the search validated on: it is left out if there is another by
            patient, since scores on it were chosen to be high.
    """
    patients = [name for name in found if name.startswith(BY_PATIENT)]
    others = [name for name in patients if name != searched] or patients
    domains = [name for name in found if name.startswith(BY_DOMAIN)]
    chosen = (*others[:PATIENT_DIVISIONS], *domains[:DOMAIN_DIVISIONS])
    return chosen or (searched,)


def by_patient(divisions: Sequence[str]) -> tuple[str, ...]:
    """Those from which predictions are calibrated: where the images are like those of use."""
    return tuple(name for name in divisions if not name.startswith(BY_DOMAIN))


def comparing(trials: Sequence[int], divisions: Sequence[str], seeds: int) -> list[Final]:
    """Every finalist on every division, with seeds that take turns and are the same for all."""
    return [
        Final(trial, division, place % seeds)
        for place, division in enumerate(divisions)
        for trial in trials
    ]


def deepening(winner: int, divisions: Sequence[str], seeds: int) -> list[Final]:
    """The winner with every seed on every division by patient: the members of the model."""
    return [
        Final(winner, division, seed) for division in by_patient(divisions) for seed in range(seeds)
    ]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a finalist did.

    Attributes:
        trial: its number.
        mean: of its scores over divisions.
        ahead: mean over divisions of what it scored above the mean of all finalists there.
        error: standard error of ``ahead`` over divisions; 0 with one division.
        scores: by division.
    """

    trial: int
    mean: float
    ahead: float
    error: float
    scores: Mapping[str, float]

    @property
    def sure(self) -> float:
        """What it is ahead by when its spread is held against it; the winner has the most."""
        return self.ahead - self.error

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "scores": dict(self.scores), "sure": self.sure}


def standings(scores: Mapping[Final, float]) -> list[Standing]:
    """Finalists, the winner first.

    Divisions differ in difficulty by more than genomes do, so each score is compared with those of
    the others on the same division (a paired comparison). A finalist that failed somewhere, or was
    not scored on a division where others were, comes last.

    Args:
        scores: of the trainings of ``comparing`` that ended well.
    """
    divisions = sorted({final.division for final in scores})
    trials = sorted({final.trial for final in scores})
    table = {
        (final.trial, final.division): score
        for final, score in scores.items()
    }  # fmt: skip
    common = {
        division: statistics.fmean(
            table[trial, division] for trial in trials if (trial, division) in table
        )
        for division in divisions
    }
    found = []
    for trial in trials:
        own = {d: table[trial, d] for d in divisions if (trial, d) in table}
        above = [score - common[division] for division, score in own.items()]
        error = statistics.stdev(above) / math.sqrt(len(above)) if len(above) > 1 else 0.0
        found.append(
            Standing(trial, statistics.fmean(own.values()), statistics.fmean(above), error, own)
        )
    return sorted(found, key=lambda one: (-len(one.scores), -one.sure, one.trial))
