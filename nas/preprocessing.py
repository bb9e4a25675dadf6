"""What turns an image into a network's input; kept in the bundle, so that serving does the same."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from nas.errors import SettingsError
from nas.images import Look, Pixels, Resize, decode, examine


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Decode to ``channels`` × ``size`` × ``size``, scale to [0, 1], subtract mean, divide by std.

    Attributes:
        size: side in pixels, 8 to 1024.
        channels: 1 (grayscale) or 3 (RGB).
        mean: per channel, of values in [0, 1], over the train split.
        std: likewise; positive.
        resize: how a picture of any shape becomes a square.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = Resize.SQUASH

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(m) for m in self.mean))
        object.__setattr__(self, "std", tuple(float(s) for s in self.std))
        check_size(self.size)
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise SettingsError(f"channels must be 1 or 3, but is {self.channels!r}; choose one")
        object.__setattr__(self, "resize", check_resize(self.resize))
        lengths = {len(self.mean), len(self.std)}
        if lengths != {self.channels} or not all(0 <= m <= 1 for m in self.mean):
            raise SettingsError("mean and std must have one value in [0, 1] per channel; mend them")
        if not all(0 < s <= 1 for s in self.std):
            raise SettingsError(
                f"std must be in (0, 1], but is {self.std}; the images are constant"
            )

    def decode(self, data: bytes) -> Pixels:
        """One image file's bytes to (channels, size, size) uint8; raises ImageError."""
        return decode(data, size=self.size, channels=self.channels, resize=self.resize)

    def examine(self, data: bytes) -> tuple[Pixels, Look]:
        """As ``decode``, and what the picture looks like; decoded once; raises ImageError."""
        return examine(data, size=self.size, channels=self.channels, resize=self.resize)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) uint8, or floats in [0, 255], to standardised float32."""
        if self.channels == 1:  # plain numbers: a GPU need not wait for two tensors at every step
            return (images.float() - 255 * self.mean[0]) / (255 * self.std[0])
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1) * 255
        return (images.float() - mean) / std

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` gives an equal one back."""
        plain = {"mean": list(self.mean), "std": list(self.std), "resize": str(self.resize)}
        return {**asdict(self), **plain}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The preprocessing that ``to_json`` described; raises SettingsError."""
        try:
            return cls(**data)
        except (TypeError, ValueError, OverflowError) as error:
            raise SettingsError(
                f"preprocessing is not as written by this program: {error}"
            ) from None


def check_size(size: int) -> int:
    """Return ``size`` if it is a whole number from 8 to 1024.

    Raises:
        SettingsError: it is not.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 1024:
        raise SettingsError(
            f"the image size must be a whole number from 8 to 1024 pixels, but is {size!r}; "
            "64 is a good start"
        )
    return size


def check_resize(resize: str) -> Resize:
    """The policy of that name.

    Raises:
        SettingsError: there is none.
    """
    try:
        return Resize(resize)
    except ValueError:
        raise SettingsError(
            f"resize must be one of {', '.join(Resize)}, but is {resize!r}; squash is the usual one"
        ) from None
