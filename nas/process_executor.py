"""Jobs in processes of this machine, one for each slot.

A process is started when a slot first has a job, and takes one after the other, so imports and the
evaluator cost their time once. It shares nothing with any other process but its own pipe: a kill in
the middle of a message ends that pipe, and nobody waits for a lock that a dead process holds.
"""

import atexit
import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker

from nas.errors import SettingsError, WorkerLost
from nas.executors import Done, Report, Stop
from nas.jobs import Evaluator, Job
from nas.worker import READY, STOP, Ended, Order, Raised, Said, pickled, serve
from nas.workers import GPUS, Place, Slots

POLL_S = 0.2
"""Seconds between questions whether to stop, and between looks for dead processes."""

GRACE_S = 1.0
"""Seconds in which processes may end by themselves, all together."""


class Processes:
    """Runs jobs in processes of this machine; see Executor.

    Args:
        evaluator: pickled once; every process has its own copy.
        report: see Executor.
        stop: see Executor; asked about every POLL_S seconds until it is True.
        devices: one a slot, such as "cpu" or "cuda:1".
        threads: of each process, for arithmetic.

    Raises:
        SettingsError: no devices or threads, a GPU that is not visible, or an evaluator that
            cannot be pickled.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        report: Report,
        stop: Stop,
        *,
        devices: Sequence[str],
        threads: int,
    ) -> None:
        slots, visible = Slots(tuple(devices), threads), os.environ.get(GPUS)
        self._places = [Place.of(device, threads, visible) for device in slots.devices]
        self._workers: list[_Worker | None] = [None for _ in devices]
        self._report, self._stop, self._told = report, stop, False
        self._evaluator, self._threads = pickled(evaluator), threads
        self._done: deque[Done] = deque()
        # Python waits at its exit for every process that it started.
        atexit.register(self.close)

    @property
    def slots(self) -> int:
        """See Executor."""
        return len(self._places)

    def submit(self, ticket: int, job: Job) -> None:
        """See Executor."""
        for slot, worker in enumerate(self._workers):
            if worker is None or worker.ticket is None:
                self._begin(slot, worker, ticket, job)
                return
        raise RuntimeError(f"a job needs a free slot, but all {self.slots} are taken; wait for one")

    def wait(self) -> Done:
        """See Executor."""
        while not self._done:
            self._look()
        return self._done.popleft()

    def close(self) -> None:
        """See Executor."""
        atexit.unregister(self.close)
        workers = [worker for worker in self._workers if worker is not None]
        self._workers = [None for _ in self._places]
        for worker in workers:
            worker.line.close()
        deadline = time.monotonic() + GRACE_S
        for worker in workers:
            worker.end(deadline)

    def _begin(self, slot: int, worker: "_Worker | None", ticket: int, job: Job) -> None:
        if worker is not None and worker.dead():  # while it had nothing to do
            worker.end(time.monotonic())
            worker = None
        if worker is None:
            worker = _Worker(self._places[slot], self._threads, self._evaluator)
            self._workers[slot] = worker
        worker.ticket = ticket
        if self._told:
            worker.send(STOP)
        worker.send(pickle.dumps(Order.of(ticket, job)))

    def _look(self) -> None:
        """Take in what workers say within POLL_S seconds, and tell them to stop."""
        busy = [(n, w) for n, w in enumerate(self._workers) if w and w.ticket is not None]
        if not busy:
            raise RuntimeError("waiting needs a job under way, but there is none; submit one")
        # Looked for before reading: what a process said before its death counts. Its pipe may
        # stay open after it, in a process that the evaluator started.
        dead = [worker for _, worker in busy if worker.dead()]
        heard = connection.wait([worker.line for _, worker in busy], 0 if dead else POLL_S)
        if not self._told and self._stop():
            self._told = True
            for _, worker in busy:
                worker.send(STOP)
        for slot, worker in busy:
            if worker.line in heard:
                self._hear(slot, worker)
            elif worker in dead:
                self._lose(slot, worker)

    def _hear(self, slot: int, worker: "_Worker") -> None:
        """Take in one message."""
        try:
            data = worker.line.recv_bytes()
        except (EOFError, OSError):
            self._lose(slot, worker)
            return
        if data == READY:
            worker.ready()
            return
        match pickle.loads(data):
            case Said(ticket, what):
                # A thread that an evaluator left behind may speak after the end.
                if ticket == worker.ticket:
                    self._report(ticket, what)
            case Ended(ticket, result):
                worker.ticket = None
                self._done.append(Done(ticket, result))
            case Raised(error):
                worker.ticket = None
                raise error

    def _lose(self, slot: int, worker: "_Worker") -> None:
        """Give up a worker that died; the slot's next job starts another."""
        assert worker.ticket is not None
        self._workers[slot] = None
        status = worker.end(time.monotonic() + GRACE_S)
        if status > 0 and not worker.up:
            raise SettingsError(
                f"a worker process must start, but ended with status {status} (what it printed "
                'tells why); a script must search only below if __name__ == "__main__"'
            )
        died = (
            f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"status {status}"
        )
        lost = WorkerLost(
            f"a worker must live until its job ends, but process {worker.number} ended ({died}); "
            "the job can go on in another"
        )
        self._done.append(Done(worker.ticket, lost))


class _Worker:
    """A process, and the pipe to it.

    Attributes:
        line: the driver's end of the pipe.
        number: of the process.
        ticket: of the job that it does, if it does one.
        up: whether it has started.
    """

    def __init__(self, place: Place, threads: int, evaluator: bytes) -> None:
        # Nothing is forked: neither CUDA nor threads survive that.
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        # No daemon: those may not have children, such as a loader's processes.
        arguments = (theirs, os.getpid(), place.device, threads)
        self._process = context.Process(target=serve, args=arguments)
        try:
            with _environment(place.environment), _signals_held():
                self._process.start()
        except BaseException:
            self.line.close()  # which ends it, if it has begun
            raise
        finally:
            theirs.close()
        self.number = self._process.pid
        self.ticket: int | None = None
        self.up = False
        self._waiting = [evaluator]

    def send(self, data: bytes) -> None:
        """Send, or keep until it has started."""
        if not self.up:
            self._waiting.append(data)
            return
        with suppress(OSError):  # it died, which is seen when it is listened to
            self.line.send_bytes(data)

    def ready(self) -> None:
        """Send what was kept."""
        self.up = True
        for data in self._waiting:
            self.send(data)
        self._waiting = []

    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._process.exitcode is not None

    def end(self, deadline: float) -> int:
        """Hang up and wait for the process to end, which is killed at ``deadline``.

        Returns:
            Its exit status, negative for a signal.
        """
        self.line.close()
        self._process.join(max(0.0, deadline - time.monotonic()))
        if not self.dead():
            self._process.kill()
            self._process.join()
        return self._process.exitcode or 0


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Within the block processes that are started have these variables."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _signals_held() -> Iterator[None]:
    """Within the block processes that are started have signals blocked, until they ignore them.

    One that comes meanwhile is not lost here, but comes after it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which unblocks them, if it is not running
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
