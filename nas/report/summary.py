"""The run in words: what was searched, what came out, and what to be careful about."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from nas.events import ENDED, FINALS_ENDED
from nas.report.values import Cell, Part, RunData, Section, TableData
from nas.run_facts import state_of
from nas.study import UNTRAINED, TrialRecord


def summary(data: RunData) -> Section:
    """The first section."""
    parts: list[Part] = [
        _searched(data),
        _trials(data),
        _going(data),
        _best(data),
        _finals(data),
        _test(data),
    ]
    states = Counter(map(state_of, data.records))
    rows: list[list[Cell]] = [[state, count] for state, count in sorted(states.items())]
    parts.append(TableData("states", "Trials by what became of them", ["state", "trials"], rows))
    parts += caveats(data)
    parts += data.problems
    return Section("Summary", [part for part in parts if part])


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def interval(ends: object) -> str:
    """`` (95 % 0.9 to 0.95)``, or nothing."""
    if not isinstance(ends, list | tuple) or len(ends) != 2 or None in ends:
        return ""
    return f" (95 % {ends[0]:.3f} to {ends[1]:.3f})"


def _searched(data: RunData) -> str:
    identity, last = data.identity, data.sessions[-1]
    classes = ", ".join(map(str, identity.get("classes", ())))
    size, channels = identity.get("size"), identity.get("channels")
    limits = ", ".join(f"{name.replace('_', '-')} at most {value:,}"
                       for name, value in (last.get("limits") or {}).items() if value)  # fmt: skip
    synthetic = "SYNTHETIC images, drawn by a program: " if identity.get("synthetic") else ""
    return (
        f"The space {identity.get('space', 'unknown')} was searched on {synthetic}"
        f"{data.data or 'unknown data'} (classes {classes or 'unknown'}; {size} × {size} pixels, "
        f"{channels} {'channel' if channels == 1 else 'channels'}), validated on the fold "
        f"{identity.get('fold', 'unknown')}, up to {identity.get('epochs', 'unknown')} epochs a "
        f"trial, with the sampler {last.get('sampler', 'unknown')} and the scheduler "
        f"{last.get('scheduler', 'unknown')}{'; ' + limits if limits else ''}. "
        f"The score is called {data.objective} (docs/search.md); higher is better."
    )


def _trials(data: RunData) -> str:
    if not data.records:
        return "No trial is there yet."
    states = Counter(map(state_of, data.records))
    refused = sum(states[str(one)] for one in UNTRAINED)
    counted = len(data.records) - refused
    seconds = sum(record.seconds for record in data.records)
    finals = sum(float(one.get("seconds", 0)) for one in data.final_results)
    more = f", and finals another {duration(finals)}" if finals else ""
    return (
        f"{len(data.records)} networks were proposed; {refused} of them were refused before any "
        f"training. Of the other {counted}, {states['completed']} were trained to the end, "
        f"{states['paused']} wait at a rung, {states['stopped_early']} were stopped early, "
        f"{states['failed']} failed and {states['open']} are open. Training took "
        f"{duration(seconds)} of work{more}."
    )


def _going(data: RunData) -> str:
    """Whether the search has ended, as far as its events tell; the lock is not tried."""
    last = data.last_event
    if last is None or not data.records:
        return ""
    if last.get("event") in (ENDED, FINALS_ENDED):
        if last.get("complete") is False:
            return f"The search was stopped before it was complete, at {last.get('at')}."
        return f"The search had ended when this page was made, at {last.get('at')}."
    return (
        f"The search had not ended when this page was made: it goes on, or was killed. It was last "
        f"heard of at {last.get('at')} ({str(last.get('event')).replace('_', ' ')})."
    )


def _best(data: RunData) -> str:
    best = data.best
    if best is None or best.score is None:
        return "No trial has a score yet."
    return (
        f"The best trial of the search is {best.number} with {data.objective} {best.score:.4f} "
        f"after {best.budget} epochs{_spread(best)}."
    )


def _spread(record: TrialRecord) -> str:
    """An interval of the score where the trial's own figures have one, or what seeds tell."""
    metrics = record.rungs[-1].metrics
    told = interval(metrics.get("auroc_interval"))
    scores = record.scores_at(record.budget)
    if len(scores) > 1:
        return f", the mean of {len(scores)} seeds from {min(scores):.4f} to {max(scores):.4f}"
    auroc = metrics.get("auroc")
    own = f"; its AUROC there is {auroc:.4f}{told}" if auroc else ""
    return f"{own}. It is of one training, so nothing tells how much of it is chance"


def mean_interval(values: Sequence[float]) -> str:
    """Student's 95 % interval of a mean; two values at least."""
    middle, n = statistics.fmean(values), len(values)
    reach = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return f"95 % {middle - reach:.4f} to {middle + reach:.4f}"


def _finals(data: RunData) -> str:
    if data.finals is None:
        done = len(data.final_results)
        return f"Finals are not decided; {done} trainings are done." if done else (
            "There were no finals, so the winner is only the best of one training each: "
            "its score is on the bright side."
        )  # fmt: skip
    first = data.finals["standings"][0]
    count = len(data.finals.get("trainings", ()))
    scores = list(first.get("scores", {}).values())
    spread = f", from {min(scores):.4f} to {max(scores):.4f}" if scores else ""
    if len(scores) > 1:
        spread = f" ({mean_interval(scores)} over {len(scores)} divisions{spread})"
    return (
        f"The finals trained {len(data.finals.get('finalists', ()))} networks on "
        f"{len(data.finals.get('divisions', ()))} other divisions of the data ({count} trainings). "
        f"Trial {data.finals['winner']} won with a mean of {first['mean']:.4f}{spread}; it is "
        f"ahead of the next by {first['ahead']:+.4f} ± {first['error']:.4f} (standard error)."
        + (
            " That is within twice the error: another one of them may be as good."
            if abs(first["ahead"]) < 2 * first["error"]
            else ""
        )
    )


def main_model(data: RunData) -> tuple[str, Mapping[str, Any]] | None:
    """The exported winner and its figures: the first model that has any."""
    for name, figures in (data.evaluation or {}).get("models", {}).items():
        if "missing" not in figures:
            return name, figures
    return None


def _test(data: RunData) -> str:
    found = main_model(data)
    if found is None or data.evaluation is None:
        return "No model was exported, so the test split was not opened."
    name, figures = found
    boot = (figures.get("bootstrap") or {}).get("auroc")
    told = []
    for key in ("AUROC", "sensitivity", "specificity", "accuracy"):
        value, own = figures.get(key.lower()), figures.get(f"{key.lower()}_interval")
        if value is not None:
            told.append(f"{key} {value:.3f}{interval(boot if key == 'AUROC' else own)}")
    return (
        f"On the test split (n = {figures['n']}) the exported {name} of trial "
        f"{data.evaluation.get('trial', 'unknown')} has {', '.join(told)}, at the threshold "
        f"{figures.get('threshold', 0.5):.3f}."
    )


def caveats(data: RunData) -> list[str]:
    """What a reader should know before believing the figures."""
    found = ["Research use only. Not a medical device. Not for diagnosis."]
    if data.identity.get("synthetic"):
        found.append("The images are synthetic: no figure says anything about patients.")
    if data.identity.get("leaks"):
        found.append(f"The data leaks: {'; '.join(map(str, data.identity['leaks']))}.")
    if len([record for record in data.records if record.score is not None]) > 1:
        found.append(
            "The best score of a search is the highest of many, and partly luck; figures of the "
            "finals and of the test split are of images that did not choose it."
        )
    for name, figures in (data.evaluation or {}).get("models", {}).items():
        warning = (figures.get("test_readings") or {}).get("warning")
        if warning:
            found.append(f"{name}: {warning}")
    evaluation = data.evaluation or {}
    absent = [
        domain
        for domain, figures in ((main_model(data) or ("", {}))[1].get("domains") or {}).items()
        if figures.get("auroc") is None
    ]
    if absent and evaluation:
        found.append(
            f"The domains {', '.join(absent)} of the test split have images of one class only: "
            "a model that tells domains apart would look as good as one that tells diseases apart."
        )
    return found
