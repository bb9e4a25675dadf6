"""The test split: opened by an export alone, once per model; every opening is in the manifest.

Whoever reads it again and then chooses, chooses by it: figures of what was chosen are too good from
then on. So a second opening is not hidden but said, on the console, in evaluation.json and in the
model's card.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from nas.cost import measure_latency
from nas.data.cache import load_images
from nas.data.table import Source
from nas.devices import Device
from nas.images import Pixels
from nas.metrics import Probabilities
from nas.predictions import Predictions
from nas.preprocessing import Preprocessing
from nas.runfolder import RunFolder

SEEN = ("n", "auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "threshold")
"""Figures of a reading that the manifest keeps."""


@dataclass(frozen=True)
class Model:
    """What is scored.

    Attributes:
        network: in any mode, on any device; it is moved.
        preprocessing: its own.
        predict: (N, C, size, size) uint8 to (N, K) probabilities, as a server would.
        threshold: with two classes, class 1 is predicted from this probability on.
    """

    network: nn.Module
    preprocessing: Preprocessing
    predict: Callable[[Pixels], Probabilities]
    threshold: float = 0.5


@dataclass(frozen=True)
class Scored:
    """A model's answers on the test split, and its entry of evaluation.json."""

    predictions: Predictions
    figures: Mapping[str, Any]

    def with_figures(self, **more: Any) -> Self:
        """The same with more entries."""
        return replace(self, figures={**self.figures, **more})


def score_test(model: Model, source: Source, cache: Path, device: Device) -> Scored:
    """Figures on the test split, in float32, and how long one image takes.

    Raises:
        DataError: the images cannot be used, or what the model gives are no probabilities.
    """
    exact, how = device.exact(), model.preprocessing
    placed = model.network.to(exact.device).to(memory_format=exact.memory_format).eval()
    images = load_images(
        source, ("test",), size=how.size, channels=how.channels, resize=how.resize, cache=cache
    )
    answers = Predictions(
        classes=source.classes,
        paths=images.paths,
        labels=images.labels,
        groups=images.groups,
        domains=images.domains,
        probabilities=model.predict(images.pixels),
        threshold=model.threshold,
    )
    latency = measure_latency(placed, (how.channels, how.size, how.size), exact)
    figures = {
        **answers.evaluation().to_json(),
        "skipped": len(images.skipped),
        "latency": {**asdict(latency), "quartiles_ms": list(latency.quartiles_ms)},
    }
    return Scored(answers, figures)


def megabytes(tensors: Mapping[str, torch.Tensor]) -> float:
    """What weights and buffers take, in 10⁶ bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e6


def note_reading(
    run: RunFolder, model: str, digest: str, figures: Mapping[str, Any], trial: int | None = None
) -> dict[str, Any]:
    """Write into the manifest that a model was scored; returns what its evaluation says of that.

    Args:
        run: whose manifest.
        model: name in the evaluation.
        digest: SHA-256 of the weights: the same weights are the same model.
        figures: its evaluation, as plain values.
        trial: that the model is from; None for a baseline.

    Returns:
        ``count`` readings for these weights, this one included; ``dates`` of all of them;
        ``models`` of trials that were scored in this run; ``warning``, None if this is the first
        reading for the first model.
    """
    seen = {name: figures[name] for name in SEEN}
    run.note_test_reading({"model": model, "trial": trial, "weights_sha256": digest, **seen})
    readings = run.read_manifest()["test_readings"]
    dates = [entry["date"] for entry in readings if entry["weights_sha256"] == digest]
    models = {entry["weights_sha256"] for entry in readings if entry["trial"] is not None}
    return {
        "count": len(dates),
        "dates": dates,
        "models": len(models),
        "warning": _warning(dates, len(models)) if trial is not None else None,
    }


def _warning(dates: list[str], models: int) -> str | None:
    parts = []
    if len(dates) > 1:
        parts.append(
            f"the test split was read {len(dates)} times for this model, first on {dates[0]}"
        )
    if models > 1:
        parts.append(f"{models} models of this run were scored on it")
    if not parts:
        return None
    return f"{'; '.join(parts)}: choose nothing by these figures, they no longer are unseen"
