"""What a score costs: fronts of score against parameters and multiply-adds."""

from itertools import pairwise

from nas.front import Direction, non_dominated
from nas.front_plot import number_text
from nas.report.chart import Chart, score_ends
from nas.report.values import Cell, Figure, Part, RunData, Section, TableData

TITLE = "Score against cost"
COSTS = (
    ("parameters", "parameters"),
    ("multiply_adds", "multiply-adds of one image"),
    ("latency_ms", "latency in milliseconds"),
)


def costs(data: RunData) -> Section:
    """A front for each cost that the trials know; scores of the longest training only."""
    parts: list[Part] = []
    hidden = []
    top = max(data.budgets, default=0)
    scores = data.scores_at(top)
    for fact, name in COSTS:
        known = [
            (record.number, scores[record.number], float(record.facts[fact]))
            for record in data.records
            if record.number in scores and record.facts.get(fact, 0) > 0
        ]
        if not known:
            if fact != "latency_ms":
                parts.append(f"No trial has both a score and its {name}: there is no front.")
            continue
        aims = (Direction.MAXIMIZE, Direction.MINIMIZE)
        front = {known[i][0] for i in non_dominated([(s, c) for _, s, c in known], aims)}
        parts.append(_figure(data, fact, name, known, front, top))
        rows: list[list[Cell]] = [[n, s, c, int(n in front)] for n, s, c in known]
        head = ["trial", data.objective, name, "on the front"]
        hidden.append(TableData(f"front-{fact.replace('_', '-')}", name, head, rows))
    if not any("latency_ms" in record.facts for record in data.records):
        parts.append(
            "The search did not measure the latency of every trial; that of exported models is "
            "among the test figures."
        )
    return Section(TITLE, parts, hidden)


def _figure(
    data: RunData,
    fact: str,
    name: str,
    known: list[tuple[int, float, float]],
    front: set[int],
    budget: int,
) -> Figure:
    values = [cost for _, _, cost in known]
    low, high = min(values), max(values)
    wide = max(high / low, 1.2)
    ends = (low / wide**0.06, high * wide**0.04)
    title = f"{data.objective} against {name}"
    chart = Chart(title, name, data.objective, ends, score_ends([s for _, s, _ in known]), log=True)
    best = sorted((cost, score) for number, score, cost in known if number in front)
    steps = [best[0]]
    for (_, score), (to_cost, to_score) in pairwise(best):
        steps += [(to_cost, score), (to_cost, to_score)]
    chart.line([*steps, (ends[1], best[-1][1])], "l1", width=1.8)
    winner = data.winner.number if data.winner else None
    for number, score, cost in known:
        told = f"trial {number}: {score:.4f} at {number_text(cost)}"
        colour = "l1" if number in front else "soft"
        chart.dot(cost, score, colour, told, radius=4 if number in front else 3, opacity=0.9)
        if number == winner:
            chart.dot(cost, score, "ink", f"the winner, {told}", radius=7, ring=True)
    listed = ", ".join(str(n) for n, _, _ in sorted(known, key=lambda one: one[2]) if n in front)
    caption = (
        f"Trials after {budget} epochs; no other is better and cheaper than those on the line "
        f"({listed}). The ring is the winner, trial {winner}."
    )
    return Figure(f"front-{fact.replace('_', '-')}", chart.drawing, caption)
