"""The server under load: ``python -m tests.benchmarks.serving --data DIR [--model FILE]``.

Three servers in one run, in turns, each a process of its own on loopback with the same bundle and
the same X-rays: ours; the plain FastAPI version, which loads the model for every request; and one
that loads it once, but computes every image by itself. Clients are threads of a process beside
them, so on a small machine they take cores from all three alike.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SERVERS = {
    "ours": "serve.main:app",
    "loads once": "tests.benchmarks.serving_plain:once",
    "loads per request": "tests.benchmarks.serving_plain:each",
}
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Load:
    """What some clients met.

    Attributes:
        seconds: from the first request to the last answer.
        latencies_ms: of every answer.
        statuses: how many answers had which status; 0 counts connections that broke.
    """

    seconds: float
    latencies_ms: list[float]
    statuses: Counter[int]

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.statuses[200] / self.seconds

    def percentile(self, q: int) -> float:
        """Milliseconds that ``q`` % of the answers stay within."""
        return statistics.quantiles(self.latencies_ms, n=100, method="inclusive")[q - 1]


@contextmanager
def serving(app: str, model: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """A server; gives its port and its process's id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    environment = {**os.environ, "NAS_MODEL": str(model), **settings}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until the server takes connections."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("a server must start, but one did not; start it by hand to see why")


def request_of(image: bytes, boundary: str = "frontier") -> bytes:
    """One POST /predict, whole."""
    head = 'Content-Disposition: form-data; name="file"; filename="image"'
    body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + image + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    lines = ["POST /predict HTTP/1.1", "Host: x", f"Content-Type: {kind}"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def answered(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, which is read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-le"))
    await reader.readexactly(length)
    return int(lines[0].split()[1])


async def clients(port: int, requests: Sequence[bytes], count: int, total: int) -> Load:
    """``total`` requests by ``count`` clients, each sending its next when it has its answer."""
    left = iter(range(total))
    latencies: list[float] = []
    statuses: Counter[int] = Counter()

    async def client() -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        for index in left:
            begin = time.perf_counter()
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(requests[index % len(requests)])
                await writer.drain()
                status = await answered(reader)
            except (OSError, asyncio.IncompleteReadError):
                status, reader = 0, None
            statuses[status] += 1
            latencies.append((time.perf_counter() - begin) * 1000)
        if writer is not None:
            writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    return Load(time.perf_counter() - begin, latencies, statuses)


def loaded(port: int, requests: Sequence[bytes], count: int, total: int) -> Load:
    """As ``clients``, from code that is not asynchronous."""
    return asyncio.run(clients(port, requests, count, total))


def memory_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def overhead_ms(port: int, model: Path, images: Sequence[bytes], n: int) -> dict[str, float]:
    """Medians of one request at a time, and of decode and forward alone, interleaved."""
    from nas.predictor import Predictor

    predictor = Predictor.load(model)
    bare: list[float] = []
    whole: list[float] = []
    for index in range(n):
        image = images[index % len(images)]
        begin = time.perf_counter()
        predictor.predict([image])
        bare.append((time.perf_counter() - begin) * 1000)
        whole.append(loaded_one(port, image))
    middle = statistics.median
    differences = [w - b for w, b in zip(whole, bare, strict=True)]
    return {
        "request_ms": middle(whole),
        "decode_and_forward_ms": middle(bare),
        "overhead_ms": middle(differences),
    }


_CONNECTIONS: dict[int, socket.socket] = {}


def loaded_one(port: int, image: bytes) -> float:
    """Milliseconds of one request over a connection that is kept."""
    if port not in _CONNECTIONS:
        _CONNECTIONS[port] = socket.create_connection(("127.0.0.1", port))
        _CONNECTIONS[port].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection, request = _CONNECTIONS[port], request_of(image)
    begin = time.perf_counter()
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65_536)
    assert head.startswith(b"HTTP/1.1 200"), head
    return (time.perf_counter() - begin) * 1000


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    paths = sorted(p for p in arguments.data.rglob("*") if p.suffix.lower() in {".jpeg", ".png"})
    images = [path.read_bytes() for path in paths[:: max(1, len(paths) // 64)][:64]]
    requests = [request_of(image) for image in images]
    found: dict[str, Any] = {"images": len(images), "mean_bytes": sum(map(len, images)) / 64}
    rounds: dict[str, list[Load]] = {name: [] for name in SERVERS}
    for turn in range(arguments.rounds):
        for name, app in SERVERS.items():
            with serving(app, arguments.model) as (port, _):
                loaded(port, requests, 2, 16)
                load = loaded(port, requests, arguments.clients, arguments.requests)
            rounds[name].append(load)
            print(f"round {turn + 1}, {name}: {load.rate:.1f}/s, {dict(load.statuses)}", flush=True)
    ours = [load.rate for load in rounds["ours"]]
    for name, loads in rounds.items():
        ratios = [mine / load.rate for mine, load in zip(ours, loads, strict=True)]
        found[name] = {
            "per_second": [round(load.rate, 1) for load in loads],
            "p50_ms": statistics.median(load.percentile(50) for load in loads),
            "p99_ms": statistics.median(load.percentile(99) for load in loads),
            "errors": sum(load.statuses.total() - load.statuses[200] for load in loads),
            "ours_is_faster_by": [round(ratio, 2) for ratio in ratios],
        }
    with serving(SERVERS["ours"], arguments.model) as (port, _):
        loaded_one(port, images[0])
        found["single"] = overhead_ms(port, arguments.model, images, 200)
    with serving(SERVERS["ours"], arguments.model, NAS_QUEUE="16") as (port, _):
        above = loaded(port, requests, 64, arguments.requests)
        found["above_the_bound"] = {str(code): count for code, count in above.statuses.items()}
    if arguments.long:
        with serving(SERVERS["ours"], arguments.model) as (port, pid):
            memory = []
            for _ in range(10):
                long = loaded(port, requests, arguments.clients, arguments.long // 10)
                assert set(long.statuses) == {200}, long.statuses
                memory.append(round(memory_mb(pid), 1))
            found["memory_mb_over_time"] = memory
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    return {**found, "machine": {**machine, "torch": torch.__version__}}


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of X-rays")
    parser.add_argument("--model", type=Path, required=True, help="a bundle")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=640, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=20_000, help="requests for memory; 0: none")
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
