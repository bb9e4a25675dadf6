"""The endpoints."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from nas.bundle import RESEARCH_USE
from serve.codes import MODEL_CODES, Code
from serve.errors import documented
from serve.metrics import Metrics
from serve.page import INDEX, answer, wants_page
from serve.schemas import (
    About,
    Endpoint,
    Health,
    ModelAnswer,
    ModelInfo,
    PredictionAnswer,
    warning_for,
)
from serve.service import Service, Unready, predict_file
from serve.uploads import REQUEST_BODY, uploaded_file

SERVICE = "nas: predictions for medical images by a network that a search found"

ENDPOINTS = [
    Endpoint(method="GET", path="/", answers="what this is"),
    Endpoint(method="GET", path="/health", answers="200 when ready to predict, 503 until then"),
    Endpoint(
        method="POST",
        path="/predict",
        answers="the prediction for one image, sent as the multipart field 'file'; with "
        "?explain=true also where the model looked",
    ),
    Endpoint(method="GET", path="/model", answers="what the model says of itself"),
]

router = APIRouter(responses=documented(Code.BODY_TOO_LARGE, Code.INTERNAL_ERROR))


@router.get("/", response_model=About, responses={200: {"content": {"text/html": {}}}})
async def about(request: Request, response: Response) -> About | Response:
    """What this service is, and which model it has; the page for who prefers HTML."""
    if wants_page(request):
        return answer(request, INDEX)
    response.headers["Vary"] = "Accept"
    model = Service.of(request).model
    loaded = None if isinstance(model, Unready) else model
    return About(
        service=SERVICE,
        endpoints=ENDPOINTS,
        model=loaded.name if loaded else None,
        synthetic=loaded.synthetic if loaded else None,
        warning=warning_for(loaded) if loaded else None,
        disclaimer=RESEARCH_USE,
    )


@router.get("/health", responses=documented(*MODEL_CODES))
async def health(request: Request) -> Health:
    """Whether the model is loaded and warm."""
    return Health(status="ready", model=ModelInfo.of(Service.of(request).predictor()))


@router.get("/model", responses=documented(*MODEL_CODES))
async def model(request: Request) -> ModelAnswer:
    """Genome, preprocessing, calibration, threshold, figures and provenance of the model."""
    return ModelAnswer(**Service.of(request).predictor().describe())


@router.post(
    "/predict",
    openapi_extra={"requestBody": REQUEST_BODY},
    responses=documented(
        Code.MALFORMED_FORM,
        Code.UNSUPPORTED_IMAGE,
        *(Code.MISSING_FILE, Code.EMPTY_FILE, Code.UNUSABLE_IMAGE),
        *MODEL_CODES,
    ),
)
async def predict(request: Request, explain: bool = False) -> PredictionAnswer:
    """The model's prediction for one image. Research use only. Not for diagnosis."""
    service = Service.of(request)
    predictor = service.predictor()  # before the upload is read: without a model it is no use
    async with uploaded_file(request) as file:
        work = partial(predict_file, predictor, file, explain=explain)
        answer = await to_thread.run_sync(work, limiter=service.limiter)
    Metrics.of(request).batch(predictor.name, 1)
    return answer
