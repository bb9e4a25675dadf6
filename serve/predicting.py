"""From an upload to its answer: read, admitted, decoded, computed, worded."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import BinaryIO, TypeVar

from fastapi import Request

from nas.errors import ImageError, UnsupportedImageError
from nas.explain import grad_cam, heat_png, overlay
from nas.images import Pixels
from nas.predictor import Prediction, Predictor
from serve.codes import Code
from serve.errors import ApiError
from serve.schemas import BatchAnswer, BatchItem, ExplanationAnswer, PredictionAnswer
from serve.service import Service
from serve.uploads import uploaded_files

T = TypeVar("T")


async def predict_one(request: Request, predictor: Predictor, *, explain: bool) -> PredictionAnswer:
    """The answer for the one file of a request.

    Raises:
        ApiError: the form or the image cannot be used, there is no place, or it took too long.
    """
    service = Service.of(request)
    async with _received(request, service, "file", 1) as (file,):
        with service.admitted():
            return await _in_time(service, _predict(service, predictor, file, explain=explain))


async def predict_several(request: Request, predictor: Predictor) -> BatchAnswer:
    """An answer or an error for each file of a request, in their order.

    Raises:
        ApiError: the form cannot be used, there are not enough places, or it took too long.
    """
    service = Service.of(request)
    async with _received(request, service, "files", service.settings.batch_files) as files:
        with service.admitted(len(files)):
            work = [_item(service, predictor, index, file) for index, file in enumerate(files)]
            return BatchAnswer.of(await _in_time(service, asyncio.gather(*work)), predictor)


@asynccontextmanager
async def _received(
    request: Request, service: Service, field: str, most: int
) -> AsyncIterator[list[BinaryIO]]:
    """The files of a request, all of which has arrived."""
    files = uploaded_files(request, field, most)
    try:
        async with asyncio.timeout(service.settings.deadline_s):
            await _look(request, service)
            found = await files.__aenter__()
    except TimeoutError:
        raise ApiError(
            Code.UPLOAD_TIMEOUT,
            f"a request must arrive within {service.settings.deadline_s:g} s, but this one did not",
            "send a smaller image, or over a faster connection",
        ) from None
    try:
        yield found
    finally:
        await files.__aexit__(None, None, None)


async def _look(request: Request, service: Service) -> None:
    """Refuse a request that would find no place, without taking its form apart.

    Its body is read all the same: a connection that is closed with bytes unread is reset, and the
    client may then lose the answer.
    """
    try:
        service.look()
    except ApiError:
        async for _ in request.stream():
            pass
        raise


async def _in_time(service: Service, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(service.settings.deadline_s):
            return await work
    except TimeoutError:
        raise ApiError(
            Code.DEADLINE,
            f"an answer must be found within {service.settings.deadline_s:g} s, "
            "but this one was not",
            "try again later, or send a smaller image",
        ) from None


async def _predict(
    service: Service, predictor: Predictor, file: BinaryIO, *, explain: bool = False
) -> PredictionAnswer:
    loop = asyncio.get_running_loop()
    try:
        pixels, doubts = await loop.run_in_executor(service.decoders, _decoded, predictor, file)
    finally:
        service.tidier.soon(loop)
    prediction = await asyncio.wrap_future(service.batcher.predict(predictor, pixels))
    explanation = None
    if explain:
        work = partial(_explained, predictor, pixels, prediction)
        explanation = await asyncio.wrap_future(service.batcher.call(work))
    return PredictionAnswer.of(prediction, predictor, explanation, doubts)


async def _item(service: Service, predictor: Predictor, index: int, file: BinaryIO) -> BatchItem:
    try:
        return BatchItem(index=index, answer=await _predict(service, predictor, file), error=None)
    except ApiError as error:  # one image's fault is that image's answer
        return BatchItem(index=index, answer=None, error=error.detail())


def _decoded(predictor: Predictor, file: BinaryIO) -> tuple[Pixels, list[str]]:
    """Pixels of an upload, and the doubts about its picture. Blocks.

    Raises:
        ApiError: empty (422), not an allowed format (415), or not usable (422).
    """
    data = file.read()
    if not data:
        raise ApiError(
            Code.EMPTY_FILE, "an image must have content, but the file has 0 bytes", "send another"
        )
    try:
        pixels, look = predictor.examine(data)
    except ImageError as error:
        unsupported = isinstance(error, UnsupportedImageError)
        code = Code.UNSUPPORTED_IMAGE if unsupported else Code.UNUSABLE_IMAGE
        raise ApiError.worded(code, str(error), remedy="send another image") from None
    return pixels, predictor.doubts.about(look)


def _explained(predictor: Predictor, pixels: Pixels, prediction: Prediction) -> ExplanationAnswer:
    found = grad_cam(predictor, pixels, prediction.label)
    return ExplanationAnswer(
        label=found.label,
        layers=list(found.layers),
        overlay_png=b64encode(overlay(pixels, found.heat)).decode(),
        heat_png=b64encode(heat_png(found.heat)).decode(),
        image_png=b64encode(overlay(pixels, found.heat, opacity=0)).decode(),
    )
