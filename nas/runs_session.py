"""What ``python -m nas.runs`` does: tables for people, plain values for programs."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.data.opening import CACHE
from nas.errors import RunError
from nas.run_cleaning import Needless, needless_of, old_caches, remove
from nas.run_facts import RunFacts, facts_of, held, runs_in
from nas.run_tables import (
    FIGURES,
    best_lines,
    differences,
    going_text,
    list_table,
    needless_table,
    not_comparable,
    rung_counts,
    score_rows,
    settings_of,
    side_by_side,
    size_text,
    value_text,
)
from nas.runfolder import RunFolder
from nas.storage import Place
from nas.study import best_first

Told = dict[str, Any] | list[Any] | None
"""What is to be printed as JSON; None where tables were printed."""


def show_list(runs: Path, *, as_json: bool) -> Told:
    """All runs below a folder."""
    found = [facts_of(run) for run in runs_in(runs)]
    if as_json:
        return [facts.to_json() for facts in found]
    console = _console()
    if not found:
        console.print(f"{runs} holds no run yet; python -m nas.search makes one")
        return None
    console.print(list_table(found))
    for facts in found:
        if facts.problem:
            console.print(f"{facts.name}: {facts.problem}", markup=False)
    return None


def show(run: RunFolder, storage: str | None, *, as_json: bool) -> Told:
    """One run."""
    facts = facts_of(run, storage)
    place = Place.file(run.study) if storage is None else Place(storage, run.path.name)
    dashboard = f"optuna-dashboard {shlex.quote(place.shown)}"
    if as_json:
        ranked = best_first(facts.records)[:5]
        return facts.to_json() | {
            "settings": settings_of(facts),
            "best_trials": [
                {"trial": r.number, "score": r.score, "epochs": r.budget} for r in ranked
            ],
            "rungs": rung_counts(facts),
            "finals": facts.finals,
            "figures": facts.figures,
            "dashboard": dashboard,
        }
    console = _console()
    console.print(f"{run.path}: {going_text(facts)}, last changed {facts.changed}", markup=False)
    for name, value in settings_of(facts).items():
        console.print(f"  {name}: {value_text(value)}", markup=False)
    counts = ", ".join(f"{count} {state}" for state, count in facts.states.items())
    console.print(f"trials: {counts or 'none'}; {facts.seconds / 60:.1f} minutes of training")
    for budget, count in rung_counts(facts).items():
        console.print(f"  scored after {budget} epochs: {count}")
    console.print(best_lines(facts))
    if facts.finals is not None:
        first = facts.finals["standings"][0]
        console.print(
            f"finals: won by trial {facts.finals['winner']}, mean {first['mean']:.4f}, ahead "
            f"{first['ahead']:+.4f} ± {first['error']:.4f}, "
            f"{len(facts.finals['trainings'])} trainings"
        )
    for name, figures in (facts.figures or {}).items():
        told = ", ".join(f"{n} {value_text(figures[n])}" for n in FIGURES if n in figures)
        console.print(f"exported {name}: {told or 'missing'}", markup=False)
    sizes = ", ".join(f"{kind} {size_text(size)}" for kind, size in facts.sizes.items() if size)
    console.print(f"on disk: {size_text(sum(facts.sizes.values()))} ({sizes})")
    console.print(f"look at every trial:  {dashboard}", markup=False)
    if facts.problem:
        console.print(facts.problem, markup=False)
    return None


def compare(one: RunFolder, other: RunFolder, *, as_json: bool) -> Told:
    """Two runs side by side, and whether their scores compare at all.

    Raises:
        RunError: one of them cannot be read.
    """
    first, second = _whole(one), _whole(other)
    apart = not_comparable(first, second)
    rows = score_rows(first), score_rows(second)
    names = [*rows[0], *(name for name in rows[1] if name not in rows[0])]
    figures = {name: (rows[0].get(name), rows[1].get(name)) for name in names}
    differ = differences(first, second)
    if as_json:
        return {
            "runs": [first.name, second.name],
            "comparable": not apart,
            "not_comparable_for": apart,
            "settings": {name: list(pair) for name, pair in differ.items()},
            "figures": {name: list(pair) for name, pair in figures.items()},
        }
    console = _console()
    if apart:
        console.print(
            f"WARNING: the scores of these runs are not comparable: they differ in "
            f"{', '.join(apart)}",
            markup=False,
        )
    console.print(side_by_side("settings that differ", differ, first, second))
    console.print(side_by_side("what was found", figures, first, second))
    return None


def clean(
    runs: Path,
    chosen: Sequence[RunFolder],
    *,
    keep: int,
    cache_days: float | None,
    yes: bool,
    as_json: bool,
) -> Told:
    """Tell what can go, and remove it if ``yes``.

    Args:
        runs: folder of all runs.
        chosen: which runs; none for all.
        keep: see nas.run_cleaning.needless_of.
        cache_days: caches that were not used for so many days go too; None for none.
        yes: whether to remove.
        as_json: whether plain values are to be printed.

    Raises:
        RunError: one of the runs that were named is going on, or something cannot be removed.
    """
    items: list[Needless] = []
    left: dict[str, str] = {}
    freed = 0
    for run in chosen or runs_in(runs):
        try:
            with ExitStack() as stack:
                if yes:
                    stack.enter_context(run.locked())  # nobody begins a search meanwhile
                elif held(run):
                    raise RunError(
                        f"a run is cleaned when no search uses it, but one uses {run.path}"
                    )
                found = needless_of(run, keep)
                items += found
                freed += remove(found) if yes else 0
        except RunError as error:
            if chosen:
                raise
            left[run.path.name] = str(error)
    if cache_days is not None:
        found = old_caches(runs, runs / CACHE, cache_days)
        items += found
        freed += remove(found) if yes else 0
    total = sum(item.size for item in items)
    if as_json:
        files = [{"path": str(i.path), "why": i.why, "bytes": i.size} for i in items]
        return {"items": files, "bytes": total, "removed": yes, "freed": freed, "left_alone": left}
    console = _console()
    if items:
        console.print(needless_table(items))
    for name, why in left.items():
        console.print(f"{name} is left alone: {why}", markup=False)
    if yes:
        console.print(f"freed {size_text(freed)}")
    elif items:
        console.print(f"this would free {size_text(total)}; add --yes to remove it")
    else:
        console.print("nothing to free")
    return None


def _whole(run: RunFolder) -> RunFacts:
    facts = facts_of(run)
    if facts.problem:
        raise RunError(f"two runs are compared when both can be read, but: {facts.problem}")
    return facts


def _console() -> Console:
    return Console(highlight=False, soft_wrap=False)
