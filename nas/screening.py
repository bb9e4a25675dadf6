"""Pre-screening: of many random genomes, those that need not be trained. Discards, never chooses.

Proxies rank the bulk and not the best: over 81 random genomes of the chain space, trained on the
chest X-rays at 32×32, parameters and synflow had rank correlations of 0.71 and 0.79 with the score
below the best quarter, and -0.13 and -0.22 within it. So the genomes that rank worst by all given
proxies together go, and nothing is said about the order of the rest. By these two proxies a quarter
of the genomes could go without any of the best tenth (9 genomes), and half with 14 % of it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nas.errors import SettingsError

Array = NDArray[np.float64]


def keep(rows: Sequence[Mapping[str, float]], share: float) -> list[int]:
    """Positions of the rows that stay, rising.

    A row's figure is the mean over proxies of the logarithm of its rank, 1 being the best, and the
    rows with the highest figures go. The logarithm spares whatever is near the top by one proxy.
    Rows that are equal at the border all stay: at most ``share`` of the rows are discarded.

    Args:
        rows: one for each genome: proxies by name, such as parameters, multiply_adds and those of
            nas.proxies, the same in every row; higher is better.
        share: of the rows to discard, in [0, 1).

    Raises:
        SettingsError: a share outside its range, rows without or with different proxies, or a
            proxy that is not a finite number.
    """
    if not 0 <= share < 1:
        raise SettingsError(
            f"the share to discard must be in [0, 1), but is {share}; give a share of the rows"
        )
    if not rows:
        return []
    figures = _figures(rows)
    # Rounded down, with a margin because 0.29 × 100 is a little below 29.
    go = math.floor(len(rows) * share + 1e-9)
    border = np.sort(figures)[len(rows) - go - 1]
    return [int(place) for place in np.flatnonzero(figures <= border)]


def _figures(rows: Sequence[Mapping[str, float]]) -> Array:
    """Mean logarithm of the ranks of every row; equal values share the mean of their ranks."""
    names = sorted(rows[0])
    for number, row in enumerate(rows):
        if sorted(row) != names or not names:
            raise SettingsError(
                f"rows must have the same proxies, at least one, but the first has {names} and row "
                f"{number} has {sorted(row)}; measure all genomes alike"
            )
    table = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    if not np.isfinite(table).all():
        number, column = np.argwhere(~np.isfinite(table))[0]
        raise SettingsError(
            f"proxies must be finite, but {names[column]} of row {number} is "
            f"{table[number, column]}; leave it out"
        )
    # Rounded, so that rows with the same ranks in another order of proxies are equal, too.
    figures: Array = np.log(rankdata(-table, axis=0)).mean(axis=1).round(12)
    return figures
