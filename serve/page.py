"""The page for browsers: a few files that lie in ``serve/page`` and load nothing from elsewhere."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request, Response

from serve.headers import PAGE_HEADERS

FOLDER = Path(__file__).with_suffix("")
INDEX = "index.html"
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PARTS = ("page.css", "page.js", "asking.js", "card.js", "model.js", "parts.js", "favicon.svg")
"""What the page loads, each at its name; a table, so that no request names a path."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the page as it is answered.

    Attributes:
        content: its bytes.
        media: its Content-Type.
        tag: its ETag, quotes included.
    """

    content: bytes
    media: str
    tag: str


@cache
def part(name: str) -> Part:
    """A file of the page, read once."""
    content = (FOLDER / name).read_bytes()
    return Part(content, MEDIA[Path(name).suffix], f'"{sha256(content).hexdigest()[:32]}"')


def answer(request: Request, name: str) -> Response:
    """A file of the page: 304 where the browser has it already, else 200.

    Args:
        request: whose If-None-Match is looked at.
        name: ``INDEX`` or one of ``PARTS``.
    """
    found = part(name)
    # Kept, but asked about each time: a newer server's page is seen at once.
    headers = {**PAGE_HEADERS, "ETag": found.tag, "Cache-Control": "no-cache"}
    if name == INDEX:
        headers["Vary"] = "Accept"
    known = [tag.strip().removeprefix("W/") for tag in _header(request, "if-none-match").split(",")]
    if found.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media)


def wants_page(request: Request) -> bool:
    """Whether a request prefers HTML to JSON. Programs that name neither get JSON."""
    accept = _header(request, "accept")
    return _quality(accept, "text/html") > _quality(accept, "application/json")


def _header(request: Request, name: str) -> str:
    return ", ".join(request.headers.getlist(name))


def _quality(accept: str, media: str) -> float:
    """How much a media type is wanted: RFC 9110, section 12.5.1; the most specific range counts."""
    ranges = (media, media.partition("/")[0] + "/*", "*/*")
    found: dict[str, float] = {}
    for entry in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in entry.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[name] = float(weight)
        except ValueError:  # not as the RFC writes weights: as if the range were not there
            continue
    return next((found[name] for name in ranges if name in found), 0.0)


def _add(name: str) -> None:
    @router.get(f"/{name}", name=name)
    async def file(request: Request) -> Response:
        return answer(request, name)


for _name in PARTS:
    _add(_name)
