"""Requests that are wrong in one way each, byte by byte."""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from tests.serve.pictures import multipart, png

BODY, KIND = multipart(png())
FORM = f"Content-Type: {KIND}"
DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="a.png"'


def request(
    body: bytes = b"",
    *headers: str,
    method: str = "POST",
    path: str = "/predict",
    length: str | None = None,
) -> bytes:
    """One request that asks for the connection to be closed; ``length`` defaults to the truth."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if not any(line.lower().startswith("transfer-encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def part(*headers: str, content: bytes = b"x", end: str = "--frontier--\r\n") -> bytes:
    """A form of one part."""
    head = "\r\n".join(["--frontier", *headers, "", ""]).encode("latin-1")
    return head + content + b"\r\n" + end.encode()


def chunked(*chunks: tuple[str, bytes]) -> bytes:
    return request(
        b"".join(f"{size}\r\n".encode() + data + b"\r\n" for size, data in chunks),
        FORM,
        "Transfer-Encoding: chunked",
    )


def _kinds() -> Iterator[tuple[str, bytes]]:
    """Content types that are no form, or one without its boundary."""
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        'multipart/form-data; boundary="frontier',
        "multipart/form-data; boundary=" + "b" * 5000,
        "multipart/form-data; charset=utf-16; boundary=frontier",
        "multipart/form-data; charset=idna; boundary=frontier",
        "multipart/form-data; charset=no-such; boundary=frontier",
        "multipart/mixed; boundary=frontier",
        "application/json",
        "application/x-www-form-urlencoded",
        "image/png",
        ";;;",
        "\xff\xfe",
    ):
        if kind.startswith("multipart/form-data; charset"):
            name = 'Content-Disposition: form-data; name="\xff\xfe"; filename="a.png"'
            yield kind[:60], request(part(name), f"Content-Type: {kind}")
        else:
            yield kind[:60], request(BODY, f"Content-Type: {kind}")
    yield "no content type", request(BODY)
    yield "no body", request(b"", FORM)


def _forms() -> Iterator[tuple[str, bytes]]:
    parts: Mapping[str, bytes] = {
        "part without headers": part(),
        "part without a name": part("Content-Disposition: form-data"),
        "part of another field": part('Content-Disposition: form-data; name="x"; filename="a"'),
        "text instead of a file": part('Content-Disposition: form-data; name="file"'),
        "much text": part('Content-Disposition: form-data; name="file"', content=b"x" * (65 << 10)),
        "header without a colon": part("Content-Disposition form-data"),
        "header with a control byte": part("Content-Disp\x01osition: form-data"),
        "header without an end": b"--frontier\r\n" + b"X-A: " + b"a" * 9000,
        "header of NULs": part("X-A: " + "\0" * 100, DISPOSITION),
        "many headers": part(*[f"X-{i}: a" for i in range(2000)], DISPOSITION),
        "long name": part(f'Content-Disposition: form-data; name="{"f" * 9000}"; filename="a"'),
        "no end": BODY[:-20],
        "half an end": BODY[:-4],
        "only the end": b"--frontier--\r\n",
        "a preamble": b"garbage" + BODY,
        "line feeds only": BODY.replace(b"\r\n", b"\n"),
        "boundary in the content": part(DISPOSITION, content=b"\r\n--frontier\r\n" * 50),
        "many files": part(DISPOSITION, end="") * 50 + BODY,
        "many fields": part('Content-Disposition: form-data; name="a"', end="") * 5000 + BODY,
        "empty file": part(DISPOSITION, content=b""),
        "encoded as base64": part(DISPOSITION, "Content-Transfer-Encoding: base64"),
        "nested form": part(DISPOSITION, "Content-Type: multipart/mixed; boundary=x"),
        "random bytes": bytes(i * 197 % 256 for i in range(5000)),
    }
    for name, body in parts.items():
        yield name, request(body, FORM)
        yield f"batch: {name}", request(body, FORM, path="/predict/batch")


def _lengths() -> Iterator[tuple[str, bytes]]:
    for length in ("-1", "abc", "1e3", "0x10", "99999999999", "", "1 2", "+5", "9" * 400):
        yield f"length {length[:20]}", request(BODY, FORM, length=length)
    yield "length too short", request(BODY, FORM, length="40")
    yield "two lengths", request(BODY, FORM, "Content-Length: 3")
    yield "chunk size of letters", chunked(("zz", b"abc"), ("0", b""))
    yield "chunk size negative", chunked(("-5", b"abcde"), ("0", b""))
    yield "chunk size huge", chunked(("f" * 40, b"abc"), ("0", b""))
    yield "chunk shorter than said", chunked(("3", b"abcdefgh"), ("0", b""))
    yield "chunks of no form", chunked(("5", b"abcde"), ("0", b""))
    yield (
        "chunks of half a form",
        chunked((f"{len(BODY) // 2:x}", BODY[: len(BODY) // 2]), ("0", b"")),
    )
    both = request(b"0\r\n\r\n", FORM, "Transfer-Encoding: chunked", "Content-Length: 5")
    yield "chunked and a length", both
    yield "unknown transfer coding", request(BODY, FORM, "Transfer-Encoding: gzip")


def _heads() -> Iterator[tuple[str, bytes]]:
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "only a line", b"hello\r\n\r\n"
    yield "no version", b"GET /health\r\n\r\n"
    yield "header without a colon in the head", request(b"", "nothing here")
    yield "space before a colon", request(b"", "X-A : b")
    yield "control byte in a header", request(b"", "X-A: a\x00b")
    yield "very long header", request(b"", "X-A: " + "a" * 100_000)
    yield "very long address", request(b"", path="/" + "a" * 100_000)
    for method in ("PUT", "DELETE", "PATCH", "GET", "TRACE", "OPTIONS", "BREW", "predict"):
        yield f"method {method}", request(b"", method=method)
    for path in ("/nope", "//", "/predict/", "/../etc/passwd", "/%2e%2e/etc/passwd", "/page.js/x",
                 "/%00", "/predict%0d%0aX-A:%20b"):  # fmt: skip
        yield f"address {path}", request(BODY, FORM, path=path)
    for query in ("explain=maybe", "explain=", "explain=1&explain=x", "model=nope", "model=%ff%fe",
                  "model=" + "m" * 300, "model=..%2f..%2fetc%2fpasswd", "model=%00",
                  "explain=%F0%28%8C%28"):  # fmt: skip
        yield f"query {query[:40]}", request(BODY, FORM, path=f"/predict?{query}")
    long_json = json.dumps({"file": "a" * 10_000}).encode()
    yield "JSON", request(long_json, "Content-Type: application/json")


def malformed() -> dict[str, bytes]:
    """Name -> the bytes of a request."""
    return dict(chain(_kinds(), _forms(), _lengths(), _heads()))


def unfinished() -> dict[str, bytes]:
    """Requests whose rest never comes."""
    return {
        "half a head": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le",
        "no body": request(b"", FORM, length="5000"),
        "half a body": request(BODY[: len(BODY) // 2], FORM, length=str(len(BODY))),
        "length too long": request(BODY, FORM, length=str(len(BODY) + 99)),
        "a chunk without its end": request(b"ff\r\nabc", FORM, "Transfer-Encoding: chunked"),
        "chunks without an end": request(b"3\r\nabc\r\n", FORM, "Transfer-Encoding: chunked"),
    }


Answer = tuple[int, dict[str, Any] | None]
"""Status, and the body where it is JSON."""


def parsed(raw: bytes) -> Answer:
    """The first answer in what came over a connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    is_json = b"content-type: application/json" in head.lower()
    return status, json.loads(body) if is_json else None
