"""What a server counts about itself, for Prometheus."""

import time
from collections.abc import Callable, Iterable

from fastapi import FastAPI, Request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.keys import OPEN
from serve.schemas import ModelInfo

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Any other method or address: what clients make up must not become series without end."""

NO_ANSWER = "none"
"""The status of a request that ended without one: its client had gone."""


class Metrics:
    """The counters of one application, in a registry of their own.

    Several workers of one server are several processes: each counts for itself and tells what it
    counted, so a scrape sees the worker that happens to answer.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # start time, memory, CPU seconds; on Linux
        started = Gauge("nas_start_time_seconds", "Unix time of the start", registry=registry)
        started.set_to_current_time()
        self._requests = Counter(
            "nas_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "nas_request_duration_seconds",
            "From a request's head to the end of its answer",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "nas_requests_in_flight", "Requests being answered", registry=registry
        )
        self._images = Counter("nas_images", "Images predicted", ["model"], registry=registry)
        self._batches = Histogram(
            "nas_batch_images",
            "Images that shared a pass through the network",
            ["model"],
            buckets=IMAGES,
            registry=registry,
        )
        self._refused = Counter(
            "nas_refused", "Images refused because the queue was full", registry=registry
        )
        self._queue = Gauge("nas_queue_depth", "Images admitted and not done", registry=registry)
        self._models = Gauge(
            "nas_model_info",
            "The models that are loaded; always 1",
            ["model", "sha256", "genome_key", "synthetic"],
            registry=registry,
        )

    @classmethod
    def of(cls, request: Request) -> "Metrics":
        """Those of the application that a request came to."""
        metrics: Metrics = request.app.state.metrics
        return metrics

    def batch(self, model: str, size: int) -> None:
        """``size`` images went through the network of ``model`` at once."""
        self._batches.labels(model).observe(size)
        self._images.labels(model).inc(size)

    def refused(self, images: int = 1) -> None:
        """So many images were not admitted."""
        self._refused.inc(images)

    def watch_queue(self, depth: Callable[[], float]) -> None:
        """``depth`` gives the images admitted and not done, whenever somebody asks."""
        self._queue.set_function(depth)

    def models(self, loaded: Iterable[ModelInfo]) -> None:
        """These models are loaded, and no others."""
        self._models.clear()
        for one in loaded:
            labels = (one.name, one.sha256, one.genome_key, str(one.synthetic).lower())
            self._models.labels(*labels).set(1)

    def started(self) -> None:
        """A request came."""
        self._in_flight.inc()

    def ended(self, method: str, route: str, status: str, seconds: float) -> None:
        """It was answered, or its client has gone."""
        self._in_flight.dec()
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)


class Counting:
    """Middleware: counts every request by its method, its route's template and its status.

    Args:
        app: what is counted.
        of: the application whose metrics and routes these are.
    """

    def __init__(self, app: ASGIApp, of: FastAPI) -> None:
        self._app = app
        self._of = of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics: Metrics = self._of.state.metrics
        status = NO_ANSWER

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        metrics.started()
        start = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            metrics.ended(method, self._route(scope), status, time.perf_counter() - start)

    def _route(self, scope: Scope) -> str:
        """The template of the address, also of a request that was refused before it got there."""
        template = getattr(scope.get("route"), "path", None)
        if isinstance(template, str):
            return template
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        return path if path in OPEN or path in self._of.openapi()["paths"] else OTHER
