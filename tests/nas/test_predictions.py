"""Answers image by image: compared on what both have, kept with all their digits."""

import csv
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from nas.errors import DataError
from nas.evaluation import evaluate
from nas.paired import delong_test, mcnemar
from nas.predictions import Predictions, compare, images_told, write_predictions
from tests.nas.labelled import clinic

TWO = ("NORMAL", "PNEUMONIA")


def answers(n: int = 40, seed: int = 0, threshold: float = 0.5, shift: float = 2.0) -> Predictions:
    probabilities, labels = clinic(n, seed, shift)
    rows = np.arange(n)
    return Predictions(
        classes=TWO,
        paths=np.array([f"image {row}.png" for row in rows]),
        labels=labels,
        groups=np.array([f"patient {row // 2}" for row in rows]),
        domains=np.array(["IM", "virus", ""])[rows % 3],
        probabilities=probabilities,
        threshold=threshold,
    )


def some(whole: Predictions, rows: list[int]) -> Predictions:
    """Those rows, in that order."""
    parts = {
        name: getattr(whole, name)[rows]
        for name in ("paths", "labels", "groups", "domains", "probabilities")
    }
    return replace(whole, **parts)


def test_the_evaluation_is_of_everything_that_is_known() -> None:
    one = answers(threshold=0.3)
    assert one.evaluation() == evaluate(
        one.probabilities,
        one.labels,
        TWO,
        threshold=0.3,
        groups=one.groups,
        domains=one.domains,
    )


def test_what_is_told_of_the_images() -> None:
    assert images_told(answers(6)) == {
        "n": 6,
        "classes": {"NORMAL": 3, "PNEUMONIA": 3},
        "groups": 3,
        "domains": {"IM": 2, "virus": 2},
    }


def test_answers_must_be_probabilities() -> None:
    with pytest.raises(DataError, match="apply a softmax"):
        replace(answers(), probabilities=answers().probabilities * 2)


# Comparing ----------------------------------------------------------------------------------------


def test_two_models_are_compared_each_at_its_own_threshold() -> None:
    first, second = answers(threshold=0.3), answers(seed=1, threshold=0.7)
    found = compare(first, second)
    labels = first.labels
    right = [(one.probabilities[:, 1] >= one.threshold) == (labels == 1) for one in (first, second)]
    assert found["mcnemar"] == asdict(mcnemar(*right))
    expected = delong_test(first.probabilities[:, 1], second.probabilities[:, 1], labels)
    assert found["auroc"] == {**asdict(expected), "interval": list(expected.interval)}
    assert found["n"] == 40


def test_only_common_images_count_whatever_their_order() -> None:
    first, second = answers(), answers(seed=1)
    shuffled = some(second, np.random.default_rng(0).permutation(40).tolist())
    assert compare(first, shuffled) == compare(first, second)
    common = list(range(10, 40))
    assert compare(first, some(second, common)) == compare(some(first, common), second)
    assert compare(first, some(second, common))["n"] == 30


def test_without_both_classes_or_with_three_there_is_no_auroc_to_compare() -> None:
    positives = some(answers(), list(range(1, 40, 2)))
    assert compare(positives, positives)["auroc"] is None
    three = Predictions(
        ("A", "B", "C"),
        *(np.array(["a", "b", "c"]), np.arange(3), np.array(["1", "2", "3"]), np.array([""] * 3)),
        np.eye(3),
    )
    assert compare(three, three) == {
        "n": 3,
        "auroc": None,
        "mcnemar": {"only_first": 0, "only_second": 0, "p": 1.0},
    }


def test_models_of_different_images_or_classes_are_not_compared() -> None:
    one = answers()
    elsewhere = replace(one, paths=np.array([f"other/{path}" for path in one.paths]))
    with pytest.raises(DataError, match="there are 0 common images"):
        compare(one, elsewhere)
    with pytest.raises(DataError, match="let both predict the same images"):
        compare(one, replace(one, classes=("A", "B")))


# The file -----------------------------------------------------------------------------------------


def test_the_table_holds_every_digit(tmp_path: Path) -> None:
    first = answers()
    second = some(answers(seed=1), list(range(30)))
    write_predictions(tmp_path / "p.csv", {"ours": first, "theirs": second})
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("path", "label", "domain", "group"),
        *("ours:NORMAL", "ours:PNEUMONIA", "theirs:NORMAL", "theirs:PNEUMONIA"),
    ]
    assert [row["path"] for row in rows] == first.paths.tolist()
    assert [row["label"] for row in rows] == [TWO[label] for label in first.labels]
    assert [row["domain"] for row in rows] == first.domains.tolist()
    assert [row["group"] for row in rows] == first.groups.tolist()
    for column, name in enumerate(TWO):
        ours = [float(row[f"ours:{name}"]) for row in rows]
        assert ours == first.probabilities[:, column].tolist()
        theirs = [row[f"theirs:{name}"] for row in rows]
        assert [float(text) for text in theirs[:30]] == second.probabilities[:, column].tolist()
        assert theirs[30:] == [""] * 10


def test_names_with_commas_quotes_and_other_bytes(tmp_path: Path) -> None:
    odd = ['a,"b".png', b"\xff.png".decode(errors="surrogateescape")]
    one = replace(some(answers(), [0, 1]), paths=np.array(odd))
    write_predictions(tmp_path / "p.csv", {"m": one})
    with (tmp_path / "p.csv").open(newline="", errors="surrogateescape") as file:
        assert [row["path"] for row in csv.DictReader(file)] == odd


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="predictions must be written to"):
        write_predictions(tmp_path / "file" / "p.csv", {"m": answers()})
