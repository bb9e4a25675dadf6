"""A comparison as rows of text: for the terminal, and as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from nas.front_plot import number_text

COLUMNS = (
    "network", "depth", "filters", "params", "MACs", "field", "acc.", "AUROC", "robust", "time",
)  # fmt: skip
"""Short, so that a terminal of 80 columns has room; LEGEND says what they are."""

LEGEND = (
    "depth in convolutions and linear layers; fewest to most filters; parameters; multiply-adds "
    "for one image; receptive field before the head in pixels; accuracy at 0.5 and AUROC on the "
    "clean validation images; robust is balanced accuracy under acquisition shifts; seconds of "
    "training"
)

DIGITS = 3
"""Of large numbers."""

SCORES = ("accuracy", "auroc", "robust")


@dataclass(frozen=True)
class Line:
    """One network of a comparison, over its seeds.

    Attributes:
        name: of the network.
        network: see nas.genome.summary; None where it does not fit the images.
        scores: accuracy, auroc, robust and seconds: a value for each seed.
        interval: of the AUROC with the first seed, 95 % by DeLong; None with more classes.
        missing: why there are no scores.
    """

    name: str
    network: Mapping[str, Any] | None
    scores: Mapping[str, Sequence[float]]
    interval: tuple[float, float] | None
    missing: str | None


def lines(comparison: Mapping[str, Any]) -> list[Line]:
    """The networks, the best mean AUROC first, and those without scores last."""
    found = []
    for name, rows in comparison["rows"].items():
        done = [row for row in rows if "missing" not in row]
        scores = {
            "accuracy": [row["validation"]["accuracy"] for row in done],
            "auroc": [row["validation"]["auroc"] for row in done],
            "robust": [row["robust"] for row in done],
            "seconds": [row["seconds"] for row in done],
        }
        interval = done[0]["validation"]["auroc_interval"] if done else None
        missing = None if done else rows[0]["missing"]
        found.append(Line(name, rows[0].get("network"), scores, interval, missing))
    trained = [line for line in found if line.missing is None]
    trained.sort(key=lambda line: -statistics.fmean(line.scores["auroc"]))
    return trained + [line for line in found if line.missing is not None]


def cells(line: Line, *, spread: bool) -> list[str]:
    """One text for each of COLUMNS.

    Args:
        line: the network.
        spread: write mean ± standard deviation where there are several seeds.
    """
    net = line.network
    shape = ["", "", "", "", ""]
    if net is not None:
        low, high = net["filters"]
        shape = [
            str(net["depth"]),
            str(low) if low == high else f"{low}–{high}",
            number_text(net["parameters"], DIGITS),
            number_text(net["multiply_adds"], DIGITS),
            str(net["receptive_field"]),
        ]
    if line.missing is not None:
        return [line.name, *shape, "", "", "", ""]
    scores = [_mean(line.scores[name], 3 + (name == "auroc"), spread) for name in SCORES]
    return [line.name, *shape, *scores, _mean(line.scores["seconds"], 0, spread)]


def table(found: Sequence[Line], title: str) -> Table:
    """For a terminal of 80 columns: means."""
    grid = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        grid.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for line in found:
        grid.add_row(*cells(line, spread=False))
    return grid


def markdown(found: Sequence[Line], title: str) -> str:
    """As a page: the table, what is missing, and how to read it."""
    rules = ["---", *["---:"] * (len(COLUMNS) - 1)]
    rows = [COLUMNS, rules, *(cells(line, spread=True) for line in found)]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    missing = [f"- {line.name}: {line.missing}" for line in found if line.missing is not None]
    more = "\n\nNot trained:\n\n" + "\n".join(missing) if missing else ""
    return f"{title}\n\n{text}\n\n{LEGEND[0].upper()}{LEGEND[1:]}.{more}\n"


def _mean(values: Sequence[float], digits: int, spread: bool) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    several = spread and len(values) > 1
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if several else mean
