"""Fields of blocks: what each may be, checked when a block is made and written as JSON.

A field that came later than its kind of block is left out of the JSON where it has its default, so
that keys and files of former days stay as they are.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

from nas.genome.checks import check_truth, check_whole, entries, member
from nas.genome.nodes import Node


class Block(Protocol):
    """A piece of a genome."""

    kind: ClassVar[str]

    def nodes(self, number: int, channels: int) -> tuple[Node, ...]:
        """What it is built of.

        Args:
            number: its place in the genome, from 1; part of the names.
            channels: of what comes in.
        """

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the kind."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in [low, high]."""

    low: int
    high: int

    def checked(self, where: str, name: str, value: object) -> object:
        """The value as it is kept; GenomeError if it is outside the rule."""
        check_whole(where, name, value, self.low, self.high)
        return value


@dataclass(frozen=True, slots=True)
class OneOf:
    """A member of an enumeration, given as such or as its text."""

    members: type[StrEnum]

    def checked(self, where: str, name: str, value: object) -> object:
        """See Whole."""
        return member(self.members, where, name, value)


@dataclass(frozen=True, slots=True)
class Truth:
    """True or False."""

    def checked(self, where: str, name: str, value: object) -> object:
        """See Whole."""
        check_truth(where, name, value)
        return value


Rule = Whole | OneOf | Truth


def whole(low: int, high: int, default: Any = MISSING, *, later: bool = False) -> Any:
    """A field that holds a whole number."""
    return field(default=default, metadata={"rule": Whole(low, high), "later": later})


def one_of(members: type[StrEnum], default: Any = MISSING, *, later: bool = False) -> Any:
    """A field that holds a member of an enumeration."""
    return field(default=default, metadata={"rule": OneOf(members), "later": later})


def truth(default: Any = MISSING, *, later: bool = False) -> Any:
    """A field that holds True or False."""
    return field(default=default, metadata={"rule": Truth(), "later": later})


def check_fields(block: Any) -> None:
    """Check every field of a block by its rule, and keep it in the form that the rule gives it."""
    for one in fields(block):
        rule: Rule = one.metadata["rule"]
        value = rule.checked(block.kind, one.name, getattr(block, one.name))
        object.__setattr__(block, one.name, value)


def fields_json(block: Any) -> dict[str, Any]:
    """A block's kind and fields as plain values."""
    told = {"kind": block.kind}
    for one in fields(block):
        value = getattr(block, one.name)
        if not (one.metadata["later"] and value == one.default):
            told[one.name] = str(value) if isinstance(value, StrEnum) else value
    return told


Made = TypeVar("Made", bound=Block)


def block_from_json(kind: type[Made], data: Mapping[str, Any], where: str) -> Made:
    """The block that ``fields_json`` described; GenomeError if an entry is missing or unknown."""
    known: dict[str, Field[Any]] = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    later = [name for name, one in known.items() if one.metadata["later"]]
    values = entries(data, where, {"kind", *known} - set(later), later)
    return kind(**{name: value for name, value in values.items() if name != "kind"})
