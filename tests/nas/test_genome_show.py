"""``python -m nas.genome show``."""

import json
import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nas.genome import BLOCKS, Genome, ImageShape
from nas.genome.__main__ import main
from nas.references import REFERENCES
from nas.runfolder import RunFolder
from nas.search_command import main as search_main
from nas.study import Ended, best_first, read_records
from tests.nas.bundles import TINY, stored
from tests.nas.commands import refused

ROOT = Path(__file__).parents[2]
CHAIN = ROOT / "docs" / "genomes" / "chain.json"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A folder of runs with one small search. Drawings are all that is added to it."""
    runs = tmp_path_factory.mktemp("searched")
    arguments = ["--runs", str(runs), "--data", str(images), "--run", "r", "--trials", "2"]
    arguments += ["--size", "16", "--epochs", "2", "--max-macs", "300k", "--device", "cpu"]
    arguments += ["--finals", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nas.search", *arguments])
        assert search_main() == 0
    return runs


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(*options: object) -> int:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["nas.genome", "show", *map(str, options)])
        return main()

    return call


Show = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_the_best_trial_is_shown_and_drawn_in_its_folder(
    searched: Path, show: Show, capsys: Capture
) -> None:
    run = RunFolder(searched / "r")
    best = best_first(read_records(run.study))[0]
    assert show("best", "--runs", searched) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"trial {best.number} of {run.path} (score {best.score:.4f} after 2 ep")
    for figure in ("parameters", "multiply_adds"):
        assert f"{best.facts[figure]:,.0f} {figure.replace('_', '-')}" in shown
    assert f"key {best.key}" in shown
    assert "1×16×16 to 2 classes" in shown
    file = run.trial(best.number) / "network.svg"
    assert shown.endswith(f"wrote {file}\n")
    svg = ET.fromstring(file.read_text())
    assert f"trial {best.number} of" in (svg[0].text or "")


def test_any_trial_with_a_genome_is_shown_trained_or_not(
    searched: Path, show: Show, capsys: Capture
) -> None:
    for record in read_records(RunFolder(searched / "r").study):
        assert show(record.number, "--run", "r", "--runs", searched) == 0
        shown = capsys.readouterr().out
        assert f"key {record.key}" in shown
        if record.ended is Ended.OVER_LIMIT:
            assert f"({record.reason})" in shown


def test_other_images_are_drawn_only_where_one_says(
    searched: Path, tmp_path: Path, show: Show, capsys: Capture
) -> None:
    number = best_first(read_records(RunFolder(searched / "r").study))[0].number
    file = RunFolder(searched / "r").trial(number) / "network.svg"
    file.unlink(missing_ok=True)
    other = ("--size", 32, "--channels", 3, "--classes", 5)
    assert show("best", "--runs", searched, *other) == 0
    shown = capsys.readouterr().out
    assert "3×32×32 to 5 classes" in shown
    assert "wrote" not in shown
    assert not file.exists()
    assert show("best", "--runs", searched, *other, "--svg", tmp_path / "a" / "b.svg") == 0
    assert (tmp_path / "a" / "b.svg").is_file()


def test_a_file_with_a_genome_an_exported_model_and_a_known_network(
    tmp_path: Path, show: Show, capsys: Capture
) -> None:
    genome = Genome.from_json(json.loads(CHAIN.read_text()))
    assert show(CHAIN) == 0
    shown = capsys.readouterr().out
    assert f"{genome.parameters(ImageShape(1, 64, 64), 2):,} parameters" in shown
    assert "wrote" not in shown

    stored(TINY, tmp_path)
    assert show(tmp_path / "model.pth") == 0
    shown = capsys.readouterr().out
    assert f"key {TINY.genome_key}" in shown
    assert "1×16×16 to 2 classes" in shown

    assert show("lenet5") == 0
    known = REFERENCES["lenet5"]
    shown = capsys.readouterr().out
    assert f"1×32×32 to 10 classes, {known.parameters:,} parameters" in shown


def test_every_layer_is_shown_on_demand(show: Show, capsys: Capture) -> None:
    mixed = CHAIN.with_name("mixed.json")
    assert show(mixed) == 0
    few = capsys.readouterr().out
    assert show(mixed, "--all") == 0
    many = capsys.readouterr().out
    assert len(many.splitlines()) > len(few.splitlines()) + 60
    assert "    shortcut" in many
    assert max(map(len, many.splitlines()[3:])) <= 80  # the first ones are for wrapping


# What is written by hand --------------------------------------------------------------------------


def write(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    data = json.loads(CHAIN.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def block(**values: object) -> Callable[[dict[str, Any]], object]:
    """Values of the second block."""
    return lambda data: data["blocks"][1].update(values)


def blocks(*more: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["blocks"].extend(more)


CELLS = {"kind": "cells", "code": "000000", "filters": 16, "cells": 1, "stages": 1}
CELLS |= {"stem_stride": 1}
BACKBONE = {"kind": "backbone", "name": "resnet18", "weights": "none", "frozen": 0, "side": 0}

MISTAKES: list[tuple[Callable[[dict[str, Any]], object], list[str]]] = [
    (lambda data: data.pop("head"), ["genome: must have exactly the entries", "; add head"]),
    (lambda data: data["blocks"][1].pop("kernel"), ["block 2: must have", "; add kernel"]),
    (block(kernal=3), ["block 2: must have exactly", "; remove kernal"]),
    (block(kind="convolution"), ["block 2: kind must be one of", "'convolution'; name a known"]),
    (block(kernel=0), ["block 2: conv: kernel must be a whole number from 1 to 15, but is 0;"]),
    (block(filters=2.5), ["block 2: conv: filters must be a whole number", "but is 2.5;"]),
    (block(activation="swish"), ["block 2: conv: activation must be one of", "'swish';"]),
    (block(padding=0, kernel=15, pool="none"), []),
    (
        lambda data: data["blocks"].extend([data["blocks"][0]] * 2),
        ["pool7: pooling needs an input of at least 2×2", "gives 1×1; remove a pooling or enlarge"],
    ),
    (blocks(CELLS), ["block 6: cells: code must lead from the input to the output, but '000000'"]),
    (blocks(CELLS | {"code": "9"}), ["block 6: cells: code must be 6 digits from 0 to 4", "'9';"]),
    (
        blocks(BACKBONE | {"weights": "imagenet"}),
        ["block 6: a backbone with learnt weights or a side must be the first block", "but 5 come"],
    ),
    (blocks(BACKBONE | {"frozen": 2}), ["block 6: backbone: stages without weights", "2 are froz"]),
    (blocks(BACKBONE | {"frozen": 6}), ["block 6: backbone: frozen must be at most 5", "is 6;"]),
    (lambda data: data["head"].update(dropout=1), ["genome: dropout must be a number in [0, 1)"]),
    (lambda data: data["head"].update(dropout="NaN"), ["dropout", "'NaN'"]),
    (lambda data: data.update(format=2), ["genome: format must be 1, but is 2;"]),
    (lambda data: data.update(blocks=[]), ["the number of blocks must be", "from 1 to 64"]),
]


@pytest.mark.parametrize(("change", "parts"), MISTAKES)
def test_a_mistake_is_named_with_its_layer_the_rule_and_the_remedy(
    change: Callable[[dict[str, Any]], object],
    parts: list[str],
    tmp_path: Path,
    show: Show,
    capsys: Capture,
) -> None:
    status = show(write(tmp_path / "mine.json", change))
    if not parts:
        assert status == 0
        return
    said = refused(capsys, status)
    for part in parts:
        assert part in said
    assert ";" in said


TEXTS = [
    ('{"format": 1,\n "blocks" []}', "must be JSON, but line 2, column 11 is not: Expecting ':'"),
    ("", "must be JSON, but line 1, column 1 is not"),
    ('{"format": 1, "format": 2}', "an entry must be there once, but 'format' is twice"),
    ('{"format": NaN}', "numbers must be finite, but one is NaN"),
    ("[]", "genome: must have exactly the entries ['blocks', 'format', 'head'], but is a list"),
    ("1" * 5000, "must be a genome's JSON, but is not"),
    ("[" * 100_000, "must be a genome's JSON, but is not"),
    ("\xff", "must be UTF-8 text"),
]


@pytest.mark.parametrize(("text", "part"), TEXTS, ids=range(len(TEXTS)))
def test_what_is_no_genome_is_refused(
    text: str, part: str, tmp_path: Path, show: Show, capsys: Capture
) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(text.encode("latin-1"))
    assert refused(capsys, show(file)).startswith(f"error: {file}: {part}")


def test_what_cannot_be_shown_gets_one_sentence(
    searched: Path, tmp_path: Path, show: Show, capsys: Capture
) -> None:
    runs = ("--runs", searched)
    assert "run python -m nas.search first" in refused(capsys, show("best", "--runs", tmp_path))
    assert "give another number, or best" in refused(capsys, show("500", *runs))
    assert "lenet5" in refused(capsys, show("worst", *runs))
    assert "no such file; give another path" in refused(capsys, show(tmp_path / "a.json"))
    assert "no such file" in refused(capsys, show(tmp_path / "a.pth"))
    (tmp_path / "b.pth").write_bytes(b"PK")
    assert "not a bundle" in refused(capsys, show(tmp_path / "b.pth"))
    assert "--help lists the options" in refused(capsys, show(CHAIN, "--size", "big"))
    assert "image: height must be a whole number" in refused(capsys, show(CHAIN, "--size", "0"))
    assert "classes must be a whole number" in refused(capsys, show(CHAIN, "--classes", "1"))
    assert "pool5: pooling needs" in refused(capsys, show(CHAIN, "--size", "16"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    assert "cannot be read" in refused(capsys, show(tmp_path / "folder.json"))
    status = show(CHAIN, "--svg", tmp_path / "folder")
    assert "give another file with --svg" in refused(capsys, status)


def test_a_manifest_that_lacks_the_images_is_said(
    tmp_path: Path, show: Show, capsys: Capture
) -> None:
    RunFolder(tmp_path / "r").begin({"size": 64, "channels": 1}, {})
    assert "must tell channels, size and classes" in refused(capsys, show("0", "--runs", tmp_path))


# Start-up and README ------------------------------------------------------------------------------


def test_help_waits_for_neither_torch_nor_optuna() -> None:
    code = (
        "import sys\nfrom nas.genome.__main__ import main\n"
        "sys.argv = ['nas.genome', 'show', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'optuna', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "--svg FILE" in done.stdout


def test_a_genome_is_shown_without_torch(
    show: Show, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code = (
        "import sys\nfrom nas.genome.__main__ import main\n"
        f"sys.argv = ['nas.genome', 'show', {str(CHAIN)!r}]\n"
        "assert main() == 0\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    # The module is what python -m runs.
    monkeypatch.setattr(sys, "argv", ["nas.genome", "show", str(CHAIN)])
    monkeypatch.delitem(sys.modules, "nas.genome.__main__")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("nas.genome", run_name="__main__")
    assert end.value.code == 0
    assert "48,554" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "docs/genomes.md"])
def test_pages_show_what_the_command_prints(
    page: str, show: Show, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    text = (ROOT / page).read_text()
    found = re.findall(r"    \$ python -m nas\.genome show (.*)\n((?:    .+\n|\n(?=    ))+)", text)
    assert found
    monkeypatch.chdir(ROOT)
    for options, told in found:
        words = options.split()
        if "--svg" in words:
            words[-1] = str(tmp_path / "n.svg")
        status = show(*words)
        captured = capsys.readouterr()
        shown = [line.rstrip() for line in (captured.out + captured.err).splitlines()]
        assert status == (2 if "error:" in told else 0)
        for line in told.splitlines():
            if (wanted := line.removeprefix("    ").rstrip()) not in ("", "…"):
                assert wanted in shown or wanted.startswith("wrote ")


def test_every_entry_of_a_block_is_explained() -> None:
    text = (ROOT / "docs" / "genomes.md").read_text()
    for kind, made in BLOCKS.items():
        part = text.partition(f"### `{kind}`")[2].partition("\n### ")[0]
        for field in fields(made):
            assert f"| `{field.name}` |" in part, (kind, field.name)
