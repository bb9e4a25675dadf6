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
    if not isinstance(data, dict):
        raise GenomeError(
            f"{where}: must have exactly the entries {sorted(needed)}{_may(possible)}, but is "
            f"a {type(data).__name__}; write it as an object with these"
        )
    missing = sorted(set(needed) - set(data))
    unknown = sorted(map(str, set(data) - {*needed, *possible}))
    if missing or unknown:
        add = f"add {', '.join(missing)}" if missing else ""
        remove = f"remove {', '.join(unknown)}" if unknown else ""
        raise GenomeError(
            f"{where}: must have exactly the entries {sorted(needed)}{_may(possible)}, but has "
            f"{sorted(map(str, data))}; {' and '.join(filter(None, (add, remove)))}"
        )
    return data


def _may(possible: Collection[str]) -> str:
    return f" (and may have {sorted(possible)})" if possible else ""
