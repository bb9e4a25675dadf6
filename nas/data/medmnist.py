"""MedMNIST v2 (Yang et al. 2023): twelve sets of small medical images, downloaded once."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as remembered
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from nas.data.arrays import open_arrays
from nas.data.npz import unpack
from nas.data.table import Source
from nas.errors import DataError, SettingsError
from nas.files import CHUNK_BYTES, atomic_file

BASE_URL = "https://zenodo.org/records/10519652/files/"
DEFAULT_FOLDER = Path("data/medmnist")
DEFAULT_SIZE = 28

PACKAGE_FOLDER = "~/.medmnist"
"""Where the package medmnist keeps its downloads; only read."""

TIMEOUT_S = 20.0
"""Of connecting, and of every read: a host that says nothing for longer is given up."""

MAX_DOWNLOAD_BYTES = 20_000_000_000
"""The images of the largest, pathmnist at 224, have 16 GB before they are compressed."""

CITATION = "MedMNIST v2, Yang et al. 2023"

_TEXT = re.compile(r"([^.@:]+)(?:\.([^@:]+))?(?:@([^:]+))?(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is published of a set.

    Attributes:
        licence: of the images.
        md5: of the file, by the side of its images in pixels.
        classes: by label; empty where there are findings.
        findings: by column of the labels, 1 where it was found; empty where there are classes.
    """

    licence: str
    md5: Mapping[int, str]
    classes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which set is asked for: it is there, in that size, with that finding."""

    name: str
    finding: str | None
    size: int
    folder: Path

    @property
    def text(self) -> str:
        """What names it again from any directory."""
        dotted = self.name if self.finding is None else f"{self.name}.{self.finding}"
        return f"medmnist:{dotted}@{self.size}:{self.folder}"

    @property
    def file(self) -> str:
        """As the package medmnist names it."""
        return f"{self.name}.npz" if self.size == DEFAULT_SIZE else f"{self.name}_{self.size}.npz"


@remembered
def published() -> dict[str, Facts]:
    """The two-dimensional sets by name."""
    with Path(__file__).with_name("medmnist.toml").open("rb") as file:
        return {
            name: Facts(
                licence=facts["licence"],
                md5={int(size): digest for size, digest in facts["md5"].items()},
                classes=tuple(facts.get("classes", ())),
                findings=tuple(facts.get("findings", ())),
            )
            for name, facts in tomllib.load(file).items()
        }


def open_medmnist(text: str, cache: Path) -> Source:
    """The images that ``medmnist:TEXT`` names, downloaded first where the file is not there.

    Args:
        text: NAME[.FINDING][@SIZE][:FOLDER]; SIZE is 28 if not given, FOLDER data/medmnist. A
            FINDING, one column of a set with several labels an image, is told from all others.
        cache: where the arrays are unpacked.

    Raises:
        SettingsError: no such set, size or finding.
        DataError: the file cannot be had, or is not the published one.
    """
    wanted = parse(text)
    facts = published()[wanted.name]
    path = _find(wanted) or _download(wanted, facts.md5[wanted.size])
    # Checked before unpacking only, not at every start: hashing 10 GB takes half a minute. What
    # was unpacked from a checked file has a folder that no unchecked file is unpacked into.
    folder = unpack(path, cache, md5=facts.md5[wanted.size], columns=max(1, len(facts.findings)))
    finding = wanted.finding
    short = "-".join(filter(None, (wanted.name, finding)))
    return open_arrays(
        folder,
        origin=str(path),
        name=short if wanted.size == DEFAULT_SIZE else f"{short}-{wanted.size}",
        spec=wanted.text,
        classes=facts.classes if finding is None else (f"no {finding}", finding),
        notes=(f"{CITATION}, {facts.licence}",),
        licence=facts.licence,
        published=True,
        column=0 if finding is None else facts.findings.index(finding),
    )


def parse(text: str) -> Wanted:
    """NAME[.FINDING][@SIZE][:FOLDER], names in any case.

    Raises:
        SettingsError: no such set, size or finding.
    """
    matched = _TEXT.fullmatch(text)
    name, finding, size, folder = matched.groups() if matched else (text, None, None, None)
    name, finding = name.lower(), finding and finding.lower()
    facts = published().get(name)
    if facts is None:
        raise SettingsError(
            "medmnist:NAME[@SIZE][:FOLDER] must name one of the two-dimensional sets, "
            f"{', '.join(published())}, but is {text!r}; choose one of them"
        )
    sizes = {str(side): side for side in facts.md5}
    if (size := size or str(DEFAULT_SIZE)) not in sizes:
        raise SettingsError(
            f"the size of {name} must be one of {', '.join(sizes)}, but is {size!r}; "
            "choose one of them"
        )
    if finding is None and facts.findings:
        raise SettingsError(
            f"{name} has several findings an image, of which one must be named, but none is; give "
            f"medmnist:{name}.{facts.findings[0]}, or another of {', '.join(facts.findings)}"
        )
    if finding is not None and finding not in facts.findings:
        there = f"one of {', '.join(facts.findings)}" if facts.findings else "left out"
        raise SettingsError(
            f"the finding of {name} must be {there}, but is {finding!r}; change medmnist:{text}"
        )
    where = _at_home(folder) if folder else DEFAULT_FOLDER
    return Wanted(name, finding, sizes[size], where.resolve())


def _at_home(folder: str) -> Path:
    return Path(os.path.expanduser(folder))  # noqa: PTH111 - Path's own raises where nobody is home


def _find(wanted: Wanted) -> Path | None:
    for folder in (wanted.folder, _at_home(PACKAGE_FOLDER)):
        path = folder / wanted.file
        if os.access(path, os.R_OK) and path.is_file():
            return path
    return None


def _download(wanted: Wanted, md5: str) -> Path:
    """Get the file into its folder, whole and with the right MD5, or not at all."""
    url, path = f"{BASE_URL}{wanted.file}?download=1", wanted.folder / wanted.file
    try:
        with atomic_file(path) as file, urlopen(url, timeout=TIMEOUT_S) as response:
            digest, size = hashlib.md5(usedforsecurity=False), 0
            while chunk := response.read(CHUNK_BYTES):
                size += len(chunk)
                if size > MAX_DOWNLOAD_BYTES:
                    raise HTTPException(f"more than {MAX_DOWNLOAD_BYTES:,} bytes came")
                digest.update(chunk)
                file.write(chunk)
            declared = response.headers.get("Content-Length")
            if declared is not None and size != int(declared):
                raise HTTPException(f"cut off after {size:,} of {declared} bytes")
            if digest.hexdigest() != md5:
                raise DataError(
                    f"{url}: the file's MD5 must be {md5}, as published, but what came has "
                    f"{digest.hexdigest()}, and was not kept; try again, or get {wanted.file} "
                    f"elsewhere and put it into {wanted.folder}"
                )
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the response, with its socket
        reason = getattr(error, "reason", None) or error  # URLError wraps the reason
        raise DataError(
            f"medmnist:{wanted.name} needs {wanted.file}, which is neither in {wanted.folder} nor "
            f"in {PACKAGE_FOLDER}, but downloading {url} failed "
            f"({str(reason) or type(error).__name__}); run once with a network, or put "
            f"{wanted.file} into {wanted.folder} by hand"
        ) from None
    return path
