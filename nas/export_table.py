"""An evaluation as a table for people."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

Row = tuple[str, Callable[[Mapping[str, Any]], str]]


def comparison(evaluation: Mapping[str, Any]) -> Table:
    """Models side by side on the test split.

    Args:
        evaluation: what evaluation.json holds.
    """
    models: Mapping[str, Mapping[str, Any]] = evaluation["models"]
    counts = {figures["n"] for figures in models.values() if "n" in figures}
    what = "SYNTHETIC test split" if evaluation["data"]["synthetic"] else "test split"
    table = Table(title=f"{what}, n = {' or '.join(str(n) for n in sorted(counts))}")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for label, text in _rows(evaluation):
        cells = [
            "missing" if "missing" in figures else text(figures) for figures in models.values()
        ]
        table.add_row(label, *cells)
    return table


def _rows(evaluation: Mapping[str, Any]) -> list[Row]:
    two = evaluation["positive"] is not None
    rows: list[Row] = [
        ("accuracy", lambda m: f"{m['accuracy']:.3f}"),
        ("F1" if two else "F1, macro", lambda m: f"{m['f1']:.3f}"),
        ("AUROC" if two else "AUROC, macro", lambda m: f"{m['auroc']:.3f}"),
    ]
    if two:
        rows += [
            ("  95 % interval", lambda m: "{:.3f} to {:.3f}".format(*m["auroc_interval"])),
            (f"sensitivity ({evaluation['positive']})", lambda m: f"{m['sensitivity']:.3f}"),
            ("specificity", lambda m: f"{m['specificity']:.3f}"),
        ]
    for index, name in enumerate(evaluation["classes"]):
        rows.append((f"true {name}, said as", _confused(index)))
    rows += [
        ("parameters", lambda m: f"{m['parameters']:,}"),
        ("multiply-adds", lambda m: f"{m['multiply_adds'] / 1e6:,.1f} M"),
        ("latency of one image", lambda m: f"{m['latency']['median_ms']:.1f} ms"),
    ]
    return rows


def _confused(index: int) -> Callable[[Mapping[str, Any]], str]:
    """Row of the confusion matrix: how often images of a class were given each class, in order."""
    return lambda m: " / ".join(str(count) for count in m["confusion"][index])
