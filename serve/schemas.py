"""What the server answers, field by field."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from nas.bundle import RESEARCH_USE
from nas.predictor import Prediction, Predictor
from serve.codes import Code
from serve.request_ids import current_id

SYNTHETIC_WARNING = (
    "THIS MODEL WAS TRAINED ON SYNTHETIC DEMO DATA: its answers say nothing about real images."
)

Probability = Annotated[float, Field(ge=0, le=1)]

_MODEL_EXAMPLE: dict[str, Any] = {
    "name": "the_nas_model",
    "version": "2026-11-25T03:57:27+00:00",
    "sha256": "9f2c5d0e7a41b6830c9de2f1a5b47c68d3e0f9182b6a7c4d5e1f20394857a6bc",
    "genome_key": "3b1f0c9a7d52e684",
    "threshold": 0.5,
    "synthetic": False,
}


def _closed(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


def warning_for(predictor: Predictor) -> str | None:
    """The loud sentence of a model trained on synthetic data; None for any other."""
    return SYNTHETIC_WARNING if predictor.synthetic else None


class ModelInfo(BaseModel):
    """Which model answers."""

    model_config = _closed(_MODEL_EXAMPLE)

    name: str
    version: str | None = Field(description="when it was exported; null if the file does not say")
    sha256: str = Field(description="of the model's file")
    genome_key: str = Field(description="identifies the architecture, or the several averaged")
    threshold: Probability = Field(
        description="with two classes, the second is predicted from this probability on"
    )
    synthetic: bool = Field(description="whether it was trained on synthetic demo data")

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """Describe a loaded model."""
        created = predictor.bundle.card.get("created")
        return cls(
            name=predictor.name,
            version=created if isinstance(created, str) else None,
            sha256=predictor.sha256,
            genome_key=predictor.bundle.genome_key,
            threshold=predictor.bundle.threshold,
            synthetic=predictor.synthetic,
        )


class Endpoint(BaseModel):
    """One address of this service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["GET", "POST"]
    path: str
    answers: str


class About(BaseModel):
    """What this service is."""

    model_config = _closed(
        {
            "service": "nas",
            "endpoints": [{"method": "GET", "path": "/health", "answers": "whether it is ready"}],
            "model": "the_nas_model",
            "models": ["the_nas_model", "resnet18-scratch"],
            "synthetic": False,
            "warning": None,
            "disclaimer": RESEARCH_USE,
        }
    )

    service: str
    endpoints: list[Endpoint]
    model: str | None = Field(description="name of the model; null when none is loaded")
    models: list[str] = Field(description="all names that ?model= takes; the default is the first")
    synthetic: bool | None = Field(description="trained on synthetic data; null without a model")
    warning: str | None
    disclaimer: str


class Health(BaseModel):
    """The server is ready to predict."""

    model_config = _closed({"status": "ready", "model": _MODEL_EXAMPLE})

    status: Literal["ready"]
    model: ModelInfo


class ModelAnswer(BaseModel):
    """All that a model says of itself but its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str = Field(description="of the model's file")
    classes: list[str] = Field(description="in the order of the networks' outputs")
    genome_key: str
    members: list[dict[str, Any]] = Field(
        description="of every network its genome and preprocessing; probabilities are averaged"
    )
    combination: str = Field(description="how several networks' answers become one")
    parameters: int
    multiply_adds: int = Field(description="for one image")
    calibration: dict[str, Any] = Field(description="the temperature, and how it was fitted")
    threshold: Probability
    threshold_policy: str = Field(description="how the threshold was chosen, in words")
    synthetic: bool
    card: dict[str, Any] = Field(
        description="data, search, finals, and figures on the test split: docs/evaluation.md"
    )
    intended_use: str


class ExplanationAnswer(BaseModel):
    """Where the model looked: Grad-CAM. Not where a disease is, and no proof that it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="the class that it speaks of: the predicted one")
    layers: list[str] = Field(description="layer that it is from, of each network")
    image_png: str = Field(description="the image as the model sees it, in gray; base64")
    overlay_png: str = Field(description="the image as the model sees it, with the heat; base64")
    heat_png: str = Field(description="the heat alone, transparent where there is none; base64")


class PredictionAnswer(BaseModel):
    """What the model says of one image."""

    model_config = _closed(
        {
            "prediction": "NORMAL",
            "confidence": 0.948,
            "probabilities": {"NORMAL": 0.948, "PNEUMONIA": 0.052},
            "threshold": 0.5,
            "uncertain": False,
            "warnings": [],
            "model": _MODEL_EXAMPLE,
            "warning": None,
            "explanation": None,
            "request_id": "5f0c1d2e9b7a4c3f8e6d5a4b3c2d1e0f",
            "disclaimer": RESEARCH_USE,
        }
    )

    prediction: str
    confidence: Probability = Field(description="the probability of the predicted class")
    probabilities: dict[str, Probability] = Field(description="of every class; they add up to 1")
    threshold: Probability = Field(
        description="with two classes, the second is predicted from this probability on"
    )
    uncertain: bool = Field(
        description="the decision is so close that a small error of the probabilities would change "
        "it: docs/http.md"
    )
    warnings: list[str] = Field(
        description="why this answer deserves doubt, one sentence each: the picture is unlike the "
        "training pictures, or the model saw only synthetic data; none is no proof of the opposite"
    )
    model: ModelInfo
    warning: str | None = Field(description="a sentence when the model saw only synthetic data")
    explanation: ExplanationAnswer | None = Field(description="with explain=true, else null")
    request_id: str = Field(description="as in the header X-Request-ID")
    disclaimer: str

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        predictor: Predictor,
        explanation: ExplanationAnswer | None = None,
        doubts: Sequence[str] = (),
    ) -> Self:
        """Word a prediction as an answer; ``doubts`` are those about the picture."""
        warning = warning_for(predictor)
        return cls(
            prediction=prediction.label,
            confidence=prediction.confidence,
            probabilities=prediction.probabilities,
            threshold=predictor.bundle.threshold,
            uncertain=predictor.doubts.uncertain(prediction.probabilities),
            warnings=[*filter(None, [warning]), *doubts],
            model=ModelInfo.of(predictor),
            warning=warning,
            explanation=explanation,
            request_id=current_id(),
            disclaimer=RESEARCH_USE,
        )


class ErrorDetail(BaseModel):
    """What went wrong and what to do about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Code
    message: str = Field(description="the rule and the value that broke it")
    remedy: str = Field(description="what to do about it")
    request_id: str = Field(description="as in the header X-Request-ID and in the server's log")


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    model_config = _closed(
        {
            "error": {
                "code": "unsupported_image",
                "message": "an image must be one of JPEG, PNG, BMP, TIFF, DICOM, but the content "
                "is not",
                "remedy": "convert it to one of these",
                "request_id": "5f0c1d2e9b7a4c3f8e6d5a4b3c2d1e0f",
            }
        }
    )

    error: ErrorDetail


class BatchItem(BaseModel):
    """One file of several: its answer, or what is wrong with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int = Field(ge=0, description="place of the file in the form, from 0")
    answer: PredictionAnswer | None
    error: ErrorDetail | None


class BatchAnswer(BaseModel):
    """What the model says of several images. One that cannot be used does not touch the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: list[BatchItem] = Field(description="one for each file, in their order")
    model: ModelInfo
    request_id: str = Field(description="as in the header X-Request-ID")
    disclaimer: str

    @classmethod
    def of(cls, results: list[BatchItem], predictor: Predictor) -> Self:
        """Put the items of one model together."""
        return cls(
            results=results,
            model=ModelInfo.of(predictor),
            request_id=current_id(),
            disclaimer=RESEARCH_USE,
        )


class Live(BaseModel):
    """The process answers."""

    model_config = _closed({"status": "live"})

    status: Literal["live"]


class ReloadAnswer(BaseModel):
    """What is served after a reload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[ModelInfo] = Field(description="the default first")
