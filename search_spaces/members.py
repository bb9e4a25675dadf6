"""Whether parameters are a member of a space, and of which genome they are."""

import warnings
from collections.abc import Mapping
from typing import Any

from optuna.trial import FixedTrial

from nas.jobs import GenomeLike
from search_spaces.base import Space


def genome_of(space: Space, point: Mapping[str, Any]) -> GenomeLike | None:
    """The genome that a space makes of parameters; None where it would not suggest them.

    Parameters that the space does not ask for are ignored.
    """
    trial = FixedTrial(dict(point))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna only warns of a number out of its range
            return space.suggest(trial)  # type: ignore[arg-type]
    except (ValueError, LookupError, UserWarning):  # or lacks a parameter, or has another kind
        return None
