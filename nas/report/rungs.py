"""Rungs and promotions: who was compared where, and who went on."""

from nas.report.chart import Chart, score_ends
from nas.report.values import Cell, Figure, RunData, Section, TableData

TITLE = "Rungs and promotions"


def rungs(data: RunData) -> Section:
    """How many trials were compared at each rung and went on, and what a rung's scores foretold."""
    budgets = data.budgets
    if not budgets:
        return Section(TITLE, ["No trial was compared yet, so there are no rungs to draw."])
    scores = {budget: data.scores_at(budget) for budget in budgets}
    rows: list[list[Cell]] = []
    for budget, after in zip(budgets, [*budgets[1:], 0], strict=True):
        here = scores[budget]
        on = [number for number in here if number in scores.get(after, {})]
        ordered = sorted(here.values())
        rows.append(
            [budget, len(here), len(on), max(ordered), ordered[len(ordered) // 2], min(ordered)]
        )
    head = ["epochs", "compared", "went on", "best", "median", "worst"]
    table = TableData("rungs", "Rungs", head, rows, most=50)
    flat: list[list[Cell]] = [
        [number, budget, score] for budget in budgets for number, score in scores[budget].items()
    ]
    every = TableData("rung-scores", "Scores at rungs", ["trial", "epochs", data.objective], flat)
    if len(budgets) == 1:
        only = f"All trials were compared at {budgets[0]} epochs only: there was nobody to promote."
        return Section(TITLE, [only, table], hidden=[every])
    first, last = budgets[0], budgets[-1]
    room = 0.06 * (last - first)
    every_score = [score for one in scores.values() for score in one.values()]
    chart = Chart(
        TITLE, "epochs", data.objective, (first - room, last + room), score_ends(every_score)
    )  # fmt: skip
    lines = {number: [(float(b), scores[b][number]) for b in budgets
                      if number in scores[b]] for number in scores[budgets[0]]}  # fmt: skip
    finished = scores[budgets[-1]]
    for number, line in sorted(lines.items(), key=lambda item: item[0] in finished):
        colour = "l0" if number in finished else "soft"
        if len(line) > 1:
            chart.line(line, colour, width=1.0, opacity=0.55)
        x, y = line[-1]
        chart.dot(x, y, colour, f"trial {number}: {y:.4f}", radius=2.6, opacity=0.8)
    caption = (
        f"A line is a trial; grey dots ended or wait at that rung, after "
        f"{', '.join(map(str, budgets))} epochs. "
        "Very low scores lie on the lower edge."
    )
    return Section(TITLE, [Figure("rungs", chart.drawing, caption), table], hidden=[every])
