"""Whether a bundle file can be used, and what is in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.bundle import telling
from nas.bundle.files import read_content, read_file
from nas.bundle.manifest import FORMAT
from nas.bundle.telling import printable
from nas.checksums import SUMS, check_sums
from nas.errors import BundleError
from nas.genome.brief import brief
from nas.images import Pixels
from nas.predictor import Predictor

SEED = 0
"""Of the random image: the same for all, so that verifying twice says the same."""


@dataclass(frozen=True)
class Verified:
    """A file that passed every check.

    Attributes:
        predictor: the loaded model.
        version: of the file's format.
        size: of the file in bytes.
        missing: files that SHA256SUMS lists and that are not there; None without SHA256SUMS.
    """

    predictor: Predictor
    version: int
    size: int
    missing: list[str] | None


def verify(path: Path) -> Verified:
    """Check a file: all that loading checks, SHA256SUMS beside it, and that its answers are finite.

    Args:
        path: of a ``.pth`` or ``.safetensors`` file.

    Raises:
        BundleError: the first check that fails; says which.
    """
    predictor = Predictor.load(path)  # predicts a blank image
    answers = predictor.probabilities(_noise(predictor))
    if not np.isfinite(answers).all():
        raise BundleError(
            f"{path}: probabilities must be finite, but those of a random image are not; "
            "export another trial"
        )
    data = read_file(path)
    manifest, _ = read_content(data, path)
    missing = check_sums(path.parent, path.name)
    return Verified(predictor, manifest["version"], len(data), missing)


def lines(verified: Verified) -> list[tuple[str, str]]:
    """What a file is, as names and texts that are safe to print."""
    bundle, classes = verified.predictor.bundle, verified.predictor.classes
    count = len(bundle.members)
    total = f"{bundle.parameters:,} parameters, {telling.millions(bundle.multiply_adds)}"
    rows = [
        ("name", printable(verified.predictor.name)),
        ("format", f"{FORMAT} {verified.version}, {verified.size:,} bytes"),
        ("sha256", verified.predictor.sha256),
        ("listed", _listed(verified.missing)),
        ("networks", "1" if count == 1 else f"{count}, averaged; {total} multiply-adds in all"),
    ]
    for number, member in enumerate(bundle.members, start=1):
        size = telling.size_of(member, len(classes))
        rows.append((f"  {number}", f"{size}: {brief(member.genome)}"))
    rows += [
        ("genome key", bundle.genome_key),
        ("images", telling.images(bundle)),
        ("classes", ", ".join(map(printable, classes))),
        ("decision", telling.decision(bundle)),
        ("calibration", telling.calibration(bundle)),
        ("data", _data(verified.predictor)),
    ]
    return [*rows, *_test(bundle.card.get("test"))]


def _noise(predictor: Predictor) -> Pixels:
    shape = predictor.bundle.image
    pixels: Pixels = np.random.default_rng(SEED).integers(
        0, 256, (1, shape.channels, shape.height, shape.width), dtype=np.uint8
    )
    return pixels


def _listed(missing: list[str] | None) -> str:
    if missing is None:
        return f"there is no {SUMS} beside it"
    absent = f"; not here: {', '.join(map(printable, missing))}" if missing else ""
    return f"in {SUMS}, and the files that are here are as it lists them{absent}"


def _data(predictor: Predictor) -> str:
    data = predictor.bundle.card.get("data", {})
    name = printable(data.get("name", "not named"))
    kind = "SYNTHETIC: drawn by a program" if predictor.synthetic else "real images"
    more = [f"{word} {printable(data[word])}" for word in ("licence", "checksum") if data.get(word)]
    return ", ".join([name, kind, *more])


def _test(test: object) -> list[tuple[str, str]]:
    found = telling.figures(test)
    if not found or not isinstance(test, dict):
        return [("test split", "no figures")]
    count, warning = telling.readings(test)
    read = "" if count is None else f", read {count} times" if count != 1 else ", read once"
    rows = [("test split", f"n = {printable(test.get('n', 'unknown'))}{read}")]
    rows += [("  " + figure.label, figure.text) for figure in found]
    return rows + ([("  note", printable(warning))] if warning else [])
