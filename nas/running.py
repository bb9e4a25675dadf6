"""Which executor runs a search's jobs: an explicit table, name -> how to make it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas.errors import SettingsError
from nas.executors import Executor, Inline, Report, Stop
from nas.jobs import Evaluator
from nas.process_executor import Processes
from nas.ray_executor import RayExecutor
from nas.workers import Slots, plan, usable_cores

DEFAULT_EXECUTOR = "auto"


@dataclass(frozen=True, slots=True)
class Running:
    """How jobs are run.

    Attributes:
        executor: a name of EXECUTORS.
        workers: jobs at once; None for one, and on GPUs for as many as their memory holds.
        device: of jobs: "cpu", "mps", "cuda" for all GPUs, or "cuda:N".
        ray_address: of a Ray cluster: "auto", "HOST:PORT" or "ray://HOST:PORT"; None starts one on
            this machine.
        gpus_per_job: share of a GPU that a job on Ray takes; 0 for none.
        cpus_per_job: cores that a job on Ray takes.
    """

    executor: str = DEFAULT_EXECUTOR
    workers: int | None = 1
    device: str = "cpu"
    ray_address: str | None = None
    gpus_per_job: float = 0.0
    cpus_per_job: float = 1.0

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise SettingsError(
                f"--executor must be one of {', '.join(EXECUTORS)}, but is {self.executor!r}; "
                f"{DEFAULT_EXECUTOR} is the default"
            )
        if self.workers is not None and self.workers < 1:
            raise SettingsError(
                f"--workers must be at least 1, but is {self.workers}; 1 is the default"
            )
        if self.executor == "inline" and self.workers not in (1, None):
            raise SettingsError(
                f"--executor inline has one worker, but --workers is {self.workers}; use "
                "--executor processes"
            )

    def make(self, evaluator: Evaluator, report: Report, stop: Stop) -> Executor:
        """The executor.

        Raises:
            SettingsError: it cannot run here as asked.
        """
        return EXECUTORS[self.executor](self, evaluator, report, stop)


def _inline(_: Running, evaluator: Evaluator, report: Report, stop: Stop) -> Executor:
    return Inline(evaluator, report, stop)


def _processes(running: Running, evaluator: Evaluator, report: Report, stop: Stop) -> Executor:
    slots = _slots(running)
    return Processes(evaluator, report, stop, devices=slots.devices, threads=slots.threads)


def _auto(running: Running, evaluator: Evaluator, report: Report, stop: Stop) -> Executor:
    several = running.workers != 1 and len(_slots(running).devices) > 1
    return (_processes if several else _inline)(running, evaluator, report, stop)


def _ray(running: Running, evaluator: Evaluator, report: Report, stop: Stop) -> Executor:
    return RayExecutor(
        evaluator,
        report,
        stop,
        address=running.ray_address,
        slots=running.workers or 1,
        gpus_per_job=running.gpus_per_job,
        cpus_per_job=running.cpus_per_job,
    )


EXECUTORS: Mapping[str, Callable[[Running, Evaluator, Report, Stop], Executor]] = {
    "auto": _auto,
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
}


def _slots(running: Running) -> Slots:
    memory: list[int] = []
    if running.device.startswith("cuda"):
        import torch  # only here: a search of tables needs none

        memory = [torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())]
    return plan(running.workers, running.device, memory, usable_cores())
