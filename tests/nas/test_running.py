"""Which executor runs jobs, by what is asked for."""

import inspect
from typing import Any

import pytest
import torch

from nas import running as module
from nas.errors import SettingsError
from nas.executors import Executor, Inline
from nas.process_executor import Processes
from nas.ray_executor import RayExecutor
from nas.running import DEFAULT_EXECUTOR, EXECUTORS, Running
from nas.search_command import _parser
from nas.workers import Slots, plan
from tests.nas.lookups import Lookup

GIB = 2**30


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 4)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a pool of processes and Ray are made with, instead of making them."""
    seen: dict[str, Any] = {}

    def noting(kind: type) -> Any:
        signature = inspect.signature(kind)

        def make(*arguments: Any, **named: Any) -> str:
            signature.bind(*arguments, **named)  # as it takes them
            seen.update(named)
            return kind.__name__

        return make

    monkeypatch.setattr(module, "Processes", noting(Processes))
    monkeypatch.setattr(module, "RayExecutor", noting(RayExecutor))
    return seen


def made(**settings: Any) -> Executor | str:
    evaluator: Any = object()
    return Running(**settings).make(evaluator, lambda *_: None, lambda: False)


def test_one_worker_is_this_process() -> None:
    assert isinstance(made(), Inline)
    assert isinstance(made(executor="inline"), Inline)
    assert isinstance(made(executor="inline", workers=None), Inline)
    assert isinstance(made(workers=None), Inline)  # a CPU has one, unless told otherwise


def test_several_workers_are_processes(asked: dict[str, Any]) -> None:
    assert made(workers=2) == "Processes"
    assert asked == {"devices": ("cpu", "cpu"), "threads": 2}
    assert made(workers=4, executor="processes") == "Processes"
    assert asked == {"devices": ("cpu",) * 4, "threads": 1}
    assert made(workers=1, executor="processes") == "Processes"
    assert asked == {"devices": ("cpu",), "threads": 4}


def test_real_processes_have_a_slot_for_each_worker(tmp_path: Any) -> None:
    executor = Running("processes", workers=3).make(
        Lookup(tmp_path), lambda *_: None, lambda: False
    )
    assert isinstance(executor, Processes)
    assert executor.slots == 3
    executor.close()


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, of which the second has less free memory."""
    free = [40 * GIB, 9 * GIB]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free[gpu], 80 * GIB))


@pytest.mark.parametrize(
    ("workers", "device", "kind"),
    [
        (1, "cuda", "Inline"),
        (1, "cuda:1", "Inline"),
        (2, "cuda", "Processes"),
        (None, "cuda", "Processes"),
        (None, "cuda:1", "Processes"),
        (3, "cuda:1", "Processes"),
    ],
)
def test_on_gpus_their_free_memory_is_asked_for(
    asked: dict[str, Any], two_gpus: None, workers: int | None, device: str, kind: str
) -> None:
    executor = made(workers=workers, device=device)
    assert executor == kind or type(executor).__name__ == kind
    if kind == "Processes":
        expected: Slots = plan(workers, device, [40 * GIB, 9 * GIB], 4)
        assert asked == {"devices": expected.devices, "threads": expected.threads}


def test_ray_gets_everything_it_needs(asked: dict[str, Any]) -> None:
    wanted = {"address": "here:1", "slots": 3, "gpus_per_job": 0.5, "cpus_per_job": 2.0}
    changes: dict[str, Any] = {"ray_address": "here:1", "gpus_per_job": 0.5, "cpus_per_job": 2.0}
    assert made(executor="ray", workers=3, **changes) == "RayExecutor"
    assert asked == wanted
    assert made(executor="ray", workers=None, **changes) == "RayExecutor"
    assert asked == {**wanted, "slots": 1}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"executor": "threads"},
            "--executor must be one of auto, inline, processes, ray, but is 'threads'; auto is "
            "the default",
        ),
        ({"workers": 0}, "--workers must be at least 1, but is 0; 1 is the default"),
        (
            {"executor": "inline", "workers": 2},
            "--executor inline has one worker, but --workers is 2; use --executor processes",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Running(**settings)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("executor", ["auto", "processes"])
def test_more_workers_than_cores_are_refused(executor: str) -> None:
    with pytest.raises(SettingsError) as caught:
        made(workers=5, executor=executor)
    assert str(caught.value) == (
        "--workers must be at most the 4 cores that are here, but is 5; lower it"
    )


def test_the_command_has_the_same_names_and_defaults() -> None:
    usual = Running()
    names = ("executor", "ray_address", "gpus_per_job", "cpus_per_job")
    options = _parser().parse_args([])
    assert options.workers is None  # a self-test, or the memory of GPUs, says how many
    assert [getattr(options, name) for name in names] == [getattr(usual, name) for name in names]
    assert usual.executor == DEFAULT_EXECUTOR
    for name in EXECUTORS:
        assert _parser().parse_args(["--executor", name]).executor == name
