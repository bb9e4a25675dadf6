"""What a bundle may ask of the machine that loads it, and whether its tensors are its genomes'.

A file of a few bytes may describe a network that fills any memory. So the cost is worked out from
the genomes, by arithmetic alone, before anything is allocated.
"""

from collections.abc import Iterable, Mapping

import torch

from nas.errors import BundleError
from nas.genome import Genome, ImageShape
from nas.network import build

MAX_FILE_BYTES = 2 << 30
MAX_MEMBERS = 32
"""Ten folds with three seeds each are 30."""

MAX_PARAMETERS = 250_000_000
"""Of all networks: 1 GB of float32."""

MAX_LAYERS = 16_384
"""Of all networks. Building takes 0.2 ms a layer, and DenseNet-121 has 430."""

MAX_LAYER_BYTES = 512 << 20
"""What one layer gives for one image, in float32: 128 channels of 1024 × 1024. A network holds a
few of these at once, and networks run one after the other."""

MAX_MULTIPLY_ADDS = 1_000_000_000_000
"""Of all networks, for one image; 2 cores do about 50 to 100 thousand million a second. VGG-16 at
1024 × 1024 has 320 thousand million."""


def check_cost(members: Iterable[tuple[Genome, ImageShape]], classes: int) -> None:
    """Refuse networks that would take too much; allocates nothing, and stops at the first excess.

    Raises:
        BundleError: too many parameters, layers, multiply-adds, or too large a layer.
        GenomeError: a genome that does not fit its image.
    """
    parameters = multiply_adds = count = 0
    for genome, image in members:
        layers = genome.layers(image, classes)
        count += len(layers)
        parameters += sum(layer.parameters for layer in layers)
        multiply_adds += sum(layer.multiply_adds for layer in layers)
        for total, most, what in (
            (count, MAX_LAYERS, "layers"),
            (parameters, MAX_PARAMETERS, "parameters"),
            (multiply_adds, MAX_MULTIPLY_ADDS, "multiply-adds for an image"),
        ):
            if total > most:
                raise BundleError(f"a bundle has at most {most:,} {what}, not {total:,}")
        for layer in layers:
            channels, height, width = layer.shape
            if (size := 4 * channels * height * width) > MAX_LAYER_BYTES:
                raise BundleError(
                    f"a layer may give at most {MAX_LAYER_BYTES:,} bytes for an image, but "
                    f"{layer.name} gives {size:,}"
                )


def check_tensors(
    genome: Genome,
    image: ImageShape,
    classes: int,
    tensors: Mapping[str, torch.Tensor],
    prefix: str = "",
) -> None:
    """Refuse tensors that are not the genome's: names, shapes, types; or that are not finite.

    Args:
        prefix: put before names in messages.

    Raises:
        BundleError: says which tensor and why.
    """
    with torch.device("meta"):  # shapes only: nothing is allocated
        wanted = build(genome, image, classes).state_dict()
    if set(wanted) != set(tensors):
        odd = [f"{prefix}{name}" for name in sorted(set(wanted) ^ set(tensors))]
        raise BundleError(f"the tensors are not those of the genome: {odd[:3]}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise BundleError(
                f"tensor {prefix + name!r} must be {tuple(wanted[name].shape)} "
                f"{wanted[name].dtype}, but is {tuple(tensor.shape)} {tensor.dtype}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"tensor {prefix + name!r} has values that are not finite")
