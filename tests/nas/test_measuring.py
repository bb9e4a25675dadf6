"""Figures of genomes before training: what is measured, in which order, and where it stops."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas import measuring
from nas.cost import quick_latency_ms
from nas.devices import Device
from nas.errors import TrainingError, TrainingFailure
from nas.genome import ConvBlock, Genome, ImageShape, Pool
from nas.measuring import FIGURES, SHORT, Measure
from nas.network import build
from nas.search import SearchSettings, search
from nas.study import Ended
from tests.nas.tables import PairSpace, TableEvaluator

GENOME = Genome((ConvBlock(6, 3, pool=Pool.MAX), ConvBlock(8, 3)), dropout=0.1)
IMAGE = ImageShape(1, 12, 12)
ALL = Measure(IMAGE, 2, wanted=frozenset(FIGURES))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the dear figures are measured; memory is 5 and latency 7."""
    seen: list[str] = []

    def memory(*_: Any) -> float:
        seen.append("memory_mb")
        return 5.0

    def latency(*_: Any) -> float:
        seen.append("latency_ms")
        return 7.0

    monkeypatch.setattr(measuring, "peak_memory_mb", memory)
    monkeypatch.setattr(measuring, "quick_latency_ms", latency)
    return seen


def test_every_figure_has_a_short_name() -> None:
    assert tuple(SHORT.values()) == FIGURES


@pytest.mark.parametrize("channels", [1, 3])
def test_cheap_figures_are_the_genomes_arithmetic(channels: int) -> None:
    image = ImageShape(channels, 16, 16)
    found = Measure(image, 3)(GENOME)
    assert found == {
        "parameters": GENOME.parameters(image, 3),
        "multiply_adds": GENOME.multiply_adds(image, 3),
    }
    network = build(GENOME, image, 3)
    assert found["parameters"] == sum(value.numel() for value in network.parameters())


def test_what_is_wanted_is_measured_and_nothing_else(told: list[str]) -> None:
    assert list(ALL(GENOME)) == list(FIGURES)
    assert told == ["memory_mb", "latency_ms"]
    for name in ("memory_mb", "latency_ms"):
        told.clear()
        found = replace(ALL, wanted=frozenset((name, "parameters")))(GENOME)
        assert list(found) == ["parameters", "multiply_adds", name]
        assert told == [name]


@pytest.mark.parametrize("above", FIGURES)
def test_above_a_limit_what_is_dearer_is_left_out(told: list[str], above: str) -> None:
    """In the order of FIGURES, in whatever order limits are given."""
    whole = ALL(GENOME)
    at = {name: whole[name] for name in reversed(FIGURES)}
    assert replace(ALL, limits=at)(GENOME) == whole  # at the limit is within
    told.clear()
    found = replace(ALL, limits={**at, above: whole[above] - 0.5})(GENOME)
    dear = FIGURES[2:]
    measured = dear[: dear.index(above) + 1] if above in dear else ()
    assert tuple(told) == measured
    assert list(found) == [*FIGURES[:2], *measured]


def test_memory_is_counted_and_the_same_every_time() -> None:
    """At least weights and input, in float32, and the largest activation twice."""
    measure = replace(ALL, wanted=frozenset(["memory_mb"]))
    (first, second) = (measure(GENOME)["memory_mb"] for _ in range(2))
    assert first == second
    activations = 2 * 6 * 12 * 12
    assert first >= 4 * (GENOME.parameters(IMAGE, 2) + 12 * 12 + activations) / 1e6
    wider = Genome((ConvBlock(60, 3, pool=Pool.MAX), ConvBlock(8, 3)), dropout=0.1)
    assert measure(wider)["memory_mb"] > 5 * first
    larger = replace(measure, image=ImageShape(1, 48, 48))
    assert larger(GENOME)["memory_mb"] > 5 * first


def test_latency_is_that_of_an_untrained_network_as_a_server_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def watching(network: torch.nn.Module, shape: tuple[int, int, int], device: Device) -> float:
        seen.extend((network.training, shape, device))
        return quick_latency_ms(network, shape, device)

    monkeypatch.setattr(measuring, "quick_latency_ms", watching)
    state = torch.random.get_rng_state()
    found = replace(ALL, wanted=frozenset(["latency_ms"]))(GENOME)
    assert 0 < found["latency_ms"] < 10_000
    assert seen[:2] == [False, (1, 12, 12)]
    assert (seen[2].name, seen[2].bf16) == ("cpu", False)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_memory_that_runs_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(measuring, "quick_latency_ms", full)
    with pytest.raises(TrainingError) as caught:
        ALL(GENOME)
    assert caught.value.failure is TrainingFailure.OUT_OF_MEMORY


# Within a search

SIZES = {"cheap": 3.0, "dear": 30.0}


def stopping(genome: Any) -> Mapping[str, float]:
    """As Measure does it: what is above the first limit has no dearer figure."""
    found = {"cheap": float(genome.a)}
    if genome.a <= SIZES["cheap"]:
        found["dear"] = 10.0 * genome.b
    return found


@pytest.mark.parametrize("order", [("cheap", "dear"), ("dear", "cheap")])
def test_a_search_works_where_dearer_figures_are_missing(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    wanted = SearchSettings(
        run=tmp_path,
        trials=6,
        sampler="random",
        measure=stopping,
        limits={name: SIZES[name] for name in order},
    )
    evaluator = TableEvaluator()
    result = search(PairSpace(), evaluator, wanted)
    assert len({job.genome.key for job in evaluator.jobs}) == 6
    assert all(job.genome.a <= 3 and job.genome.b <= 3 for job in evaluator.jobs)
    over = [record for record in result.trials if record.ended is Ended.OVER_LIMIT]
    reasons = {str(record.reason).partition(" ")[0] for record in over}
    assert reasons == {"cheap", "dear"}
    assert any(set(record.facts) == {"cheap"} for record in over)
