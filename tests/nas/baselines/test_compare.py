"""The comparison of reference networks, as a user runs it on the demo images, and its page."""

import io
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from nas.baselines.__main__ import main
from nas.baselines.compare_plot import compare_svg
from nas.baselines.compare_table import COLUMNS, DIGITS, Line, cells, lines, markdown, table
from nas.front_plot import number_text

SVG = "{http://www.w3.org/2000/svg}"


def ask(monkeypatch: pytest.MonkeyPatch, runs: Path, *more: str) -> int:
    arguments = ["nas.baselines", "compare", "--data", "demo", "--runs", str(runs), "--size", "16"]
    arguments += ["--epochs", "1", "--device", "cpu", *more]
    monkeypatch.setattr(sys, "argv", arguments)
    return main()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_comparison_from_data_to_page(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, runs, "--only", "small", "original", "--seeds", "2") == 0
    told = capsys.readouterr().out
    assert "SYNTHETIC DATA" in told
    assert "original was not trained: pool5: pooling needs an input of at least 2×2" in told
    folder = runs / "compare-demo-16"
    found = json.loads((folder / "comparison.json").read_text())
    assert found["identity"]["fold"] == "patients-1"
    first, second = found["rows"]["small"]
    assert first["network"]["depth"] == 4
    assert first["validation"]["n"] == 200
    assert 0 <= first["validation"]["auroc"] <= 1
    assert first["validation"]["auroc"] != second["validation"]["auroc"]
    assert "pool5" in found["rows"]["original"][0]["missing"]
    assert "| small | 4 | 16–64 |" in (folder / "comparison.md").read_text()
    ElementTree.fromstring((folder / "comparison.svg").read_text())
    assert not list(folder.rglob("checkpoint.pt"))


def test_what_is_done_is_not_done_again(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs / "compare-demo-16"
    before = (folder / "rows" / "small-0.json").read_bytes()
    assert ask(monkeypatch, runs, "--only", "small") == 0
    told = capsys.readouterr().out
    assert "small, seed" not in told
    assert (folder / "rows" / "small-0.json").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--epochs", "2"), "a comparison keeps to one epochs"),
        (("--only", "lenet6"), "--only takes some of lenet5"),
        (("--seeds", "0"), "--seeds must be at least 1"),
        (("--run", "nothing"), "nothing"),
    ],
)
def test_what_is_refused(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    says: str,
) -> None:
    assert ask(monkeypatch, runs, "--only", "small", *more) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def row(auroc: float, **more: Any) -> dict[str, Any]:
    network = {
        "depth": 4, "filters": [16, 64], "kernels": [2, 2], "parameters": 10_546,
        "trainable": 10_546, "multiply_adds": 3_702_976, "receptive_field": 15,
    }  # fmt: skip
    validation = {"accuracy": 0.9, "auroc": auroc, "auroc_interval": [auroc - 0.02, auroc + 0.01]}
    return {
        "network": network, "validation": validation, "robust": 0.8, "seconds": 12.3, **more
    }  # fmt: skip


ROWS = {
    "identity": {},
    "rows": {
        "worse": [row(0.95), row(0.96)],
        "gone": [{"network": row(0.5)["network"], "missing": "no weights"}],
        "better": [row(0.97), row(0.98)],
        "small": [{"missing": "pool1: too small"}],
    },
}


def test_the_best_comes_first_and_what_is_missing_last() -> None:
    found = lines(ROWS)
    assert [line.name for line in found] == ["better", "worse", "gone", "small"]
    assert found[0].interval is not None
    assert list(found[0].interval) == [0.95, 0.98]


def test_cells_are_means_or_means_with_their_spread() -> None:
    better, _, gone, small = lines(ROWS)
    assert cells(better, spread=False) == [
        "better", "4", "16–64", "10.5 k", "3.7 M", "15", "0.900", "0.9750", "0.800", "12"
    ]  # fmt: skip
    assert cells(better, spread=True)[7] == "0.9750 ± 0.0071"
    assert cells(gone, spread=True)[:2] == ["gone", "4"]
    assert cells(small, spread=True) == ["small", *[""] * 9]
    assert all(len(cells(line, spread=True)) == len(COLUMNS) for line in lines(ROWS))


def test_the_table_fits_80_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    names = {"lite0_transfer": ROWS["rows"]["better"], "resnet18_transfer": [row(0.9)]}
    console.print(table(lines({"rows": names}), "a title"))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_page_says_why_something_is_missing() -> None:
    page = markdown(lines(ROWS), "Everything")
    assert "- gone: no weights" in page
    assert "- small: pool1: too small" in page
    assert page.startswith("Everything\n\n| network |")


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (999, "999"), (1234, "1.23 k"), (138_357_544, "138 M"), (2.5e9, "2.5 G")],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value, DIGITS) == text


def test_the_plot_has_a_row_for_each_network_and_a_bar_or_dot_for_each_figure() -> None:
    found = lines(ROWS)
    root = ElementTree.fromstring(compare_svg(found, "a < b"))
    names = [x.text for x in root.iter(f"{SVG}text") if x.get("class") == "name"]
    assert names == ["better", "worse", "gone", "small"]
    assert len(list(root.iter(f"{SVG}rect"))) == 3 * 5 + 2  # five of the shape; and seconds
    assert len(list(root.iter(f"{SVG}circle"))) == 2 * 3
    assert root.find(f"{SVG}title").text == "a < b"  # type: ignore[union-attr]
    width = float(root.get("viewBox", "").split()[2])
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.get("x", "")) + float(bar.get("width", "")) <= width


def test_a_plot_of_nothing() -> None:
    line = Line(
        "x", None, {name: [] for name in ("accuracy", "auroc", "robust", "seconds")}, None, "no"
    )
    ElementTree.fromstring(compare_svg([line], "nothing"))
    ElementTree.fromstring(compare_svg([], "nothing"))
