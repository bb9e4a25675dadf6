"""Finals as they run: jobs for an executor, results into the run folder, the winner at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import Interrupted, RunError, SettingsError, TrainingError, WorkerLost
from nas.executors import Executor
from nas.files import write_json
from nas.finals import (
    Final,
    FinalsSettings,
    Standing,
    by_patient,
    comparing,
    deepening,
    standings,
)
from nas.finals_folder import FORMAT, FinalsFolder
from nas.genome import Genome
from nas.jobs import Job, Outcome
from nas.seeds import derive
from nas.study import TrialRecord

LOST = 3
"""Times that a training's worker may die before it counts as failed."""


@dataclass(frozen=True)
class Finals:
    """What finals need.

    Attributes:
        folder: where results are kept.
        settings: how much is spent.
        divisions: names, in the order of the evaluator's parts.
        finalists: the search's best, the best first.
        seed: of the search.
        make: the executor of a nas.divided.DividedEvaluator, given a report and whether to stop.
        stop: asked between epochs.
        device: of jobs.
        tell: is told of every training that ended, of how many ended, and of how many there are.
    """

    folder: FinalsFolder
    settings: FinalsSettings
    divisions: tuple[str, ...]
    finalists: tuple[TrialRecord, ...]
    seed: int
    make: Callable[[Callable[[int, Any], None], Callable[[], bool]], Executor]
    stop: Callable[[], bool]
    device: str
    tell: Callable[[Final, dict[str, Any], int, int], None]


def run_finals(finals: Finals) -> dict[str, Any] | None:
    """Train what is left to train, and decide.

    Returns:
        What finals.json holds; None where they were stopped: the same call goes on.

    Raises:
        RunError: no finalist could be trained, or the folder cannot be used.
    """
    try:
        finals.folder.begin(finals.settings)
        return _decided(finals)
    except OSError as error:
        raise RunError(
            f"finals must be able to write to {finals.folder.path}, but that failed "
            f"({error.strerror or error}); free space or mend its permissions: the same command "
            "goes on"
        ) from error


def _decided(finals: Finals) -> dict[str, Any] | None:
    trials = [record.number for record in finals.finalists]
    seeds = finals.settings.seeds
    first = comparing(trials, finals.divisions, seeds)
    # Of the winner's on every division by patient one seed is trained by then.
    more = len(by_patient(finals.divisions)) * (seeds - 1)
    total = len(first) + more
    if not _train(finals, first, total):
        return None
    ranked = standings(_scores(finals, first))
    if not ranked:
        raise RunError(
            f"finals need a finalist that can be trained, but all of {finals.folder.path} failed; "
            "search with smaller limits"
        )
    winner = ranked[0].trial
    members = deepening(winner, finals.divisions, seeds)
    if not _train(finals, members, total):
        return None
    return _kept(finals, ranked, [*first, *members], members)


def _kept(
    finals: Finals, ranked: Sequence[Standing], trained: Sequence[Final], members: Sequence[Final]
) -> dict[str, Any]:
    good = list(_scores(finals, members))
    if not good:
        raise RunError(
            f"the winner must be trained at least once, but none of its trainings in "
            f"{finals.folder.path} ended well; search again with another --seed"
        )
    summary = {
        "format": FORMAT,
        "epochs": finals.settings.epochs,
        "seeds": finals.settings.seeds,
        "divisions": list(finals.divisions),
        "finalists": [record.number for record in finals.finalists],
        "winner": ranked[0].trial,
        "standings": [standing.to_json() for standing in ranked],
        "members": [final.name for final in good],
        "trainings": [finals.folder.result(final) for final in dict.fromkeys(trained)],
    }
    write_json(finals.folder.summary, summary)
    return summary


def _scores(finals: Finals, wanted: Sequence[Final]) -> dict[Final, float]:
    results = {final: finals.folder.result(final) for final in wanted}
    return {
        final: float(result["score"])
        for final, result in results.items()
        if result is not None and "score" in result
    }


def _train(finals: Finals, wanted: Sequence[Final], total: int) -> bool:
    """Train those that are not trained yet; whether all have ended."""
    waiting = [final for final in wanted if finals.folder.result(final) is None]
    done = sum(finals.folder.result(final) is not None for final in _all_kept(finals))
    if not waiting:
        return True
    if finals.stop():
        return False
    executor = finals.make(lambda *_: None, finals.stop)
    under_way: dict[int, Final] = {}
    lost: dict[Final, int] = {}
    interrupted, ticket = False, 0
    try:
        while under_way or (waiting and not interrupted):
            while waiting and not interrupted and len(under_way) < executor.slots:
                final = waiting.pop(0)
                under_way[ticket] = final
                executor.submit(ticket, _job(finals, final))
                ticket += 1
            ended = executor.wait()
            final = under_way.pop(ended.ticket)
            result = ended.result
            if isinstance(result, Interrupted):
                interrupted = True
            elif isinstance(result, WorkerLost) and lost.get(final, 0) + 1 < LOST:
                lost[final] = lost.get(final, 0) + 1
                waiting.insert(0, final)
            else:
                told = _told(result)
                finals.folder.keep(final, told)
                done += 1
                finals.tell(final, told, done, total)
            interrupted = interrupted or finals.stop()
    finally:
        executor.close()
    return all(finals.folder.result(final) is not None for final in wanted)


def _all_kept(finals: Finals) -> list[Final]:
    trials = [record.number for record in finals.finalists]
    every = comparing(trials, finals.divisions, finals.settings.seeds)
    for trial in trials:
        every += deepening(trial, finals.divisions, finals.settings.seeds)
    return list(dict.fromkeys(every))


def _told(result: Outcome | TrainingError | WorkerLost) -> dict[str, Any]:
    if not isinstance(result, Outcome):
        return {"failed": str(result)}
    return {
        "score": result.score,
        "seconds": result.cost_s,
        "robust": result.metrics["robust"],
        "auroc": result.metrics["auroc"],
        "balanced_accuracy": result.metrics["balanced_accuracy"],
    }


def _job(finals: Finals, final: Final) -> Job:
    record = next(one for one in finals.finalists if one.number == final.trial)
    return Job(
        genome=Genome.from_json(record.genome),
        start_budget=0,
        budget=finals.settings.epochs,
        seed=derive(finals.seed, "finals", final.seed),
        fold=finals.divisions.index(final.division),
        device=finals.device,
        checkpoint=finals.folder.checkpoint(final),
    )


def trainings_of(summary: dict[str, Any]) -> dict[Final, dict[str, Any]]:
    """Of finals.json how every training ended."""
    return {Final(t["trial"], t["division"], t["seed"]): t for t in summary["trainings"]}


def members_of(summary: dict[str, Any], seeds: int | None = None) -> list[Final]:
    """The members of the model, in order.

    Args:
        summary: what finals.json holds.
        seeds: only networks with the first so many seeds, for a smaller model; None for all.

    Raises:
        SettingsError: none has such a seed.
    """
    by_name = {final.name: final for final in trainings_of(summary)}
    members = [by_name[name] for name in summary["members"]]
    wanted = [final for final in members if seeds is None or final.seed < seeds]
    if not wanted:
        raise SettingsError(
            f"--seeds must leave at least one network, but is {seeds}; finals trained "
            f"{summary['seeds']} on each division"
        )
    return wanted
