"""ROC, precision-recall and calibration curves of several models, as one SVG.

The file needs nothing else: its style is inside, light or dark by the reader's setting.
"""

from collections.abc import Mapping
from html import escape

import numpy as np

from nas.curves import Curve, precision_recall, roc
from nas.evaluation import Evaluation
from nas.metrics import reliability
from nas.predictions import Predictions

SIDE, LEFT, TOP, GAP, LINE = 280, 52, 64, 68, 20
"""Of a square panel; its margins, the room between panels, and the height of a legend's line."""

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

COLOURS = 6
"""Models have a colour each; more than so many begin again with the first, dashed."""

DOT = 9.0
"""Largest radius of a bin's dot; its area is the bin's share of the images."""

STYLE = """
svg { --ink: #1d2430; --soft: #5a6472; --paper: #fff; --rule: #e3e7ec;
  --c0: #1f5f9e; --c1: #c2571a; --c2: #2a7f4f; --c3: #8a3f9e; --c4: #a0252f; --c5: #6b6b1f;
  background: var(--paper); font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e8ee; --soft: #a3adba; --paper: #14181e; --rule: #2a323c;
    --c0: #7ab8f5; --c1: #f2a36b; --c2: #74cf9c; --c3: #cf9be0; --c4: #f08a92; --c5: #cccc7a; }
}
text { fill: var(--soft); }
.head { fill: var(--ink); font-size: 14px; font-weight: 600; }
.name { fill: var(--ink); }
.rule { stroke: var(--rule); fill: none; }
.chance { stroke: var(--soft); stroke-dasharray: 3 4; fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.again { stroke-dasharray: 7 3; }
.bin { fill-opacity: .45; }
"""


def curves_svg(models: Mapping[str, Predictions], title: str) -> str:
    """The picture as the text of an SVG file.

    Where a class has no image there are no ROC and precision-recall curves. Rings mark the
    operating points at the models' thresholds; a bin's dot is as large as its share of the images.

    Args:
        models: by name; at least one.
        title: above it all.
    """
    width = LEFT + 3 * SIDE + 2 * GAP + 24
    height = TOP + SIDE + 56 + LINE * len(models) + 12
    told = {name: one.evaluation() for name, one in models.items()}
    panels = [_frame(place, *names) for place, names in enumerate(_names(models))]
    panels += [_chance(0, (0, 1), (0, 1)), _chance(2, (0, 1), (0, 1)), _prevalence(models)]
    for number, (name, one) in enumerate(models.items()):
        panels.append(_drawn(number, one, told[name]))
        panels.append(_legend(number, name, told[name]))
    about = "; ".join(f"{name}: {_figures(one)}" for name, one in told.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(about)}</desc><style>{STYLE}</style>"
        f'<text class="head" x="{LEFT}" y="24">{escape(title)}</text>{"".join(panels)}</svg>\n'
    )


def _names(models: Mapping[str, Predictions]) -> tuple[tuple[str, str, str], ...]:
    """Title, x and y of each panel."""
    two = len(next(iter(models.values())).classes) == 2
    mean = "" if two else ", mean over classes"
    return (
        (f"ROC{mean}", "1 − specificity", "sensitivity"),
        (f"Precision and recall{mean}", "recall (sensitivity)", "precision"),
        (
            "Calibration",
            "probability" if two else "probability of the predicted class",
            "share of positives" if two else "share predicted right",
        ),
    )


def _at(panel: int, x: float, y: float) -> tuple[float, float]:
    """From [0, 1] × [0, 1] of a panel to SVG units."""
    return LEFT + panel * (SIDE + GAP) + x * SIDE, TOP + (1 - y) * SIDE


def _frame(panel: int, title: str, x_name: str, y_name: str) -> str:
    left, foot = _at(panel, 0, 0)
    parts = [f'<text class="name" x="{left}" y="{TOP - 12}">{escape(title)}</text>']
    for tick in TICKS:
        x, y = _at(panel, tick, tick)
        parts.append(
            f'<path class="rule" d="M{x:.1f} {TOP}V{foot}M{left} {y:.1f}H{left + SIDE}"/>'
            f'<text x="{x:.1f}" y="{foot + 16}" text-anchor="middle">{tick:g}</text>'
            f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    middle = TOP + SIDE / 2
    parts.append(
        f'<text x="{left + SIDE / 2}" y="{foot + 34}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="translate({left - 36} {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>"
    )
    return "".join(parts)


def _chance(panel: int, x: tuple[float, float], y: tuple[float, float]) -> str:
    (a, b), (c, d) = _at(panel, x[0], y[0]), _at(panel, x[1], y[1])
    return f'<path class="chance" d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>'


def _prevalence(models: Mapping[str, Predictions]) -> str:
    """The precision of chance; of several classes it has one each, and none is drawn."""
    first = next(iter(models.values()))
    if len(first.classes) != 2:
        return ""
    share = float((first.labels == 1).mean())
    return _chance(1, (0, 1), (share, share))


def _drawn(number: int, one: Predictions, figures: Evaluation) -> str:
    parts = []
    if figures.auroc is not None:
        false, true = roc(one.probabilities, one.labels)
        recall, precision = precision_recall(one.probabilities, one.labels)
        parts.append(_line(number, 0, (false, true)))
        parts.append(_line(number, 1, (recall, precision), steps=True))
        parts.append(_operating(number, figures))
    counts, claimed, so = reliability(one.probabilities, one.labels)
    parts.append(_line(number, 2, (claimed, so)))
    for count, x, y in zip(counts, claimed, so, strict=True):
        a, b = _at(2, x, y)
        radius = max(1.5, DOT * float(np.sqrt(count / counts.sum())))
        parts.append(
            f'<circle class="bin" fill="{_colour(number)}" cx="{a:.1f}" cy="{b:.1f}" '
            f'r="{radius:.1f}"><title>{count:.0f} images: claimed {x:.3f}, is {y:.3f}</title>'
            "</circle>"
        )
    return "".join(parts)


def _line(number: int, panel: int, curve: Curve, *, steps: bool = False) -> str:
    """Straight from point to point; in steps, as average precision counts, each point's height
    begins at the point before it.
    """
    places = [_at(panel, float(x), float(y)) for x, y in zip(*curve, strict=True)]
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for x, y in places[1:]:
        path += f"V{y:.1f}H{x:.1f}" if steps else f"L{x:.1f} {y:.1f}"
    again = " again" if number >= COLOURS else ""
    return f'<path class="line{again}" stroke="{_colour(number)}" d="{path}"/>'


def _operating(number: int, figures: Evaluation) -> str:
    """Where the threshold puts a model of two classes; without a positive call there is no
    precision."""
    if figures.sensitivity is None or figures.specificity is None:
        return ""
    places = [_at(0, 1 - figures.specificity, figures.sensitivity)]
    precision = list(figures.classes.values())[1].precision
    if precision is not None:
        places.append(_at(1, figures.sensitivity, precision))
    return "".join(
        f'<circle fill="none" stroke="{_colour(number)}" stroke-width="1.8" cx="{x:.1f}" '
        f'cy="{y:.1f}" r="5"><title>threshold {figures.threshold:.4g}</title></circle>'
        for x, y in places
    )


def _legend(number: int, name: str, figures: Evaluation) -> str:
    y = TOP + SIDE + 56 + LINE * number
    again = " again" if number >= COLOURS else ""
    return (
        f'<path class="line{again}" stroke="{_colour(number)}" d="M{LEFT} {y}h26"/>'
        f'<text class="name" x="{LEFT + 34}" y="{y + 4}">{escape(name)}: '
        f"{escape(_figures(figures))}</text>"
    )


def _figures(figures: Evaluation) -> str:
    interval = figures.auroc_interval
    ends = "" if interval is None else f" (95 % {interval[0]:.3f} to {interval[1]:.3f})"
    areas = (
        "no curves, since a class has no image"
        if figures.auroc is None
        else f"AUROC {figures.auroc:.3f}{ends}, average precision {figures.auprc:.3f}"
    )
    return f"{areas}, expected calibration error {figures.ece:.3f}"


def _colour(number: int) -> str:
    return f"var(--c{number % COLOURS})"
