"""Bundles as files: what torch opens, and the same content as safetensors.

A ``.pth`` file is what ``torch.save`` writes for ``{"manifest": str, "tensors": {name: tensor}}``,
so that ``torch.load(path, weights_only=True)`` opens it anywhere. A ``.safetensors`` file has the
same tensors, and the manifest in its metadata.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from nas import tensorfile
from nas.bundle.limits import MAX_FILE_BYTES
from nas.bundle.manifest import bundle_of, check, manifest_of, prefixes_of
from nas.bundle.values import Bundle
from nas.errors import BundleError, NasError
from nas.files import write_bytes

MAX_MANIFEST_BYTES = 16 << 20
"""JSON takes some ten times its length in memory, and a card with every figure takes 20 kB."""

HEADER_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which is JSON."""


def save(bundle: Bundle, path: Path) -> None:
    """Write ``bundle`` to ``path``, whole or not at all.

    Raises:
        BundleError: its tensors do not fit its genomes, or are not finite.
        OSError: the file cannot be written.
    """
    manifest, tensors = _content_of(bundle)
    tensorfile.write(path, {"manifest": manifest, "tensors": tensors})


def save_safetensors(bundle: Bundle, path: Path) -> None:
    """Write ``bundle`` to ``path`` as safetensors, whole or not at all; ``load`` reads it too.

    The metadata hold the manifest and its SHA-256, since that format has no checksum of its own.

    Raises:
        BundleError: its tensors do not fit its genomes, or are not finite.
        OSError: the file cannot be written.
    """
    manifest, tensors = _content_of(bundle)
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    # "pt" is what Hugging Face's libraries look for.
    metadata = {"format": "pt", "manifest": manifest, "manifest_sha256": digest}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def load(path: Path) -> Bundle:
    """Read a bundle file, trusting nothing in it; see ``loads``.

    Raises:
        BundleError: no such file, or one that ``loads`` refuses.
    """
    return loads(read_file(path), path)


def read_file(path: Path) -> bytes:
    """A bundle file's bytes.

    Raises:
        BundleError: no such file, or larger than a bundle may be.
    """
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise BundleError(
                f"{path}: a bundle has at most {MAX_FILE_BYTES} bytes, not {size}; "
                "export the model again"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{path}: no such file; run python -m nas.export best, or give another path"
        ) from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check the file") from None


def loads(data: bytes, path: Path) -> Bundle:
    """The bundle in ``data``, trusting nothing in it.

    Args:
        data: what ``save`` or ``save_safetensors`` wrote, in this or an older format version.
        path: where it came from, for messages.

    Raises:
        BundleError: another format, or any check that fails; says which.
    """
    manifest, tensors = read_content(data, path)
    try:
        return bundle_of(manifest, tensors)
    except NasError as error:
        raise BundleError(f"{path}: {error}; export the model again") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: the manifest lacks or garbles an entry ({error}); export the model again"
        ) from None
    except RuntimeError:  # sparse, meta and other odd tensors refuse the plain arithmetic above
        raise BundleError(
            f"{path}: the tensors must be plain numbers in memory; export the model again"
        ) from None


def _content_of(bundle: Bundle) -> tuple[str, dict[str, torch.Tensor]]:
    check(bundle, prefixes_of(len(bundle.members)))
    tensors = {
        # Cloned: safetensors refuses tensors that share memory, as two members' might.
        name: tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
        for name, tensor in bundle.tensors().items()
    }
    manifest = manifest_of(bundle, tensors)
    return json.dumps(manifest, ensure_ascii=False, allow_nan=False), tensors


def read_content(data: bytes, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A bundle file's manifest and tensors, which nobody has checked; ``loads`` does.

    Raises:
        BundleError: ``data`` is not a manifest with tensors.
    """
    try:
        text, tensors = _safetensors(data) if _is_safetensors(data) else _torch(data)
        if len(text) > MAX_MANIFEST_BYTES:
            raise BundleError(
                f"{path}: a manifest has at most {MAX_MANIFEST_BYTES} characters, not {len(text)}; "
                "export the model again"
            )
        manifest = json.loads(text)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: not a bundle of this program ({error}); "
            "export the model again, or give another path"
        ) from None
    ok = isinstance(manifest, dict) and isinstance(tensors, dict)
    if not ok or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in tensors.items()
    ):
        raise BundleError(f"{path}: a bundle holds a manifest and tensors; export the model again")
    return manifest, tensors


def _torch(data: bytes) -> tuple[Any, Any]:
    content = tensorfile.read(io.BytesIO(data))
    return content["manifest"], content["tensors"]


def _is_safetensors(data: bytes) -> bool:
    return data[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + 1] == b"{"


def _safetensors(data: bytes) -> tuple[Any, Any]:
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # parsers fed with hostile bytes raise all kinds
        raise ValueError(type(error).__name__) from error
    # The library checked the header, and gives metadata of files only.
    length = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
    header = json.loads(data[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    metadata = header["__metadata__"]
    manifest = metadata["manifest"]
    if hashlib.sha256(manifest.encode()).hexdigest() != metadata["manifest_sha256"]:
        raise ValueError("the manifest does not match its checksum")
    return manifest, tensors
