"""A bundle's networks as one module: from decoded pixels to logits and probabilities."""

from typing import Self

import torch
from torch import nn

from nas.bundle.values import Bundle
from nas.preprocessing import Preprocessing


def combine(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities of all networks together: the mean over them of softmax(logits / temperature).

    Args:
        logits: (members, N, classes) floats.
        temperature: above 0.

    Returns:
        (N, classes) of the same type, in [0, 1]; rows add up to 1.
    """
    return (logits / temperature).softmax(2).mean(0)


class Networks(nn.Module):
    """The networks of a bundle, in evaluation mode.

    Args:
        networks: from normalised images to (N, classes) logits.
        preprocessings: of each, in the same order.
        temperature: above 0.
    """

    def __init__(
        self,
        networks: list[nn.Sequential],
        preprocessings: tuple[Preprocessing, ...],
        temperature: float,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.preprocessings = preprocessings
        self.temperature = temperature
        self.eval()

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Build them on the CPU, with their weights."""
        networks = [member.network(len(bundle.classes)) for member in bundle.members]
        how = tuple(member.preprocessing for member in bundle.members)
        return cls(networks, how, bundle.calibration.temperature)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) uint8 to (members, N, classes) float32, not calibrated."""
        pairs = zip(self.networks, self.preprocessings, strict=True)
        return torch.stack([network(how.normalize(images)) for network, how in pairs])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) uint8 to (N, classes) float32, calibrated and averaged."""
        return combine(self.logits(images), self.temperature)
