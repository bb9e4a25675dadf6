"""Figures of a genome that are known before it is trained, to hold against limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from nas.cost import peak_memory_mb, quick_latency_ms
from nas.devices import choose
from nas.genome import Genome, ImageShape
from nas.network import build
from nas.training import failures, initial_network

FIGURES = ("parameters", "multiply_adds", "memory_mb", "latency_ms")
"""In the order in which they are asked for: what is dear comes last."""

SHORT = {
    "params": "parameters",
    "macs": "multiply_adds",
    "memory": "memory_mb",
    "latency": "latency_ms",
}
"""What options call them."""


@dataclass(frozen=True)
class Measure:
    """Measures genomes for images of a shape.

    Parameters and multiply-adds follow from the genome. Memory (the peak of inference of one image
    in float32) is counted without computing anything. Latency (the fastest of some forward passes
    of one image in float32) is measured where the search runs, on an untrained network, and is the
    only one that is not the same every time; what was measured stays with the trial.

    Attributes:
        image: shape of a network's input.
        classes: number of outputs.
        device: that latency is measured on.
        wanted: which of memory and latency are measured.
        limits: as soon as a figure is above its limit, the dearer ones are left out.
    """

    image: ImageShape
    classes: int
    device: str = "cpu"
    wanted: frozenset[str] = frozenset()
    limits: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, genome: Genome) -> dict[str, float]:
        """The figures by name."""
        layers = genome.layers(self.image, self.classes)
        found: dict[str, float] = {
            "parameters": sum(layer.parameters for layer in layers),
            "multiply_adds": sum(layer.multiply_adds for layer in layers),
        }
        for name in FIGURES:
            if name not in found and name in self.wanted:
                found[name] = self._dear(name, genome)
            if found.get(name, 0.0) > self.limits.get(name, float("inf")):
                break
        return found

    def _dear(self, name: str, genome: Genome) -> float:
        shape = (self.image.channels, self.image.height, self.image.width)
        if name == "memory_mb":
            with torch.device("meta"):
                return peak_memory_mb(build(genome, self.image, self.classes).eval(), shape)
        chosen = choose(self.device)
        with failures():
            network = initial_network(lambda: build(genome, self.image, self.classes), 0).eval()
            placed = network.to(chosen.device).to(memory_format=chosen.memory_format)
            # As a server computes it.
            return quick_latency_ms(placed, shape, chosen.exact())
