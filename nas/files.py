"""Files and folders that are there whole or not at all."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` when the block ends well.

    A reader sees the old file or the new one, never a part, whatever kills the writer. When the
    block raises, nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path, is_complete: Callable[[], bool]) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``folder`` when the block ends well.

    Where another process was first, its folder stays and ours is dropped. When the block raises,
    nothing is left behind; what a killed process leaves has another name and is never read.

    Args:
        folder: not there yet, or empty.
        is_complete: whether ``folder`` is there, whole, from somebody else.

    Raises:
        OSError: the folder cannot be made or moved into place.
    """
    part = _part_of(folder)
    try:
        part.mkdir(parents=True)
        yield part
        try:
            part.rename(folder)
        except OSError:
            if not is_complete():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part_of(path: Path) -> Path:
    # Not tempfile: what it makes can be read by its owner only, and a server may be another user.
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Put ``value`` at ``path`` as readable JSON, whole or not at all; NaN is refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
