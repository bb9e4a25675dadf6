"""The simulation of schedulers: what it costs, that it repeats, and that it tells a difference."""

import re
import statistics

import pytest

from nas.scheduler import SCHEDULERS
from tests.benchmarks.schedulers import BUDGETS, Simulation, main


def run(name: str, repeats: int = 2, low: float = 0.82, seed: int = 0) -> tuple[float, Simulation]:
    simulation = Simulation(name, 200.0, repeats, low, seed)
    return simulation.run(), simulation


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("repeats", [0, 2, 8])
def test_a_search_keeps_to_its_cost_and_its_repeats(name: str, repeats: int) -> None:
    for seed in range(10):
        quality, done = run(name, repeats, seed=seed)
        assert quality in done.quality
        again = sum(len(scores) - 1 for rungs in done.scores for scores in rungs)
        first = BUDGETS[0] * len(done.scores)
        further = sum(BUDGETS[1] - BUDGETS[0] for rungs in done.scores if len(rungs) == 2)
        repeated = sum(
            (len(scores) - 1) * BUDGETS[rung]
            for rungs in done.scores
            for rung, scores in enumerate(rungs)
        )
        assert again <= repeats
        assert done.spent == first + further + repeated
        assert 200 - repeats * BUDGETS[1] - BUDGETS[1] < done.spent <= 200 + BUDGETS[1]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_same_seed_is_the_same_search(name: str) -> None:
    first, again, other = run(name)[0], run(name)[0], run(name, seed=1)[0]
    assert first == again != other


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scores_that_tell_more_find_a_better_genome(name: str) -> None:
    """By 0.3 (200 searches each; standard errors were 0.04), and far better than one by chance."""
    none, much = (
        statistics.fmean(run(name, low=low, seed=seed)[0] for seed in range(40))
        for low in (0.0, 0.95)
    )
    assert 1.5 < none < much - 0.1


def test_the_command_tells_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--searches", "3", "--cost", "60", "--low", "0.5", "0.9", "--repeats", "0", "2"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == 2 * [n for n in SCHEDULERS for _ in range(2)]
    pattern = (
        r"\w+ +repeats +[02]  low 0.[59]0  quality [\d.]+ ± [\d.]+ \(standard error\)  cost \d+"
    )
    assert all(re.fullmatch(pattern, line) for line in lines)
