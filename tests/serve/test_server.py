"""The server as it is really started."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from nas.bundle import RESEARCH_USE
from nas.predictor import Predictor
from tests.serve.pictures import form, multipart, png

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@contextmanager
def server(
    *options: str, patience_s: float = PATIENCE_S, warnings: str = "error", **environment: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server process on a free port, and the lines of its log so far.

    Args:
        options: further ones of uvicorn.
        patience_s: seconds after which it is killed.
        warnings: what Python does with them; "error" hides how odd images are really answered.
        environment: further variables.
    """
    python = [sys.executable, "-W", warnings]
    command = [*python, "-m", "uvicorn", "serve.main:app", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    # A server that hangs is killed, which ends every read below.
    watchdog = threading.Timer(patience_s, process.kill)
    watchdog.start()
    try:
        yield process, lines
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], lines: list[str], wanted: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return line
    return ""


def port_of(process: subprocess.Popen[str], lines: list[str]) -> int:
    line = read_until(process, lines, "Uvicorn running on")
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    assert found, lines
    return int(found[1])


def stop(process: subprocess.Popen[str], lines: list[str]) -> str:
    process.send_signal(signal.SIGTERM)
    read_until(process, lines, "there is no such line: read to the end")
    # Having shut down in order, uvicorn raises the signal again, for whoever waits to see it.
    assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    return "".join(lines)


def test_start_predict_and_stop(model: Path) -> None:
    with server(NAS_MODEL=str(model)) as (process, lines):
        base = f"http://127.0.0.1:{port_of(process, lines)}"
        with httpx2.Client(base_url=base, timeout=PATIENCE_S) as client:
            assert client.get("/health").json()["status"] == "ready"
            answer = client.post("/predict", files=form(png(), "DOE_JOHN.png"))
            assert client.get("/nope").status_code == 404
        log = stop(process, lines)
    wanted = Predictor.load(model).predict([png()])[0]
    assert answer.status_code == 200
    assert answer.json()["prediction"] == wanted.label
    assert answer.json()["confidence"] == pytest.approx(wanted.confidence, abs=1e-6)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log
    assert "DOE_JOHN" not in log
    assert str(model) in log
    assert RESEARCH_USE in log


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        return connection.recv(65_536)


def test_bodies_over_the_limit_on_a_real_socket(model: Path) -> None:
    with server(NAS_MODEL=str(model), NAS_MAX_UPLOAD_BYTES="2000") as (process, lines):
        port = port_of(process, lines)
        body, kind = multipart(b"x" * 3000)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        # The body of this one never comes: only an answer before reading it can arrive.
        honest = exchange(port, f"{head}Content-Length: 5000000000\r\n\r\n".encode())
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
        chunked = exchange(port, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk)
        small, _ = multipart(png()[:1000])
        lying = exchange(port, f"{head}Content-Length: 100\r\n\r\n".encode() + small)
        log = stop(process, lines)
    assert honest.startswith(b"HTTP/1.1 413 ")
    assert chunked.startswith(b"HTTP/1.1 413 ")
    assert lying.startswith(b"HTTP/1.1 400 ")  # its first 100 bytes are no whole form
    assert "Traceback" not in log


def test_a_wrong_setting_is_one_sentence_and_no_server() -> None:
    with server(NAS_MAX_UPLOAD_BYTES="32MB") as (process, lines):
        read_until(process, lines, "there is no such line: read to the end")
        assert process.wait(PATIENCE_S) == 3
    log = "".join(lines)
    assert "NAS_MAX_UPLOAD_BYTES must be a whole number of bytes" in log
    assert "Traceback" not in log


def test_the_end_under_load_loses_no_accepted_request(model: Path) -> None:
    """Every request whose connection was accepted gets its whole answer after SIGTERM."""
    body, kind = multipart(png())
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with server(NAS_MODEL=str(model)) as (process, lines), ExitStack() as stack:
        port = port_of(process, lines)
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            for _ in range(24)
        ]
        for client in clients:  # the server has begun to read each of them ...
            client.sendall(head.encode() + body[:50])
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as asking:
            while "nas_requests_in_flight 25.0" not in asking.get("/metrics").text:
                pass
        process.send_signal(signal.SIGTERM)
        read_until(process, lines, "Shutting down")
        for client in clients:  # ... and gets the rest while it ends
            client.sendall(body[50:])
        for client in clients:
            answer = b""
            while piece := client.recv(65_536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
            assert b'"prediction"' in answer
        log = stop(process, lines)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log
