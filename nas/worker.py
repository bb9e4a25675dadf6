"""A process that does jobs for a driver, and what the two say to each other.

    driver                      worker
      |   <- ready                |     it is up; only now it can take much at once
      |   evaluator, pickled ->   |
      |   Order ->                |     one at a time
      |   <- Said ...             |
      |   <- Ended or Raised      |
      |   STOP ->                 |     at any time; every job from then on ends after its epoch

A worker reads in a thread of its own. So the driver never waits for one that is at work, a question
whether to stop costs nothing, and a worker whose driver is gone ends at once.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Self

from nas.errors import Interrupted, SettingsError, TrainingError
from nas.executors import Stop, watching
from nas.jobs import Evaluator, Job, Outcome

READY = b"ready"
STOP = b"stop"  # neither is the beginning of a pickle


@dataclass(frozen=True, slots=True)
class Order:
    """A job to do, pickled: one that cannot be unpickled is an error of that job."""

    ticket: int
    job: bytes

    @classmethod
    def of(cls, ticket: int, job: Job, dumps: Callable[[Any], bytes] = pickle.dumps) -> Self:
        """To do this job."""
        return cls(ticket, dumps(job))


@dataclass(frozen=True, slots=True)
class Said:
    """What the evaluator says while it works."""

    ticket: int
    what: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended."""

    ticket: int
    result: Outcome | TrainingError | Interrupted


@dataclass(frozen=True, slots=True)
class Raised:
    """An error that is the driver's to raise."""

    error: Exception

    @classmethod
    def by(cls, error: Exception) -> Self:
        """Any error as one that can be sent; the traceback, which pickles lose, is its note."""
        try:
            sent: Exception = pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - classes pickle as they please
            sent = RuntimeError(f"{type(error).__qualname__}: {error}")
        trace = "".join(traceback.format_exception(error))
        sent.add_note(f"In worker process {os.getpid()}:\n{trace}")
        return cls(sent)


def attempt(
    evaluator: Evaluator, order: Order, device: str, report: Callable[[Any], None], stop: Stop
) -> Ended | Raised:
    """Do a job on a device."""
    try:
        job = replace(pickle.loads(order.job), device=device)
        return Ended(order.ticket, watching(evaluator, report, stop).evaluate(job))
    except (TrainingError, Interrupted) as error:
        return Ended(order.ticket, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver raises it
        return Raised.by(error)


def packed(message: Ended | Raised) -> bytes:
    """Pickled; an outcome that cannot be is an error for the driver."""
    try:
        return pickle.dumps(message)
    except Exception as error:  # noqa: BLE001 - classes pickle as they please
        return pickle.dumps(Raised.by(error))


def pickled(evaluator: Evaluator, dumps: Callable[[Any], bytes] = pickle.dumps) -> bytes:
    """To be loaded in other processes.

    Raises:
        SettingsError: it cannot be.
    """
    try:
        return dumps(evaluator)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"an evaluator must be pickled to go to other processes, but {type(evaluator).__name__}"
            f" cannot be ({error}); keep open files, locks and functions without a name out of it, "
            "or use one worker"
        ) from None


def loaded(load: Callable[[], Evaluator], threads: int) -> Evaluator:
    """An evaluator in this process, and torch prepared for it where it uses that.

    Args:
        load: gets it; what it raises is raised by every job.
        threads: of torch.
    """
    try:
        evaluator = load()
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver raises it
        return _Unloaded(error)
    if "torch" in sys.modules:
        import torch

        from nas.devices import keep_freed_memory

        torch.set_num_threads(threads)
        keep_freed_memory()
    return evaluator


@dataclass(frozen=True)
class _Unloaded:
    """Stands for an evaluator that could not be had."""

    error: Exception

    def evaluate(self, job: Job) -> Outcome:  # noqa: ARG002 - it does none
        """Raise why."""
        raise self.error


def serve(connection: Connection, driver: int, device: str, threads: int) -> None:
    """Be a worker until the driver hangs up.

    Args:
        connection: to the driver.
        driver: its process id.
        device: of every job.
        threads: of torch.
    """
    _begin(driver)
    line = _Line(connection)
    line.send(READY)
    evaluator = loaded(lambda: pickle.loads(line.inbox.get()), threads)
    while True:
        _do(pickle.loads(line.inbox.get()), evaluator, device, line)


def _do(order: Order, evaluator: Evaluator, device: str, line: "_Line") -> None:
    def report(what: Any) -> None:
        line.say(Said(order.ticket, what))

    line.say(attempt(evaluator, order, device, report, line.told))


class _Line:
    """To the driver."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stop = threading.Event()
        self.inbox: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def told(self) -> bool:
        """Whether the driver said to stop."""
        return self._stop.is_set()

    def say(self, message: Said | Ended | Raised) -> None:
        """Send; raises what pickling what was said raises."""
        self.send(pickle.dumps(message) if isinstance(message, Said) else packed(message))

    def send(self, data: bytes) -> None:
        """Send."""
        try:
            self._connection.send_bytes(data)
        except OSError:
            os._exit(1)  # as in _listen

    def _listen(self) -> None:
        while True:
            try:
                data = self._connection.recv_bytes()
            except (EOFError, OSError):
                os._exit(1)  # nobody is left to work for, and a kill loses nothing
            if data == STOP:
                self._stop.set()
            else:
                self.inbox.put(data)


def _begin(driver: int) -> None:
    """Leave signals to the driver, print where it does not disturb, and never outlive it."""
    # A terminal's Ctrl-C, or a batch system's SIGTERM, reaches every process of the group.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    if sys.platform == "linux":
        # Beside the end of the pipe, which waits for a thread of Python to run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:
            os._exit(1)
    # What the driver prints may be piped into a program; libraries print to the descriptor.
    sys.stdout = sys.stderr
    with suppress(OSError):
        os.dup2(2, 1)


_PR_SET_PDEATHSIG = 1  # from prctl.h
