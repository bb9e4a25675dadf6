"""How much each choice matters for being among the best, and how sure that is.

Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) measures by how much the best trials'
choices differ from those of all trials. With few trials it finds differences that are none, so it
is repeated on trials drawn anew with replacement, and on scores dealt out anew: what chance alone
would give stands beside each value.
"""

import random
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial

from nas.report.drawing import Dot, Drawing, Line, Mark, Words, box
from nas.report.values import Cell, Figure, RunData, Section, TableData, Value

TITLE = "Importance of each choice"
FEWEST = 10
"""Trials with a score, below which nothing can be said."""

REPEATS = 20
BUDGET_S = 8.0
"""For all repeats together; at least three are done."""

MOST_CHOICES = 16
BINS = 6
"""Numbers of more than so many values are divided among so many bins, of as many trials each."""

QUANTILE = 0.25
"""The best quarter is compared with all."""

SHOWN = 15
WIDTH, LEFT, RIGHT, ROW, TOP = 640.0, 170.0, 30.0, 26.0, 14.0


def importance(data: RunData, now: Callable[[], float] = time.monotonic) -> Section:
    """The section.

    Args:
        data: of a run.
        now: monotonic seconds, for the bound in time.
    """
    scores = data.scores_at(min(data.budgets, default=0))
    known = [(point.number, scores[point.number]) for point in data.points
             if point.number in scores and point.values]  # fmt: skip
    if len(known) < FEWEST:
        return Section(
            TITLE, [f"Importance needs {FEWEST} trials with a score, but there are {len(known)}."]
        )
    trials = _trials(data, [number for number, _ in known])
    values = [score for _, score in known]
    drawn, dealt = _repeated(trials, values, now)
    rows: list[tuple[str, float, float, float, float]] = []
    for name in dict.fromkeys(name for one in drawn for name in one):
        own = [one.get(name, 0.0) for one in drawn]
        # Drawn with replacement the measure is a little off, so the dot is of the same draws.
        low, middle, high = (float(np.quantile(own, q)) for q in (0.05, 0.5, 0.95))
        chance = float(np.quantile([one.get(name, 0.0) for one in dealt], 0.95))
        rows.append((name, middle, low, high, chance))
    # Measured in shares of what all parameters have together: shares of each draw by itself would
    # add up to 1 by chance too.
    total = sum(middle for _, middle, *_ in rows) or 1.0
    rows = [(name, *(one / total for one in values)) for name, *values in rows]  # type: ignore[misc]
    rows.sort(key=lambda row: -row[1])
    # Of many parameters one is above its own bar by chance alone, so to be named it has to be above
    # what the luckiest of all parameters has by chance.
    luckiest = float(np.quantile([max(one.values()) for one in dealt], 0.95)) / total
    sure = [name for name, _, low, _, _ in rows if low > luckiest]
    told = (
        f"Clearly above chance: {', '.join(sure)}."
        if sure
        else "No choice is clearly above what chance would give with so few trials."
    )
    head = ["parameter", "importance (median)", "low (5 %)", "high (95 %)", "by chance (95 %)"]
    cells: list[list[Cell]] = [list(row) for row in rows]
    caption = (
        f"How much the choices of the best quarter differ from those of all {len(known)} trials, "
        f"by their scores after {min(data.budgets)} epochs, which all of them have; the dots add "
        f"up to 1. Dots and lines: median and 90 % of {len(drawn)} draws with replacement. "
        "Grey: up to there with scores dealt out by chance. The sampler did not choose evenly, so "
        f"this describes what it tried. {told}"
    )
    return Section(
        TITLE,
        [Figure("importance", _drawing(rows[:SHOWN]), caption)],
        [TableData("importance", TITLE, head, cells)],
    )


def _repeated(
    trials: Sequence[FrozenTrial], scores: Sequence[float], now: Callable[[], float]
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Importances of trials drawn anew, and of the same trials with scores dealt out anew."""
    begun, generator = now(), random.Random(0)
    drawn, dealt = [], []
    for repeat in range(REPEATS):
        if repeat >= 3 and now() - begun > BUDGET_S:
            break
        chosen = generator.choices(range(len(trials)), k=len(trials))
        again, own = [trials[i] for i in chosen], [scores[i] for i in chosen]
        drawn.append(_measured(again, own))
        dealt.append(_measured(again, generator.sample(own, len(own))))
    return drawn, dealt


def _measured(trials: Sequence[FrozenTrial], scores: Sequence[float]) -> dict[str, float]:
    """Divergences by parameter, at least 0; PED-ANOVA takes lower values as better."""
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.create_trial(params=t.params, distributions=t.distributions, value=-score)
            for t, score in zip(trials, scores, strict=True)
        ]
    )
    with warnings.catch_warnings():
        # It warns where too few trials share a parameter, and gives 0, which is what is told.
        warnings.simplefilter("ignore")
        return PedAnovaImportanceEvaluator(target_quantile=QUANTILE).evaluate(study)


def _trials(data: RunData, numbers: Sequence[int]) -> list[FrozenTrial]:
    """Trials whose parameters all are choices: numbers of many values are put into bins.

    Distributions as the space has them may differ from trial to trial, which PED-ANOVA would take
    for different parameters.
    """
    points = {point.number: point for point in data.points}
    found: dict[str, list[Value]] = {}
    for number in numbers:
        for name, value in points[number].values.items():
            found.setdefault(name, []).append(value)
    names = {name: _choices(values) for name, values in found.items()}
    spaces: dict[str, BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(sorted(set(choices.values())))
        for name, choices in names.items()
    }
    return [
        optuna.create_trial(
            params={name: names[name][str(v)] for name, v in points[number].values.items()},
            distributions={name: spaces[name] for name in points[number].values},
            value=0.0,
        )
        for number in numbers
    ]


def _choices(values: Sequence[Value]) -> dict[str, str]:
    """By the text of a value, the choice that it counts as: itself, or its bin."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(set(map(str, values))) <= MOST_CHOICES or len(numbers) < len(values):
        return {str(value): str(value) for value in values}
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    return {str(v): f"bin {int(np.searchsorted(edges, v, side='right'))}" for v in numbers}


def _drawing(rows: Sequence[tuple[str, float, float, float, float]]) -> Drawing:
    height = TOP + ROW * len(rows) + 34
    most = max([max(high, chance, value) for _, value, _, high, chance in rows]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / most
    marks: list[Mark] = []
    for place, (name, value, low, high, chance) in enumerate(rows):
        y = TOP + ROW * place + ROW / 2
        marks += [
            Words(LEFT - 10, y + 4, name[:26], "ink", "end"),
            box(LEFT, y - 9, max(chance * scale, 1), 18, "soft", 0.18),
            Line(((LEFT + low * scale, y), (LEFT + high * scale, y)), "l0", 2.2),
            Dot(LEFT + value * scale, y, 4.5, "l0", title=f"{name}: {value:.3f}"),
        ]
    foot = TOP + ROW * len(rows)
    marks.append(Line(((LEFT, TOP), (LEFT, foot)), "soft", 1))
    for share in (0.0, 0.5, 1.0):
        x = LEFT + share * most * scale
        marks.append(Words(x, foot + 18, f"{share * most:.2f}", anchor="middle"))
    return Drawing(WIDTH, height, TITLE, marks)
