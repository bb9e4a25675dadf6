"""Which models are served: found, loaded, described."""

import logging
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError
from nas.predictor import Predictor
from serve.codes import Code
from serve.errors import LOGGER, ApiError
from serve.schemas import SYNTHETIC_WARNING, ModelInfo
from serve.settings import Settings

EXPORTS = "*/export/the_nas_model.pth"

PARSERS = ("PIL", "python_multipart")
"""Libraries that log what they parse: bytes of a form, tags of an image. They are kept silent."""

GET_A_MODEL = (
    "run python -m nas.search --trials 50, then python -m nas.export best, "
    "and start the server again"
)

Stamp = tuple[tuple[str, int, int, int], ...]
"""Of every file its path, time, size and inode: another stamp, another export."""


@dataclass(frozen=True, slots=True)
class Unready:
    """Why there is no model."""

    code: Code
    message: str
    remedy: str = GET_A_MODEL

    def error(self) -> ApiError:
        """As the answer to whoever wants a model."""
        return ApiError(self.code, self.message, self.remedy)


LOADING = Unready(
    Code.MODEL_LOADING,
    "a model must be loaded first, but the server is still starting",
    f"try again in a moment; if there is no model yet, {GET_A_MODEL}",
)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of one export: never changed, only replaced as a whole.

    Attributes:
        default: the one that answers where none is asked for.
        others: further bundles of the same export, its baselines.
    """

    default: Predictor
    others: tuple[Predictor, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names, the default's first."""
        return [self.default.name, *(model.name for model in self.others)]

    def infos(self) -> list[ModelInfo]:
        """All of them, described, the default first."""
        return [ModelInfo.of(model) for model in (self.default, *self.others)]

    def named(self, name: str | None) -> Predictor:
        """The model of that name; None gives the default.

        Raises:
            ApiError: there is none (404).
        """
        if name is None:
            return self.default
        for model in (self.default, *self.others):
            if model.name == name:
                return model
        raise ApiError(
            Code.MODEL_UNKNOWN,
            f"a model must be one of {', '.join(self.names)}, but the one asked for is not",
            "name one of these, or none for the first",
        )


def silence_parsers() -> None:
    """Keep what was uploaded out of the log."""
    for name in PARSERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def find(settings: Settings) -> list[Path]:
    """The files to serve, the default first: the named or newest export and those beside it.

    Files beside it count only in an export folder: any other may hold anything.
    """
    first = settings.model or newest_export(settings.runs)
    if first is None:
        return []
    if first.parent.name != "export":
        return [first]
    return [first, *sorted(path for path in first.parent.glob("*.pth") if path.name != first.name)]


def newest_export(runs: Path) -> Path | None:
    """The export under ``runs`` that was modified last, or None."""
    found: list[tuple[int, str, Path]] = []
    for path in runs.glob(EXPORTS):
        try:
            found.append((path.stat().st_mtime_ns, str(path), path))
        except OSError:  # removed meanwhile
            continue
    return max(found)[2] if found else None


def stamp(paths: list[Path]) -> Stamp:
    """What tells these files from later ones of the same names."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # removed meanwhile, which makes another stamp too
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def load(settings: Settings, paths: list[Path]) -> Models | Unready:
    """Load models and log which they are. A missing or broken default is no exception."""
    if not paths:
        LOGGER.warning("no model under %s; to get one, %s", settings.runs, GET_A_MODEL)
        message = f"a model must be exported first, but the runs folder has no {EXPORTS}"
        return Unready(Code.MODEL_MISSING, message)
    default = _load(paths[0])
    if isinstance(default, Unready):
        return default
    others = [_load(path) for path in paths[1:]]
    return Models(default, tuple(model for model in others if not isinstance(model, Unready)))


def _load(path: Path) -> Predictor | Unready:
    try:
        predictor = Predictor.load(path)
        info = ModelInfo.of(predictor)
    except NasError as error:
        # The log is the operator's and gets the whole path; the network gets the file's name.
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a hostile or damaged file raises all kinds
        reason = f"{path}: loading failed ({type(error).__name__}); export the model again"
    else:
        LOGGER.info(
            "model %s from %s, genome %s, SHA-256 %s, synthetic training data: %s",
            *(info.name, path, info.genome_key, info.sha256),
            "YES" if info.synthetic else "no",
        )
        if info.synthetic:
            LOGGER.warning(SYNTHETIC_WARNING)
        return predictor
    LOGGER.error("no model: %s", reason)
    rule = reason.rpartition("; ")[0].replace(str(path), path.name)
    return Unready(
        Code.MODEL_BROKEN if path.exists() else Code.MODEL_MISSING,
        f"the model's file must be a whole bundle, but {rule}",
        f"{GET_A_MODEL}; or name another file in NAS_MODEL",
    )
