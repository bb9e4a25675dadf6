"""What a command is to show: a genome, what goes into it, and where it comes from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.choosing import choose_genome, choose_run, records_of
from nas.errors import GenomeError, RunError, SettingsError
from nas.genome import Genome, ImageShape
from nas.references import REFERENCES
from nas.runfolder import DEFAULT_RUNS
from nas.study import TrialRecord

SIZE, CHANNELS, CLASSES = 64, 1, 2
"""Of a hand-written genome that nothing is said of."""

DRAWING = "network.svg"


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says beside what is to be shown; None where it follows from that.

    Attributes:
        size: of square images, in pixels.
        channels: of the images.
        classes: how many.
        run: name of the run; None is the newest.
        runs: folder of all runs.
        storage: URL of the run's study, if it is in a database.
    """

    size: int | None = None
    channels: int | None = None
    classes: int | None = None
    run: str | None = None
    runs: Path = DEFAULT_RUNS
    storage: str | None = None

    @property
    def other(self) -> bool:
        """Whether images or classes are to be others than those that belong to the genome."""
        return (self.size, self.channels, self.classes) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Shown:
    """A genome for images of a shape.

    Attributes:
        genome: the architecture.
        image: what goes into it.
        classes: how many come out.
        title: where it comes from, in a few words.
        drawing: where its drawing belongs, if it has such a place.
    """

    genome: Genome
    image: ImageShape
    classes: int
    title: str
    drawing: Path | None = None


def find(what: str, given: Given) -> Shown:
    """The genome that is meant: of a trial, of a file, or of a known network.

    Args:
        what: best, a trial's number, a .json file with a genome, a .pth file with an exported
            model, or a name of nas.references.
        given: what else the user says.

    Raises:
        SettingsError: it is none of these, or no genome is for such images.
        RunError: the run or the trial is not there.
        GenomeError: the file holds no genome.
        BundleError: the file holds no exported model.
    """
    if what == "best" or what.isdecimal():
        return _trial(what, given)
    if what in REFERENCES:
        return _reference(what, given)
    ways: dict[str, Callable[[Path, Given], Shown]] = {".json": _file, ".pth": _bundle}
    path = Path(what)
    if path.suffix not in ways:
        raise SettingsError(
            "what is shown must be best, a trial's number, a .json or .pth file, or one of "
            f"{', '.join(REFERENCES)}, but is {what!r}; for example best"
        )
    return ways[path.suffix](path, given)


def read_genome(path: Path) -> Genome:
    """A genome that was written by hand, in the form of Genome.to_json.

    Raises:
        GenomeError: no such file, no JSON, or a genome that cannot be; says where.
    """
    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=_object, parse_constant=_constant)
        return Genome.from_json(data)
    except FileNotFoundError:
        raise GenomeError(f"{path}: no such file; give another path") from None
    except OSError as error:
        raise GenomeError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except json.JSONDecodeError as error:
        raise GenomeError(
            f"{path}: must be JSON, but line {error.lineno}, column {error.colno} is not: "
            f"{error.msg}; mend it there"
        ) from None
    except UnicodeDecodeError:
        raise GenomeError(f"{path}: must be UTF-8 text, but is not; save it as such") from None
    except (ValueError, RecursionError) as error:  # numbers of many digits, lists in lists
        raise GenomeError(f"{path}: must be a genome's JSON, but is not ({error})") from None
    except GenomeError as error:
        raise GenomeError(f"{path}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python would take the last of two entries without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise GenomeError(
            f"an entry must be there once, but {twice!r} is twice; remove one of them"
        )
    return found


def _constant(name: str) -> Any:
    raise GenomeError(f"numbers must be finite, but one is {name}; write another")


def _shown(
    genome: Genome, given: Given, image: ImageShape, classes: int, title: str, place: Path | None
) -> Shown:
    size = (image.height, image.width) if given.size is None else (given.size, given.size)
    channels = image.channels if given.channels is None else given.channels
    wanted = ImageShape(channels, *size)
    count = classes if given.classes is None else given.classes
    return Shown(genome, wanted, count, title, None if given.other else place)


def _trial(what: str, given: Given) -> Shown:
    folder = choose_run(given.runs, given.run)
    known = folder.read_manifest()["identity"]
    try:
        image = ImageShape(known["channels"], known["size"], known["size"])
        classes = len(known["classes"])
    except (KeyError, TypeError, GenomeError) as error:
        raise RunError(
            f"{folder.manifest} must tell channels, size and classes, but does not ({error}); "
            "restore it"
        ) from None
    record = choose_genome(records_of(folder, given.storage), what, folder)
    genome = Genome.from_json(record.genome)
    title = f"trial {record.number} of {folder.path} ({_outcome(record)})"
    return _shown(genome, given, image, classes, title, folder.trial(record.number) / DRAWING)


def _outcome(record: TrialRecord) -> str:
    if record.score is not None:
        return f"score {record.score:.4f} after {record.budget} epochs"
    return record.reason or "not scored yet"


def _reference(name: str, given: Given) -> Shown:
    known = REFERENCES[name]
    return _shown(known.genome, given, known.image, known.classes, name, None)


def _file(path: Path, given: Given) -> Shown:
    image = ImageShape(CHANNELS, SIZE, SIZE)
    return _shown(read_genome(path), given, image, CLASSES, str(path), None)


def _bundle(path: Path, given: Given) -> Shown:
    # Only now: nothing else that is shown needs torch.
    from nas.bundle import load

    bundle = load(path)
    first, count = bundle.members[0], len(bundle.members)
    title = str(path) if count == 1 else f"{path}, the first of {count} networks"
    return _shown(first.genome, given, first.image, len(bundle.classes), title, None)
