"""Images of several requests in one forward pass."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.images import Pixels
from nas.predictor import Prediction, Predictor


@dataclass(frozen=True, slots=True)
class _Image:
    model: Predictor
    pixels: Pixels
    future: "Future[Prediction]"


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[], Any]
    future: "Future[Any]"


class Batcher:
    """One thread that does all that the networks compute, in the order of arrival.

    torch divides one pass among all cores, so a second pass at the same time would only take them
    away. While a pass runs, what arrives collects, and the next pass takes it together. The thread
    waits for more only where more is on its way: a lone request never waits.

    Args:
        limit: the most images of one pass.
        wait_s: the longest that an image waits for others.
        arriving: how many images are admitted and not yet answered; those that are not queued here
            are on their way.
        observe: told the model and the number of images of every pass.
    """

    def __init__(
        self,
        limit: int,
        wait_s: float,
        arriving: Callable[[], int] = lambda: 0,
        observe: Callable[[Predictor, int], None] = lambda *_: None,
    ) -> None:
        self._limit, self._wait_s = limit, wait_s
        self._arriving, self._observe = arriving, observe
        self._queue: deque[_Image | _Call] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def predict(self, model: Predictor, pixels: Pixels) -> "Future[Prediction]":
        """Have one image predicted.

        Args:
            model: whose ``decode`` made the pixels.
            pixels: (channels, size, size) uint8.

        Returns:
            The prediction to come. Cancelled before its pass begins, it costs nothing.
        """
        future: Future[Prediction] = Future()
        self._put(_Image(model, pixels, future))
        return future

    def call(self, work: Callable[[], Any]) -> "Future[Any]":
        """Have something else computed in this thread, in its turn."""
        future: Future[Any] = Future()
        self._put(_Call(work, future))
        return future

    def __len__(self) -> int:
        """How many images and calls wait."""
        return len(self._queue)

    def close(self) -> None:
        """Finish what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _put(self, item: _Image | _Call) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            if self._thread is None:
                # A daemon: a process that is told to end at once does not wait for a pass.
                self._thread = threading.Thread(target=self._run, name="networks", daemon=True)
                self._thread.start()
            self._queue.append(item)
            self._changed.notify_all()

    def _run(self) -> None:
        while (items := self._next()) is not None:
            running = [item for item in items if item.future.set_running_or_notify_cancel()]
            if not running:
                continue
            if isinstance(running[0], _Call):
                _settle(running[0].future, running[0].work)
            else:
                self._pass([item for item in running if isinstance(item, _Image)])
            # An idle thread must not keep the last images and answers alive.
            del items, running

    def _next(self) -> list[_Image | _Call] | None:
        """What is computed next: one call, or images of one model; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return None
            first = self._queue[0]
            if isinstance(first, _Call):
                return [self._queue.popleft()]
            until = time.monotonic() + self._wait_s
            while len(self._queue) < self._limit and self._arriving() > len(self._queue):
                if self._closed or not self._changed.wait(until - time.monotonic()):
                    break
            taken: list[_Image | _Call] = []
            left: deque[_Image | _Call] = deque()
            for item in self._queue:
                same = isinstance(item, _Image) and item.model is first.model
                (taken if same and len(taken) < self._limit else left).append(item)
            self._queue = left
            return taken

    def _pass(self, images: list[_Image]) -> None:
        model = images[0].model
        self._observe(model, len(images))
        try:
            found = model.predict_pixels(np.stack([image.pixels for image in images]))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(images) == 1:
                images[0].future.set_exception(error)
            else:  # one of them may be at fault, or all together were too much: each by itself
                for image in images:
                    self._pass([image])
            return
        for image, prediction in zip(images, found, strict=True):
            image.future.set_result(prediction)


def _settle(future: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - whoever asked gets it
        future.set_exception(error)
    else:
        future.set_result(result)
