"""Patients and domains that file names tell.

A pattern is believed for a whole data set or not at all: IM-0001-0001 is a patient in one archive
and an image of a series in another. So it must fit most names, and its tell-tale must be there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

ENOUGH = 0.9
"""Share of the names that a preset must fit: a few strays do not hide what the others are."""


@dataclass(frozen=True)
class Preset:
    """How one family of data sets names its files.

    Attributes:
        title: for the report.
        patterns: tried in order on the file name without its ending, from its beginning; groups
            ``patient`` and, where there is one, ``domain``.
        tell_tale: must fit at least one name.
    """

    title: str
    patterns: tuple[re.Pattern[str], ...]
    tell_tale: re.Pattern[str]

    def read(self, stem: str) -> tuple[str, str] | None:
        """(patient, domain) of a name, or None."""
        for pattern in self.patterns:
            if found := pattern.match(stem):
                groups = found.groupdict()
                return groups["patient"], groups.get("domain") or ""
        return None


PRESETS = (
    # The same number with another etiology is another person. The normals come from two series,
    # of which the test split has another part than the train split.
    Preset(
        "the chest X-rays of Kermany et al. 2018",
        (
            re.compile(r"(?P<patient>person\d+_(?P<domain>bacteria|virus))_\d+"),
            re.compile(r"(?P<patient>(?P<domain>(?:NORMAL2-)?IM)-\d+)-\d+"),
        ),
        re.compile(r"person\d+_(?:bacteria|virus)_\d+|NORMAL2-IM-\d+"),
    ),
    Preset(
        "NIH ChestX-ray14 (8 digits of the patient, 3 of the image)",
        (re.compile(r"(?P<patient>\d{8})_\d{3}$"),),
        re.compile(r"\d{8}_\d{3}$"),
    ),
    Preset(
        "the demo set", (re.compile(r"(?P<patient>demo\d+)_\d+$"),), re.compile(r"demo\d+_\d+$")
    ),
)

PLAIN = (
    # BIDS, and plain habits; these name a patient wherever they occur.
    re.compile(r"(sub-[A-Za-z0-9]+)"),
    re.compile(r"((?:patient|subject)[-_ ]?\d+)", re.IGNORECASE),
)


@dataclass(frozen=True)
class Recognised:
    """What names told: (N,) patients and domains, "" where nothing; and by which preset."""

    patients: tuple[str, ...]
    domains: tuple[str, ...]
    preset: str | None


def recognise(paths: Sequence[str]) -> Recognised:
    """Patient and domain of every image.

    A folder on the way counts too where its name is one of the plain ones: ``patient7/view1.png``.

    Args:
        paths: with / between folders.
    """
    stems = [PurePosixPath(path).stem for path in paths]
    for preset in PRESETS:
        read = [preset.read(stem) for stem in stems]
        fits = sum(one is not None for one in read)
        if fits >= ENOUGH * len(stems) and any(preset.tell_tale.match(stem) for stem in stems):
            known = [one or (_plain(path), "") for one, path in zip(read, paths, strict=True)]
            patients, domains = zip(*known, strict=True)
            return Recognised(patients, domains, preset.title)
    return Recognised(tuple(_plain(path) for path in paths), ("",) * len(paths), None)


def _plain(path: str) -> str:
    whole = PurePosixPath(path)
    # From the file outwards; a folder's whole name must be the patient's.
    for pattern in PLAIN:
        if found := pattern.match(whole.stem):
            return found.group(1)
    for folder in reversed(whole.parts[:-1]):
        for pattern in PLAIN:
            if found := pattern.fullmatch(folder):
                return found.group(1)
    return ""
