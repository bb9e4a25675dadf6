"""The endpoints."""

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from nas.bundle import RESEARCH_USE
from serve.codes import MODEL_CODES, Code
from serve.errors import ApiError, documented
from serve.metrics import Metrics
from serve.models import Models
from serve.page import INDEX, answer, wants_page
from serve.predicting import predict_one, predict_several
from serve.schemas import (
    About,
    BatchAnswer,
    Endpoint,
    Health,
    Live,
    ModelAnswer,
    ModelInfo,
    PredictionAnswer,
    ReloadAnswer,
    warning_for,
)
from serve.service import Service
from serve.uploads import request_body

SERVICE = "nas: predictions for medical images by a network that a search found"

ENDPOINTS = [
    Endpoint(method="GET", path="/", answers="what this is; for browsers, the page"),
    Endpoint(method="GET", path="/health", answers="200 when ready to predict, 503 until then"),
    Endpoint(method="GET", path="/health/live", answers="200 while the process answers at all"),
    Endpoint(method="GET", path="/health/ready", answers="as /health"),
    Endpoint(
        method="POST",
        path="/predict",
        answers="the prediction for one image, sent as the multipart field 'file'; with "
        "?explain=true also where the model looked",
    ),
    Endpoint(
        method="POST",
        path="/predict/batch",
        answers="predictions for several images, each sent as a multipart field 'files'",
    ),
    Endpoint(method="GET", path="/model", answers="what the model says of itself"),
    Endpoint(method="POST", path="/reload", answers="the newest export is taken over at once"),
    Endpoint(method="GET", path="/metrics", answers="counters for Prometheus"),
]

ModelName = Annotated[
    str | None,
    Query(alias="model", max_length=256, description="one of the names at /; none means the first"),
]

UPLOAD_CODES = (
    *(Code.MALFORMED_FORM, Code.MISSING_FILE, Code.INVALID_REQUEST),
    *(Code.MODEL_UNKNOWN, Code.OVERLOADED, Code.UPLOAD_TIMEOUT, Code.DEADLINE),
    *MODEL_CODES,
)
IMAGE_CODES = (Code.UNSUPPORTED_IMAGE, Code.EMPTY_FILE, Code.UNUSABLE_IMAGE)

router = APIRouter(responses=documented(Code.BODY_TOO_LARGE, Code.INTERNAL_ERROR))


@router.get("/", response_model=About, responses={200: {"content": {"text/html": {}}}})
async def about(request: Request, response: Response) -> About | Response:
    """What this service is, and which model it has; the page for who prefers HTML."""
    if wants_page(request):
        return answer(request, INDEX)
    response.headers["Vary"] = "Accept"
    models = Service.of(request).models
    loaded = models.default if isinstance(models, Models) else None
    return About(
        service=SERVICE,
        endpoints=ENDPOINTS,
        model=loaded.name if loaded else None,
        models=models.names if isinstance(models, Models) else [],
        synthetic=loaded.synthetic if loaded else None,
        warning=warning_for(loaded) if loaded else None,
        disclaimer=RESEARCH_USE,
    )


@router.get("/health", responses=documented(*MODEL_CODES))
@router.get("/health/ready", responses=documented(*MODEL_CODES))
async def health(request: Request) -> Health:
    """Whether the model is loaded and warm."""
    return Health(status="ready", model=ModelInfo.of(Service.of(request).model()))


@router.get("/health/live")
async def live() -> Live:
    """Whether the process answers at all: one that does not should be started anew."""
    return Live(status="live")


@router.get("/model", responses=documented(Code.MODEL_UNKNOWN, Code.INVALID_REQUEST, *MODEL_CODES))
async def model(request: Request, name: ModelName = None) -> ModelAnswer:
    """Genome, preprocessing, calibration, threshold, figures and provenance of the model."""
    return ModelAnswer(**Service.of(request).model(name).describe())


@router.post(
    "/predict",
    openapi_extra={"requestBody": request_body("file")},
    responses=documented(*UPLOAD_CODES, *IMAGE_CODES),
)
async def predict(
    request: Request, name: ModelName = None, explain: bool = False
) -> PredictionAnswer:
    """The model's prediction for one image. Research use only. Not for diagnosis."""
    # The model is taken before the upload is read: without one it is no use.
    return await predict_one(request, Service.of(request).model(name), explain=explain)


@router.post(
    "/predict/batch",
    openapi_extra={"requestBody": request_body("files", several=True)},
    responses=documented(*UPLOAD_CODES),
)
async def predict_batch(request: Request, name: ModelName = None) -> BatchAnswer:
    """Predictions for several images, each with its own error. Research use only."""
    return await predict_several(request, Service.of(request).model(name))


@router.post(
    "/reload",
    responses=documented(Code.RELOAD_NEEDS_KEY, Code.RELOAD_FAILED),
)
async def reload(request: Request) -> ReloadAnswer:
    """Take over the newest export now. Requests that are in work keep the model they began with."""
    service = Service.of(request)
    if service.settings.api_key is None:
        raise ApiError(
            Code.RELOAD_NEEDS_KEY,
            "a server must have a key before it can be told to reload, but this one has none",
            "start it with NAS_API_KEY; a new export is taken over by itself within NAS_WATCH_S",
        )
    if not await asyncio.to_thread(partial(service.refresh, again=True)):
        raise ApiError(
            Code.RELOAD_FAILED,
            "an export must be whole to be taken over, but the newest one is not or is missing",
            "see the server's log; the models loaded before are still served",
        )
    return ReloadAnswer(models=service.loaded().infos())


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters of this server's process, for Prometheus."""
    return Response(Metrics.of(request).text(), media_type=CONTENT_TYPE_LATEST)
