"""One job as a Ray task, and the desk where it leaves what it says. Runs on a cluster's nodes."""

import pickle
import time
from typing import Any

from nas.jobs import Evaluator
from nas.worker import Order, Said, attempt, loaded, packed

POLL_S = 0.2
"""Seconds between questions to the desk, of the driver or of a job."""


class Desk:
    """Where jobs leave what they say, and learn whether to stop."""

    def __init__(self) -> None:
        self._said: list[bytes] = []
        self._told = False

    def say(self, said: bytes) -> None:
        """Keep it for the driver."""
        self._said.append(said)

    def told(self) -> bool:
        """Whether to stop."""
        return self._told

    def exchange(self, told: bool) -> list[bytes]:
        """For the driver: what was said; and now it is known whether to stop."""
        self._told = told
        said, self._said = self._said, []
        return said


def do(parcel: list[Any], order: Order, desk: Any, threads: int, told: bool) -> bytes:
    """A task: one job.

    Args:
        parcel: holds the reference to the pickled evaluator.
        order: the job; its device is a GPU where Ray gave a share of one.
        desk: an actor of Desk.
        threads: of torch.
        told: whether to stop, as the driver knew.

    Returns:
        Ended or Raised, pickled.
    """
    import ray

    evaluator = _evaluator(parcel[0], threads)
    device = "cuda:0" if ray.get_gpu_ids() else "cpu"
    line = _Line(desk, order.ticket, told)
    return packed(attempt(evaluator, order, device, line.report, line.told))


_KEPT: dict[str, Evaluator] = {}
"""This worker process's evaluator, by what Ray calls its pickle: one task of many unpickles it."""


def _evaluator(parcel: Any, threads: int) -> Evaluator:
    import ray

    key = parcel.hex()
    if key not in _KEPT:
        content = ray.get(parcel)
        _KEPT.clear()
        _KEPT[key] = loaded(lambda: pickle.loads(content), threads)
    return _KEPT[key]


class _Line:
    """From a job to the desk."""

    def __init__(self, desk: Any, ticket: int, told: bool) -> None:
        self._desk, self._ticket, self._told = desk, ticket, told
        self._question: Any = None
        self._asked = -POLL_S

    def report(self, what: Any) -> None:
        """Say something; when it returns, the desk has it."""
        import ray

        ray.get(self._desk.say.remote(pickle.dumps(Said(self._ticket, what))))

    def told(self) -> bool:
        """Whether to stop, as known a moment ago: a training step does not wait for an answer."""
        import ray

        if self._told:
            return True
        now = time.monotonic()
        if self._question is None and now - self._asked >= POLL_S:
            self._question, self._asked = self._desk.told.remote(), now
        if self._question is not None and ray.wait([self._question], timeout=0)[0]:
            self._told = ray.get(self._question)
            self._question = None
        return self._told
