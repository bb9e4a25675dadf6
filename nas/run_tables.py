"""Runs as tables and lines for people."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nas.run_cleaning import Needless
from nas.run_facts import RunFacts
from nas.study import TrialRecord, best_first

BEST = 5
"""Of a run the best so many trials are shown, and their spread is told."""

MATTERING = ("data_checksum", "fold", "divisions", "classes", "objective", "epochs", "size")
"""Of a run's identity what scores may not differ in, if they are to be compared."""

FIGURES = ("n", "auroc", "accuracy", "sensitivity", "specificity", "parameters", "megabytes")


def size_text(count: float) -> str:
    """Bytes as a person says them: 12 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def score_text(record: TrialRecord | None) -> str:
    """A score and whose it is."""
    if record is None or record.score is None:
        return "none"
    return f"{record.score:.4f} (trial {record.number})"


def list_table(runs: Sequence[RunFacts]) -> Table:
    """A row for each run."""
    table = Table()
    for name in ("run", "data", "space", "trials", "best", "size", "finals", "state", "changed"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for facts in runs:
        table.add_row(
            facts.name,
            Path(facts.session.get("data") or "?").name,
            str(facts.identity.get("space", "?")),
            ", ".join(f"{count} {state}" for state, count in facts.states.items()) or "none",
            score_text(facts.best),
            size_text(sum(facts.sizes.values())),
            _outcome(facts),
            going_text(facts),
            facts.changed.replace("T", " ").removesuffix("+00:00"),
        )
    return table


def going_text(facts: RunFacts) -> str:
    """Whether a search holds the run, in words."""
    return {True: "going on", False: "idle", None: "unknown"}[facts.going_on]


def _outcome(facts: RunFacts) -> str:
    parts = []
    if facts.finals is not None:
        parts.append(f"won by {facts.finals['winner']}")
    if facts.figures is not None:
        parts.append("exported")
    return ", ".join(parts) or "none"


def best_lines(facts: RunFacts) -> Table:
    """The best trials of a run."""
    table = Table(title="best trials")
    for name in ("trial", "score", "seeds", "epochs", "parameters", "state"):
        table.add_column(name, justify="right")
    for record in best_first(facts.records)[:BEST]:
        table.add_row(
            str(record.number),
            f"{record.score:.4f}",
            str(len(record.scores_at(record.budget))),
            str(record.budget),
            f"{record.facts.get('parameters', 0):,.0f}",
            str(record.ended or "paused"),
        )
    return table


def rung_counts(facts: RunFacts) -> dict[int, int]:
    """How many trials have a score at each budget, in epochs; copies of earlier ones left out."""
    own = [record for record in facts.records if record.duplicate_of is None]
    budgets = sorted({rung.budget for record in own for rung in record.rungs})
    return {budget: sum(bool(r.scores_at(budget)) for r in own) for budget in budgets}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings as one level, with dots in their names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def settings_of(facts: RunFacts) -> dict[str, Any]:
    """What was searched for and how, flat; without the moment and the self-test."""
    session = {k: v for k, v in facts.session.items() if k not in ("started", "self_test")}
    return flat(facts.identity) | flat(session)


def differences(one: RunFacts, other: RunFacts) -> dict[str, tuple[Any, Any]]:
    """Settings that two runs do not share."""
    first, second = settings_of(one), settings_of(other)
    names = [*first, *(name for name in second if name not in first)]
    return {
        name: (first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    }


def not_comparable(one: RunFacts, other: RunFacts) -> list[str]:
    """Of what scores depend on, that in which two runs differ; empty where scores compare."""
    return [n for n in MATTERING if one.identity.get(n) != other.identity.get(n)]


def score_rows(facts: RunFacts) -> dict[str, Any]:
    """Best scores, their spread, trials and cost of a run, plain values."""
    ranked = best_first(facts.records)
    full = [r for r in ranked if r.budget == ranked[0].budget][:BEST] if ranked else []
    top = [record.score for record in full if record.score is not None]
    rows: dict[str, Any] = {
        "best score": top[0] if top else None,
        f"mean of the best {BEST}": statistics.fmean(top) if top else None,
        "their standard deviation": statistics.stdev(top) if len(top) > 1 else None,
        "trials trained": sum(record.counts for record in facts.records),
        "epochs of the best": full[0].budget if full else None,
        "minutes of training": round(facts.seconds / 60, 1),
    }
    if facts.finals is not None:
        first = facts.finals["standings"][0]
        seconds = sum(one.get("seconds", 0.0) for one in facts.finals["trainings"])
        rows |= {
            "finals: mean of the winner": first["mean"],
            "finals: ahead of the mean by": first["ahead"],
            "finals: standard error of that": first["error"],
            "finals: minutes of training": round(seconds / 60, 1),
        }
    model = (facts.figures or {}).get("the_nas_model", {})
    rows |= {f"exported: {name}": model[name] for name in FIGURES if name in model}
    if "auroc_interval" in model:
        rows["exported: AUROC, 95 % interval"] = model["auroc_interval"]
    return rows


def side_by_side(
    title: str, rows: Mapping[str, tuple[Any, Any]], one: RunFacts, other: RunFacts
) -> Table:
    """Values of two runs."""
    table = Table(title=title)
    table.add_column("")
    table.add_column(one.name, overflow="fold")
    table.add_column(other.name, overflow="fold")
    for name, (first, second) in rows.items():
        table.add_row(name, value_text(first), value_text(second))
    return table


def value_text(value: Any) -> str:
    """A value as a cell."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list) and value and all(isinstance(part, float) for part in value):
        return " to ".join(f"{part:.3f}" for part in value)
    return str(value)


def needless_table(items: Sequence[Needless]) -> Table:
    """What can go."""
    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("why")
    table.add_column("size", justify="right")
    for item in items:
        table.add_row(str(item.path), item.why, size_text(item.size))
    return table
