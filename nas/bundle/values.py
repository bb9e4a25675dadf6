"""What a bundle says, as values that cannot be invalid."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import nn

from nas import tensorfile
from nas.bundle.limits import MAX_MEMBERS
from nas.errors import BundleError
from nas.genome import Genome, ImageShape
from nas.network import build
from nas.preprocessing import Preprocessing

RESEARCH_USE = "Research use only. Not a medical device. Not for diagnosis."

TEMPERATURES = (0.01, 100.0)
"""Beyond these all probabilities are 0 and 1, or all alike, whatever the network says."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What logits are divided by before the softmax, and how it was found (Guo et al. 2017).

    Attributes:
        temperature: 0.01 to 100; 1 changes nothing, above 1 makes probabilities less certain.
        method: how it was fitted, in words; "none" goes with a temperature of 1.
        n: labelled images that it was fitted on, none of which the networks were trained on.
        nll_before: mean negative log-likelihood of those images in nats, at temperature 1; None if
            nothing was fitted.
        nll_after: likewise, at the temperature.
    """

    temperature: float = 1.0
    method: str = "none"
    n: int = 0
    nll_before: float | None = None
    nll_after: float | None = None

    def __post_init__(self) -> None:
        low, high = TEMPERATURES
        if not _is_number(self.temperature) or not low <= self.temperature <= high:
            raise BundleError(
                f"the temperature must be a number from {low} to {high:g}, but is "
                f"{self.temperature!r}"
            )
        if not isinstance(self.method, str) or not self.method:
            raise BundleError(f"the calibration's method must be text, but is {self.method!r}")
        if self.method == "none" and self.temperature != 1:
            raise BundleError(
                "a temperature other than 1 must say by which method it was fitted, but is "
                f"{self.temperature!r} by none"
            )
        if type(self.n) is not int or self.n < 0:
            raise BundleError(
                f"the calibration's n must be a whole number from 0 on, but is {self.n!r}"
            )
        for name in ("nll_before", "nll_after"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value < math.inf):
                raise BundleError(
                    f"the calibration's {name} must be a finite number from 0 on, but is {value!r}"
                )

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``Calibration(**values)`` gives an equal one back."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True)
class Member:
    """One trained network.

    Attributes:
        genome: the architecture.
        preprocessing: from image bytes to the network's input.
        tensors: the network's state_dict, on the CPU.
    """

    genome: Genome
    preprocessing: Preprocessing
    tensors: Mapping[str, torch.Tensor]

    @property
    def image(self) -> ImageShape:
        """Shape of the network's input."""
        size = self.preprocessing.size
        return ImageShape(self.preprocessing.channels, size, size)

    def network(self, classes: int) -> nn.Sequential:
        """The trained network on the CPU, in evaluation mode: normalised images to logits."""
        network = build(self.genome, self.image, classes)
        network.load_state_dict(dict(self.tensors))
        return network.eval()


@dataclass(frozen=True)
class Bundle:
    """One trained network or several, and all that is needed to use them and to judge them.

    The probabilities of several are averaged, each a softmax of logits / temperature (deep
    ensembles, Lakshminarayanan et al. 2017, section 2.4). Their images are decoded once: size,
    channels and resizing are the same for all, mean and std may differ, as folds' do.

    Attributes:
        members: the networks, 1 to 32, all for the same classes.
        classes: names, at least two, in the order of the networks' outputs.
        threshold: in (0, 1); with two classes the second is predicted when its probability is at
            least this. With more classes the most probable one is predicted and this is unused.
        threshold_policy: how the threshold was chosen, in words.
        calibration: the temperature, and how it was found.
        card: what else a reader should know: scores with n, data and code provenance. Plain JSON
            values; ``card["data"]["synthetic"]`` says whether the images were drawn by a program.
    """

    members: tuple[Member, ...]
    classes: tuple[str, ...]
    threshold: float = 0.5
    threshold_policy: str = "0.5, not tuned"
    calibration: Calibration = field(default_factory=Calibration)
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        self._check_members()
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
        if not _is_number(self.threshold) or not 0 < self.threshold < 1:
            raise BundleError(f"the threshold must be in (0, 1), but is {self.threshold!r}")
        if not isinstance(self.threshold_policy, str):
            raise BundleError(f"the threshold's policy must be text, not {self.threshold_policy!r}")

    @classmethod
    def single(
        cls,
        genome: Genome,
        classes: tuple[str, ...],
        preprocessing: Preprocessing,
        tensors: Mapping[str, torch.Tensor],
        threshold: float = 0.5,
        threshold_policy: str = "0.5, not tuned",
        calibration: Calibration | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> Self:
        """A bundle of one network; see the attributes of Bundle and Member."""
        return cls(
            (Member(genome, preprocessing, tensors),),
            classes,
            threshold,
            threshold_policy,
            Calibration() if calibration is None else calibration,
            {} if card is None else card,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the first network: size, channels and resizing are those of all."""
        return self.members[0].preprocessing

    @property
    def image(self) -> ImageShape:
        """Shape of the networks' input."""
        return self.members[0].image

    @property
    def parameters(self) -> int:
        """Trainable numbers of all networks."""
        return sum(m.genome.parameters(m.image, len(self.classes)) for m in self.members)

    @property
    def multiply_adds(self) -> int:
        """Of all networks, for one image."""
        return sum(m.genome.multiply_adds(m.image, len(self.classes)) for m in self.members)

    @property
    def genome_key(self) -> str:
        """16 hexadecimal digits: the genome's key, or of several genomes a key over theirs."""
        keys = [member.genome.key for member in self.members]
        return (
            keys[0] if len(keys) == 1 else hashlib.sha256(" ".join(keys).encode()).hexdigest()[:16]
        )

    @cached_property
    def weights_sha256(self) -> str:
        """Over names and values: the same weights in another file are the same model."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            # A network alone goes by its plain names, so that its digest is that of format 1.
            plain = name.removeprefix("member0.") if len(self.members) == 1 else name
            digest.update(plain.encode() + b"\0")
            digest.update(tensorfile.raw(tensor))
        return digest.hexdigest()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every network's tensors under the names that they have in the file."""
        return {
            f"member{number}.{name}": tensor
            for number, member in enumerate(self.members)
            for name, tensor in member.tensors.items()
        }

    def _check_members(self) -> None:
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise BundleError(
                f"a bundle has 1 to {MAX_MEMBERS} networks, but this one {len(self.members)}"
            )
        first, *others = [member.preprocessing for member in self.members]
        for number, other in enumerate(others, start=1):
            for name in ("size", "channels", "resize"):
                one, two = getattr(first, name), getattr(other, name)
                if one != two:
                    raise BundleError(
                        f"all networks of a bundle must have the same {name}, but member 0 has "
                        f"{one} and member {number} has {two}"
                    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
