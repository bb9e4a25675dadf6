"""Bundle + image bytes -> probabilities. No web framework, no study."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nas.bundle import RESEARCH_USE, Bundle, Networks, combine, loads, read_file
from nas.bundle.manifest import COMBINATION
from nas.doubts import Doubts
from nas.errors import BundleError, ImageError
from nas.images import Look, Pixels

AT_ONCE = 32
"""Images per forward pass: on a CPU small batches stay in its caches (see nas.judging)."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        label: the predicted class.
        confidence: the probability of that class, in [0, 1].
        probabilities: of every class, in the order of the model's classes; they add up to 1.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]


class Predictor:
    """A loaded model. Threads may share one: predicting changes nothing in it.

    Args:
        bundle: of one network or several.
        name: of the model, for people.
        sha256: of the file that it is from.
        device: as torch names it.

    Attributes:
        networks: the bundle's, on the device.
        doubts: when its answers deserve doubt.

    Raises:
        BundleError: the bundle's card is not as the export writes it.
    """

    def __init__(self, bundle: Bundle, *, name: str, sha256: str, device: str = "cpu") -> None:
        self.bundle = bundle
        self.name = name
        self.sha256 = sha256
        self.doubts = Doubts.of(
            bundle.card,
            size=bundle.preprocessing.size,
            channels=bundle.preprocessing.channels,
            threshold=bundle.threshold,
        )
        self._device = torch.device(device)
        networks = Networks.of(bundle).to(self._device)
        self.networks = networks.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> Self:
        """Load and check a bundle, then predict once, so that the first request is not slow.

        Raises:
            BundleError: the file is missing or fails a check, or what it says is not finite.
        """
        data = read_file(path)  # once: the hash is that of the bytes that were loaded
        digest = hashlib.sha256(data).hexdigest()
        predictor = cls(loads(data, path), name=path.stem, sha256=digest, device=device)
        shape = predictor.bundle.image
        blank = np.zeros((1, shape.channels, shape.height, shape.width), dtype=np.uint8)
        if not np.isfinite(predictor.probabilities(blank)).all():
            raise BundleError(
                f"{path}: probabilities must be finite, but those of a blank image are not; "
                "export another trial"
            )
        return predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the outputs."""
        return self.bundle.classes

    @property
    def synthetic(self) -> bool:
        """Whether the model was trained on synthetic data."""
        return bool(self.bundle.card.get("data", {}).get("synthetic", False))

    def describe(self) -> dict[str, Any]:
        """All that the bundle says but its tensors, with name and hash, as plain values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "classes": list(self.classes),
            "genome_key": self.bundle.genome_key,
            "members": [
                {
                    "genome": member.genome.to_json(),
                    "genome_key": member.genome.key,
                    "preprocessing": member.preprocessing.to_json(),
                }
                for member in self.bundle.members
            ],
            "combination": COMBINATION,
            "parameters": self.bundle.parameters,
            "multiply_adds": self.bundle.multiply_adds,
            "calibration": self.bundle.calibration.to_json(),
            "threshold": self.bundle.threshold,
            "threshold_policy": self.bundle.threshold_policy,
            "synthetic": self.synthetic,
            "card": dict(self.bundle.card),
            "intended_use": RESEARCH_USE,
        }

    def decode(self, data: bytes) -> Pixels:
        """One image file's bytes to (channels, size, size) uint8.

        Raises:
            ImageError: the bytes are not an image that can be used; says why.
        """
        return self.bundle.preprocessing.decode(data)

    def examine(self, data: bytes) -> tuple[Pixels, Look]:
        """As ``decode``, and what ``doubts`` wants to know of the picture; decoded once.

        Raises:
            ImageError: as ``decode`` does.
        """
        return self.bundle.preprocessing.examine(data)

    def logits(self, images: Pixels) -> Floats:
        """What every network says, before temperature and averaging.

        Args:
            images: (N, channels, size, size) uint8, as ``decode`` gives them.

        Returns:
            (members, N, classes) float64; a model of one network has one member.

        Raises:
            ImageError: images of another shape or type.
        """
        return self._raw(images).numpy()

    def probabilities(self, images: Pixels) -> Floats:
        """The mean over the networks of softmax(logits / temperature).

        Args:
            images: (N, channels, size, size) uint8, as ``decode`` gives them.

        Returns:
            (N, classes) float64 in [0, 1]; each row adds up to 1.

        Raises:
            ImageError: images of another shape or type.
        """
        return combine(self._raw(images), self.bundle.calibration.temperature).numpy()

    def _raw(self, images: Pixels) -> torch.Tensor:
        shape = self.bundle.image
        wanted = (shape.channels, shape.height, shape.width)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted:
            raise ImageError(
                f"images must be uint8 of shape (N, {wanted[0]}, {wanted[1]}, {wanted[2]}), but "
                f"are {images.dtype} of {images.shape}; decode them with Predictor.decode"
            )
        parts = [torch.empty((len(self.bundle.members), 0, len(self.classes)), dtype=torch.float64)]
        with torch.inference_mode():
            for start in range(0, len(images), AT_ONCE):
                batch = torch.from_numpy(images[start : start + AT_ONCE]).to(self._device)
                parts.append(self.networks.logits(batch).double().cpu())
            return torch.cat(parts, dim=1)

    def predict_pixels(self, images: Pixels) -> list[Prediction]:
        """Predictions for (N, channels, size, size) uint8 images, in their order."""
        return [self._prediction(row.tolist()) for row in self.probabilities(images)]

    def predict(self, files: Sequence[bytes]) -> list[Prediction]:
        """Predictions for whole image files, in their order; raises ImageError."""
        return self.predict_pixels(np.stack([self.decode(data) for data in files]))

    def _prediction(self, row: list[float]) -> Prediction:
        if len(row) == 2:
            index = int(row[1] >= self.bundle.threshold)
        else:
            index = max(range(len(row)), key=row.__getitem__)
        probabilities = dict(zip(self.classes, row, strict=True))
        return Prediction(self.classes[index], row[index], probabilities)
