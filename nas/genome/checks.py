"""What all parts of a genome check, and how they say it: layer, rule, value, remedy."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, TypeVar

from nas.errors import GenomeError

Member = TypeVar("Member", bound=StrEnum)


def check_whole(where: str, name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a whole number in [low, high]."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise GenomeError(
            f"{where}: {name} must be a whole number from {low} to {high}, but is {value!r}; "
            "choose one in that range"
        )


def check_truth(where: str, name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise GenomeError(
            f"{where}: {name} must be true or false, but is {value!r}; choose one of these"
        )


def member(kind: type[Member], where: str, name: str, value: object) -> Member:
    """The member of an enumeration that is equal to ``value``."""
    for one in kind:
        if value == one:
            return one
    raise GenomeError(
        f"{where}: {name} must be one of {[str(m) for m in kind]}, but is {value!r}; "
        "choose one of these"
    )


def entries(
    data: object, where: str, needed: Collection[str], possible: Collection[str] = ()
) -> dict[str, Any]:
    """``data``, if it is an object with all entries that are needed and none that is unknown."""
    ok = isinstance(data, dict) and set(needed) <= set(data) <= {*needed, *possible}
    if not isinstance(data, dict) or not ok:
        got = sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__
        more = f" (and may have {sorted(possible)})" if possible else ""
        raise GenomeError(
            f"{where}: must have exactly the entries {sorted(needed)}{more}, but has {got}; "
            "add what is missing and remove the rest"
        )
    return data
