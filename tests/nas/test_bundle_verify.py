"""python -m nas.bundle verify."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.bundle import Bundle, save, save_safetensors, telling
from nas.bundle.__main__ import main
from nas.checksums import write_sums
from tests.nas.bundles import TINY, ensemble, with_tensors
from tests.nas.commands import refused

GOLDEN = Path(__file__).parent / "golden"
TEST = {
    "n": 313,
    "auroc": 0.94215,
    "auroc_interval": [0.914, 0.97],
    "accuracy": 0.84,
    "confusion": [[71, 46], [4, 192]],
    "test_readings": 2,
}


def verify(*paths: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["nas.bundle", "verify", *map(str, paths)])
    return main()


def with_card(bundle: Bundle, **more: Any) -> Bundle:
    return replace(bundle, card={**bundle.card, **more})


def told(shown: str) -> dict[str, str]:
    """Rows by their name; later ones of the same name win."""
    rows = [line.strip().split("  ", 1) for line in shown.splitlines() if "  " in line.strip()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def test_a_good_file_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"name": "films", "synthetic": False, "licence": "CC BY 4.0", "checksum": "abc123"}
    path = tmp_path / "the_nas_model.pth"
    save(with_card(ensemble(), data=data, test=TEST), path)
    write_sums(tmp_path)
    assert verify(path, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{path}\n")
    assert "verified. Research use only. Not a medical device. Not for diagnosis." in shown
    rows = told(shown)
    assert rows["name"] == "the_nas_model"
    assert rows["format"] == f"nas-bundle 2, {path.stat().st_size:,} bytes"
    assert f"{rows['sha256']}  the_nas_model.pth\n" == (tmp_path / "SHA256SUMS").read_text()
    assert rows["listed"] == "in SHA256SUMS, and the files that are here are as it lists them"
    assert rows["networks"].startswith(f"3, averaged; {ensemble().parameters} parameters, ")
    assert rows["1"] == rows["2"]
    assert rows["1"].endswith(": 3×2 relu /max, 4×3 elu")
    assert rows["3"].endswith(": 5×3 gelu /avg")
    assert rows["images"] == "16 × 16 pixels, gray, resized by squash"
    assert rows["classes"] == "class 0, class 1"
    assert rows["decision"] == "class 1 from a probability of 0.375 on (Youden)"
    assert rows["calibration"] == (
        "temperature 1.25: one temperature, fitted out of fold, n = 120, negative log-likelihood "
        "first 0.4100, then 0.3750"
    )
    assert rows["data"] == "films, real images, licence CC BY 4.0, checksum abc123"
    assert rows["test split"] == "n = 313, read 2 times"
    assert rows["AUROC"] == "0.942 (0.914 to 0.970)"
    assert rows["accuracy"] == "0.840"
    assert rows["note"].endswith("choose nothing by it")


def test_every_kind_of_file_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("version1.pth", "version2.pth", "version2.safetensors")
    assert verify(*(GOLDEN / name for name in names), monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert shown.count("  verified.") == 3
    assert "nas-bundle 1, 8,057 bytes" in shown
    assert "SYNTHETIC: drawn by a program" in shown
    assert "there is no SHA256SUMS beside it" in shown
    assert "no figures" in shown


def test_a_bad_file_gets_its_reason_and_the_others_are_judged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    save(TINY, good)
    bad.write_bytes(good.read_bytes()[:-100])
    assert verify(bad, tmp_path / "none.pth", good, monkeypatch=monkeypatch) == 2
    shown = capsys.readouterr().out
    assert f"NOT VERIFIED: {bad}: not a bundle of this program" in shown
    assert f"NOT VERIFIED: {tmp_path / 'none.pth'}: no such file" in shown
    assert shown.count("  verified.") == 1


def test_checksums_beside_a_file_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "model.pth", tmp_path / "model.safetensors"
    save(TINY, path)
    save_safetensors(TINY, other)
    write_sums(tmp_path)
    save(ensemble(), path)  # a good bundle, but another one
    assert verify(path, monkeypatch=monkeypatch) == 2
    assert "the content must be that of the SHA256SUMS beside it" in capsys.readouterr().out
    save(TINY, path)
    other.unlink()
    assert verify(path, monkeypatch=monkeypatch) == 0
    assert "not here: model.safetensors" in capsys.readouterr().out
    (tmp_path / "new.pth").write_bytes(path.read_bytes())
    assert verify(tmp_path / "new.pth", monkeypatch=monkeypatch) == 2
    assert "must list it, but does not" in capsys.readouterr().out


def test_a_network_that_overflows_is_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the random image only: a blank one gives this network zeros, and ReLU keeps them so."""
    tensors = {name: tensor.clone() for name, tensor in TINY.members[0].tensors.items()}
    tensors["conv1.weight"].fill_(3e38)
    dark = replace(TINY.preprocessing, mean=(0.0,))
    (member,) = with_tensors(TINY, tensors).members
    path = tmp_path / "model.pth"
    save(replace(TINY, members=(replace(member, preprocessing=dark),)), path)
    assert verify(path, monkeypatch=monkeypatch) == 2
    assert "those of a random image are not" in capsys.readouterr().out


def test_what_a_foreign_file_says_cannot_move_the_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x9b1A\r\nverified"
    bundle = replace(
        with_card(TINY, data={"name": evil, "licence": evil, "synthetic": False}),
        classes=("a", evil),
        threshold_policy=evil,
    )
    path = tmp_path / "model.pth"
    save(bundle, path)
    assert verify(path, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\nverified" not in shown


@pytest.mark.parametrize(
    "test",
    [
        None,
        3,
        [],
        {"auroc": "high", "accuracy": True, "f1": [1], "n": {}},
        {"auroc": 0.5, "auroc_interval": "wide", "test_readings": "once", "n": []},
        {"auroc": 0.5, "auroc_interval": [0, "1"], "test_readings": {"count": "2", "warning": 3}},
    ],
)
def test_figures_of_any_kind_are_survived(
    tmp_path: Path,
    test: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "model.pth"
    save(with_card(TINY, test=test), path)
    assert verify(path, monkeypatch=monkeypatch) == 0
    found = told(capsys.readouterr().out).get("AUROC")
    assert found == ("0.500" if isinstance(test, dict) and test["auroc"] == 0.5 else None)


def test_readings_told_either_way() -> None:
    assert telling.readings({"test_readings": 1}) == (1, None)
    assert telling.readings({"test_readings": {"count": 1, "warning": None}}) == (1, None)
    said = {"test_readings": {"count": 3, "warning": "read 3 times"}}
    assert telling.readings(said) == (3, "read 3 times")


def test_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nas.bundle"])
    assert "required" in refused(capsys, main())
    assert "required" in refused(capsys, verify(monkeypatch=monkeypatch))
    monkeypatch.setattr(sys, "argv", ["nas.bundle", "verify", str(GOLDEN / "version2.pth")])
    monkeypatch.delitem(sys.modules, "nas.bundle.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("nas.bundle", run_name="__main__")
    assert ended.value.code == 0


def test_a_server_and_a_verification_need_neither_study_nor_onnx() -> None:
    code = (
        "import json, sys, serve.main, nas.bundle.verifying\n"
        "heavy = ('optuna', 'onnx', 'onnxruntime', 'onnxscript', 'sklearn')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(done.stdout) == []
