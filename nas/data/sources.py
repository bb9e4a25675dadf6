"""What ``--data`` names -> a source of images.

a folder, or a CSV file        nas.data.folders
a file that ends in .npz       nas.data.arrays
medmnist:pneumoniamnist@64     nas.data.medmnist
mnist, fashion-mnist, cifar10  nas.data.torchvision_sets; mnist:ROOT where they lie
demo                           nas.data.demo
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nas.data import demo
from nas.data.folders import read_csv, read_folder, read_labelled
from nas.data.medmnist import open_medmnist
from nas.data.npz import read_npz
from nas.data.table import Source
from nas.data.torchvision_sets import open_torchvision

DEFAULT_FOLDER = Path("data/chestxrays")
DEMO = "demo"
TORCHVISION = ("mnist", "fashion-mnist", "cifar10")


def open_source(
    spec: str | None, cache: Path, report: Callable[[int, int], None] | None = None
) -> Source:
    """The images that ``spec`` names; with None those of data/chestxrays, or else the demo set.

    A folder of that name comes before anything else that the name might mean; no folder has the
    names that sources give themselves, such as ``demo:``.

    Args:
        spec: as given by the user, or a source's own ``spec``.
        cache: where the demo set is drawn, and arrays are kept, once.
        report: called with (done, total) while the demo is drawn.

    Raises:
        DataError: there is nothing of that name, or it cannot be used.
    """
    if spec is None:
        if DEFAULT_FOLDER.is_dir():
            return read_folder(DEFAULT_FOLDER)
        spec = DEMO
    path = Path(spec)
    if path.is_dir():
        return read_folder(path)
    kind, _, rest = spec.partition(":")
    if kind == DEMO:
        return _demo(cache, report)
    if kind == "medmnist":
        return open_medmnist(rest, cache)
    if kind in TORCHVISION:
        return open_torchvision(kind, Path(rest) if rest else None, cache)
    match path.suffix.lower():
        case ".npz":
            return read_npz(path, cache)
        case ".csv":
            return read_csv(path)
    return read_folder(path)


def open_labelled(spec: str, cache: Path) -> Source:
    """Images for a model that is there already: of a folder more is allowed than for a search.

    Args:
        spec: as above; see ``nas.data.folders.read_labelled``.
        cache: as above.

    Raises:
        DataError: there is nothing of that name, or it cannot be used.
    """
    return read_labelled(Path(spec)) if Path(spec).is_dir() else open_source(spec, cache)


def _demo(cache: Path, report: Callable[[int, int], None] | None) -> Source:
    drawn = demo.write_demo(cache / f"demo-{demo.DEMO_VERSION}", report)
    return replace(read_folder(drawn, name=DEMO, synthetic=True), spec=f"{DEMO}:", notes=())
