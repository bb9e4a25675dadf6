"""New genomes: asked of a sampler, held against limits and what is known, written to the study."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas import aims
from nas.axes import Used
from nas.belief import Belief
from nas.errors import SettingsError
from nas.heirs import parent_of
from nas.ledger import Ledger
from nas.mirror import Proposal
from nas.observations import observe
from nas.point_sampler import PointSampler
from nas.samplers import Hints, make_sampler
from nas.scheduler import Standing
from nas.seeds import derive
from nas.study import Ended
from search_spaces.base import Space, SparseSpace

PARENT = "parent"
"""Attribute of a trial: number of the one whose weights it begins with."""


@dataclass(frozen=True)
class Proposer:
    """Proposes genomes of a space.

    Attributes:
        space: which genomes exist.
        sampler: a name of nas.samplers.SAMPLERS.
        seed: of everything random.
        measure: figures of a genome that are known before training.
        limits: highest value of some of these figures; genomes above are not trained.
        warm_start: parameters to try first.
        inherit: genomes begin with the weights of a trained one that differs in one choice.
    """

    space: Space
    sampler: str
    seed: int
    measure: Callable[[Any], Mapping[str, float]]
    limits: Mapping[str, float]
    warm_start: Sequence[Mapping[str, Any]] = ()
    inherit: bool = False

    def propose(self, ledger: Ledger) -> tuple[int, bool]:
        """Propose a genome and write it.

        Returns:
            The trial's number, and whether it is to be trained: it is not above a limit, was not
            seen before, and no other driver has it.
        """
        proposal = self._ask(ledger)
        genome = proposal.genome
        attributes = {
            "key": genome.key,
            "facts": dict(self.measure(genome)),
            "seed": derive(self.seed, "training", proposal.number),
            "genome": genome.to_json(),
        }
        ended = self._above_limit(ledger, proposal, attributes)
        if ended is None:
            ended = _repeated(ledger, proposal, attributes)
        if ended is not None:
            return ended, False
        parent = self._parent(ledger, proposal.number) if self.inherit else None
        if parent is not None:
            attributes[PARENT] = parent
        return ledger.add(proposal, attributes)

    def _parent(self, ledger: Ledger, number: int) -> int | None:
        child = ledger.frozen(number)
        return parent_of(observe(ledger.study, number), child, self._used)

    def expected(self, ledger: Ledger, numbers: Sequence[int]) -> list[float]:
        """What the last rung's score of scored trials is expected to be, in some unit.

        With several aims, the worth of the expected score together with the costs.
        """
        study = aims.mixed_study(ledger, aims.score_alone) if ledger.aims else ledger.study
        expected = Belief.of(observe(study, -1), used=self._used).expected(numbers)
        if ledger.aims:
            expected = aims.worth(expected, ledger.costs(numbers))
        return [float(value) for value in expected]

    def standings(self, ledger: Ledger) -> list[Standing]:
        """Of all trials that have a score of their own; with several aims, by their worth."""
        return aims.ranked_standings(ledger) if ledger.aims else ledger.standings()

    @property
    def _used(self) -> Used | None:
        return self.space.used if isinstance(self.space, SparseSpace) else None

    def _ask(self, ledger: Ledger) -> Proposal:
        number = len(ledger.records)
        # Of drivers that share a study, no two should propose the same.
        place = (number, ledger.driver) if ledger.place.shared else (number,)
        seed = derive(self.seed, "sampler", *place)
        sampler = make_sampler(self.sampler, seed, Hints(used=self._used))
        fixed = self.warm_start[number] if number < len(self.warm_start) else None
        if fixed is None and ledger.aims and isinstance(sampler, PointSampler):
            # It knows one aim: it is shown a mixture, another one each time.
            rng = np.random.default_rng(derive(self.seed, "aims", *place))
            weights = aims.drawn_weights(1 + len(ledger.aims), rng)
            study = aims.mixed_study(ledger, aims.chebyshev(weights))
            study.sampler = sampler
            trial = study.ask()
            self.space.suggest(trial)
            fixed = trial.params
        return ledger.propose(sampler, self.space.suggest, fixed)

    def _above_limit(
        self, ledger: Ledger, proposal: Proposal, attributes: dict[str, Any]
    ) -> int | None:
        facts = attributes["facts"]
        for name, limit in self.limits.items():
            # Above one limit, dearer figures may be missing: see nas.measuring.
            if name in facts and facts[name] > limit:
                reason = f"{name} {facts[name]:,.6g} is above the limit of {limit:,.6g}"
                excess = {name: facts[name] / limit - 1}
                return ledger.add_ended(
                    proposal, attributes, Ended.OVER_LIMIT, reason, excess=excess
                )
        _check_measured(facts, "limits", self.limits)
        _check_measured(facts, "aims", ledger.aims)
        return None


def _check_measured(facts: Mapping[str, float], what: str, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in facts]
    if unknown:
        raise SettingsError(
            f"{what} must be on measured figures ({', '.join(sorted(facts)) or 'none'}), but one "
            f"is on {unknown[0]!r}; measure it, or leave it out"
        )


def _repeated(ledger: Ledger, proposal: Proposal, attributes: dict[str, Any]) -> int | None:
    """End a proposal whose genome was seen before with what is known of it."""
    other = ledger.first_of(attributes["key"])
    if other is None:
        return None
    reason = f"the same genome as trial {other.number}"
    return ledger.add_ended(proposal, attributes, Ended.DUPLICATE, reason, like=other)


def surplus(ledger: Ledger, number: int, trials: int) -> tuple[Ended, str] | None:
    """Why a trial that was just written is not needed: another driver's came at the same moment."""
    record = ledger.records[number]
    other = ledger.first_of(record.key or "")
    if other is not None and other.number < number:
        return Ended.DUPLICATE, f"the same genome as trial {other.number}"
    before = sum(
        one.counts or (one.ended is None and not one.rungs) for one in ledger.records[:number]
    )
    if before >= trials:
        return Ended.SURPLUS, f"{before} of {trials} trials were there already"
    return None
