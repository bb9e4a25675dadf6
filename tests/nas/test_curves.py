"""Curves and their picture: the areas below them are the figures."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given

from nas.curves import precision_recall, roc
from nas.curves_plot import COLOURS, curves_svg
from nas.metrics import Labels, Probabilities, auroc, average_precision
from nas.predictions import Predictions
from tests.nas.labelled import clinic, two_classes
from tests.nas.test_predictions import answers, some

SVG = "{http://www.w3.org/2000/svg}"


@given(two_classes())
def test_the_areas_below_the_curves(case: tuple[Probabilities, Labels]) -> None:
    x, y = roc(*case)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(auroc(*case))
    recall, precision = precision_recall(*case)
    assert (recall[0], recall[-1]) == (0, 1)
    assert (np.diff(recall) >= 0).all()
    # Steps: a point's height begins at the point before it.
    assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(average_precision(*case))


def test_of_several_classes_the_mean_curve_has_the_mean_area() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    logits = rng.standard_normal((900, 3)) + 1.5 * np.eye(3)[labels]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    x, y = roc(chances, labels)
    assert np.trapezoid(y, x) == pytest.approx(auroc(chances, labels), abs=0.01)
    recall, precision = precision_recall(chances, labels)
    area = np.trapezoid(precision, recall)
    assert area == pytest.approx(average_precision(chances, labels), abs=0.01)


# The picture --------------------------------------------------------------------------------------


def picture(models: dict[str, Predictions]) -> ElementTree.Element:
    return ElementTree.fromstring(curves_svg(models, "films: <test>"))


def lines(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [e for e in root.iter(f"{SVG}path") if e.get("class", "").split()[0] == "line"]


def test_every_model_has_three_curves_a_legend_and_rings_at_its_threshold() -> None:
    root = picture({"ours & more": answers(60), "theirs": answers(60, seed=1)})
    assert root.findtext(f"{SVG}title") == "films: <test>"
    about = root.findtext(f"{SVG}desc") or ""
    assert "ours & more: AUROC" in about
    assert "theirs: AUROC" in about
    assert len(lines(root)) == 2 * (3 + 1)
    rings = [e for e in root.iter(f"{SVG}circle") if e.get("fill") == "none"]
    assert len(rings) == 4
    texts = [e.text or "" for e in root.iter(f"{SVG}text")]
    figures = answers(60).evaluation()
    assert any(f"ours & more: AUROC {figures.auroc:.3f} (95 %" in text for text in texts)


def test_the_ring_is_at_the_operating_point() -> None:
    one = answers(60, threshold=0.3)
    figures = one.evaluation()
    assert figures.sensitivity is not None
    assert figures.specificity is not None
    rings = [e for e in picture({"m": one}).iter(f"{SVG}circle") if e.get("fill") == "none"]
    place = [float(rings[0].get(name, "nan")) for name in ("cx", "cy")]
    # A panel of 280 units begins at 52, 64.
    expected = [52 + 280 * (1 - figures.specificity), 64 + 280 * (1 - figures.sensitivity)]
    assert place == pytest.approx(expected, abs=0.06)


def test_curves_stay_within_their_panels() -> None:
    for element in picture({"m": answers(200, shift=4)}).iter(f"{SVG}circle"):
        assert 52 <= float(element.get("cx", "nan")) <= 52 + 3 * 280 + 2 * 68
        assert 64 <= float(element.get("cy", "nan")) <= 64 + 280


def test_one_class_alone_has_calibration_only() -> None:
    root = picture({"m": some(answers(60), list(range(1, 60, 2)))})
    assert len(lines(root)) == 2
    assert "no curves, since a class has no image" in (root.findtext(f"{SVG}desc") or "")


def test_no_positive_call_has_no_precision() -> None:
    low = replace(answers(60), threshold=1 - 1e-9)
    rings = [e for e in picture({"m": low}).iter(f"{SVG}circle") if e.get("fill") == "none"]
    assert len(rings) == 1


def test_three_classes() -> None:
    _, labels = clinic(60)
    rng = np.random.default_rng(1)
    names = np.array([str(row) for row in range(60)])
    labels = np.r_[labels[:40], np.full(20, 2)]
    chances = rng.dirichlet(np.ones(3), 60)
    three = Predictions(("A", "B", "C"), names, labels, names, names, chances)
    texts = [e.text or "" for e in picture({"m": three}).iter(f"{SVG}text")]
    assert "ROC, mean over classes" in texts
    assert "share predicted right" in texts


def test_more_models_than_colours_are_told_apart_by_dashes() -> None:
    models = {f"m{number}": answers(30, seed=number) for number in range(COLOURS + 1)}
    dashed = [line for line in lines(picture(models)) if line.get("class") == "line again"]
    assert len(dashed) == 4
