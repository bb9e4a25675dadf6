"""An evaluation as a table for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from nas.front_plot import number_text

Figures = Mapping[str, Any]
Row = tuple[str, Callable[[Figures], str]]


def comparison(evaluation: Mapping[str, Any]) -> Table:
    """Models side by side on the test split.

    Args:
        evaluation: what evaluation.json holds.
    """
    return figures_table(evaluation, split_title(evaluation))


def split_title(evaluation: Mapping[str, Any]) -> str:
    """What the figures are of."""
    counts = {one["n"] for one in evaluation["models"].values() if "n" in one}
    what = "SYNTHETIC test split" if evaluation["data"]["synthetic"] else "test split"
    return f"{what}, n = {' or '.join(str(n) for n in sorted(counts))}"


def figures_table(evaluation: Mapping[str, Any], title: str) -> Table:
    """A column for each model; intervals of 95 % in brackets.

    Args:
        evaluation: of evaluation.json the entries models, classes and positive.
        title: above it.
    """
    models: Mapping[str, Figures] = evaluation["models"]
    scored = [figures for figures in models.values() if "missing" not in figures]
    table = Table(title=title)
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for label, text in _rows(evaluation, scored):
        cells = [
            "missing" if "missing" in figures else text(figures) for figures in models.values()
        ]
        if any(cell not in ("", "missing") for cell in cells):
            table.add_row(label, *cells)
    return table


def _rows(evaluation: Mapping[str, Any], scored: Sequence[Figures]) -> list[Row]:
    two = evaluation["positive"] is not None
    mean = "" if two else ", macro"
    rows: list[Row] = [
        (f"AUROC{mean}", _with("auroc", lambda m: m["auroc_interval"])),
        ("  by patients", lambda m: _interval(_boot(m, "auroc"))),
        (f"average precision{mean}", _booted("auprc")),
        ("accuracy at 0.5" if two else "accuracy", lambda m: _number(m["accuracy_at_half"])),
    ]
    if two:
        positive = evaluation["positive"]
        rows += [
            ("threshold", lambda m: f"{m['threshold']:.4g}"),
            ("accuracy at the threshold", _booted("accuracy")),
        ]
    rows += [
        ("balanced accuracy", _booted("balanced_accuracy")),
        (f"F1{mean}", lambda m: _number(m["f1"])),
    ]
    if two:
        rows += [
            (f"sensitivity ({positive})", _with("sensitivity", _own("sensitivity"))),
            ("specificity", _with("specificity", _own("specificity"))),
            ("sens. at 90 % specificity", _plain("sensitivity_at_specificity_90")),
            ("sens. at 95 % specificity", _plain("sensitivity_at_specificity_95")),
        ]
    rows += [("Brier score", _plain("brier")), ("calibration error", _plain("ece"))]
    for index, name in enumerate(evaluation["classes"]):
        rows.append((f"true {name}, said as", _confused(index)))
    counts = {name: one["n"] for m in scored for name, one in m["domains"].items()}
    rows += [(f"{name}, n = {n}", _domain(name)) for name, n in sorted(counts.items())]
    return [
        *rows,
        ("parameters", lambda m: f"{m['parameters']:,}" if "parameters" in m else ""),
        ("multiply-adds", lambda m: _count(m.get("multiply_adds"))),
        (
            "minutes of training",
            lambda m: f"{m['training_s'] / 60:.1f}" if "training_s" in m else "",
        ),
        ("megabytes of weights", lambda m: f"{m['megabytes']:.2f}" if "megabytes" in m else ""),
        (
            "latency of one image",
            lambda m: f"{m['latency']['median_ms']:.1f} ms" if "latency" in m else "",
        ),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"({ends[0]:.3f} to {ends[1]:.3f})"


def _count(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _boot(figures: Figures, name: str) -> Sequence[float] | None:
    found: Sequence[float] | None = figures["bootstrap"] and figures["bootstrap"][name]
    return found


def _plain(name: str) -> Callable[[Figures], str]:
    return lambda m: _number(m[name])


def _own(name: str) -> Callable[[Figures], Sequence[float] | None]:
    def interval(figures: Figures) -> Sequence[float] | None:
        found: Sequence[float] | None = figures[f"{name}_interval"]
        return found

    return interval


def _with(
    name: str, interval: Callable[[Figures], Sequence[float] | None]
) -> Callable[[Figures], str]:
    return lambda m: f"{_number(m[name])} {_interval(interval(m))}".strip()


def _booted(name: str) -> Callable[[Figures], str]:
    return _with(name, lambda m: _boot(m, name))


def _confused(index: int) -> Callable[[Figures], str]:
    """Row of the confusion matrix: how often images of a class were given each class, in order."""
    return lambda m: " / ".join(str(count) for count in m["confusion"][index])


def _domain(name: str) -> Callable[[Figures], str]:
    """What a domain's classes allow; two digits, for room, and since domains are small."""

    def text(figures: Figures) -> str:
        one = figures["domains"].get(name)
        if one is None:
            return ""
        parts = [
            f"{short} {one[long]:.2f}"
            for short, long in (("sens.", "sensitivity"), ("spec.", "specificity"))
            if one[long] is not None
        ]
        return ", ".join(parts) or f"accuracy {one['accuracy']:.2f}"

    return text
