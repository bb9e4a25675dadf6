"""An evaluator that does what its genome says, in whatever process it is."""

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.errors import Interrupted, TrainingError, TrainingFailure
from nas.jobs import Job, Outcome

PATIENCE_S = 60
BALLAST = b"x" * 1_000_000
"""More than a pipe takes at once."""
LOADS: list[int] = []
"""Of this process: one for every time that an evaluator was unpickled."""


@dataclass(frozen=True)
class Deed:
    """A genome: what to do, in which folder, as which of several."""

    act: str
    folder: Path = Path()
    name: str = ""


def silent(_: Any) -> None:
    """Report to nobody."""


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True)
class Doer:
    """Does deeds; the score of those that end well is the job's seed."""

    report: Callable[[Any], None] = silent
    stop: Callable[[], bool] = never
    ballast: bytes = BALLAST

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        LOADS.append(1)

    def watched(self, report: Callable[[Any], None], stop: Callable[[], bool]) -> "Doer":
        return replace(self, report=report, stop=stop)

    def evaluate(self, job: Job) -> Outcome:
        metrics = ACTS[job.genome.act](self, job.genome)
        facts = {
            "device": job.device,
            "process": os.getpid(),
            "parent": os.getppid(),
            "ballast": self.ballast == BALLAST,
            "loads": len(LOADS),
        }
        return Outcome(float(job.seed), 0.5, {**facts, **(metrics or {})}, job.checkpoint)


class Odd(Exception):
    """Is pickled, but cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def until(condition: Callable[[], bool]) -> None:
    """Wait for others, within bounds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.005)


def score(_: Doer, __: Deed) -> None:
    """Nothing but the score."""


def fail(_: Doer, __: Deed) -> None:
    raise TrainingError(TrainingFailure.NOT_FINITE, "losses must be finite, but one was not")


def err(_: Doer, deed: Deed) -> None:
    raise KeyError(f"wrong in {deed.act}")


def err_oddly(_: Doer, __: Deed) -> None:
    raise Odd(1, 2)


def answer_oddly(_: Doer, __: Deed) -> dict[str, Any]:
    return {"no pickle": lambda: None}


def report_oddly(doer: Doer, __: Deed) -> None:
    doer.report(lambda: None)


def report(doer: Doer, deed: Deed) -> None:
    for number in range(5):
        doer.report((deed.name, number))


def report_much(doer: Doer, _: Deed) -> dict[str, Any]:
    for number in range(3):
        doer.report((number, BALLAST))
    return {"much": BALLAST}


def meet(_: Doer, deed: Deed) -> None:
    """End only when two are there at once."""
    (deed.folder / deed.name).touch()
    until(lambda: len(list(deed.folder.iterdir())) >= 2)


def linger(doer: Doer, deed: Deed) -> None:
    """Go on until asked to stop."""
    doer.report("begun")
    until(doer.stop)
    raise Interrupted(f"stopped {deed.name}")


def ask_once(doer: Doer, deed: Deed) -> None:
    """Know at once whether to stop."""
    if doer.stop():
        raise Interrupted(f"stopped {deed.name}")


def hold(doer: Doer, deed: Deed) -> None:
    """Go on until the folder has a file "free"."""
    doer.report((os.getpid(), os.getppid()))
    until((deed.folder / "free").exists)


def report_on(doer: Doer, deed: Deed) -> None:
    """Report again and again until the folder has a file "free"."""
    numbers = itertools.count()

    def again() -> bool:
        doer.report(next(numbers))
        return (deed.folder / "free").exists()

    until(again)


def hang(doer: Doer, _: Deed) -> None:
    """Never end, and never ask."""
    doer.report(os.getpid())
    while True:
        signal.pause()


def die_once(_: Doer, deed: Deed) -> None:
    """Be killed at the first attempt, when the other is at work; then end the other."""
    first = deed.folder / "died"
    if not first.exists():
        until((deed.folder / "waits").exists)
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (deed.folder / "again").touch()


def wait_for_again(_: Doer, deed: Deed) -> None:
    (deed.folder / "waits").touch()
    until((deed.folder / "again").exists)


def die_talking(doer: Doer, _: Deed) -> None:
    """Be killed in the middle of a message that nobody reads yet."""
    pid = os.fork()
    if pid == 0:
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    while True:
        doer.report(BALLAST)


def die_with_a_child(_: Doer, deed: Deed) -> None:
    """Be killed while another process has every descriptor."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    (deed.folder / "child").write_text(str(pid))
    os.kill(os.getpid(), signal.SIGKILL)


def start_a_child(_: Doer, __: Deed) -> dict[str, Any]:
    child = multiprocessing.get_context("spawn").Process(target=never)
    child.start()
    child.join(PATIENCE_S)
    return {"child": child.exitcode}


def leave(_: Doer, __: Deed) -> None:
    os._exit(3)


def be_signalled(_: Doer, __: Deed) -> dict[str, Any]:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return {"blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}


def write(_: Doer, __: Deed) -> None:
    print("printed", flush=True)
    os.write(1, b"written")


def environment(_: Doer, __: Deed) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {name: os.environ.get(name) for name in names} | {"torch": "torch" in sys.modules}


def threads(_: Doer, __: Deed) -> dict[str, Any]:
    import torch

    return {"threads": torch.get_num_threads()}


ACTS: dict[str, Callable[[Doer, Deed], dict[str, Any] | None]] = {
    act.__name__: act
    for act in (
        *(score, fail, err, err_oddly, answer_oddly, report_oddly, report, report_much, report_on),
        *(
            meet,
            linger,
            ask_once,
            hold,
            hang,
            die_once,
            wait_for_again,
            die_talking,
            die_with_a_child,
        ),
        *(start_a_child, leave, be_signalled, write, environment, threads),
    )
}


class Unloadable:
    """Is pickled, but unpickling it fails."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return refuse, ()

    def evaluate(self, job: Job) -> Outcome:
        raise AssertionError("never loaded")


def refuse() -> None:
    raise FileNotFoundError("the images are gone")


def job(act: str, seed: int = 0, folder: Path = Path(), name: str = "") -> Job:
    """A job that is such a deed."""
    return Job(Deed(act, folder, name), 0, 1, seed=seed, checkpoint=folder / "checkpoint.pt")
