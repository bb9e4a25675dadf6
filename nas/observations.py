"""What a study tells a sampler: points, their scores at each budget, and what must be avoided.

Reading 5,000 trials anew for every proposal would take seconds. Arrays are therefore kept beside
each study, and only trials that changed are read; without them they are built to the same values.
"""

import math
import threading
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.axes import Array, Axes, Ints
from nas.neighbours import Seen

FULL = math.inf
"""The budget of a final value that came without scores at rungs."""

NOTE = "sampler:note"
"""System attribute of a trial: what its sampler leaves to the next ones; see Observations.note."""


@dataclass(frozen=True)
class Observations:
    """All trials but the one that is being proposed, by number, and the space they span.

    The space has every parameter that any trial had, with its latest distribution, so that a
    conditional parameter is known as soon as one trial had it.

    Attributes:
        axes: of the space.
        numbers: of the trials; int64 [trials].
        rows: their points; float64 [trials, parameters].
        budgets: at which there are scores, rising.
        scores: higher is better, NaN where there is none; float64 [trials, budgets].
        excess: highest value of a trial's constraints; above 0 it is over a limit, NaN if it has
            none; float64 [trials].
        pending: whether a trial is still being evaluated; bool [trials].
        lonely: whether it differs in more than one parameter from every earlier one; bool [trials].
        seen: points of all trials, whatever became of them. A trial whose parameters are still
            being suggested is left out: half a point would make every point that contains it count
            as seen.
        note: what the sampler of the latest trial that has a note left there, as JSON values.
    """

    axes: Axes
    numbers: Ints
    rows: Array
    budgets: tuple[float, ...]
    scores: Array
    excess: Array
    pending: NDArray[np.bool_]
    lonely: NDArray[np.bool_]
    seen: Seen
    note: Mapping[str, Any]

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """Which trials are within every limit; bool [trials]."""
        return ~(self.excess > 0)

    @cached_property
    def scored(self) -> Ints:
        """Places of allowed trials with a score at the lowest budget, which nearly all share."""
        if not self.budgets:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.allowed & ~np.isnan(self.scores[:, 0]))


def observe(study: optuna.Study, number: int) -> Observations:
    """What the study tells about all trials but ``number``; scores are turned to be maximised.

    Trials that only wait, or have no parameters yet, are left out.
    """
    with _LOCK:
        record = _RECORDS.setdefault(study, _Record())
        sign = -1.0 if study.direction is StudyDirection.MINIMIZE else 1.0
        record.update(study.get_trials(deepcopy=False), sign)
        return record.without(number)


class _Record:
    """A study's trials as arrays that grow; columns of parameters stand by name.

    What was handed out is not written any more: rows of finished trials stay as they are, and where
    a row changes after all, the array is another one from then on. Figures that do change are
    copied, and of what counts as seen there is only ever more.
    """

    def __init__(self) -> None:
        self._trials: list[FrozenTrial] = []
        self._parameters: list[str] = []
        self._budgets: dict[float, int] = {}
        self._distributions: dict[str, list[BaseDistribution]] = {}  # each one once
        self._rows = np.zeros((0, 0))
        self._scores = np.zeros((0, 0))
        self._kinds = np.zeros((0, 0), np.int64)  # places in _distributions, -1 for none
        self._excess = np.zeros(0)
        self._there = np.zeros(0, bool)  # has a point
        self._pending, self._lonely = np.zeros(0, bool), np.zeros(0, bool)
        self._seen, self._counted = Seen(), np.zeros(0, bool)  # whose points are in _seen
        self._open: set[int] = set()
        self._notes: dict[int, Mapping[str, Any]] = {}

    def update(self, trials: list[FrozenTrial], sign: float) -> None:
        """Take in what changed: a storage replaces a finished trial that it changes."""
        pairs = enumerate(zip(trials, self._trials, strict=False))
        changed = {place for place, (new, old) in pairs if new is not old} | self._open
        changed.update(range(len(self._trials), len(trials)))
        moved = {place for place in sorted(changed) if self._take(place, trials[place], sign)}
        self._trials = trials
        for place in changed:
            (self._open.discard if trials[place].state.is_finished() else self._open.add)(place)
        for place in range(min(moved, default=len(trials)), len(trials)):
            self._lonely[place] = self._is_lonely(place)
        self._count(changed, moved)

    def without(self, number: int) -> Observations:
        """All trials that have a point, but ``number``."""
        numbers = np.flatnonzero(self._there[: len(self._trials)])
        numbers = numbers[numbers != number]
        kinds = [self._latest(numbers, column) for column in range(len(self._parameters))]
        pairs = zip(self._parameters, kinds, strict=True)
        space = {name: self._distributions[name][kind] for name, kind in pairs if kind >= 0}
        scores, pending = self._scores[numbers], self._pending[numbers]
        told = ~np.isnan(scores)
        budgets = sorted(b for b, column in self._budgets.items() if told[:, column].any())
        noted = max((place for place in self._notes if place != number), default=None)
        rows = self._shown(numbers, np.flatnonzero(np.array(kinds) >= 0))
        unsure = pending & ~told.any(1)
        whole = len(space) == len(self._parameters)
        return Observations(
            axes=Axes(space),
            numbers=numbers,
            rows=rows,
            budgets=tuple(budgets),
            scores=scores[:, [self._budgets[budget] for budget in budgets]],
            excess=self._excess[numbers],
            pending=pending,
            lonely=self._lonely[numbers],
            seen=(self._seen if whole else Seen(rows[~unsure])).and_alike(rows[unsure]),
            note={} if noted is None else self._notes[noted],
        )

    def _shown(self, numbers: Ints, columns: Ints) -> Array:
        """Rows that are not to be written, without copying them where they stand together."""
        if len(columns) == self._rows.shape[1] and np.array_equal(numbers, range(len(numbers))):
            rows = self._rows[: len(numbers)]
        else:
            rows = self._rows[np.ix_(numbers, columns)]
        rows.flags.writeable = False
        return rows

    def _take(self, place: int, trial: FrozenTrial, sign: float) -> bool:
        """Write one trial into the arrays; whether its point is another than before."""
        waits = trial.state is TrialState.WAITING
        distributions = {} if waits else trial.distributions
        scores = {} if waits or trial.state is TrialState.FAIL else _scores(trial)
        budgets = [self._budgets.setdefault(budget, len(self._budgets)) for budget in scores]
        self._widen(distributions)
        self._grow(place + 1)
        columns = [self._parameters.index(name) for name in distributions]
        row = np.full(len(self._parameters), np.nan)
        pairs = distributions.items()
        row[columns] = [d.to_internal_repr(trial.params[name]) + 0.0 for name, d in pairs]
        self._kinds[place] = -1
        self._kinds[place, columns] = [self._kind(name, d) for name, d in pairs]
        self._scores[place] = np.nan
        self._scores[place, budgets] = [sign * score for score in scores.values()]
        self._excess[place] = max(trial.constraints.values(), default=math.nan)
        self._there[place] = bool(distributions)
        self._pending[place] = trial.state is TrialState.RUNNING
        self._notes.pop(place, None)
        if NOTE in trial.system_attrs:
            self._notes[place] = trial.system_attrs[NOTE]
        if np.array_equal(self._rows[place], row, equal_nan=True):
            return False
        if not np.isnan(self._rows[place]).all():
            self._rows = self._rows.copy()
        self._rows[place] = row
        return True

    def _count(self, changed: set[int], moved: set[int]) -> None:
        """Keep up what was seen."""
        count = len(self._trials)
        sure = self._there[:count] & ~(
            self._pending[:count] & np.isnan(self._scores[:count]).all(1)
        )
        wrong = any(
            self._counted[place] and (place in moved or not sure[place]) for place in changed
        )
        if wrong or self._seen.parameters != len(self._parameters):
            self._seen = Seen(self._rows[:count][sure])
        else:
            self._seen.add(
                self._rows[[p for p in sorted(changed) if sure[p] and not self._counted[p]]]
            )
        self._counted[:count] = sure

    def _latest(self, numbers: Ints, column: int) -> int:
        """Which distribution a parameter had last; -1 if it had none."""
        if not len(numbers):
            return -1
        last = int(self._kinds[numbers[-1], column])  # most trials have most parameters
        if last < 0:
            kinds = self._kinds[numbers, column]
            last = int(kinds[np.flatnonzero(kinds >= 0)[-1]]) if (kinds >= 0).any() else -1
        return last

    def _kind(self, name: str, distribution: BaseDistribution) -> int:
        known = self._distributions[name]
        if not known or known[-1] != distribution:
            if distribution in known:
                return known.index(distribution)
            known.append(distribution)
        return len(known) - 1

    def _widen(self, names: Iterable[str]) -> None:
        """Make room for parameters that are new."""
        new = [name for name in names if name not in self._distributions]
        if not new:
            return
        old, self._parameters = self._parameters, sorted([*self._parameters, *new])
        self._distributions |= {name: [] for name in new}
        columns = [self._parameters.index(name) for name in old]
        shape = (len(self._rows), len(self._parameters))
        rows, kinds = np.full(shape, np.nan), np.full(shape, -1, np.int64)
        rows[:, columns], kinds[:, columns] = self._rows, self._kinds
        self._rows, self._kinds = rows, kinds

    def _grow(self, trials: int) -> None:
        parameters, budgets = len(self._parameters), len(self._budgets)
        self._rows = _grown(self._rows, (trials, parameters), np.nan)
        self._kinds = _grown(self._kinds, (trials, parameters), -1)
        self._scores = _grown(self._scores, (trials, budgets), np.nan)
        self._excess = _grown(self._excess, (trials,), np.nan)
        self._there = _grown(self._there, (trials,), False)
        self._pending = _grown(self._pending, (trials,), False)
        self._lonely = _grown(self._lonely, (trials,), False)
        self._counted = _grown(self._counted, (trials,), False)

    def _is_lonely(self, place: int) -> bool:
        earlier = self._rows[:place]
        differ = (earlier != self._rows[place]) & ~np.isnan(earlier) & ~np.isnan(self._rows[place])
        return bool((differ.sum(1) > 1)[self._there[:place]].all())


_LOCK = threading.Lock()
_RECORDS: weakref.WeakKeyDictionary[optuna.Study, _Record] = weakref.WeakKeyDictionary()


def _grown(array: NDArray[Any], shape: tuple[int, ...], fill: float) -> NDArray[Any]:
    """An array of at least this shape, with room to grow in its first direction."""
    if all(has >= needs for has, needs in zip(array.shape, shape, strict=True)):
        return array
    rows = array.shape[0] if array.shape[0] >= shape[0] else 2 * shape[0]
    bigger = np.full((rows, *shape[1:]), fill, array.dtype)
    bigger[tuple(slice(0, has) for has in array.shape)] = array
    return bigger


def _scores(trial: FrozenTrial) -> dict[float, float]:
    """What was reported at rungs; if there is nothing, the final value."""
    found: dict[float, float] = {}
    found.update(trial.intermediate_values.items())
    if trial.state is TrialState.COMPLETE and not found and trial.value is not None:
        found[FULL] = trial.value
    return {float(b): s for b, s in found.items() if math.isfinite(s)}
