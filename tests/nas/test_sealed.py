"""Readings of the test split: counted, and told when they are not the first."""

from pathlib import Path
from typing import Any

import torch

from nas.runfolder import RunFolder
from nas.sealed import SEEN, megabytes, note_reading

FIGURES = dict.fromkeys(SEEN, 0.5) | {"more": 1}


def begun(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "r")
    run.begin({"seed": 0}, {})
    return run


def note(run: RunFolder, digest: str, trial: int | None = 1) -> dict[str, Any]:
    return note_reading(run, "m", digest, FIGURES, trial)


def test_the_first_reading_is_silent_and_kept(tmp_path: Path) -> None:
    run = begun(tmp_path)
    told = note(run, "a")
    (kept,) = run.read_manifest()["test_readings"]
    assert told == {"count": 1, "dates": [kept["date"]], "models": 1, "warning": None}
    assert {name: kept[name] for name in SEEN} == dict.fromkeys(SEEN, 0.5)
    assert (kept["model"], kept["trial"], kept["weights_sha256"]) == ("m", 1, "a")
    assert "more" not in kept


def test_the_second_reading_of_a_model_says_so(tmp_path: Path) -> None:
    run = begun(tmp_path)
    first = note(run, "a")
    told = note(run, "a")
    assert (told["count"], told["models"]) == (2, 1)
    assert told["warning"] == (
        f"the test split was read 2 times for this model, first on {first['dates'][0]}: choose "
        "nothing by these figures, they no longer are unseen"
    )


def test_a_second_model_of_the_run_says_so(tmp_path: Path) -> None:
    run = begun(tmp_path)
    note(run, "a", trial=1)
    told = note(run, "b", trial=2)
    assert (told["count"], told["models"]) == (1, 2)
    assert str(told["warning"]).startswith("2 models of this run were scored on it: ")


def test_baselines_are_counted_and_no_candidates(tmp_path: Path) -> None:
    run = begun(tmp_path)
    note(run, "a", trial=1)
    for count in (1, 2):
        told = note(run, "baseline", trial=None)
        assert (told["count"], told["models"], told["warning"]) == (count, 1, None)
    assert len(run.read_manifest()["test_readings"]) == 3


def test_megabytes_are_those_of_all_values() -> None:
    assert megabytes({"a": torch.arange(4.0), "b": torch.zeros(2)}) == 24e-6
