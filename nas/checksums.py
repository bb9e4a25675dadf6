"""SHA256SUMS: the checksums of a folder's files, as ``sha256sum --check`` reads them."""

import re
from pathlib import Path, PurePosixPath

from nas.errors import BundleError
from nas.files import sha256_of, write_bytes

SUMS = "SHA256SUMS"

LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\n]+)")


def write_sums(folder: Path) -> Path:
    """Write SHA256SUMS over every file below ``folder`` but itself and hidden ones.

    Returns:
        Its path.

    Raises:
        OSError: a file cannot be read, or the sums cannot be written.
    """
    named = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUMS and not path.name.startswith(".")
    }
    lines = [f"{sha256_of(named[name])}  {name}\n" for name in sorted(named)]
    write_bytes(folder / SUMS, "".join(lines).encode())
    return folder / SUMS


def read_sums(folder: Path) -> dict[str, str] | None:
    """Names and SHA-256 of the files that the folder's SHA256SUMS lists; None without one.

    Raises:
        BundleError: it is not as ``write_sums`` or sha256sum writes it.
    """
    path = folder / SUMS
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise BundleError(
            f"{path}: cannot be read ({type(error).__name__}); export the model again"
        ) from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        found = LINE.fullmatch(line)
        if found is None or not _is_inside(found[2]):
            raise BundleError(
                f"{path}: a line has a SHA-256 and a file's name, but line {number} has not; "
                "export the model again"
            )
        sums[found[2]] = found[1]
    return sums


def check_sums(folder: Path, name: str) -> list[str] | None:
    """Compare the files of a folder with its SHA256SUMS.

    Args:
        name: of a file that must be listed.

    Returns:
        Names that are listed and not there; None where the folder has no SHA256SUMS.

    Raises:
        BundleError: ``name`` is not listed, or a file has another content than is listed.
    """
    sums = read_sums(folder)
    if sums is None:
        return None
    if name not in sums:
        raise BundleError(
            f"{folder / name}: the {SUMS} beside it must list it, but does not; "
            "export the model again"
        )
    missing = []
    for other, digest in sums.items():
        path = folder / other
        if not path.is_file():
            missing.append(other)
        elif sha256_of(path) != digest:
            raise BundleError(
                f"{path}: the content must be that of the {SUMS} beside it, but is another; "
                "export the model again, or copy the whole folder anew"
            )
    return missing


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
