"""Sums over the trials of a search, kept up with each change."""

from dataclasses import dataclass

from nas.study import Ended, TrialRecord


@dataclass
class Tally:
    """Sums; adding them up anew for every decision would take time with thousands of trials.

    Attributes:
        counted: trials that count towards the total.
        fresh: trials on their way to the first rung.
        low_s: seconds of work up to the first rung.
        all_s: seconds of all work.
        further: budget spent beyond the first rung, and that a training is under way to.
    """

    counted: int = 0
    fresh: int = 0
    low_s: float = 0.0
    all_s: float = 0.0
    further: int = 0

    def add(self, record: TrialRecord, sign: int) -> None:
        """Add a trial's record, or take it away with ``sign`` -1."""
        self.counted += sign * record.counts
        self.fresh += sign * (record.ended is None and not record.rungs)
        if record.rungs and record.ended is not Ended.DUPLICATE:
            first = record.rungs[0]
            self.low_s += sign * first.seconds
            self.all_s += sign * record.seconds
            self.further += sign * (max(record.budget, record.aim) - first.budget)
