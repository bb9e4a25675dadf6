"""Test figures: curves, calibration, and decisions, each with what chance may have added."""

from collections.abc import Mapping

import numpy as np

from nas.curves import precision_recall, roc
from nas.evaluation import Evaluation
from nas.intervals import wilson_interval
from nas.metrics import confusion, predict, reliability
from nas.predictions import Predictions
from nas.report.chart import Chart
from nas.report.drawing import Drawing, Mark, Words, box
from nas.report.summary import interval, main_model
from nas.report.values import Cell, Figure, Part, RunData, Section, TableData

Models = Mapping[str, Predictions]
Told = Mapping[str, Evaluation]

TITLE = "Test figures"
SQUARE = (440.0, 440.0)
COLOURS = 6
RESAMPLES = 200
GRID = np.linspace(0, 1, 101)
NOT_THERE = (
    "Nothing was exported, so there are no test figures: ROC, precision and recall, calibration "
    "and confusion are drawn once python -m nas.export has run."
)


def figures(data: RunData) -> Section:
    """All figures of the exported models on the test split."""
    if data.evaluation is None:
        return Section(TITLE, [NOT_THERE])
    if not data.predictions:
        return Section(
            TITLE, ["The export has no predictions.csv, from which the curves would be drawn."]
        )
    models = data.predictions
    first = main_model(data)
    own = first[0] if first and first[0] in models else next(iter(models))
    parts: list[Part] = []
    tables: list[TableData] = []
    told = {name: one.evaluation() for name, one in models.items()}  # each bootstraps: once
    n = len(models[own].labels)
    groups = len(np.unique(models[own].groups))
    parts.append(
        f"Test split, {n} images of {groups} patients. Bands and bars are 95 % intervals of {own}; "
        "for curves whole patients were drawn anew, as images of one patient resemble each other."
    )
    if all(len(np.unique(one.labels)) == len(one.classes) for one in models.values()):
        parts += [_roc(models, told, own, tables), _precision(models, told, tables)]
    else:
        parts.append("A class has no image in the test split, so there are no ROC curves.")
    parts += [_calibration(models, told, own, tables), _confusion(models[own], own)]
    parts.append(_decisions(told[own], own))
    return Section(TITLE, parts, tables)


def _coloured(models: Models) -> list[tuple[str, str]]:
    return [(name, f"l{place % COLOURS}") for place, name in enumerate(models)]


def _named(models: Models, figures: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Names with a figure behind each, and their colours."""
    return [
        (f"{name[:36]}  {'' if figures[name] is None else f'{figures[name]:.3f}'}", colour)
        for name, colour in _coloured(models)
    ]


def _roc(models: Models, evaluations: Told, own: str, tables: list[TableData]) -> Figure:
    names = _named(models, {name: told.auroc for name, told in evaluations.items()})
    chart = Chart("ROC", "1 − specificity", "sensitivity", (0, 1), (0, 1), size=SQUARE, names=names)
    low, high = _band(models[own])
    grid = GRID.tolist()
    place = list(models).index(own)
    chart.band(
        list(zip(grid, high, strict=True)), list(zip(grid, low, strict=True)), f"l{place % COLOURS}"
    )
    chart.dashed([(0, 0), (1, 1)])
    rows: list[list[Cell]] = []
    for name, colour in _coloured(models):
        one = models[name]
        x, y = roc(one.probabilities, one.labels)
        line = list(zip(x.tolist(), y.tolist(), strict=True))
        chart.line(line, colour, width=1.8)
        rows += [[name, a, b] for a, b in line]
        told = evaluations[name]
        if told.sensitivity is not None and told.specificity is not None:
            said = f"threshold {one.threshold:.3f}"
            chart.dot(1 - told.specificity, told.sensitivity, colour, said, radius=5, ring=True)
    tables.append(TableData("roc", "ROC", ["model", "1 - specificity", "sensitivity"], rows))
    caption = "ROC with areas under the curves. Rings are at the models' thresholds."
    return Figure("roc", chart.drawing, caption)


def _band(one: Predictions) -> tuple[list[float], list[float]]:
    """Lowest and highest sensitivity at each place of the grid, of patients drawn anew."""
    generator = np.random.default_rng(0)
    _, group = np.unique(one.groups, return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    heights = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(0, len(members), len(members))
        rows = np.concatenate([members[number] for number in chosen])
        if len(np.unique(one.labels[rows])) < len(one.classes):
            continue
        x, y = roc(one.probabilities[rows], one.labels[rows])
        last = np.searchsorted(x, GRID, side="right") - 1  # where steps rise, the upper end
        heights.append(y[last])
    low, high = np.quantile(np.array(heights), (0.025, 0.975), axis=0)
    return low.tolist(), high.tolist()


def _precision(models: Models, evaluations: Told, tables: list[TableData]) -> Figure:
    names = _named(models, {name: told.auprc for name, told in evaluations.items()})
    axes = "recall (sensitivity)", "precision"
    chart = Chart("Precision and recall", *axes, (0, 1), (0, 1), size=SQUARE, names=names)
    one = next(iter(models.values()))
    if len(one.classes) == 2:
        share = float((one.labels == 1).mean())
        chart.dashed([(0, share), (1, share)])
    rows: list[list[Cell]] = []
    for name, colour in _coloured(models):
        x, y = precision_recall(models[name].probabilities, models[name].labels)
        line: list[tuple[float, float]] = []
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            line += [(line[-1][0], b), (a, b)] if line else [(a, b)]
            rows.append([name, a, b])
        chart.line(line, colour, width=1.8)
    tables.append(
        TableData(
            "precision-recall", "Precision and recall", ["model", "recall", "precision"], rows
        )
    )
    caption = "Precision and recall with average precisions; dashed: the share of positives."
    return Figure("precision-recall", chart.drawing, caption)


def _calibration(models: Models, evaluations: Told, own: str, tables: list[TableData]) -> Figure:
    two = len(models[own].classes) == 2
    x_name = "probability" if two else "probability of the predicted class"
    y_name = "share of positives" if two else "share predicted right"
    names = _named(models, {name: told.ece for name, told in evaluations.items()})
    chart = Chart("Calibration", x_name, y_name, (0, 1), (0, 1), size=SQUARE, names=names)
    chart.dashed([(0, 0), (1, 1)])
    rows: list[list[Cell]] = []
    for name, colour in _coloured(models):
        one = models[name]
        counts, claimed, so = reliability(one.probabilities, one.labels)
        bins = list(zip(counts.tolist(), claimed.tolist(), so.tolist(), strict=True))
        chart.line([(x, y) for _, x, y in bins], colour, width=2.0 if name == own else 1.2)
        for count, x, y in bins:
            low, high = wilson_interval(round(y * count), round(count))
            if name == own:
                chart.line([(x, low), (x, high)], colour, width=1.4)
            said = f"{count:.0f} images: claimed {x:.3f}, is {y:.3f}"
            radius = max(2.0, 8 * float(np.sqrt(count / counts.sum())))
            chart.dot(x, y, colour, said, radius=radius, opacity=0.7)
            rows.append([name, count, x, y, low, high])
    head = ["model", "images", "claimed", "is", "low", "high"]
    tables.append(TableData("calibration", "Calibration", head, rows))
    caption = (
        "Calibration with expected errors. A dot is a bin of probabilities, as large as its share "
        "of the images; on the dashed line a model claims what is so."
    )
    return Figure("calibration", chart.drawing, caption)


def _confusion(one: Predictions, name: str) -> Figure:
    """A cell for each pair of classes, with count, share of the row and its interval."""
    classes = len(one.classes)
    counts = confusion(predict(one.probabilities, one.threshold), one.labels, classes)
    side, left, top = (max(72.0, min(150.0, 620.0 / classes)), 150.0, 46.0)
    drawing = Drawing(left + side * classes + 20, top + 74 * classes + 16, "Confusion")
    marks: list[Mark] = [Words(left, 16, "predicted", "soft")]
    for row, label in enumerate(one.classes):
        y = top + 74 * row
        marks.append(Words(left + side * row + side / 2, top - 8, label[:18], "ink", "middle"))
        marks.append(Words(left - 10, y + 40, f"is {label[:18]}", "ink", "end"))
        total = int(counts[row].sum())
        for column in range(classes):
            count = int(counts[row, column])
            share = count / total if total else 0.0
            x = left + side * column
            colour = "l2" if row == column else "l1"
            marks.append(box(x + 2, y + 2, side - 4, 70, colour, 0.12 + 0.5 * share))
            marks.append(Words(x + side / 2, y + 28, str(count), "ink", "middle", True, size=15))
            if total:
                low, high = wilson_interval(count, total)
                marks.append(Words(x + side / 2, y + 45, f"{share:.1%}", "ink", "middle"))
                told = f"{low:.1%} to {high:.1%}"
                marks.append(Words(x + side / 2, y + 61, told, "ink", "middle", size=11))
    drawing.add(*marks)
    caption = (
        f"Decisions of {name} at its threshold {one.threshold:.3f}: images, their share of the "
        "row, and its 95 % interval (Wilson)."
    )
    return Figure("confusion", drawing, caption)


def _decisions(told: Evaluation, name: str) -> TableData:
    rows: list[list[Cell]] = [
        [label, each.n, _with(each.recall, each.recall_interval), _with(each.precision, None),
         _with(each.auroc, None)]
        for label, each in told.classes.items()
    ]  # fmt: skip
    head = ["class", "images", "recall", "precision", "AUROC"]
    return TableData("classes", f"Each class, by {name}", head, rows, most=60)


def _with(value: float | None, ends: object) -> str:
    return "" if value is None else f"{value:.3f}{interval(ends)}"
