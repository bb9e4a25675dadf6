"""The benchmark on a small table that the test writes."""

import csv
import gzip
import itertools
import json
from pathlib import Path

import pytest

from tests.benchmarks.nas_bench_201 import Table, main

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


def test_what_a_search_sees_is_not_what_is_told(table: Path) -> None:
    known = Table(table, "c10")
    assert known.validation("012340", 12) == pytest.approx(accuracy("012340") - 10)
    assert known.test_of_best(["444444", "012340"]) == pytest.approx(accuracy("012340") + 1)


def test_tells_a_line_for_each_count_and_cost(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    options = ["--seeds", "2", "--samplers", "random", "local", "--evaluations", "5", "20"]
    costs = ["--costs", "2", "3", "--budget-samplers", "local"]
    assert main(["--table", str(table), *options, *costs, "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    results = json.loads(out.read_text())
    assert len(lines) == len(results) == 6
    assert [(r["name"], r["kind"], r["at"]) for r in results[-2:]] == [
        ("local", "budgets", 2),
        ("local", "budgets", 3),
    ]
    assert all(91 < r["mean"] <= 97 and r["seeds"] == 2 for r in results)
    assert "± " in lines[0]
    again = tmp_path / "again.json"
    assert main(["--table", str(table), *options, *costs, "--json", str(again)]) == 0
    fields = ("name", "kind", "at", "mean", "sd")
    assert [[r[f] for f in fields] for r in json.loads(again.read_text())] == [
        [r[f] for f in fields] for r in results
    ]
