"""What an audit of a source finds, as plain values; nas.data.audit fills them in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from nas.data.prepare import Leak
from nas.data.shortcuts import Difference, Floor

_Value = TypeVar("_Value")


class Level(StrEnum):
    """How much a finding matters. Stored: members are only ever added.

    ERROR: figures on this data would be wrong. WARNING: they may mislead. NOTE: to be known.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing to know about the data.

    Attributes:
        level: how much it matters.
        code: what kind it is, one word that does not change.
        rule: what should hold; of a note it may be all there is.
        value: what was found instead.
        remedy: what to do.
    """

    level: Level
    code: str
    rule: str
    value: str = ""
    remedy: str = ""

    @property
    def text(self) -> str:
        """All of it in one line."""
        value = f", but {self.value}" if self.value else ""
        return self.rule + value + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Precision:
    """How exactly a set of images can measure an AUROC.

    Attributes:
        images: in the set.
        smallest: images of its smallest class.
        error: standard error of an AUROC of 0.95 for that class against the rest, after Hanley
            and McNeil 1982; None where there is no image of either.
    """

    images: int
    smallest: int
    error: float | None


@dataclass(frozen=True)
class ClassCount:
    """Readable images of one class in one split; patients that are known; share of the split."""

    name: str
    images: int
    patients: int
    prevalence: float | None


@dataclass(frozen=True)
class SplitCount:
    """One split.

    Attributes:
        name: train, val or test.
        images: that can be read.
        unreadable: that cannot.
        patients: known ones.
        unknown: images whose patient is not known.
        classes: in the source's order.
        domains: images of each; "" where unknown.
        precision: of val and test, and of train what is held out of it (a sixth) to validate on;
            None for train where there is a val.
    """

    name: str
    images: int
    unreadable: int
    patients: int
    unknown: int
    classes: tuple[ClassCount, ...]
    domains: Mapping[str, int]
    precision: Precision | None


@dataclass(frozen=True)
class Range:
    """Of some numbers."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Sizes:
    """Of the readable images.

    Attributes:
        width, height: pixels.
        file_bytes: of the files.
        distinct: how many pairs of width and height there are.
        short_side: the smaller of width and height.
        formats: images of each file format.
        modes: images of each of Pillow's pixel modes.
    """

    width: Range
    height: Range
    file_bytes: Range
    distinct: int
    short_side: Range
    formats: Mapping[str, int]
    modes: Mapping[str, int]


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be used, and why."""

    path: str
    split: str
    label: str
    reason: str


@dataclass(frozen=True)
class Copies:
    """Images that are the same one, or nearly: position by position path, split and class."""

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def contradicting(self) -> bool:
        """Whether they are of several classes."""
        return len(set(self.labels)) > 1

    @property
    def crossing(self) -> bool:
        """Whether they are in several splits."""
        return len(set(self.splits)) > 1


@dataclass(frozen=True)
class SharedPatient:
    """A patient with images in several splits: how many in each."""

    name: str
    images: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """All that is known of a source before anything is trained.

    Attributes:
        name, synthetic, licence, notes, published, classes: of the source.
        splits: in the order train, val, test; those that have images.
        sizes: None where no image can be read.
        unreadable: files.
        identical: groups of byte-identical files.
        similar: pairs of nearly equal images.
        compared: whether near duplicates could be looked for.
        leaks: what splits share.
        shared: the patients of whom they share images.
        floor: what file size and a few pixel statistics reach.
        differences: between splits, and between domains.
        findings: the worst first.
    """

    name: str
    synthetic: bool
    licence: str | None
    notes: tuple[str, ...]
    published: bool
    classes: tuple[str, ...]
    splits: tuple[SplitCount, ...]
    sizes: Sizes | None
    unreadable: tuple[Unreadable, ...]
    identical: tuple[Copies, ...]
    similar: tuple[Copies, ...]
    compared: bool
    leaks: tuple[Leak, ...]
    shared: tuple[SharedPatient, ...]
    floor: Floor
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...]

    @property
    def images(self) -> int:
        """That can be read, in all splits."""
        return sum(split.images for split in self.splits)

    def count(self, level: Level) -> int:
        """Findings of a level."""
        return sum(finding.level is level for finding in self.findings)

    @property
    def errors(self) -> int:
        """Findings that figures on this data would be wrong for."""
        return self.count(Level.ERROR)

    @property
    def verdict(self) -> str:
        """All findings in one sentence."""
        errors, warnings = self.errors, self.count(Level.WARNING)
        if errors:
            read = f", and read {counted(warnings, 'warning')}" if warnings else ""
            return f"Not usable as it is: mend {counted(errors, 'error')} first{read}."
        if warnings:
            return f"Usable, but read {counted(warnings, 'warning')} first."
        return "Usable: nothing was found that speaks against it."

    def to_json(self) -> dict[str, Any]:
        """Plain values without NaN; ``from_json`` gives an equal audit."""
        values: dict[str, Any] = plain(self)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave, also after a way through a file."""
        return rebuilt(cls, values)


def plain(value: Any) -> Any:
    """Of frozen dataclasses, tuples, mappings and numbers: dicts, lists, None for NaN."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a name that is not UTF-8 must not keep JSON from being written
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value


def rebuilt(kind: type[_Value], value: Any) -> _Value:
    """The value of a type, by its annotations, from what ``plain`` made of it."""
    result: _Value = _rebuilt(kind, value)
    return result


def _rebuilt(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None is the only one in use
        return None if value is None else _rebuilt(inner[0], value)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        return tuple(_rebuilt(*one) for one in zip(kinds, value, strict=True))
    if origin is not None:  # a mapping of plain values
        return dict(value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: _rebuilt(hints[name], one) for name, one in value.items()})
    return kind(value) if isinstance(kind, type) and issubclass(kind, StrEnum) else value


def counted(number: int, noun: str) -> str:
    """As 1 file, 2 files."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def printable(text: str) -> str:
    """A name from a file system as it may be shown: what would steer a terminal is escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
