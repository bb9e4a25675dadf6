"""What finals and exports left in a run folder, read back."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import DataError, RunError
from nas.predictions import Predictions
from nas.runfolder import RunFolder


def final_results(run: RunFolder) -> tuple[Mapping[str, Any], ...]:
    """How single trainings of the finals ended, by name; those that have not ended are not there.

    Raises:
        RunError: one of them is damaged.
    """
    return tuple(_json(path) for path in sorted(run.finals.glob("*/result.json")))


def read_evaluation(run: RunFolder) -> Mapping[str, Any] | None:
    """export/evaluation.json; None where nothing was exported.

    Raises:
        RunError: it is damaged.
    """
    path = run.export / "evaluation.json"
    if not path.is_file():
        return None
    found = _json(path)
    lacking = [name for name in ("models", "classes", "data", "images") if name not in found]
    if lacking:
        raise _damaged(path, f"it has no {lacking[0]}")
    return found


def read_predictions(run: RunFolder, evaluation: Mapping[str, Any]) -> dict[str, Predictions]:
    """export/predictions.csv by model, each with the threshold of the evaluation.

    Models without predictions, and images that a model has no answer for, are left out.

    Raises:
        RunError: it is damaged.
    """
    path = run.export / "predictions.csv"
    if not path.is_file():
        return {}
    classes = tuple(evaluation["classes"])
    try:
        with path.open(newline="", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        found = {}
        for name, figures in evaluation["models"].items():
            columns = [f"{name}:{label}" for label in classes]
            own = [row for row in rows if all(row.get(column) for column in columns)]
            if not own:
                continue
            found[name] = Predictions(
                classes=classes,
                paths=np.array([row["path"] for row in own]),
                labels=np.array([classes.index(row["label"]) for row in own], np.int64),
                groups=np.array([row["group"] for row in own]),
                domains=np.array([row["domain"] for row in own]),
                probabilities=np.array([[float(row[c]) for c in columns] for row in own]),
                threshold=float(figures.get("threshold", 0.5)),
            )
    except (OSError, ValueError, KeyError, TypeError, csv.Error, DataError) as error:
        raise _damaged(path, str(error)) from None
    return found


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(path, "it is no object")
    return found


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} must be what this program wrote, but is not ({why}); make it again with the "
        "command that wrote it"
    )
