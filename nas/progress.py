"""A search as a person sees it: live in a terminal, plain lines elsewhere, a table at its end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from nas.genome import Genome
from nas.genome.brief import brief
from nas.progress_view import NOTHING_KNOWN, Speed, View, best_text, rung_lines, speed_line
from nas.study import UNTRAINED, Ended, TrialRecord, best_first
from nas.training import EpochScore

BEST_ROWS = 10


class _Live(Progress):
    """Rich's bar with lines below it."""

    lines: Callable[[], list[str]] = staticmethod(list)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and the lines, each cut at the terminal's width."""
        yield self.make_tasks_table(self.tasks)
        for line in self.lines():
            yield Text(f"  {line}", no_wrap=True, overflow="ellipsis")


class SearchProgress:
    """Listens to a search (nas.search.Listener) and to epochs, and shows them."""

    def __init__(
        self,
        console: Console,
        total: int,
        before: Sequence[TrialRecord],
        clock: Callable[[], float] = time.monotonic,
        view: View = NOTHING_KNOWN,
    ) -> None:
        self._view, self._speed = view, Speed(view.images)
        self._running: dict[int, int] = {}  # trial -> budget that it trains to
        self._console, self._total, self._clock = console, total, clock
        self._records = {record.number: record for record in before}
        self._done = sum(record.counts for record in before)
        self._before, self._begin = self._done, clock()
        self._progress = _Live(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._progress.lines = self._lines
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
        self._running[trial.number] = budget
        self._aims[trial.number] = f"trial {trial.number}, to epoch {budget}"
        self._now = self._aims[trial.number]
        self._update()

    def reported(self, trial: TrialRecord, said: object) -> None:
        """Show an epoch's scores."""
        if isinstance(said, EpochScore):
            self._speed.add(said.seconds)
            head = self._aims.get(trial.number, f"trial {trial.number}")
            self._now = f"{head}: epoch {said.epoch} AUROC {said.auroc:.3f}"
            self._update()

    def ended(self, trial: TrialRecord) -> None:
        """Count a trial that came to a rung or to its end, and print its line."""
        self._records[trial.number] = trial
        self._aims.pop(trial.number, None)
        self._running.pop(trial.number, None)
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
        status = self._now if self._view.budgets else f"{self._status()}  {self._now}".rstrip()
        self._progress.update(self._task, completed=self._done, status=status)

    def _status(self) -> str:
        seconds = self._left_s()
        if seconds is None:
            return self._best_text()
        return f"{self._best_text()}, about {duration_text(seconds)} left"

    def _left_s(self) -> float | None:
        fresh, left = self._done - self._before, self._total - self._done
        if fresh <= 0 or left <= 0:
            return None
        return (self._clock() - self._begin) / fresh * left

    def _best_text(self) -> str:
        return best_text(tuple(self._records.values()), self._view.validated)

    def _lines(self) -> list[str]:
        """What is shown below the bar."""
        if not self._view.budgets:
            return []
        records = tuple(self._records.values())
        elapsed_s = self._clock() - self._begin
        speed = speed_line(
            self._view, self._speed, len(self._running), self._left_s(), elapsed_s, duration_text
        )
        rungs = rung_lines(records, self._running, self._view.budgets)
        return [self._best_text(), *rungs, *([speed] if speed else [])]


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
