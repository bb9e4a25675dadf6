"""From a multipart request to its one file."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from nas.images import FORMATS
from serve.codes import Code
from serve.errors import ApiError

FIELD = "file"
MAX_TEXT_BYTES = 64 << 10
REMEDY = f"send one file as the multipart field {FIELD!r}: curl -F {FIELD}=@image.png …/predict"

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {
                    FIELD: {
                        "type": "string",
                        "format": "binary",
                        "description": f"one image: {', '.join(FORMATS)} or DICOM, 8 or 16 bits",
                    }
                },
            }
        }
    },
}
"""OpenAPI's description of the form, which is read by hand for the sake of its limits."""


@asynccontextmanager
async def uploaded_file(request: Request) -> AsyncIterator[BinaryIO]:
    """Read the form and give its one file, which is deleted afterwards.

    Raises:
        ApiError: the form is malformed, or is not exactly one file named ``file``.
    """
    try:
        form = await _form(request)
    except MultiPartException as error:
        raise _malformed(f"be one whole file, but: {error.message}") from None
    except ClientDisconnect:  # nobody hears this answer, but nothing unexpected happened either
        raise _malformed("be whole, but the connection ended within it") from None
    except UnicodeError:  # some codecs that a form may name refuse to decode at all
        raise _malformed("be UTF-8, but is not") from None
    try:
        yield _only_file(form.multi_items())
    finally:
        await form.close()


class _WholeFormParser(MultiPartParser):
    """Starlette's parser, which by itself takes a form that was cut off for a shorter one."""

    whole = False

    def on_end(self) -> None:
        self.whole = True


async def _form(request: Request) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return FormData()

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                yield chunk
        if not parser.whole:  # raised in here, it makes the parser delete its files
            raise MultiPartException("It ends before its closing boundary.")

    # One text field is let through so that it can be told apart from a missing one: forgetting
    # the @ in curl's -F sends the file's name as text.
    limits = {"max_files": 1, "max_fields": 1, "max_part_size": MAX_TEXT_BYTES}
    async with aclosing(body()) as stream:
        parser = _WholeFormParser(request.headers, stream, **limits)
        return await parser.parse()


def _malformed(text: str) -> ApiError:
    return ApiError(Code.MALFORMED_FORM, f"a form must {text}", REMEDY)


def _only_file(parts: list[tuple[str, UploadFile | str]]) -> BinaryIO:
    if len(parts) == 1:
        name, value = parts[0]
        if name == FIELD and isinstance(value, UploadFile):
            return value.file
        kind = "a file" if isinstance(value, UploadFile) else "text"
        found = f"{kind} in the field {FIELD!r}" if name == FIELD else f"{kind} in another field"
    else:
        found = f"{len(parts)} fields" if parts else "none"
    raise ApiError(
        Code.MISSING_FILE,
        f"a form must have exactly one file, in the field {FIELD!r}, but this one has {found}",
        REMEDY,
    )
