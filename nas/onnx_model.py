"""A bundle as ONNX: decoded pixels in, calibrated probabilities out, all networks within.

It needs the optional packages of ``pip install ".[onnx]"``, which are imported only when asked for.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.bundle import RESEARCH_USE, Bundle, Networks
from nas.errors import BundleError
from nas.files import write_bytes
from nas.images import Pixels
from nas.predictor import Predictor

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

INPUT, OUTPUT = "pixels", "probabilities"

TOLERANCE = 1e-4
"""Most by which a probability may differ from the bundle's. Both compute in float32, whose rounding
makes less than 1e-6 of it in networks of this kind."""

AT_ONCE = 32


def missing_packages() -> list[str]:
    """Names of the packages that are needed and not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def write_onnx(bundle: Bundle, path: Path, images: Pixels) -> float:
    """Write ``bundle`` to ``path`` as ONNX, if it says of ``images`` what the bundle says.

    The model's input ``pixels`` is (N, channels, size, size) uint8 for any N from 1 on, decoded and
    resized; normalisation is in the model. Its output ``probabilities`` is (N, classes) float32.
    Metadata name classes, threshold and the weights' SHA-256.

    Args:
        images: (N, channels, size, size) uint8, real ones, at least one.

    Returns:
        The largest difference of a probability, at most TOLERANCE.

    Raises:
        BundleError: packages are missing, or the difference is larger; nothing is written then.
        OSError: the file cannot be written.
    """
    if missing := missing_packages():
        raise BundleError(
            f"an ONNX file needs the packages {', '.join(missing)}, which are not installed; "
            'pip install ".[onnx]"'
        )
    data = _exported(bundle)
    difference = largest_difference(data, bundle, images)
    if not difference <= TOLERANCE:  # NaN too
        raise BundleError(
            f"the ONNX file's probabilities may differ from the model's by {TOLERANCE:g}, but "
            f"differ by {difference:.2g} on {len(images)} images; use the .pth file, and report it"
        )
    write_bytes(path, data)
    return difference


def largest_difference(model: bytes, bundle: Bundle, images: Pixels) -> float:
    """How far an ONNX model's probabilities are from the bundle's, by onnxruntime on the CPU.

    Args:
        model: what ``write_onnx`` writes.
        images: (N, channels, size, size) uint8, at least one.

    Raises:
        BundleError: no image.
    """
    import onnxruntime

    if not len(images):
        raise BundleError("an ONNX file is checked on images, but there are none; give one or more")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    parts = np.split(images, range(AT_ONCE, len(images), AT_ONCE))
    found = np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])
    expected = Predictor(bundle, name="", sha256="").probabilities(images)
    return float(np.abs(found - expected).max())


def _exported(bundle: Bundle) -> bytes:
    import onnx

    shape = bundle.image
    # Two images: torch takes a size of 1 for a constant.
    example = torch.zeros((2, shape.channels, shape.height, shape.width), dtype=torch.uint8)
    program = torch.onnx.export(
        Networks.of(bundle),
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("images", min=1)},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None  # it is None only without dynamo
    model = program.model_proto
    _strip(model)
    for name, value in _metadata(bundle).items():
        model.metadata_props.add(key=name, value=value)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _strip(model: Any) -> None:
    """Drop what the exporter notes about where in the code, and in which folder, a node is from."""
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        del part.metadata_props[:]
        for holder in (*part.node, *part.value_info):
            del holder.metadata_props[:]
            holder.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def _metadata(bundle: Bundle) -> dict[str, str]:
    return {
        "classes": json.dumps(list(bundle.classes), ensure_ascii=False),
        "threshold": repr(float(bundle.threshold)),
        "threshold_policy": bundle.threshold_policy,
        "preprocessing": json.dumps(
            {"resize": str(bundle.preprocessing.resize), "size": bundle.preprocessing.size}
        ),
        "synthetic": json.dumps(bool(bundle.card.get("data", {}).get("synthetic", False))),
        "weights_sha256": bundle.weights_sha256,
        "intended_use": RESEARCH_USE,
    }
