"""A search as a person sees it: a bar in a terminal, plain lines elsewhere, a table at its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from nas.genome import Genome
from nas.genome.brief import brief
from nas.study import UNTRAINED, Ended, TrialRecord, best_first
from nas.training import EpochScore

BEST_ROWS = 10


class SearchProgress:
    """Listens to a search (nas.search.Listener) and to epochs, and shows them."""

    def __init__(
        self,
        console: Console,
        total: int,
        before: Sequence[TrialRecord],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._total, self._clock = console, total, clock
        self._records = {record.number: record for record in before}
        self._done = sum(record.counts for record in before)
        self._before, self._begin = self._done, clock()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            "trials", total=total, completed=self._done, status=self._best_text()
        )
        self._now = ""
        self._aims: dict[int, str] = {}  # of trials under way, as told

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def started(self, trial: TrialRecord, budget: int) -> None:
        """Show which trial trains."""
        self._aims[trial.number] = f"trial {trial.number}, to epoch {budget}"
        self._now = self._aims[trial.number]
        self._update()

    def reported(self, trial: TrialRecord, said: object) -> None:
        """Show an epoch's scores."""
        if isinstance(said, EpochScore):
            head = self._aims.get(trial.number, f"trial {trial.number}")
            self._now = f"{head}: epoch {said.epoch} AUROC {said.auroc:.3f}"
            self._update()

    def ended(self, trial: TrialRecord) -> None:
        """Count a trial that came to a rung or to its end, and print its line."""
        self._records[trial.number] = trial
        self._aims.pop(trial.number, None)
        if trial.ended in UNTRAINED:
            self._update()
            return
        self._done = sum(record.counts for record in self._records.values())
        line = f"trial {trial.number:3d}  {_score(trial)}  {trial.seconds:5.1f} s  "
        if trial.ended is Ended.FAILED:
            line += str(trial.reason)
        else:
            line += f"{trial.budget} epochs  {network_text(trial.genome)}"
        plain = not self._console.is_terminal
        tail = f"  [{self._done}/{self._total}, {self._status()}]" if plain else ""
        self._console.print(line + tail, markup=False, highlight=False, soft_wrap=True)
        self._update()

    def _update(self) -> None:
        status = "  ".join(part for part in (self._status(), self._now) if part)
        self._progress.update(self._task, completed=self._done, status=status)

    def _status(self) -> str:
        fresh = self._done - self._before
        left = self._total - self._done
        if not fresh or not left:
            return self._best_text()
        seconds = (self._clock() - self._begin) / fresh * left
        return f"{self._best_text()}, about {duration_text(seconds)} left"

    def _best_text(self) -> str:
        ranked = best_first(tuple(self._records.values()))
        return (
            f"best {ranked[0].score:.4f} (trial {ranked[0].number})" if ranked else "no score yet"
        )


def best_table(records: tuple[TrialRecord, ...]) -> Table:
    """The best ten trials, those trained longest first. Fits 80 columns."""
    table = Table(title=f"The best of {sum(r.counts for r in records)} trained genomes")
    for name in ("trial", "score", "AUROC", "epochs", "parameters", "multiply-adds", "seconds"):
        table.add_column(name, justify="right")
    for record in best_first(records)[:BEST_ROWS]:
        table.add_row(
            str(record.number),
            _score(record),
            f"{record.rungs[-1].metrics.get('auroc', float('nan')):.4f}",
            str(record.budget),
            f"{record.facts.get('parameters', 0):,.0f}",
            f"{record.facts.get('multiply_adds', 0) / 1e6:,.1f} M",
            f"{record.seconds:.1f}",
        )
    return table


def network_text(genome: Mapping[str, Any] | None) -> str:
    """A genome in one line; see nas.genome.brief."""
    return "?" if genome is None else brief(Genome.from_json(genome))


def duration_text(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _score(record: TrialRecord) -> str:
    return "  none" if record.score is None else f"{record.score:.4f}"
