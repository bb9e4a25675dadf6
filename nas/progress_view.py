"""Figures of a search under way, as lines below its bar."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas.intervals import wilson_interval
from nas.study import Ended, TrialRecord, best_first

EPOCHS_KEPT = 20
"""The speed is the mean over the last so many epochs."""


@dataclass(frozen=True)
class View:
    """What is known of a search before it begins.

    Attributes:
        budgets: of its rungs, in epochs.
        images: that are trained on in an epoch.
        validated: images that are validated on, of each class; empty for no interval.
        finals_epochs: of all trainings of its finals together.
        workers: trainings at once.
        timeout_s: seconds after which search and finals end, from the start; None for no bound.
    """

    budgets: tuple[int, ...] = ()
    images: int = 0
    validated: tuple[int, ...] = ()
    finals_epochs: int = 0
    workers: int = 1
    timeout_s: float | None = None


NOTHING_KNOWN = View()


class Speed:
    """Seconds of an epoch, and images trained on per second, over the last epochs."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._seconds: deque[float] = deque(maxlen=EPOCHS_KEPT)

    def add(self, seconds: float) -> None:
        """An epoch took so long."""
        if seconds > 0:
            self._seconds.append(seconds)

    @property
    def epoch_s(self) -> float | None:
        """Mean seconds of an epoch; None before the first."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else None

    def images_per_s(self, running: int) -> float | None:
        """Of so many trainings at once; None while it is not known."""
        epoch_s = self.epoch_s
        return None if epoch_s is None or not self._images else self._images * running / epoch_s


def score_interval(score: float, validated: Sequence[int]) -> tuple[float, float] | None:
    """95 % interval of a balanced accuracy, as far as chance in the validation images goes.

    Wilson's, for as many images as would give the same variance if every class were recognised
    equally often: K² / Σ 1/n. It does not tell that the best of many scores is partly luck, which
    finals are for.

    Args:
        score: in [0, 1].
        validated: images of each class; None is returned where there are none.
    """
    if not validated or min(validated) < 1 or not 0 <= score <= 1:
        return None
    n = round(len(validated) ** 2 / sum(1 / count for count in validated))
    low, high = wilson_interval(round(score * n), n)
    return low, high


def best_text(records: Sequence[TrialRecord], validated: Sequence[int] = ()) -> str:
    """The best score so far, with its interval."""
    ranked = best_first(tuple(records))
    if not ranked or ranked[0].score is None:
        return "no score yet"
    found = score_interval(ranked[0].score, validated)
    interval = "" if found is None else f", 95 % {found[0]:.3f} to {found[1]:.3f}"
    return f"best {ranked[0].score:.4f} (trial {ranked[0].number}{interval})"


def rung_lines(
    records: Sequence[TrialRecord], running: Mapping[int, int], budgets: Sequence[int]
) -> list[str]:
    """A line for each rung: how many trials are done there, train towards it, and wait at it.

    Args:
        records: of all trials.
        running: trial -> the budget that it trains to.
        budgets: of the rungs.
    """
    lines = []
    for budget in budgets:
        own = [r for r in records if r.ended is not Ended.DUPLICATE and r.scores_at(budget)]
        waiting = sum(r.paused and r.budget == budget and r.number not in running for r in own)
        training = sum(aim == budget for aim in running.values())
        lines.append(f"to epoch {budget}: {len(own)} scored, {training} running, {waiting} paused")
    return lines


def speed_line(
    view: View,
    speed: Speed,
    running: int,
    search_s: float | None,
    elapsed_s: float,
    text: Callable[[float], str],
) -> str:
    """Images per second, and how long search and finals are going to take.

    Args:
        view: what is known beforehand.
        speed: of the last epochs.
        running: trainings at once now.
        search_s: what the search needs at its pace; None while that is not known.
        elapsed_s: since the start.
        text: seconds as a person says them.
    """
    parts = []
    images = speed.images_per_s(running)
    if running and images is not None:
        parts.append(f"{images:,.0f} images/s")
    if search_s is not None:
        parts.append(f"search about {text(search_s)} left")
    if view.finals_epochs and speed.epoch_s is not None:
        finals_s = speed.epoch_s * view.finals_epochs / max(1, view.workers)
        parts.append(f"finals then about {text(finals_s)}")
    if view.timeout_s is not None:
        parts.append(f"stops in {text(max(0.0, view.timeout_s - elapsed_s))}")
    return ", ".join(parts)
