"""The one thing that all requests share: the loaded model, or why there is none."""

import logging
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import anyio
from fastapi import Request

from nas.bundle import RESEARCH_USE
from nas.errors import ImageError, NasError, UnsupportedImageError
from nas.explain import grad_cam, heat_png, overlay
from nas.images import Pixels
from nas.predictor import Prediction, Predictor
from serve.codes import Code
from serve.errors import LOGGER, ApiError
from serve.schemas import SYNTHETIC_WARNING, ExplanationAnswer, ModelInfo, PredictionAnswer
from serve.settings import Settings

EXPORTS = "*/export/the_nas_model.pth"
AT_ONCE = 2
"""Images decoded at once. The largest that is allowed, 40 megapixels with alpha, takes about 310 MB
and its own bytes on its way to the network; a hostile one of that size up to 460 MB (measured one
at a time, in a process of its own)."""

PARSERS = ("PIL", "python_multipart")
"""Libraries that log what they parse: bytes of a form, tags of an image. They are kept silent."""

GET_A_MODEL = (
    "run python -m nas.search --trials 50, then python -m nas.export best, "
    "and start the server again"
)


@dataclass(frozen=True, slots=True)
class Unready:
    """Why there is no model."""

    code: Code
    message: str
    remedy: str = GET_A_MODEL


LOADING = Unready(
    Code.MODEL_LOADING,
    "a model must be loaded first, but the server is still starting",
    f"try again in a moment; if there is no model yet, {GET_A_MODEL}",
)


@dataclass(frozen=True, slots=True)
class Service:
    """Settings and model, fixed for the server's life.

    Attributes:
        settings: what the server was told.
        model: the predictor, or why there is none.
        limiter: how many worker threads may decode and predict at once.
    """

    settings: Settings = field(default_factory=Settings)
    model: Predictor | Unready = LOADING
    limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(AT_ONCE))

    @classmethod
    def of(cls, request: Request) -> "Service":
        """The service of the application that a request came to."""
        service: Service = request.app.state.service
        return service

    def predictor(self) -> Predictor:
        """The loaded model.

        Raises:
            ApiError: there is none (503).
        """
        if isinstance(self.model, Unready):
            raise ApiError(self.model.code, self.model.message, self.model.remedy)
        return self.model


def start(settings: Settings) -> Service:
    """Find and load the model, and log which it is. A missing or broken one is no exception."""
    for name in PARSERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    LOGGER.info("settings: %s", " ".join(settings.lines()))
    path = settings.model or newest_export(settings.runs)
    if path is None:
        message = f"a model must be exported first, but the runs folder has no {EXPORTS}"
        model: Predictor | Unready = Unready(Code.MODEL_MISSING, message)
        LOGGER.warning("no model under %s; to get one, %s", settings.runs, GET_A_MODEL)
    else:
        model = _load(path)
    LOGGER.info(RESEARCH_USE)
    return Service(settings, model)


def newest_export(runs: Path) -> Path | None:
    """The export under ``runs`` that was modified last, or None."""
    found: list[tuple[int, str, Path]] = []
    for path in runs.glob(EXPORTS):
        try:
            found.append((path.stat().st_mtime_ns, str(path), path))
        except OSError:  # removed meanwhile
            continue
    return max(found)[2] if found else None


def predict_file(predictor: Predictor, file: BinaryIO, *, explain: bool) -> PredictionAnswer:
    """Predict the image in ``file``. Blocks: to be called in a worker thread.

    Args:
        predictor: the model.
        file: an upload.
        explain: add where the model looked.

    Raises:
        ApiError: empty (422), not an allowed format (415), or not usable (422).
    """
    data = file.read()
    if not data:
        raise ApiError(
            Code.EMPTY_FILE, "an image must have content, but the file has 0 bytes", "send another"
        )
    try:
        pixels = predictor.decode(data)
    except ImageError as error:
        unsupported = isinstance(error, UnsupportedImageError)
        code = Code.UNSUPPORTED_IMAGE if unsupported else Code.UNUSABLE_IMAGE
        raise ApiError.worded(code, str(error), remedy="send another image") from None
    prediction = predictor.predict_pixels(pixels[None])[0]
    explanation = _explained(predictor, pixels, prediction) if explain else None
    return PredictionAnswer.of(prediction, predictor, explanation)


def _explained(predictor: Predictor, pixels: Pixels, prediction: Prediction) -> ExplanationAnswer:
    found = grad_cam(predictor, pixels, prediction.label)
    return ExplanationAnswer(
        label=found.label,
        layers=list(found.layers),
        image_png=b64encode(overlay(pixels, found.heat, opacity=0)).decode(),
        overlay_png=b64encode(overlay(pixels, found.heat)).decode(),
        heat_png=b64encode(heat_png(found.heat)).decode(),
    )


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
