"""Bundle + image bytes -> probabilities. No web framework, no study."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from nas.bundle import RESEARCH_USE, Bundle, loads, read_file
from nas.images import Pixels


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
    """A loaded model. Threads may share one: predicting changes nothing in it."""

    def __init__(self, bundle: Bundle, *, name: str, sha256: str, device: str = "cpu") -> None:
        self.bundle = bundle
        self.name = name
        self.sha256 = sha256
        self._device = torch.device(device)
        network = bundle.network().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> Self:
        """Load and check a bundle, then predict once, so that the first request is not slow.

        Raises:
            BundleError: the file is missing or fails a check.
        """
        data = read_file(path)  # once: the hash is that of the bytes that were loaded
        digest = hashlib.sha256(data).hexdigest()
        predictor = cls(loads(data, path), name=path.stem, sha256=digest, device=device)
        shape = predictor.bundle.image
        blank = np.zeros((1, shape.channels, shape.height, shape.width), dtype=np.uint8)
        predictor.predict_pixels(blank)
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
        """Name, hash, classes, genome, preprocessing, threshold and card, as plain values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "classes": list(self.classes),
            "genome": self.bundle.genome.to_json(),
            "genome_key": self.bundle.genome.key,
            "preprocessing": self.bundle.preprocessing.to_json(),
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

    def probabilities(self, images: Pixels) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(N, channels, size, size) uint8 to (N, classes) float64; each row adds up to 1."""
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(self._device)
            logits = self._network(self.bundle.preprocessing.normalize(batch))
            result: np.ndarray[Any, np.dtype[np.float64]] = logits.double().softmax(1).cpu().numpy()
        return result

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
