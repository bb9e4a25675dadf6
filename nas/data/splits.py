"""Splits by patient: no person on both sides."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from nas.errors import DataError

TEST_SHARE = 1 / 5
VALIDATION_SHARE = 1 / 6


def hold_out(
    labels: "pd.Series[int] | npt.NDArray[np.int64]",
    patients: "pd.Series[str] | npt.NDArray[np.str_]",
    share: float,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Choose about ``share`` of the images, whole patients, with the classes in proportion.

    Args:
        labels: (N,) whole numbers.
        patients: (N,) names.
        share: in (0, 1/2].
        seed: of the shuffle.

    Returns:
        (N,) True where an image is held out. Every class is on both sides.

    Raises:
        DataError: a class has images of fewer than two patients.
    """
    classes, groups = np.asarray(labels), np.asarray(patients, dtype=str)
    fewest = min(len(np.unique(groups[classes == label])) for label in np.unique(classes))
    if fewest < 2:
        raise DataError(
            "every class must have images of at least two patients, so that one can be held out, "
            f"but one has {fewest}; add patients"
        )
    folds = min(round(1 / share), fewest)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for _, held in splitter.split(classes, classes, groups):
        chosen = np.zeros(len(classes), dtype=bool)
        chosen[held] = True
        # With very few patients a fold may miss a class; another fold then has it.
        if set(classes[chosen]) == set(classes[~chosen]) == set(classes):
            return chosen
    raise DataError(
        "every class must be on both sides of a split by patient, but its patients do not allow "
        "it; add patients who have one class only"
    )
