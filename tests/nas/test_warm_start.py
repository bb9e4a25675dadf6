"""What a search tries first: decided once, members only, and screened within limits."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from nas.errors import RunError, SettingsError
from nas.genome import Genome, ImageShape
from nas.measuring import Measure
from nas.runfolder import RunFolder
from nas.search import SearchSettings, search
from nas.storage import Place
from nas.study import read_records
from nas.warm_start import DISCARDED, EARLIER_BEST, MOST_DRAWS, earlier_best, kept, screened
from search_spaces import SPACES
from tests.nas.tables import Pair, PairSpace, TableEvaluator, score

# Decided once


def test_what_is_decided_at_the_first_start_is_what_every_later_one_gets(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = [{"a": 1, "b": 0.25}, {"kind": "x", "none": None}]
    decisions = iter([points])
    first = kept(tmp_path / "first.json", lambda: next(decisions))
    assert first == points
    assert kept(tmp_path / "first.json", lambda: next(decisions)) == first


def test_nothing_can_be_decided_too(tmp_path: Path) -> None:
    assert kept(tmp_path / "first.json", list) == []
    assert kept(tmp_path / "first.json", lambda: [{"a": 1}]) == []


def test_a_decision_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Sequence[Mapping[str, Any]]:
        raise SettingsError("no")

    with pytest.raises(SettingsError):
        kept(tmp_path / "first.json", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"points": 5}', '{"points": [5]}', '{"points": {"a": 1}}', "\0\xff"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "first.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError) as caught:
        kept(file, list)
    assert str(caught.value) == (
        f"what a run tries first must be as it was written, but {file} is damaged; restore it, or "
        "name another --run"
    )
    assert file.read_bytes() == text.encode("latin-1")


# The best of earlier runs


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Place:
    run = tmp_path_factory.mktemp("earlier")
    search(
        PairSpace(), TableEvaluator(), SearchSettings(run=run, trials=30, budgets=(1, 3), seed=5)
    )
    return Place.file(RunFolder(run).study)


def test_the_best_of_an_earlier_run_come_best_first(earlier: Place) -> None:
    records = [record for record in read_records(earlier) if record.score is not None]
    furthest = sorted(
        {r.key: r for r in records}.values(), key=lambda r: (-r.budget, -(r.score or 0))
    )
    expected = [r.genome for r in furthest[:EARLIER_BEST]]
    assert earlier_best(earlier, PairSpace()) == expected
    assert earlier_best(earlier, PairSpace(), 2) == expected[:2]


def test_of_a_smaller_space_only_members_are_taken(earlier: Place) -> None:
    """A number beyond its range is not a member, though Optuna would only warn of it."""
    every = earlier_best(earlier, PairSpace(), 30)
    smaller = earlier_best(earlier, PairSpace(size=7), 30)
    assert smaller == [point for point in every if max(point.values()) < 7]
    assert 0 < len(smaller) < len(every)


@dataclass(frozen=True)
class Mirrored:
    """Has the same parameters, which mean other genomes, but where they are equal."""

    name: str = "pairs"

    def suggest(self, trial: optuna.Trial) -> Pair:
        pair = PairSpace().suggest(trial)
        return Pair(pair.b, pair.a)


def test_of_a_space_with_other_choices_only_the_same_genomes_are_taken(earlier: Place) -> None:
    every = earlier_best(earlier, Mirrored(), 30)
    assert every == earlier_best(earlier, PairSpace(), 30)
    same = earlier_best(earlier, Mirrored(), 30, alike=False)
    assert same == [point for point in every if point["a"] == point["b"]]
    assert 0 < len(same) < len(every)


@dataclass(frozen=True)
class Wider:
    """Has a parameter more than the pairs."""

    name: str = "wider"

    def suggest(self, trial: optuna.Trial) -> Pair:
        trial.suggest_categorical("kind", ["x", "y"])
        return PairSpace().suggest(trial)


@dataclass(frozen=True)
class Named:
    """Has other kinds of values."""

    name: str = "named"

    def suggest(self, trial: optuna.Trial) -> Pair:
        kind = trial.suggest_categorical("a", ["x", "y"])
        return Pair(len(str(kind)), trial.suggest_int("b", 0, 9))


@pytest.mark.parametrize("space", [Wider(), Named()], ids=lambda space: space.name)
def test_a_run_without_members_is_refused(earlier: Place, space: Any) -> None:
    with pytest.raises(RunError) as caught:
        earlier_best(earlier, space)
    assert str(caught.value) == (
        f"an earlier run must have scored genomes of the space {space.name}, but {earlier.shown} "
        "has none; leave it out of --warm-start"
    )


def test_a_run_that_has_scored_nothing_is_refused(tmp_path: Path) -> None:
    wanted = SearchSettings(run=tmp_path, measure=lambda _: {"size": 2}, limits={"size": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.driver.MAX_REJECTED", 3)
        search(PairSpace(), TableEvaluator(), wanted)
    with pytest.raises(RunError, match="must have scored genomes of the space pairs"):
        earlier_best(Place.file(RunFolder(tmp_path).study), PairSpace())


def test_a_run_without_a_study_is_refused_and_gets_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has none named nas"):
        earlier_best(Place.file(tmp_path / "study.db"), PairSpace())
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_several_aims_gives_its_best_scores(tmp_path: Path) -> None:
    wanted = SearchSettings(
        run=tmp_path,
        trials=9,
        budgets=(1,),
        sampler="random",
        measure=lambda genome: {"size": 1 + genome.a},
        aims=("size",),
    )
    search(PairSpace(), TableEvaluator(), wanted)
    found = earlier_best(Place.file(RunFolder(tmp_path).study), PairSpace(), 3)
    scores = [score(PairSpace().suggest(fixed(point)), 1) for point in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 3


def fixed(point: Mapping[str, Any]) -> Any:
    return FixedTrial(dict(point))


# Screened

SPACE = SPACES["chain"](ImageShape(1, 16, 16))
MEASURE = Measure(ImageShape(1, 16, 16), 2)
LIMITS = {"multiply_adds": 2e6, "parameters": 1e5}


def told(genome: Genome) -> dict[str, float]:
    """In place of an untrained network's: larger is better, and jacob_cov says the opposite."""
    size = float(genome.parameters(ImageShape(1, 16, 16), 2))
    return {"synflow": size, "jacob_cov": -size, "naswot": 0.0}


def shown(seed: int = 0, count: int = 12, limits: Mapping[str, float] = LIMITS) -> list[Any]:
    return list(screened(SPACE, MEASURE, limits, told, count, seed))


def test_what_is_screened_is_within_the_limits_and_a_function_of_the_seed() -> None:
    first = shown()
    assert shown() == first
    assert not any(point in first for point in shown(seed=1))
    for point in first:
        figures = MEASURE(SPACE.suggest(fixed(point)))
        assert all(figures[name] <= limit for name, limit in LIMITS.items())
    json.dumps(first)  # plain values


@pytest.mark.parametrize("count", [4, 5, 12, 25])
def test_so_many_are_discarded_and_never_more_than_half(count: int) -> None:
    found = len(shown(count=count))
    assert count / 2 <= found == count - math.floor(count * DISCARDED)


def test_the_smallest_go() -> None:
    """By parameters and synflow, which agree here; other proxies do not count."""
    seen: list[float] = []

    def noting(genome: Genome) -> dict[str, float]:
        seen.append(told(genome)["synflow"])
        return told(genome)

    found = screened(SPACE, MEASURE, LIMITS, noting, 12, 0)
    left = [told(SPACE.suggest(fixed(point)))["synflow"] for point in found]
    assert len(set(seen)) == 12
    assert sorted(left) == sorted(seen)[math.floor(12 * DISCARDED) :]
    assert left == [size for size in seen if size in left]  # in the order of the draws


def test_what_is_above_a_limit_costs_no_proxy() -> None:
    asked: list[Genome] = []

    def noting(genome: Genome) -> dict[str, float]:
        asked.append(genome)
        return told(genome)

    screened(SPACE, MEASURE, {"parameters": 3e4}, noting, 5, 0)
    assert len(asked) == 5
    assert all(genome.parameters(ImageShape(1, 16, 16), 2) <= 3e4 for genome in asked)


def test_figures_that_are_left_out_above_a_limit_are_no_trouble() -> None:
    def measure(genome: Genome) -> dict[str, float]:
        found = dict(MEASURE(genome))
        if found["parameters"] <= 1e5:
            found["latency_ms"] = 1.0
        return found

    assert screened(SPACE, measure, {**LIMITS, "latency_ms": 2.0}, told, 6, 0)


@pytest.mark.parametrize("count", [3, 1, 0, -3])
def test_fewer_than_four_cannot_be_screened(count: int) -> None:
    with pytest.raises(SettingsError) as caught:
        shown(count=count)
    assert str(caught.value) == f"--screen must be at least 4, but is {count}; 20 is usual"


def test_limits_that_hardly_any_genome_is_within_are_told() -> None:
    with pytest.raises(SettingsError) as caught:
        shown(count=4, limits={"parameters": 1})
    assert str(caught.value) == (
        f"--screen needs 4 genomes within the limits, but {4 * MOST_DRAWS} random ones had 0; "
        "raise the limits"
    )
