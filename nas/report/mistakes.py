"""Errors by domain and by patient, and the models side by side."""

import numpy as np

from nas.front_plot import number_text, ticks
from nas.intervals import wilson_interval
from nas.predictions import Predictions
from nas.report.drawing import Dot, Drawing, Line, Mark, Words
from nas.report.figures import NOT_THERE
from nas.report.summary import interval, main_model
from nas.report.values import Cell, Figure, Part, RunData, Section, TableData

MOST_WRONG = 20


def mistakes(data: RunData) -> Section:
    """Where the exported winner is wrong."""
    title = "Errors by domain and patient"
    first = main_model(data)
    if data.evaluation is None or first is None or first[0] not in data.predictions:
        return Section(title, [NOT_THERE if data.evaluation is None else
                               "The export has no predictions of the winner."])  # fmt: skip
    one = data.predictions[first[0]]
    parts: list[Part] = [_by_domain(one), _by_patient(one), _worst(one)]
    wrong = int((~one.right).sum())
    parts.insert(0, f"{first[0]} is wrong on {wrong} of {len(one.labels)} test images.")
    return Section(title, parts)


def _by_domain(one: Predictions) -> Part:
    domains = [name for name in np.unique(one.domains).tolist() if name]
    if not domains:
        return "The domains of the images are not known."
    rows: list[list[Cell]] = []
    for name in domains:
        own = one.domains == name
        n, wrong = int(own.sum()), int((own & ~one.right).sum())
        low, high = wilson_interval(wrong, n)
        patients = len(np.unique(one.groups[own]))
        labels = ", ".join(one.classes[i] for i in np.unique(one.labels[own]).tolist())
        rows.append([name, labels, n, patients, wrong, wrong / n, f"{low:.3f} to {high:.3f}"])
    head = ["domain", "classes", "images", "patients", "wrong", "share", "95 % (Wilson)"]
    return TableData("errors-by-domain", "Errors by domain", head, rows, most=40)


def _by_patient(one: Predictions) -> TableData:
    rows: list[list[Cell]] = []
    for name in np.unique(one.groups).tolist():
        own = one.groups == name
        wrong = int((own & ~one.right).sum())
        label = one.classes[int(one.labels[own][0])]
        rows.append([name, label, int(own.sum()), wrong, wrong / int(own.sum())])
    rows.sort(key=lambda row: (-int(row[3] or 0), str(row[0])))
    head = ["patient", "class", "images", "wrong", "share"]
    return TableData("errors-by-patient", "Patients with the most errors", head, rows, most=10)


def _worst(one: Predictions) -> TableData:
    """The surest errors."""
    true = one.probabilities[np.arange(len(one.labels)), one.labels]
    order = [int(i) for i in np.argsort(true) if not one.right[i]]
    rows: list[list[Cell]] = [
        [str(one.paths[i]), one.classes[one.labels[i]], str(one.domains[i]), float(true[i])]
        for i in order
    ]
    head = ["image", "class", "domain", "probability of its class"]
    return TableData("errors", "The surest errors", head, rows, most=MOST_WRONG)


COLUMNS = (
    ("auroc", "AUROC"), ("auprc", "average precision"), ("sensitivity", "sensitivity"),
    ("specificity", "specificity"), ("balanced_accuracy", "balanced accuracy"),
    ("brier", "Brier score"), ("ece", "calibration error"),
)  # fmt: skip


def baselines(data: RunData) -> Section:
    """The exported models side by side, and their differences."""
    title = "Baselines side by side"
    if data.evaluation is None:
        return Section(title, ["Nothing was exported, so there is nothing to set side by side."])
    models = data.evaluation["models"]
    rows: list[list[Cell]] = []
    for name, told in models.items():
        if "missing" in told:
            rows.append([name, f"missing: {told['missing']}"])
            continue
        boot = told.get("bootstrap") or {}
        cells: list[Cell] = [name]
        for key, _ in COLUMNS:
            value = told.get(key)
            cells.append("" if value is None else f"{value:.3f}{interval(boot.get(key))}")
        latency = (told.get("latency") or {}).get("median_ms")
        rows.append([*cells, told.get("parameters"), told.get("multiply_adds"), latency,
                     told.get("megabytes")])  # fmt: skip
    head = ["model", *(name for _, name in COLUMNS), "parameters", "multiply-adds", "ms", "MB"]
    rows = [row + [None] * (len(head) - len(row)) for row in rows]
    parts: list[Part] = []
    drawing = _areas(models)
    if drawing:
        parts.append(Figure("baselines", drawing, "AUROC on the test split with its 95 % interval,"
                            " patients drawn anew."))  # fmt: skip
    parts.append(TableData("baselines", "All models, test split", head, rows, most=60))
    different: list[list[Cell]] = []
    for pair in data.evaluation.get("comparisons") or ():
        area, mc = pair.get("auroc") or {}, pair.get("mcnemar") or {}
        told = "" if not area else f"{area['difference']:+.3f}{interval(area.get('interval'))}"
        different.append([f"{pair['first']} and {pair['second']}", pair["n"], told, area.get("p"),
                          mc.get("only_first"), mc.get("only_second"), mc.get("p")])  # fmt: skip
    if different:
        names = ["models", "images", "difference of AUROC", "p (DeLong)", "only the first right",
                 "only the second right", "p (McNemar)"]  # fmt: skip
        parts.append(TableData("comparisons", "Differences", names, different, most=60))
    else:
        parts.append("No two models were compared.")
    return Section(title, parts)


def _areas(models: dict[str, dict[str, object]]) -> Drawing | None:
    rows = []
    for name, told in models.items():
        boot = told.get("bootstrap")
        ends = (boot.get("auroc") if isinstance(boot, dict) else None) or told.get("auroc_interval")
        value = told.get("auroc")
        if isinstance(value, float) and isinstance(ends, list):
            rows.append((name, value, float(ends[0]), float(ends[1])))
    if not rows:
        return None
    low = min(row[2] for row in rows)
    high = max(row[3] for row in rows)
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    left, width, row_height = 190.0, 640.0, 34.0
    foot = 10 + row_height * len(rows)
    marks: list[Mark] = []

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 40)

    for value in ticks(low, high):
        marks.append(Line(((at(value), 10), (at(value), foot)), "rule", 1))
        marks.append(Words(at(value), foot + 18, number_text(value), anchor="middle"))
    for place, (name, value, below, above) in enumerate(rows):
        y = 10 + row_height * (place + 0.5)
        colour = f"l{place % 6}"
        marks.append(Words(left - 12, y + 4, name[:26], "ink", "end"))
        marks.append(Line(((at(below), y), (at(above), y)), colour, 2.4))
        marks.append(Dot(at(value), y, 5, colour, title=f"{name}: {value:.4f}"))
    return Drawing(width, foot + 28, "AUROC of all models", marks)
