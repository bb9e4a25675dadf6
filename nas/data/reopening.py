"""How another process comes by the same images: it opens them again, instead of being sent them."""

from dataclasses import dataclass
from pathlib import Path

from nas.data.cache import load_images
from nas.data.folds import Fold, choose_division, divisions, make_fold
from nas.data.prepare import prepare
from nas.errors import DataError
from nas.images import Resize


@dataclass(frozen=True)
class FoldSource:
    """Everything that a fold is made from; calling it makes the fold.

    Attributes:
        spec: the source, as ``--data`` names it.
        cache: of decoded images; pages of it are shared by all processes that map them.
        size: side of the images in pixels.
        channels: 1 or 3.
        resize: what becomes of the aspect ratio.
        seed: of the folds by patient.
        division: name of what is validated on.
        checksum: of the images; others are refused.
    """

    spec: str
    cache: Path
    size: int
    channels: int
    resize: Resize
    seed: int
    division: str
    checksum: str

    def __call__(self) -> Fold:
        """The fold.

        Raises:
            DataError: the images are not the same any more, or cannot be opened.
        """
        source = prepare(self.spec, self.cache).source
        images = load_images(
            source,
            ("train", "val"),
            size=self.size,
            channels=self.channels,
            resize=self.resize,
            cache=self.cache,
        )
        if images.checksum != self.checksum:
            raise DataError(
                f"images must not change while a search uses them, but those of {self.spec} did; "
                "restore them, or begin another --run"
            )
        found = choose_division(divisions(images, self.seed), self.division)
        return make_fold(images, source.classes, found)
