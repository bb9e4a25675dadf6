"""What a space chooses from: its fields are checked here, and places in lists become values.

Numbers are chosen by their place in a rising list, their level, so that a sampler knows their order
and a step means the same everywhere.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

import optuna

from nas.errors import GenomeError
from nas.genome.checks import check_whole

FILTERS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""About a factor of 1.4 between neighbours."""

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu")
DROPOUT = 0.2
MOST_CHOICES = 32


def check_span(space: str, name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a pair of whole numbers within [low, high], the lower first.

    Raises:
        GenomeError: it is not.
    """
    pair = value if isinstance(value, tuple) else ()
    whole = all(type(one) is int and low <= one <= high for one in pair)
    if len(pair) != 2 or not whole or pair[0] > pair[1]:
        raise GenomeError(
            f"{space}: {name} must be two whole numbers from {low} to {high}, the lower first, but "
            f"is {value!r}; choose two in that range"
        )


def check_levels(space: str, name: str, values: object, low: int, high: int) -> None:
    """Refuse what is not a tuple of rising whole numbers within [low, high].

    Raises:
        GenomeError: it is not.
    """
    for value in _checked_tuple(space, name, values):
        check_whole(space, f"each of {name}", value, low, high)
    numbers: Sequence[int] = values  # type: ignore[assignment]  # as was checked
    if any(one >= other for one, other in pairwise(numbers)):
        raise GenomeError(
            f"{space}: {name} must rise, each number occurring once, but are {values!r}; sort them"
        )


def check_counted(space: str, name: str, values: object, count: int, low: int, high: int) -> None:
    """Refuse what is not a tuple of just so many whole numbers within [low, high].

    Raises:
        GenomeError: it is not.
    """
    numbers = _checked_tuple(space, name, values)
    check_whole(space, f"the number of {name}", len(numbers), count, count)
    for value in numbers:
        check_whole(space, f"each of {name}", value, low, high)


def check_names(space: str, name: str, values: object, known: Collection[str]) -> None:
    """Refuse what is not a tuple of different names out of ``known``.

    Raises:
        GenomeError: it is not.
    """
    names = _checked_tuple(space, name, values)
    if not set(names) <= set(known) or len(set(names)) < len(names):
        raise GenomeError(
            f"{space}: {name} must be different ones of {', '.join(known)}, but are {values!r}; "
            "choose from these"
        )


def check_share(space: str, name: str, value: object) -> None:
    """Refuse what is not a number in [0, 1).

    Raises:
        GenomeError: it is not.
    """
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    if not ok:
        raise GenomeError(
            f"{space}: {name} must be a number in [0, 1), but is {value!r}; choose one in that "
            "range"
        )


def _checked_tuple(space: str, name: str, values: object) -> Sequence[object]:
    hashable = isinstance(values, tuple) and all(isinstance(v, int | str) for v in values)
    if not isinstance(values, tuple) or not hashable or not 1 <= len(values) <= MOST_CHOICES:
        raise GenomeError(
            f"{space}: {name} must be a list of 1 to {MOST_CHOICES} choices, but is {values!r}; "
            "write it as one"
        )
    return values


def suggest_level(trial: optuna.Trial, name: str, values: Sequence[int]) -> int:
    """One of rising numbers, asked for by its place."""
    return values[trial.suggest_int(name, 0, len(values) - 1)]


def suggest_name(trial: optuna.Trial, name: str, values: Sequence[str]) -> str:
    """One of several names."""
    chosen: str = trial.suggest_categorical(name, values)
    return chosen


def nearest(values: Sequence[int], wish: int) -> int:
    """The place of the number nearest to ``wish``: a known network, as far as a space has it."""
    return min(range(len(values)), key=lambda place: abs(values[place] - wish))


def within(span: tuple[int, int], wish: int) -> int:
    """``wish``, or the end of the span that is nearest to it."""
    return max(span[0], min(wish, span[1]))


def wished(values: Sequence[str], *wishes: str) -> str:
    """The first of ``wishes`` that is to choose from, and else the first choice."""
    return next((wish for wish in wishes if wish in values), values[0])
