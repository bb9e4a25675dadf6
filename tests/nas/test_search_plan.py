"""From options to the settings of a search."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FixedTrial

from nas import search_plan as module
from nas.data.folds import Fold
from nas.devices import Device
from nas.errors import RunError, SettingsError
from nas.evaluator import Objective, TrainingEvaluator
from nas.genome import ConvBlock, Genome, ImageShape
from nas.jobs import Job, Outcome
from nas.measuring import FIGURES, SHORT, Measure
from nas.proxies import PROXIES
from nas.recipe import TrainingSettings
from nas.runfolder import RunFolder
from nas.running import Running
from nas.search import DEFAULT_REPEATS, DEFAULT_SCHEDULER, SearchSettings, search
from nas.search_command import CPU_MULTIPLY_ADDS, _parser
from nas.search_finals import SHARE
from nas.search_plan import DEFINITION, WARM_START, limits_of, pareto, plan_search
from nas.study import read_records
from nas.warm_start import DISCARDED
from search_spaces.loading import load

CPU = Device("cpu", bf16=False, channels_last=True)
SPACE = load("chain", ImageShape(1, 12, 12))
GENOME = Genome((ConvBlock(6, 3), ConvBlock(8, 3)))


def options(*arguments: str) -> argparse.Namespace:
    return _parser().parse_args(arguments)


@pytest.fixture
def evaluator(fold: Fold) -> TrainingEvaluator:
    return TrainingEvaluator(fold, TrainingSettings(epochs=3))


def planned(
    runs: Path,
    evaluator: TrainingEvaluator,
    *arguments: str,
    device: Device = CPU,
    elapsed_s: float = 0.0,
) -> SearchSettings:
    run = RunFolder.named(runs, "run")
    run.path.mkdir(exist_ok=True)
    chosen = options("--runs", str(runs), "--size", "12", *arguments)
    return plan_search(chosen, run, (1, 3), device, evaluator, SPACE, elapsed_s=elapsed_s)


# Aims


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (Objective.ROBUST, ())),
        (("--objective", "auroc"), (Objective.AUROC, ())),
        (("--pareto", "score,params"), (Objective.ROBUST, ("parameters",))),
        (
            ("--objective", "auroc", "--pareto", "score,macs,latency"),
            (Objective.AUROC, ("multiply_adds", "latency_ms")),
        ),
        (("--pareto", "auroc,memory"), (Objective.AUROC, ("memory_mb",))),
        (
            ("--objective", "auroc", "--pareto", "robust,latency_ms"),
            (Objective.ROBUST, ("latency_ms",)),
        ),
    ],
)
def test_aims(arguments: tuple[str, ...], expected: tuple[Objective, tuple[str, ...]]) -> None:
    assert pareto(options(*arguments)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "score", "params", "params,score", "score,", "score,params,params",
     "score,params,parameters", "loss,params", "score,speed", "score, params", "score;params"],
)  # fmt: skip
def test_what_is_no_aim_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        pareto(options("--pareto", text))
    assert str(caught.value) == (
        "--pareto must be one of score, robust, auroc and then some of params, macs, memory, "
        f"latency, separated by commas, but is {text!r}; for example auroc,params"
    )


# Limits


def test_limits_are_in_the_order_in_which_figures_are_measured() -> None:
    chosen = options(
        *("--max-latency-ms", "2.5", "--max-memory-mb", "8"),
        *("--max-macs", "5M", "--max-params", "30k"),
    )
    found = limits_of(chosen, CPU)
    assert list(found.items()) == list(
        zip(FIGURES, (30_000, 5_000_000, 8.0, 2.5), strict=True),
    )


def test_without_options_only_multiply_adds_are_limited_and_only_on_cpus() -> None:
    assert limits_of(options(), CPU) == {"multiply_adds": CPU_MULTIPLY_ADDS}
    assert limits_of(options("--max-macs", "none"), CPU) == {}
    assert limits_of(options(), Device("cuda:0", bf16=True, channels_last=True)) == {}


# The whole


def test_defaults(tmp_path: Path, evaluator: TrainingEvaluator) -> None:
    found = planned(tmp_path, evaluator)
    plain = SearchSettings(run=tmp_path / "run", budgets=(1, 3))
    assert found.measure == Measure(
        ImageShape(1, 12, 12), 2, "cpu", frozenset(["multiply_adds"]), found.limits
    )
    assert found.warm_start == SPACE.starts
    names = ("sampler", "scheduler", "repeats", "timeout_s", "aims", "storage")
    for name in (*names, "run", "budgets", "seed", "trials"):
        assert getattr(found, name) == getattr(plain, name), name
    assert found.running == replace(plain.running, workers=None)  # the session asks a self-test
    assert found.finals_share == SHARE
    assert (found.scheduler, found.repeats) == (DEFAULT_SCHEDULER, DEFAULT_REPEATS)


def test_every_option_arrives(tmp_path: Path, evaluator: TrainingEvaluator) -> None:
    found = planned(
        tmp_path,
        evaluator,
        *("--trials", "7", "--sampler", "random", "--scheduler", "expecting", "--seed", "4"),
        *("--repeats", "5", "--timeout", "90s", "--finals-share", "0.25"),
        *("--pareto", "score,latency,params", "--max-memory-mb", "9", "--max-macs", "none"),
        *("--workers", "auto", "--executor", "ray", "--ray-address", "here:1"),
        *("--gpus-per-job", "0.5", "--cpus-per-job", "2", "--storage", "sqlite:///x.db"),
        elapsed_s=30.0,
    )
    assert (found.trials, found.sampler, found.scheduler) == (7, "random", "expecting")
    assert (found.seed, found.repeats, found.storage) == (4, 5, "sqlite:///x.db")
    assert (found.timeout_s, found.finals_share) == (60.0, 0.25)
    assert (found.aims, found.limits) == (("latency_ms", "parameters"), {"memory_mb": 9.0})
    assert isinstance(found.measure, Measure)
    assert found.measure.wanted == {"latency_ms", "parameters", "memory_mb"}
    assert found.running == Running("ray", None, "cpu", "here:1", 0.5, 2.0)


def test_a_timeout_that_is_over_before_the_search_begins_ends_it(
    tmp_path: Path, evaluator: TrainingEvaluator
) -> None:
    assert planned(tmp_path, evaluator, "--timeout", "10s", elapsed_s=99).timeout_s == 1e-3


@pytest.mark.parametrize(
    ("wish", "device", "expected"),
    [
        ("auto", "cuda:0", "cuda"),
        ("cuda", "cuda:0", "cuda"),
        ("cuda:1", "cuda:1", "cuda:1"),
        ("auto", "mps", "mps"),
        ("auto", "cpu", "cpu"),
    ],
)
def test_all_gpus_are_used_unless_one_is_named(
    tmp_path: Path, evaluator: TrainingEvaluator, wish: str, device: str, expected: str
) -> None:
    chosen = Device(device, bf16=False, channels_last=True)
    found = planned(tmp_path, evaluator, "--device", wish, device=chosen)
    assert found.running.device == expected
    assert isinstance(found.measure, Measure)
    assert found.measure.device == device


# What is tried first


def test_what_is_tried_first_is_decided_once(
    tmp_path: Path, evaluator: TrainingEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned(tmp_path, evaluator).warm_start
    assert json.loads((tmp_path / "run" / WARM_START).read_text()) == {"points": first}

    def never(*_: Any) -> Any:
        raise AssertionError("decided again")

    monkeypatch.setattr(module, "screened", never)
    monkeypatch.setattr(module, "earlier_best", never)
    again = planned(tmp_path, evaluator, "--screen", "4", "--warm-start", "nowhere").warm_start
    assert again == first


def test_an_earlier_runs_best_come_after_the_spaces_own(
    tmp_path: Path, evaluator: TrainingEvaluator
) -> None:
    earlier(tmp_path, space="chain")
    found = list(planned(tmp_path, evaluator, "--warm-start", "old", "old").warm_start)
    own = list(SPACE.starts)
    assert found[: len(own)] == own
    best = found[len(own) :]
    assert len(best) == 2 * 3
    assert best[:3] == best[3:]
    for point in best:
        SPACE.space.suggest(FixedTrial(point))  # type: ignore[arg-type]


def earlier(runs: Path, space: str) -> None:
    run = RunFolder.named(runs, "old")
    run.begin({"space": space}, {})
    wanted = SearchSettings(run=run.path, trials=3, budgets=(1,), sampler="random")
    search(SPACE.space, Sized(), wanted)


def test_the_same_choices_make_members_of_a_run_on_other_images(
    tmp_path: Path, evaluator: TrainingEvaluator
) -> None:
    """There more poolings fit: the same parameters are another genome, and wanted all the same."""
    definition = {"space": "chain", DEFINITION: SPACE.definition}
    large = load("chain", ImageShape(1, 96, 96))
    for name, identity in (("told", definition), ("untold", {"space": "chain"})):
        run = RunFolder.named(tmp_path, name)
        run.begin(identity, {})
        search(large.space, Sized(96), SearchSettings(run=run.path, trials=3, budgets=(1,)))
    keys = {record.key for record in read_records(RunFolder(tmp_path / "told").study)}
    found = list(planned(tmp_path, evaluator, "--warm-start", "told").warm_start)
    assert len(found) == len(SPACE.starts) + 3
    fixed = [FixedTrial(dict(point)) for point in found[len(SPACE.starts) :]]
    assert not {SPACE.space.suggest(trial).key for trial in fixed} & keys  # type: ignore[arg-type]
    (tmp_path / "run" / WARM_START).unlink()
    with pytest.raises(RunError, match="must have scored genomes of the space chain"):
        planned(tmp_path, evaluator, "--warm-start", "untold")


@dataclass(frozen=True)
class Sized:
    """Larger networks score better."""

    side: int = 12

    def evaluate(self, job: Job) -> Outcome:
        image = ImageShape(1, self.side, self.side)
        return Outcome(float(job.genome.parameters(image, 2)), 1.0)


def test_a_run_of_another_space_is_refused(tmp_path: Path, evaluator: TrainingEvaluator) -> None:
    RunFolder.named(tmp_path, "old").begin({"space": "cells"}, {})
    with pytest.raises(SettingsError) as caught:
        planned(tmp_path, evaluator, "--warm-start", "old")
    assert str(caught.value) == (
        "--warm-start takes runs of the same space, but old searched cells and this one chain; "
        "leave it out"
    )
    assert not (tmp_path / "run" / WARM_START).exists()


def test_a_run_that_is_not_there_is_refused(tmp_path: Path, evaluator: TrainingEvaluator) -> None:
    with pytest.raises(RunError, match=r"a run folder has a run.json, but .*old has none"):
        planned(tmp_path, evaluator, "--warm-start", "old")


def test_screened_genomes_are_added_within_the_limits(
    tmp_path: Path, evaluator: TrainingEvaluator
) -> None:
    arguments = ("--screen", "6", "--max-params", "40k")
    found = list(planned(tmp_path, evaluator, *arguments).warm_start)[len(SPACE.starts) :]
    assert 6 * (1 - DISCARDED) <= len(found) <= 6
    for point in found:
        assert SPACE.space.suggest(FixedTrial(point)).parameters(ImageShape(1, 12, 12), 2) <= 40_000  # type: ignore[arg-type]


def test_proxies_are_told_of_images_that_are_trained_on(evaluator: TrainingEvaluator) -> None:
    """The same each time, whatever torch has drawn before, and others with another seed."""
    found = []
    for seed in (0, 0, 1):
        torch.rand(3)
        found.append(module._proxies(evaluator, seed)(GENOME))
    assert found[0] == found[1] != found[2]
    assert set(found[0]) == set(PROXIES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--screen", "1"), "--screen must be at least 4, but is 1"),
        (("--screen", "-4"), "--screen must be at least 4, but is -4"),
        (("--repeats", "-1"), "repeats must be at least 0"),
        (("--finals-share", "1"), "--finals-share must be at least 0 and below 1, but is 1.0"),
        (("--finals-share", "nan"), "--finals-share must be at least 0 and below 1, but is nan"),
        (("--executor", "inline", "--workers", "2"), "--executor inline has one worker"),
        (("--pareto", "params"), "--pareto must be one of"),
    ],
)
def test_options_outside_their_rules_are_refused(
    tmp_path: Path, evaluator: TrainingEvaluator, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        planned(tmp_path, evaluator, *arguments)


def test_short_names_are_what_the_limits_options_say() -> None:
    texts = [f"--max-{name}" for name in ("params", "macs", "memory-mb", "latency-ms")]
    assert [text.removeprefix("--max-").partition("-")[0] for text in texts] == list(SHORT)
    for text in texts:
        options(text, "3")
