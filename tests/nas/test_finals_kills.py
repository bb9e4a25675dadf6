"""Finals that are killed in the middle of a training, and of the whole command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nas.faults import KILLED

ROOT = Path(__file__).parents[2]
SMALL = ("--size", "16", "--epochs", "1", "--max-macs", "1M", "--device", "cpu", "--trials", "2")
FINALS = ("--finals", "2", "--finals-seeds", "2", "--finals-epochs", "3")
KILLS = (1, 3, 6, 9)
"""Lines of ended trainings that are waited for before a kill, of 10 or so."""


def command(runs: Path, images: Path) -> list[str]:
    start = [sys.executable, "-m", "nas.search", "--runs", str(runs), "--data", str(images)]
    return [*start, "--run", "r", *SMALL, *FINALS]


def killed(runs: Path, images: Path, lines: int) -> int:
    """Run the command, kill it once so many trainings have ended; its exit status."""
    process = subprocess.Popen(
        command(runs, images),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("final "):
            done = int(line.split()[1].partition("/")[0])
            if done >= lines:
                os.kill(process.pid, signal.SIGKILL)
                break
    process.stdout.close()
    return process.wait()


def timeless(summary: dict[str, Any]) -> dict[str, Any]:
    for training in summary["trainings"]:
        del training["seconds"]
    return summary


@pytest.mark.slow
def test_killed_again_and_again_they_end_as_if_undisturbed(tmp_path: Path, images: Path) -> None:
    subprocess.run(command(tmp_path / "quiet", images), cwd=ROOT, check=True, capture_output=True)
    ends = [killed(tmp_path / "runs", images, lines) for lines in KILLS]
    assert KILLED in ends
    last = subprocess.run(
        command(tmp_path / "runs", images), cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "won" in last.stdout
    quiet, disturbed = (
        json.loads((tmp_path / name / "r" / "finals" / "finals.json").read_text())
        for name in ("quiet", "runs")
    )
    assert timeless(quiet) == timeless(disturbed)
