"""An evaluation as a table and sentences."""

import io
from typing import Any

import numpy as np
from rich.console import Console

from nas.export_table import comparison, figures_table, split_title
from nas.paired_text import paired_lines
from nas.predictions import Predictions, compare
from tests.nas.test_predictions import answers, some

COSTS = {
    "parameters": 12_345,
    "multiply_adds": 21_500_000,
    "megabytes": 0.05,
    "latency": {"median_ms": 1.26},
}


def evaluation(*models: Predictions, synthetic: bool = False) -> dict[str, Any]:
    named = {f"m{number}": one for number, one in enumerate(models)}
    classes = models[0].classes
    return {
        "data": {"synthetic": synthetic},
        "classes": list(classes),
        "positive": classes[1] if len(classes) == 2 else None,
        "models": {name: one.evaluation().to_json() | COSTS for name, one in named.items()},
        "comparisons": [
            {"first": "m0", "second": name, **compare(models[0], one)}
            for name, one in named.items()
            if name != "m0"
        ],
    }


def shown(told: dict[str, Any]) -> dict[str, list[str]]:
    """Rows by label, as on a terminal of 80 columns."""
    file = io.StringIO()
    Console(width=80, file=file).print(comparison(told))
    lines = [line.strip("│").split("│") for line in file.getvalue().splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines if len(line) > 1]
    return {row[0]: row[1:] for row in rows}


def test_two_models_side_by_side_in_eighty_columns() -> None:
    first, second = answers(200, threshold=0.3), answers(200, seed=1)
    told = evaluation(first, second)
    rows = shown(told)
    figures = told["models"]["m0"]
    low, high = figures["auroc_interval"]
    assert rows["AUROC"][0] == f"{figures['auroc']:.3f} ({low:.3f} to {high:.3f})"
    low, high = figures["bootstrap"]["auroc"]
    assert rows["by patients"][0] == f"({low:.3f} to {high:.3f})"
    assert rows["threshold"] == ["0.3", "0.5"]
    assert rows["accuracy at 0.5"][0] == f"{figures['accuracy_at_half']:.3f}"
    assert rows["accuracy at the threshold"][0].startswith(f"{figures['accuracy']:.3f} (")
    assert rows["sensitivity (PNEUMONIA)"][0].startswith(f"{figures['sensitivity']:.3f} (")
    assert rows["true NORMAL, said as"][0] == " / ".join(map(str, figures["confusion"][0]))
    virus = told["models"]["m0"]["domains"]["virus"]
    both = f"sens. {virus['sensitivity']:.2f}, spec. {virus['specificity']:.2f}"
    assert rows["virus, n = 67"][0] == both
    only = shown(evaluation(some(first, list(range(1, 200, 2)))))
    assert only["virus, n = 34"] == [f"sens. {virus['sensitivity']:.2f}"]
    assert rows["parameters"] == ["12,345"] * 2
    assert rows["multiply-adds"] == ["21.5 M"] * 2
    assert rows["megabytes of weights"] == ["0.05"] * 2
    assert rows["latency of one image"] == ["1.3 ms"] * 2


def test_a_missing_model_has_a_column_that_says_so() -> None:
    told = evaluation(answers())
    told["models"]["resnet18"] = {"missing": "no network"}
    rows = shown(told)
    assert rows["AUROC"][1] == rows["latency of one image"][1] == "missing"


def test_what_the_images_do_not_give_has_no_row() -> None:
    rows = shown(evaluation(some(answers(), list(range(1, 40, 2)))))
    assert "sensitivity (PNEUMONIA)" in rows
    assert not {"AUROC", "specificity", "F1", "balanced accuracy"} & set(rows)


def test_three_classes_have_no_threshold() -> None:
    names = np.array([str(row) for row in range(30)])
    labels = np.arange(30) % 3
    chances = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    rows = shown(evaluation(Predictions(("A", "B", "C"), names, labels, names, names, chances)))
    assert {"AUROC, macro", "F1, macro", "accuracy", "true C, said as"} <= set(rows)
    assert not {"threshold", "specificity"} & set(rows)


def test_costs_that_are_not_known_have_no_row() -> None:
    told = evaluation(answers())
    for name in COSTS:
        del told["models"]["m0"][name]
    assert not {"parameters", "multiply-adds", "latency of one image"} & set(shown(told))


def test_titles() -> None:
    assert split_title(evaluation(answers())) == "test split, n = 40"
    told = evaluation(answers(), some(answers(), list(range(30))), synthetic=True)
    assert split_title(told) == "SYNTHETIC test split, n = 30 or 40"
    assert figures_table(told, "clinic").title == "clinic"


# Sentences ----------------------------------------------------------------------------------------


def test_a_model_that_is_worse_is_called_worse() -> None:
    worse, better = answers(400, shift=1), answers(400, seed=1, shift=4)
    auroc, right = paired_lines(evaluation(worse, better))
    assert auroc.startswith("AUROC of m0 minus that of m1: -0.")
    assert auroc.endswith("DeLong p = below 0.001: m0 is WORSE")
    assert right.endswith("m0 is WORSE")
    auroc, right = paired_lines(evaluation(better, worse))
    assert auroc.endswith("m0 is better")
    assert right.endswith("m0 is better")


def test_equal_models_are_not_told_apart() -> None:
    one = answers()
    auroc, right = paired_lines(evaluation(one, one))
    assert auroc.endswith("p = 1.000: not told apart")
    assert right == (
        "right where the other is wrong: m0 0 images, m1 0, McNemar p = 1.000: not told apart"
    )


def test_without_variance_no_verdict() -> None:
    labels = np.array([0, 1, 0, 1])
    names, nowhere = np.array(["a", "b", "c", "d"]), np.array([""] * 4)
    perfect, blind = (
        Predictions(("NORMAL", "PNEUMONIA"), names, labels, names, nowhere, chances)
        for chances in (np.eye(2)[labels], np.full((4, 2), 0.5))
    )
    auroc, _ = paired_lines(evaluation(perfect, blind))
    assert auroc.endswith("DeLong's test says nothing without variance")


def test_of_one_class_there_is_one_sentence() -> None:
    positives = some(answers(), list(range(1, 40, 2)))
    (line,) = paired_lines(evaluation(positives, positives))
    assert "McNemar" in line
