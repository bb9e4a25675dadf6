"""Which executor runs a search's jobs: an explicit table, name -> how to make it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas.errors import SettingsError
from nas.executors import Executor, Inline, Report, Stop
from nas.jobs import Evaluator

DEFAULT_EXECUTOR = "auto"


@dataclass(frozen=True)
class Running:
    """Options of executors other than the one in this process.

    Attributes:
        threads: of torch in each worker on a CPU; None divides the processors among them.
        ray_address: of a Ray cluster; None starts one on this machine.
        gpus_per_job: share of a GPU that a job of a Ray cluster takes; 0 for none.
        cpus_per_job: processors that a job of a Ray cluster takes.
    """

    threads: int | None = None
    ray_address: str | None = None
    gpus_per_job: float = 0.0
    cpus_per_job: float = 1.0


Make = Callable[[Evaluator, Report, Stop, int, str, Running], Executor]


def _inline(
    evaluator: Evaluator, report: Report, stop: Stop, workers: int, device: str, options: Running
) -> Executor:
    del device, options
    if workers != 1:
        raise SettingsError(
            f"--executor inline has one worker, but --workers is {workers}; "
            "use --executor processes"
        )
    return Inline(evaluator, report, stop)


def _auto(
    evaluator: Evaluator, report: Report, stop: Stop, workers: int, device: str, options: Running
) -> Executor:
    make = _inline if workers == 1 else EXECUTORS["processes"]
    return make(evaluator, report, stop, workers, device, options)


EXECUTORS: Mapping[str, Make] = {"auto": _auto, "inline": _inline}


def make_executor(
    name: str,
    evaluator: Evaluator,
    report: Report,
    stop: Stop,
    *,
    workers: int,
    device: str,
    options: Running,
) -> Executor:
    """An executor by its name.

    Raises:
        SettingsError: no such executor, or it cannot run here as asked.
    """
    if name not in EXECUTORS:
        raise SettingsError(
            f"--executor must be one of {', '.join(EXECUTORS)}, but is {name!r}; choose one"
        )
    if workers < 1:
        raise SettingsError(f"--workers must be at least 1, but is {workers}; 1 is the default")
    return EXECUTORS[name](evaluator, report, stop, workers, device, options)
