"""The best score as trials came in, and the table of all trials."""

from nas.report.chart import Chart, score_ends
from nas.report.values import Cell, Figure, Part, RunData, Section, TableData, Value
from nas.run_facts import state_of

TOP_TRIALS = 12


def history(data: RunData) -> Section:
    """The best so far over the trials' numbers, and the best trials."""
    parts: list[Part] = []
    scored = [record for record in data.records if record.score is not None]
    best, running = [], float("-inf")
    top = max((record.budget for record in scored), default=0)
    rows: list[list[Cell]] = []
    for record in scored:
        if record.budget == top and record.score is not None and record.score > running:
            running = record.score
            best.append((record.number, running))
        rows.append([record.number, record.budget, record.score,
                     running if best else None])  # fmt: skip
    if not scored:
        parts.append("No trial has a score yet, so there is no history to draw.")
    else:
        names = [
            (f"best so far after {top} epochs", "l1"),
            (f"trained for {top} epochs", "l0"),
            ("stopped or paused before", "soft"),
        ]
        last = max(len(data.records) - 1, 1)
        chart = Chart(
            "Scores in the order of proposal", "trial", data.objective, (-0.02 * last, 1.02 * last),
            score_ends([record.score or 0.0 for record in scored]), names=names,
        )  # fmt: skip
        for record in scored:
            assert record.score is not None
            chart.dot(
                record.number, record.score, "l0" if record.budget == top else "soft",
                f"trial {record.number}: {record.score:.4f} after {record.budget} epochs",
                opacity=0.8, ring=record.budget != top,
            )  # fmt: skip
        steps = []
        for (number, score), (after, _) in zip(best, [*best[1:], (last, 0.0)], strict=True):
            steps += [(float(number), score), (float(after), score)]
        chart.line(steps, "l1", width=2.0)
        parts.append(
            Figure(
                "history", chart.drawing,
                f"Every trial with a score. Rings were trained for less than {top} epochs; scores "
                "of different epochs do not compare. Very low scores lie on the lower edge.",
            )
        )  # fmt: skip
    table = TableData(
        "history", "Best score so far", ["trial", "epochs", data.objective, "best so far"], rows
    )
    return Section("History", [*parts, *_tables(data)], hidden=[table])


def _tables(data: RunData) -> list[TableData]:
    """The trials, the best first; the file has every parameter too."""
    order = sorted(
        data.records,
        key=lambda r: (r.score is None, -r.budget, -(r.score or 0.0), r.number),
    )
    head = ["trial", "state", "epochs", data.objective, "AUROC", "parameters", "multiply-adds",
            "seconds", "reason"]  # fmt: skip
    rows: list[list[Cell]] = []
    for record in order:
        auroc = record.rungs[-1].metrics.get("auroc") if record.rungs else None
        parameters, adds = record.facts.get("parameters"), record.facts.get("multiply_adds")
        rows.append([
            record.number, state_of(record), record.budget, record.score, auroc,
            None if parameters is None else int(parameters), None if adds is None else int(adds),
            round(record.seconds, 1), record.reason or "",
        ])  # fmt: skip
    return [TableData("trials", "The best trials", head, rows, most=TOP_TRIALS)]


def genomes(data: RunData) -> TableData:
    """Every trial's parameters; only written."""
    names = sorted({name for point in data.points for name in point.values})
    scores = {record.number: record for record in data.records}
    rows: list[list[Cell]] = []
    for point in data.points:
        record = scores[point.number]
        values = [_cell(point.values.get(name)) for name in names]
        rows.append([point.number, record.score, record.budget, *values])
    return TableData("genomes", "Parameters of all trials", ["trial", data.objective, "epochs",
                     *names], rows, most=0)  # fmt: skip


def _cell(value: Value) -> Cell:
    return str(value) if isinstance(value, bool) else value
