"""What paired tests of two models say, in sentences."""

from collections.abc import Mapping
from typing import Any

SIGNIFICANT = 0.05
"""Below this p value two models are said to be told apart."""


def paired_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """What the tests on the same images say, a sentence for each."""
    result = []
    for one in evaluation["comparisons"]:
        first, second = one["first"], one["second"]
        if one["auroc"] is not None:
            result.append(_delong_line(first, second, one["auroc"]))
        result.append(_mcnemar_line(first, second, one["mcnemar"]))
    return result


def _delong_line(first: str, second: str, test: Mapping[str, Any]) -> str:
    low, high = test["interval"]
    said = (
        f"AUROC of {first} minus that of {second}: {test['difference']:+.3f} "
        f"({low:+.3f} to {high:+.3f})"
    )
    if test["p"] is None:
        return f"{said}; DeLong's test says nothing without variance"
    return f"{said}, DeLong p = {_p(test['p'])}: {_verdict(test['p'], first, test['difference'])}"


def _mcnemar_line(first: str, second: str, test: Mapping[str, Any]) -> str:
    ours, theirs = test["only_first"], test["only_second"]
    return (
        f"right where the other is wrong: {first} {ours} images, {second} {theirs}, "
        f"McNemar p = {_p(test['p'])}: {_verdict(test['p'], first, ours - theirs)}"
    )


def _verdict(p: float, first: str, difference: float) -> str:
    if p >= SIGNIFICANT:
        return "not told apart"
    return f"{first} is {'better' if difference > 0 else 'WORSE'}"


def _p(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"
