"""Learning curves of the trials: what each epoch reported."""

from collections.abc import Iterator
from typing import Any

from nas.report.chart import Chart, ends, score_ends
from nas.report.values import Cell, Figure, Part, RunData, Section, TableData
from nas.study import TrialRecord

TITLE = "Learning curves"
MEASURES = (("loss", "training loss"), ("auroc", "AUROC of validation"))
MOST_LINES = 300
"""Drawn, the best trained first; more would be one grey patch."""


def learning(data: RunData) -> Section:
    """Loss and AUROC over epochs, of every trial that reported them."""
    curves = {record.number: list(_epochs(record)) for record in data.records}
    curves = {number: epochs for number, epochs in curves.items() if epochs}
    if not curves:
        return Section(
            TITLE, ["No trial reported its epochs, so there are no learning curves to draw."]
        )
    winner = data.winner.number if data.winner else None
    longest = {record.number: (record.budget, record.score or 0.0) for record in data.records}
    drawn = sorted(curves, key=lambda number: longest[number], reverse=True)[:MOST_LINES]
    parts: list[Part] = []
    for name, title in MEASURES:
        values = [float(e[name]) for n in drawn for e in curves[n] if e.get(name) is not None]
        if not values:
            parts.append(f"No trial reported its {title}.")
            continue
        last = max(float(e["epoch"]) for n in drawn for e in curves[n])
        room = score_ends(values) if name == "auroc" else ends(values)
        chart = Chart(title, "epoch", title, (0.9, max(last, 1.0) + 0.1), room)
        for number in reversed(drawn):
            line = [(float(e["epoch"]), float(e[name])) for e in curves[number] if name in e]
            best = number == winner
            colour = "l1" if best else "l0"
            if len(line) > 1:
                chart.line(line, colour, width=2.6 if best else 1.0, opacity=1 if best else 0.35)
            else:
                told = f"trial {number}"
                chart.dot(*line[0], colour, told, radius=2, opacity=0.6)
        if winner in curves:
            line = [(float(e["epoch"]), float(e[name])) for e in curves[winner] if name in e]
            chart.line(line, "l1", width=2.6)
        left = len(curves) - len(drawn)
        more = f" The {left} that were trained least are left out." if left else ""
        what = f"{title[:1].upper()}{title[1:]} of {len(drawn)} trials"
        caption = f"{what}; the winner is the thick line.{more}"
        parts.append(Figure(f"learning-{name}", chart.drawing, caption))
    names = sorted({name for epochs in curves.values() for e in epochs for name in e} - {"epoch"})
    rows: list[list[Cell]] = [
        [number, *(epoch.get(name) for name in ("epoch", *names))]
        for number, epochs in curves.items()
        for epoch in epochs
    ]
    table = TableData("learning", TITLE, ["trial", "epoch", *names], rows)
    return Section(TITLE, parts, [table])


def _epochs(record: TrialRecord) -> Iterator[dict[str, Any]]:
    """Each epoch once, by number; a later rung tells earlier epochs again."""
    seen: dict[int, dict[str, Any]] = {}
    for rung in record.rungs:
        for epoch in rung.metrics.get("epochs") or ():
            plain = {k: v for k, v in epoch.items() if isinstance(v, int | float)}
            if "epoch" in plain:
                seen[int(plain["epoch"])] = plain
    for number in sorted(seen):
        yield seen[number]
