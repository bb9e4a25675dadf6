"""Finals after a search, from the options of its command."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.data.cache import Images
from nas.data.folds import Division, make_fold
from nas.data.reopening import FoldSource
from nas.divided import DividedEvaluator
from nas.evaluator import TrainingEvaluator
from nas.events import FINAL_FINISHED, FINALS_ENDED, FINALS_STARTED
from nas.finals import Final, FinalsSettings, by_patient, chosen_divisions
from nas.finals_folder import FinalsFolder
from nas.finals_session import Finals, run_finals
from nas.progress import duration_text
from nas.runfolder import RunFolder
from nas.running import Running
from nas.study import TrialRecord, best_first
from nas.tracking import Tracker, Trackers

LONGER = 2
"""Epochs of a final, in those of the search."""

SHARE = 0.5
"""Of ``--timeout``, for finals."""


@dataclass(frozen=True)
class Search:
    """What finals take over from a search.

    Attributes:
        run: its folder.
        images: of the splits train and val.
        found: all divisions of them.
        division: the one that the search validated on.
        evaluator: its evaluator.
        running: how its jobs were run.
        tracker: is told of every training.
    """

    run: RunFolder
    images: Images
    found: tuple[Division, ...]
    division: Division
    evaluator: TrainingEvaluator
    running: Running
    tracker: Tracker = field(default_factory=lambda: Trackers({}))


def finals_settings(options: argparse.Namespace) -> FinalsSettings | None:
    """What the options ask for; None for no finals.

    Raises:
        SettingsError: an option outside its rule.
    """
    if options.finals == 0:
        return None
    epochs = options.finals_epochs
    return FinalsSettings(
        finalists=options.finals,
        epochs=LONGER * options.epochs if epochs is None else epochs,
        seeds=options.finals_seeds,
    )


def planned(settings: FinalsSettings, divisions: list[str], searched: str) -> int:
    """How many trainings finals are, where all finalists can be trained.

    Args:
        settings: how much is spent.
        divisions: names of all divisions of the data.
        searched: the one that the search validates on.
    """
    chosen = chosen_divisions(divisions, searched)
    more = len(by_patient(chosen)) * (settings.seeds - 1)
    return settings.finalists * len(chosen) + more


def finals_share(options: argparse.Namespace) -> float:
    """Share of ``--timeout`` that the search leaves to finals."""
    if options.finals_share is None:
        return SHARE if options.finals else 0.0
    return float(options.finals_share)


def hold_finals(
    search: Search,
    settings: FinalsSettings,
    records: tuple[TrialRecord, ...],
    *,
    seed: int,
    console: Console,
    stop: Callable[[], bool],
    clock: Callable[[], float],
) -> dict[str, Any] | None:
    """Train the best of a search anew and tell who won.

    Returns:
        What finals.json holds; None where finals were stopped.

    Raises:
        RunError: no finalist could be trained, or another process holds the run's finals.
    """
    finalists = tuple(best_first(records)[: settings.finalists])
    divisions = {division.name: division for division in search.found}
    chosen = chosen_divisions(list(divisions), search.division.name)
    recipe = replace(search.evaluator.settings, epochs=settings.epochs)
    parts = []
    for name in chosen:
        fold = make_fold(search.images, search.evaluator.fold.classes, divisions[name])
        reopen = search.evaluator.reopen
        if isinstance(reopen, FoldSource):
            reopen = replace(reopen, division=name)
        part = replace(search.evaluator, fold=fold, settings=recipe, reopen=reopen, shifted={})
        parts.append(part)
    console.print(
        f"finals: {len(finalists)} genomes, {settings.epochs} epochs, {settings.seeds} seeds, on "
        f"{', '.join(chosen)}"
    )
    evaluator, begin = DividedEvaluator(tuple(parts)), clock()
    search.tracker.event(
        FINALS_STARTED, trials=[record.number for record in finalists], divisions=list(chosen)
    )
    before: list[int] = []

    def tell(final: Final, result: dict[str, Any], done: int, total: int) -> None:
        before.append(done)
        told = {**result, "trial": final.trial, "division": final.division, "seed": final.seed}
        search.tracker.event(FINAL_FINISHED, **told, done=done, total=total)
        left = (clock() - begin) / len(before) * (total - done)
        scored = f"{result['score']:.4f}" if "score" in result else result["failed"]
        console.print(
            f"final {done}/{total}: trial {final.trial} on {final.division}, seed {final.seed}: "
            f"{scored}  [about {duration_text(left)} left]",
            markup=False,
        )

    finals = Finals(
        folder=FinalsFolder(search.run.finals),
        settings=settings,
        divisions=chosen,
        finalists=finalists,
        seed=seed,
        make=lambda report, asked: search.running.make(evaluator, report, asked),
        stop=stop,
        device=search.running.device,
        tell=tell,
    )
    with search.run.locked():  # several searches may share the run, but one holds its finals
        summary = run_finals(finals)
    winner = None if summary is None else summary["winner"]
    search.tracker.event(FINALS_ENDED, winner=winner, complete=summary is not None)
    if summary is None:
        console.print("finals are not decided yet; the same command goes on with them")
    else:
        console.print(standings_table(summary))
        members = len(summary["members"])
        networks = "1 network" if members == 1 else f"{members} networks"
        console.print(f"trial {summary['winner']} won; the model will be of its {networks}")
    return summary


def standings_table(summary: dict[str, Any]) -> Table:
    """A column for each finalist, the winner first. Fits 80 columns with five of them."""
    table = Table(title=f"finals: score after {summary['epochs']} epochs, by what was held out")
    table.add_column("trial")
    ranked = summary["standings"]
    for standing in ranked:
        table.add_column(str(standing["trial"]), justify="right")
    for name in summary["divisions"]:
        scores = [standing["scores"].get(name) for standing in ranked]
        table.add_row(name, *("failed" if score is None else f"{score:.4f}" for score in scores))
    table.add_section()
    table.add_row("mean", *(f"{standing['mean']:.4f}" for standing in ranked))
    table.add_row("ahead", *(f"{standing['ahead']:+.4f}" for standing in ranked))
    table.add_row("± error", *(f"{standing['error']:.4f}" for standing in ranked))
    return table
