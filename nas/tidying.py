"""Checkpoints of trials that wait at a rung: only so many bytes of them stay on disk.

The checkpoint of a trial that ended goes at once (nas.driver). One that waits keeps its own, since
it may be promoted; in a long search those are most of the run folder. Above the bound the trials
with the worst scores lose theirs first: the least likely to be promoted. Should one be after all,
its training starts over from the same seed, and gives the same.
"""

from collections.abc import Collection, Sequence

from nas.runfolder import RunFolder
from nas.study import TrialRecord, best_first

CHECKPOINT = "checkpoint.pt"

CHECKPOINT_BYTES = 1_000_000_000
"""Default bound. On 64×64 X-rays a checkpoint of the chain space took 1.71 MB (mean of 25), and the
weights beside it, which stay, 0.46 MB (of 50): 1,000 trials stay below 1.5 GB."""

KEEP = 20
"""Checkpoints of the best so many trials that wait stay, whatever they take."""


class Tidying:
    """Knows how much the checkpoints of a run take.

    Args:
        run: its folder.
        limit_bytes: the bound.
    """

    def __init__(self, run: RunFolder, limit_bytes: int) -> None:
        self._run, self._limit_bytes = run, limit_bytes
        self._sizes: dict[int, int] = {}
        for path in (run.path / "trials").glob(f"*/{CHECKPOINT}"):
            if path.parent.name.isdecimal():
                self._note(int(path.parent.name))

    def paused(
        self, number: int, records: Sequence[TrialRecord], free: Collection[int]
    ) -> list[int]:
        """A trial came to a rung, and waits: keep to the bound.

        Args:
            number: of the trial.
            records: of all trials.
            free: numbers of those that no driver is at work on.

        Returns:
            Numbers of the trials whose checkpoints were removed.
        """
        self._note(number)
        if sum(self._sizes.values()) <= self._limit_bytes:
            return []
        for other in tuple(self._sizes):  # what ended or was taken over meanwhile
            self._note(other)
        able = set(free) & set(self._sizes)
        waiting = [r.number for r in best_first(tuple(records)) if r.paused and r.number in able]
        removed = []
        for worst in reversed(waiting[KEEP:]):
            if sum(self._sizes.values()) <= self._limit_bytes:
                break
            (self._run.trial(worst) / CHECKPOINT).unlink(missing_ok=True)
            del self._sizes[worst]
            removed.append(worst)
        return removed

    def _note(self, number: int) -> None:
        try:
            self._sizes[number] = (self._run.trial(number) / CHECKPOINT).stat().st_size
        except FileNotFoundError:
            self._sizes.pop(number, None)
