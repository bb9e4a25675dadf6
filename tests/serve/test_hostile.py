"""Hostile files and requests against a server as it is really started."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.nas.hostile import corpus
from tests.serve.malformed import malformed, parsed, unfinished
from tests.serve.pictures import form, png
from tests.serve.test_server import PATIENCE_S, port_of, read_until, server

MOST_GROWTH_MIB = 50
LARGE = 200_000
"""Bytes; what is larger or makes much work comes with the whole corpus."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Target:
    """A running server and what is known of it."""

    def __init__(self, process: "subprocess.Popen[str]", lines: list[str]) -> None:
        self.process, self.lines = process, lines
        self.port = port_of(process, lines)
        # Nobody else reads the log, and a full pipe would stop the server.
        self._reader = threading.Thread(target=read_until, args=(process, lines, "never said"))
        self._reader.start()

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def exchange(self, sent: bytes, *, more: bool = True) -> bytes:
        """All that comes back; ``more`` false says that nothing further will be sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            try:
                connection.sendall(sent)
                if not more:
                    connection.shutdown(socket.SHUT_WR)
            except ConnectionError:  # refused before all was sent: the answer is there already
                pass
            received = b""
            try:
                while data := connection.recv(65_536):
                    received += data
            except ConnectionResetError:
                pass
            return received

    def end(self) -> str:
        """Stop it and give its log."""
        self.process.terminate()
        self._reader.join(PATIENCE_S)
        self.process.wait(PATIENCE_S)
        return "".join(self.lines)


@contextmanager
def attacked(model: Path, **environment: str) -> Iterator[Target]:
    """A server that must afterwards be as before, have served a good client all the time, and have
    met nothing unexpected."""
    environment["NAS_MODEL"] = str(model)
    with server(patience_s=110, warnings="default", **environment) as (process, lines):
        target = Target(process, lines)
        done, answers = threading.Event(), []
        with target.client() as client:
            for seed in range(20):
                client.post("/predict?explain=true", files=form(png(seed)))
        before = target.rss_mib()

        def good() -> None:
            with target.client() as client:
                while not done.is_set():
                    answers.append(client.post("/predict", files=form(png())).status_code)
                    done.wait(0.02)

        other = threading.Thread(target=good)
        other.start()
        try:
            yield target
        finally:
            done.set()
            other.join(PATIENCE_S)
        assert process.poll() is None
        assert len(answers) > 5
        assert set(answers) == {200}
        with target.client() as client:  # memory is given back a moment after the last image
            until = time.monotonic() + PATIENCE_S
            while (growth := target.rss_mib() - before) >= MOST_GROWTH_MIB:
                assert client.get("/health").status_code == 200
                if time.monotonic() > until:
                    break
        assert growth < MOST_GROWTH_MIB, f"{growth:.0f} MiB"
        log = target.end()
        assert "Traceback" not in log
        assert "unexpected error" not in log


def send_files(target: Target, files: dict[str, bytes]) -> list[int]:
    """Each must be answered or refused; the statuses."""
    found = []
    with target.client() as client:
        for name, data in files.items():
            answer = client.post("/predict", files=form(data))
            assert answer.status_code in {200, 413, 415, 422}, (name, answer.text)
            body = answer.json()
            assert set(body) >= {"prediction", "warnings"} or set(body) == {"error"}, name
            found.append(answer.status_code)
    return found


def small_part() -> dict[str, bytes]:
    """A bit of every section of the corpus, 320 files."""
    small = [(name, data) for name, data in corpus().items() if len(data) < LARGE]
    return dict(small[:: max(1, len(small) // 320)][:320])


def test_hostile_files_and_requests(model: Path) -> None:
    with attacked(model) as target:
        statuses = send_files(target, small_part())
        requests = malformed()
        for name, sent in requests.items():
            status, body = parsed(target.exchange(sent))
            assert 400 <= status < 500, (name, status, body)
            # What is no HTTP is refused by uvicorn, in its own words.
            assert body is None or set(body) == {"error"}, name
        for name, sent in unfinished().items():
            raw = target.exchange(sent, more=False)
            assert not raw or 400 <= parsed(raw)[0] < 500, name
    assert len(statuses) >= 300
    assert len(requests) >= 40
    assert {200, 415, 422} <= set(statuses)


@pytest.mark.slow
def test_the_whole_corpus(model: Path) -> None:
    with attacked(model) as target:
        statuses = send_files(target, corpus())
    assert len(statuses) > 800
    assert {200, 415, 422} <= set(statuses)
