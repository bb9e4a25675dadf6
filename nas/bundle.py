"""The exported model, one file: write, verify, load ``the_nas_model.pth``.

The file is what ``torch.save`` writes for ``{"manifest": str, "tensors": {name: tensor}}``, so that
``torch.load(path, weights_only=True)`` opens it anywhere. The manifest is JSON: format, version,
genome, classes, preprocessing, threshold and its policy, calibration, card, and for every tensor
its shape, type and SHA-256. Loading checks all of it before a network is built.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas import tensorfile
from nas.errors import BundleError, NasError
from nas.genome import Genome, ImageShape
from nas.network import build
from nas.preprocessing import Preprocessing

FORMAT = "nas-bundle"
VERSION = 1
MAX_FILE_BYTES = 2 << 30
MAX_PARAMETERS = 250_000_000
"""A genome with more is refused before anything is allocated: 1 GB of float32."""

MAX_LAYERS = 4096
"""Building takes 0.2 ms a layer, and DenseNet-121 has 430."""

RESEARCH_USE = "Research use only. Not a medical device. Not for diagnosis."


@dataclass(frozen=True)
class Bundle:
    """A trained network and all that is needed to use it and to judge it.

    Attributes:
        genome: the architecture.
        classes: names, at least two, in the order of the network's outputs.
        preprocessing: from image bytes to the network's input.
        tensors: the network's state_dict, on the CPU.
        threshold: in (0, 1); with two classes the second is predicted when its probability is at
            least this. With more classes the most probable one is predicted and this is unused.
        threshold_policy: how the threshold was chosen, in words.
        card: what else a reader should know: scores with n, data and code provenance. Plain JSON
            values; ``card["data"]["synthetic"]`` says whether the images were drawn by a program.
    """

    genome: Genome
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    tensors: Mapping[str, torch.Tensor]
    threshold: float = 0.5
    threshold_policy: str = "0.5, not tuned"
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.classes
        unique = len(set(names)) == len(names) and all(isinstance(n, str) and n for n in names)
        if len(names) < 2 or not unique:
            raise BundleError(f"classes must be two or more different names, but are {names!r}")
        data = self.card.get("data", {}) if isinstance(self.card, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(data.get("synthetic", False), bool):
            raise BundleError("the card must say with true or false whether data are synthetic")
        try:
            json.dumps(dict(self.card), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BundleError(f"card: must hold plain, finite JSON values ({error})") from None
        if not 0 < self.threshold < 1:
            raise BundleError(f"the threshold must be in (0, 1), but is {self.threshold!r}")
        if not isinstance(self.threshold_policy, str):
            raise BundleError(f"the threshold's policy must be text, not {self.threshold_policy!r}")

    @property
    def image(self) -> ImageShape:
        """Shape of the network's input."""
        size = self.preprocessing.size
        return ImageShape(self.preprocessing.channels, size, size)

    def network(self) -> nn.Sequential:
        """The trained network on the CPU, in evaluation mode."""
        network = build(self.genome, self.image, len(self.classes))
        network.load_state_dict(dict(self.tensors))
        return network.eval()


def save(bundle: Bundle, path: Path) -> None:
    """Write ``bundle`` to ``path``, whole or not at all.

    Raises:
        BundleError: its tensors do not fit its genome, or are not finite.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.tensors.items()}
    _check_tensors(bundle, tensors)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "genome": bundle.genome.to_json(),
        "classes": list(bundle.classes),
        "preprocessing": bundle.preprocessing.to_json(),
        "threshold": {"value": bundle.threshold, "policy": bundle.threshold_policy},
        "calibration": None,
        "card": dict(bundle.card),
        "tensors": {name: _describe(tensor) for name, tensor in tensors.items()},
    }
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False)
    tensorfile.write(path, {"manifest": text, "tensors": tensors})


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
            raise BundleError(f"{path}: a bundle has at most {MAX_FILE_BYTES} bytes, not {size}")
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
        data: what ``save`` wrote.
        path: where it came from, for messages.

    Raises:
        BundleError: another format, or any check that fails; says which.
    """
    manifest, tensors = _read(data, path)
    try:
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            raise BundleError(
                f"format must be {FORMAT} {VERSION}, but is "
                f"{manifest['format']} {manifest['version']}"
            )
        bundle = Bundle(
            genome=Genome.from_json(manifest["genome"]),
            classes=tuple(manifest["classes"]),
            preprocessing=Preprocessing.from_json(manifest["preprocessing"]),
            tensors=tensors,
            threshold=manifest["threshold"]["value"],
            threshold_policy=manifest["threshold"]["policy"],
            card=manifest["card"],
        )
        _check_tensors(bundle, tensors)
        for name, tensor in tensors.items():
            if manifest["tensors"].get(name) != _describe(tensor):
                raise BundleError(f"tensor {name!r} does not match its checksum")
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
    return bundle


def _read(data: bytes, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        content = tensorfile.read(io.BytesIO(data))
        manifest, tensors = json.loads(content["manifest"]), content["tensors"]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: not a bundle of this program ({error}); "
            "export the model again, or give another path"
        ) from None
    ok = isinstance(manifest, dict) and isinstance(tensors, dict)
    if not ok or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise BundleError(f"{path}: a bundle holds a manifest and tensors; export the model again")
    return manifest, tensors


def _check_tensors(bundle: Bundle, tensors: Mapping[str, torch.Tensor]) -> None:
    layers = bundle.genome.layers(bundle.image, len(bundle.classes))
    if len(layers) > MAX_LAYERS:
        raise BundleError(f"a genome has at most {MAX_LAYERS} layers, not {len(layers)}")
    parameters = sum(layer.parameters for layer in layers)
    if parameters > MAX_PARAMETERS:
        raise BundleError(f"a genome has at most {MAX_PARAMETERS} parameters, not {parameters}")
    with torch.device("meta"):  # shapes only: nothing is allocated
        wanted = build(bundle.genome, bundle.image, len(bundle.classes)).state_dict()
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise BundleError(f"the tensors are not those of the genome: {odd[:3]}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise BundleError(
                f"tensor {name!r} must be {tuple(wanted[name].shape)} {wanted[name].dtype}, "
                f"but is {tuple(tensor.shape)} {tensor.dtype}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"tensor {name!r} has values that are not finite")


def _describe(tensor: torch.Tensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "sha256": hashlib.sha256(tensorfile.raw(tensor)).hexdigest(),
    }
