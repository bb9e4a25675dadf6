"""From a multipart request to its one file."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from nas.images import FORMATS
from serve.codes import Code
from serve.errors import ApiError

MAX_TEXT_BYTES = 64 << 10


def request_body(field: str, *, several: bool = False) -> dict[str, Any]:
    """OpenAPI's description of a form, which is read by hand for the sake of its limits."""
    file: dict[str, Any] = {
        "type": "string",
        "format": "binary",
        "description": f"one image: {', '.join(FORMATS)} or DICOM, 8 or 16 bits",
    }
    schema = {
        "type": "object",
        "required": [field],
        "additionalProperties": False,
        "properties": {field: {"type": "array", "minItems": 1, "items": file} if several else file},
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


@asynccontextmanager
async def uploaded_files(request: Request, field: str, most: int) -> AsyncIterator[list[BinaryIO]]:
    """Read the form and give its files, which are deleted afterwards.

    Args:
        request: whose body it is.
        field: the name that all fields must have.
        most: how many files there may be; at least one must be.

    Raises:
        ApiError: the form is malformed, or has anything else.
    """
    wanted = _Wanted(field, most)
    try:
        form = await _form(request, most)
    except MultiPartException as error:
        raise wanted.malformed(f"be {wanted.files}, whole, but: {error.message}") from None
    except ClientDisconnect:  # nobody hears this answer, but nothing unexpected happened either
        raise wanted.malformed("be whole, but the connection ended within it") from None
    except UnicodeError:  # some codecs that a form may name refuse to decode at all
        raise wanted.malformed("be UTF-8, but is not") from None
    try:
        yield wanted.of(form.multi_items())
    finally:
        await form.close()


class _WholeFormParser(MultiPartParser):
    """Starlette's parser, which by itself takes a form that was cut off for a shorter one."""

    whole = False

    def on_end(self) -> None:
        self.whole = True


async def _form(request: Request, most: int) -> FormData:
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
    limits = {"max_files": most, "max_fields": 1, "max_part_size": MAX_TEXT_BYTES}
    async with aclosing(body()) as stream:
        parser = _WholeFormParser(request.headers, stream, **limits)
        return await parser.parse()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a form must have."""

    field: str
    most: int

    @property
    def files(self) -> str:
        return "one file" if self.most == 1 else f"1 to {self.most} files"

    @property
    def remedy(self) -> str:
        where = "/predict" if self.most == 1 else "/predict/batch"
        each = "" if self.most == 1 else ", again for each file"
        return (
            f"send {self.files} as the multipart field {self.field!r}: "
            f"curl -F {self.field}=@image.png{each} …{where}"
        )

    def malformed(self, text: str) -> ApiError:
        return ApiError(Code.MALFORMED_FORM, f"a form must {text}", self.remedy)

    def of(self, parts: list[tuple[str, UploadFile | str]]) -> list[BinaryIO]:
        files = [
            value.file
            for name, value in parts
            if name == self.field and isinstance(value, UploadFile)
        ]
        if files and len(files) == len(parts) <= self.most:
            return files
        if len(parts) == 1:
            name, value = parts[0]
            kind = "a file" if isinstance(value, UploadFile) else "text"
            where = f"the field {self.field!r}" if name == self.field else "another field"
            found = f"{kind} in {where}"
        else:
            found = f"{len(parts)} fields" if parts else "none"
        exactly = "exactly " if self.most == 1 else ""
        raise ApiError(
            Code.MISSING_FILE,
            f"a form must have {exactly}{self.files}, in the field {self.field!r}, "
            f"but this one has {found}",
            self.remedy,
        )
