"""The benchmark on a small table that the test writes."""

import csv
import gzip
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.samplers import SAMPLERS
from tests.benchmarks.nas_bench_201 import PLANS, POLICIES, Table, main, read

CODES = ["".join(digits) for digits in itertools.product("01234", repeat=6)]


def accuracy(code: str) -> float:
    return 90 + sum(int(digit) == place % 5 for place, digit in enumerate(code)) - int(code) / 1e6


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.csv.gz"
    names = ["val12_c10", "val200_c10", "test200_c10"]
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", *names])
        writer.writerows([c, accuracy(c) - 10, accuracy(c), accuracy(c) + 1] for c in CODES)
    return path


def run(table: Path, out: Path, plans: Sequence[str], *further: str) -> None:
    points = ["--evaluations", "5", "20", "--costs", "2", "3", "11"]
    common = ["--table", str(table), "--data", "c10", "--seeds", "2", "--json", str(out)]
    assert main([*common, *points, "--plans", *plans, *further]) == 0


def kept(path: Path) -> list[tuple[str, int, dict[float, float]]]:
    """Policy, seed and scores of each result; times are left out."""
    return [(run.policy, run.seed, dict(result.scores)) for run, result in read(path).items()]


def test_what_a_search_sees_is_not_what_is_told(table: Path) -> None:
    known = Table(table, "c10")
    assert known.validation("012340", 12) == pytest.approx(accuracy("012340") - 10)
    assert known.test_of_best(["444444", "012340"]) == pytest.approx(accuracy("012340") + 1)


def test_every_sampler_has_a_plan() -> None:
    plans = {tuple(plan.split(":")) for plan in PLANS}
    assert plans >= {(policy, name) for policy in ("full", "budgets") for name in SAMPLERS}
    assert {policy for policy, _ in plans} == set(POLICIES)


def test_tells_and_keeps_a_result_for_each_policy(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    plans = ["full:evolution", "budgets:local", "halving:random", "top:local"]
    run(table, out, plans)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("± " in line and "(n = 2, " in line for line in lines)
    assert [(policy, seed, list(scores)) for policy, seed, scores in kept(out)] == [
        (policy, seed, at)
        for policy, at in (
            ("full", [5, 20]),
            ("budgets", [2, 3, 11]),
            ("halving", [2, 3, 11]),
            ("top", [11]),
        )
        for seed in (0, 1)
    ]
    for _, _, scores in kept(out):
        assert all(91 < score <= 97 for score in scores.values())


def test_what_is_there_is_not_computed_again(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(table, out, ["full:random"])
    whole = kept(out)
    first, second = out.read_text().splitlines()
    told = first.replace(": 9", ": 1")
    assert told != first
    out.write_text(f"{told}\n{second[:40]}")  # as if it had been killed while writing
    run(table, out, ["full:random"])
    lines = out.read_text().splitlines()
    assert lines[:2] == [told, second[:40]]
    assert len(lines) == 3
    assert kept(out)[1] == whole[1]


def test_processes_change_no_result(table: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    run(table, one, ["full:local"])
    run(table, two, ["full:local"], "--jobs", "2")
    assert kept(one) == kept(two)


def test_a_cost_that_pays_for_nothing_is_refused(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--table", str(table), "--costs", "1"])
    assert "--costs must be at least 2" in capsys.readouterr().err
