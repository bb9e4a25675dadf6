"""What all requests share: settings, models, places, and the threads that work."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager

from fastapi import Request

from nas.bundle import RESEARCH_USE
from nas.predictor import Predictor
from serve.batcher import Batcher
from serve.errors import LOGGER, ApiError
from serve.gate import Gate
from serve.memory import Tidier, one_arena
from serve.metrics import Metrics
from serve.models import LOADING, Models, Stamp, Unready, find, load, silence_parsers, stamp
from serve.settings import Settings

DECODERS = 2
"""Images decoded at once. The largest that is allowed, 40 megapixels with alpha, takes about 310 MB
and its own bytes on its way to the network; a hostile one of that size up to 460 MB (measured one
at a time, in a process of its own)."""


class Service:
    """Settings and threads for the server's life, and models that can be replaced as a whole.

    Args:
        settings: what the server was told.
        metrics: what is counted.

    Attributes:
        models: those that are served, or why there are none. A request takes its own once and keeps
            it, whatever is taken over meanwhile.
        gate: the places for images.
        batcher: where networks compute.
        decoders: where images are decoded.
        tidier: of the memory that they leave.
    """

    def __init__(self, settings: Settings | None = None, metrics: Metrics | None = None) -> None:
        self.settings = settings or Settings()
        self.metrics = metrics or Metrics()
        self.models: Models | Unready = LOADING
        self.gate = Gate(self.settings.queue)
        self.batcher = Batcher(
            self.settings.batch,
            self.settings.batch_wait_ms / 1000,
            arriving=lambda: len(self.gate),
            observe=lambda model, size: self.metrics.batch(model.name, size),
        )
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
        self.metrics.watch_queue(lambda: len(self.gate))
        self.tidier = Tidier()
        self._loading = threading.Lock()
        self._stamp: Stamp | None = None

    @classmethod
    def of(cls, request: Request) -> "Service":
        """The service of the application that a request came to."""
        service: Service = request.app.state.service
        return service

    def start(self) -> None:
        """Load the models. Blocks."""
        silence_parsers()
        LOGGER.info("settings: %s", " ".join(self.settings.lines()))
        self.refresh()
        gc.freeze()  # what is here stays: no later search for garbage looks at it again
        LOGGER.info(RESEARCH_USE)

    def loaded(self) -> Models:
        """The models.

        Raises:
            ApiError: there are none (503).
        """
        models = self.models
        if isinstance(models, Unready):
            raise models.error()
        return models

    def model(self, name: str | None = None) -> Predictor:
        """The model of that name, or the default.

        Raises:
            ApiError: there is none at all (503) or none of that name (404).
        """
        return self.loaded().named(name)

    @contextmanager
    def admitted(self, images: int = 1) -> Iterator[None]:
        """Hold places for images; a refusal is counted.

        Raises:
            ApiError: there are not so many (503).
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.gate.admitted(images))
            except ApiError:
                self.metrics.refused(images)
                raise
            yield

    def look(self) -> None:
        """Refuse already now what would find no place in any case; a refusal is counted.

        Raises:
            ApiError: no place is left (503).
        """
        try:
            self.gate.look()
        except ApiError:
            self.metrics.refused()
            raise

    def refresh(self, *, again: bool = False) -> bool:
        """Take over the newest export if it is another one. Blocks; called in a worker thread.

        A new export that cannot be loaded is said once, and the present models stay.

        Args:
            again: load it even if it is the same.

        Returns:
            Whether models were taken over.
        """
        with self._loading:
            paths = find(self.settings)
            seen = stamp(paths)
            if seen == self._stamp and not again:
                return False
            self._stamp = seen
            found = load(self.settings, paths)
            if isinstance(found, Unready) and isinstance(self.models, Models):
                LOGGER.error("the models loaded before stay: %s", found.message)
                return False
            self.models = found
            loaded = found.infos() if isinstance(found, Models) else []
            self.metrics.models(loaded)
            return bool(loaded)

    def close(self) -> None:
        """Finish what was admitted and end the threads."""
        self.batcher.close()
        self.decoders.shutdown()


async def watch(service: Service) -> None:
    """Look for a new export every so many seconds, for ever."""
    while True:
        await asyncio.sleep(service.settings.watch_s)
        try:
            await asyncio.to_thread(service.refresh)
        except Exception:  # noqa: BLE001 - a folder that cannot be read now may be readable later
            LOGGER.exception("looking for a new export failed; it is tried again")


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """A service from its start to its end."""
    watching: asyncio.Task[None] | None = None
    one_arena()
    try:
        await asyncio.to_thread(service.start)
        if service.settings.watch_s:
            watching = asyncio.create_task(watch(service))
        yield
    finally:
        if watching is not None:
            watching.cancel()
        await asyncio.to_thread(service.close)
