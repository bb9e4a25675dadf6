"""The search command as a user runs it, on small real files."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.data.augment import augment
from nas.data.augmentation import Augmentation
from nas.errors import SettingsError
from nas.runfolder import RunFolder
from nas.samplers import DEFAULT
from nas.search import DEFAULT_REPEATS, DEFAULT_SCHEDULER
from nas.search_command import CPU_MULTIPLY_ADDS, _parser, main, multiply_adds_limit
from nas.study import Ended, TrialRecord, read_records
from tests.nas.commands import refused

SMALL = ("--size", "16", "--epochs", "3", "--max-macs", "1M", "--device", "cpu", "--finals", "0")


def search(
    runs: Path, images: Path, *options: str, monkeypatch: pytest.MonkeyPatch, trials: int = 3
) -> int:
    arguments = ["nas.search", "--runs", str(runs), "--data", str(images), "--trials", str(trials)]
    monkeypatch.setattr(sys, "argv", [*arguments, *SMALL, *options])
    return main()


def facts_of(records: tuple[TrialRecord, ...]) -> list[Any]:
    """Everything of a study that two equal searches must agree on: all but seconds."""
    return [
        (r.number, r.key, r.ended, r.reason, [_timeless(rung.metrics) for rung in r.rungs])
        for r in records
    ]


def _timeless(metrics: Any) -> Any:
    epochs = [{k: v for k, v in e.items() if k != "seconds"} for e in metrics["epochs"]]
    return {**metrics, "epochs": epochs}


def test_a_search_from_folder_to_last_words(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(tmp_path, images, "--run", "first", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "NORMAL / PNEUMONIA" in shown
    assert "3/3" in shown
    assert "The best of 3 trained genomes" in shown
    assert "python -m nas.export best --run first" in shown
    assert "Research use only. Not a medical device. Not for diagnosis." in shown
    run = RunFolder(tmp_path / "first")
    records = read_records(run.study)
    assert sum(record.counts for record in records) == 3
    for record in records:
        assert set(record.facts) == {"parameters", "multiply_adds"}
        for rung in record.rungs:
            assert {"robust", "auroc", "balanced_accuracy", "shifts", "epochs"} == set(rung.metrics)
        if record.rungs:
            assert (run.trial(record.number) / "weights.pt").is_file()
    manifest = run.read_manifest()
    assert manifest["identity"]["classes"] == ["NORMAL", "PNEUMONIA"]
    assert manifest["identity"]["synthetic"] is False
    assert manifest["sessions"][0]["versions"]["torch"]
    assert manifest["test_readings"] == []

    # The same command has nothing left to do; a larger total goes on.
    assert search(tmp_path, images, "--run", "first", monkeypatch=monkeypatch) == 0
    assert facts_of(read_records(run.study)) == facts_of(records)
    assert search(tmp_path, images, "--run", "first", monkeypatch=monkeypatch, trials=4) == 0
    assert sum(record.counts for record in read_records(run.study)) == 4
    assert "going on in" in capsys.readouterr().out


def test_the_test_split_changes_nothing(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at for copies of other images; no score, statistic or choice depends on it."""
    data = _copy(images, tmp_path / "data")
    assert search(tmp_path, data, "--run", "before", monkeypatch=monkeypatch) == 0
    for number, path in enumerate(sorted((data / "test").rglob("*.png"))):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    assert search(tmp_path, data, "--run", "after", monkeypatch=monkeypatch) == 0
    before, after = (RunFolder(tmp_path / name) for name in ("before", "after"))
    assert facts_of(read_records(before.study)) == facts_of(read_records(after.study))
    assert before.read_manifest()["identity"] == after.read_manifest()["identity"]


def command(runs: Path, images: Path, trials: int) -> list[str]:
    return [
        *(sys.executable, "-m", "nas.search", "--runs", str(runs), "--data", str(images)),
        *("--trials", str(trials), "--run", "killed", *SMALL),
    ]


def read_until(process: "subprocess.Popen[str]", ended: int) -> None:
    """Read what a search prints until it tells of so many ended trials."""
    assert process.stdout is not None
    for line in process.stdout:
        ended -= line.startswith("trial ")
        if ended == 0:
            return
    raise AssertionError("the search ended before that")


@pytest.mark.timeout(300)
def test_kill_9_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed three times while it trains, the same command ends in the study of a quiet search."""
    trials = 8
    options = ("--run", "quiet")
    assert search(tmp_path, images, *options, monkeypatch=monkeypatch, trials=trials) == 0
    for ended in (1, 2, 1):  # each time somewhere within the trial after so many
        process = subprocess.Popen(
            command(tmp_path, images, trials), stdout=subprocess.PIPE, text=True
        )
        read_until(process, ended)
        process.kill()
        process.communicate()
        assert process.wait(60) == -signal.SIGKILL
    subprocess.run(command(tmp_path, images, trials), check=True, timeout=200, capture_output=True)
    quiet = read_records(RunFolder(tmp_path / "quiet").study)
    killed = read_records(RunFolder(tmp_path / "killed").study)
    assert facts_of(killed) == facts_of(quiet)
    assert sum(record.counts for record in killed) == trials
    assert all(record.ended or record.paused for record in killed)
    kept = (tmp_path / "killed").glob("trials/*/checkpoint.pt")
    paused = [record.number for record in killed if record.paused]
    assert sorted(int(path.parent.name) for path in kept) == paused


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_at_once_and_the_same_command_goes_on(
    tmp_path: Path, images: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen(
        command(tmp_path, images, 200), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    read_until(process, 1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, (out, err)
    assert "The same command goes on where this stopped." in out
    assert err.strip() == "stopping after this epoch; once more to end at once"
    before = read_records(RunFolder(tmp_path / "killed").study)
    done = sum(record.counts for record in before)
    assert 1 <= done < 200
    options = ("--run", "killed")
    assert search(tmp_path, images, *options, monkeypatch=monkeypatch, trials=done + 1) == 0
    after = read_records(RunFolder(tmp_path / "killed").study)
    for was, now in zip(facts_of(before)[:-1], facts_of(after), strict=False):
        assert now[:2] == was[:2]
        assert now[4][: len(was[4])] == was[4]  # it may have been promoted since


def test_the_timeout_is_told_and_the_same_command_goes_on(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--run", "r", "--timeout", "0.4s")
    assert search(tmp_path, images, *options, monkeypatch=monkeypatch, trials=200) == 0
    shown = capsys.readouterr().out
    assert "time is up" in shown
    assert "the same command goes on" in shown.lower()
    done = sum(record.counts for record in read_records(RunFolder(tmp_path / "r").study))
    assert done < 200
    more = done + 1
    assert search(tmp_path, images, "--run", "r", monkeypatch=monkeypatch, trials=more) == 0


def test_without_data_it_draws_phantoms_and_says_so_loudly(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def few(folder: Path, report: Any = None) -> Path:
        if not folder.exists():
            folder.symlink_to(images)
        return folder

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / ".cache").mkdir(parents=True)
    monkeypatch.setattr("nas.data.demo.write_demo", few)
    monkeypatch.setattr(sys, "argv", ["nas.search", "--trials", "1", *SMALL])
    assert main() == 0
    assert "SYNTHETIC DATA" in capsys.readouterr().out
    run = RunFolder(tmp_path / "runs" / "demo-chain-16")
    assert run.read_manifest()["identity"]["synthetic"] is True


def test_broken_images_are_named_skipped_and_counted(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = _copy(images, tmp_path / "data")
    (data / "train" / "NORMAL" / "broken.png").write_bytes(b"\x89PNG but no more")
    assert search(tmp_path / "runs", data, monkeypatch=monkeypatch, trials=1) == 0
    shown = capsys.readouterr().out
    assert "1 broken images are skipped" in shown
    assert "train/NORMAL/broken.png" in shown


def _copy(images: Path, to: Path) -> Path:
    for path in images.rglob("*.png"):
        target = to / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trails", "5"), "--trails"),
        (("--space", "nowhere"), "--space must be one of chain"),
        (("--sampler", "best"), "--sampler must be one of"),
        (("--device", "cuda:99"), "--device cuda:99 needs"),
        (("--device", "gpu"), "--device must be auto"),
        (("--size", "4"), "must be a whole number from 8 to 1024"),
        (("--epochs", "0"), "--epochs must be at least 1"),
        (("--trials", "0"), "--trials must be at least 1"),
        (("--trials", "many"), "invalid int value: 'many'"),
        (("--timeout", "soon"), "must be a duration"),
        (("--max-params", "0"), "must be a number above 0"),
        (("--run", "../up"), "--run must be 1 to 100 letters"),
        (("--objective", "loss"), "invalid choice: 'loss'"),
        (("--augment", "blurring=1"), "blurring"),
        (("--resize", "zoom"), "invalid choice: 'zoom'"),
        (("--imbalance", "ignore"), "invalid choice: 'ignore'"),
        (("--max-macs", "1"), "raise --max-params, --max-macs"),
    ],
)
def test_wrong_options_get_one_sentence_and_status_2(
    tmp_path: Path,
    images: Path,
    options: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("nas.driver.MAX_REJECTED", 5)
    status = search(tmp_path, images, *options, monkeypatch=monkeypatch)
    assert words in refused(capsys, status)


def test_wrong_data_get_one_sentence_and_status_2(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = search(tmp_path / "runs", tmp_path / "nowhere", monkeypatch=monkeypatch)
    assert "the data must be a folder" in refused(capsys, status)
    empty = _copy(images, tmp_path / "empty")
    (empty / "train" / "EMPTY").mkdir()
    status = search(tmp_path / "runs", empty, monkeypatch=monkeypatch)
    assert "every class must have images" in refused(capsys, status)
    single = tmp_path / "single" / "train" / "NORMAL"
    single.mkdir(parents=True)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(single / "a.png")
    status = search(tmp_path / "runs", tmp_path / "single", monkeypatch=monkeypatch)
    assert "at least two classes, but has one (NORMAL)" in refused(capsys, status)


def test_a_run_keeps_to_its_data_and_settings(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(tmp_path, images, "--run", "r", monkeypatch=monkeypatch, trials=1) == 0
    records = read_records(RunFolder(tmp_path / "r").study)
    changed = _copy(images, tmp_path / "changed")
    next((changed / "train" / "NORMAL").iterdir()).write_bytes(
        next((changed / "train" / "PNEUMONIA").iterdir()).read_bytes()
    )
    capsys.readouterr()
    status = search(tmp_path, changed, "--run", "r", monkeypatch=monkeypatch)
    assert "a run keeps to one data checksum" in refused(capsys, status)
    for option in (("--size", "24"), ("--epochs", "4"), ("--seed", "1")):
        status = search(tmp_path, images, "--run", "r", *option, monkeypatch=monkeypatch)
        assert "a run keeps to one" in refused(capsys, status)
    assert read_records(RunFolder(tmp_path / "r").study) == records  # nothing lost
    moved = _copy(images, tmp_path / "moved")  # the same films elsewhere are the same data
    assert search(tmp_path, moved, "--run", "r", monkeypatch=monkeypatch, trials=1) == 0


def test_a_leak_is_refused_unless_told_otherwise_and_then_kept(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = _copy(images, tmp_path / "data")
    first = min((data / "train" / "NORMAL").iterdir())
    shutil.copy(first, data / "test" / "NORMAL" / "demo0999_0.png")
    status = search(tmp_path, data, "--run", "r", monkeypatch=monkeypatch, trials=1)
    message = refused(capsys, status)
    assert "train and test share 1 pair of byte-identical files" in message
    assert "--allow-leaks" in message
    assert not (tmp_path / "r").exists()
    options = ("--run", "r", "--allow-leaks")
    assert search(tmp_path, data, *options, monkeypatch=monkeypatch, trials=1) == 0
    (leak,) = RunFolder(tmp_path / "r").read_manifest()["identity"]["leaks"]
    assert leak.startswith("train and test share 1 pair of byte-identical files")
    assert first.name in leak


def test_what_is_validated_on_can_be_chosen_and_belongs_to_the_run(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--run", "r", "--fold", "patients-2")
    assert search(tmp_path, images, *options, monkeypatch=monkeypatch, trials=1) == 0
    assert "(patients-2)" in capsys.readouterr().out
    identity = RunFolder(tmp_path / "r").read_manifest()["identity"]
    assert identity["fold"] == "patients-2"
    assert len(set(identity["divisions"].values())) == len(identity["divisions"]) >= 2
    status = search(tmp_path, images, "--run", "r", monkeypatch=monkeypatch, trials=1)
    assert "a run keeps to one" in refused(capsys, status)
    status = search(tmp_path, images, "--fold", "domain-X", monkeypatch=monkeypatch, trials=1)
    assert "--fold must be one of patients-1" in refused(capsys, status)


def test_augmentation_imbalance_and_resizing_are_settings_of_the_run(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--run", "r", "--augment", "noise=2", "--augment", "shift=0.01", "--resize", "crop")
    more = ("--imbalance", "sampling")
    assert search(tmp_path, images, *options, *more, monkeypatch=monkeypatch, trials=1) == 0
    identity = RunFolder(tmp_path / "r").read_manifest()["identity"]
    assert identity["preprocessing"]["resize"] == "crop"
    assert identity["training"]["imbalance"] == "sampling"
    strengths = identity["training"]["augmentation"]
    assert (strengths["noise"], strengths["shift"]) == (2, 0.01)
    assert strengths["contrast"] == Augmentation().contrast


def test_unwritable_runs_folder(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    status = search(tmp_path / "file", images, monkeypatch=monkeypatch)
    assert "--runs" in refused(capsys, status)


def test_out_of_memory_ends_the_trial_and_the_search_goes_on(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10_000))

    def failing_once(*arguments: Any) -> Any:
        if next(calls) == 0:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return augment(*arguments)

    monkeypatch.setattr("nas.stepping.augment", failing_once)
    assert search(tmp_path, images, "--run", "r", monkeypatch=monkeypatch) == 0
    records = [r for r in read_records(RunFolder(tmp_path / "r").study) if r.counts]
    assert records[0].ended is Ended.FAILED
    assert "out_of_memory" in str(records[0].reason)
    assert len(records) == 3


def test_the_defaults_are_the_engines() -> None:
    """They stand twice, since --help does not wait for the engine."""
    assert _parser().get_default("sampler") == DEFAULT
    assert _parser().get_default("scheduler") == DEFAULT_SCHEDULER
    assert _parser().get_default("repeats") == DEFAULT_REPEATS


def test_the_limit_of_multiply_adds() -> None:
    assert multiply_adds_limit("auto", "cpu", 64) == CPU_MULTIPLY_ADDS
    assert multiply_adds_limit("auto", "cpu", 128) == 4 * CPU_MULTIPLY_ADDS
    assert multiply_adds_limit("auto", "cuda:0", 64) is None
    assert multiply_adds_limit(None, "cpu", 64) is None
    assert multiply_adds_limit(5, "cpu", 64) == 5
    with pytest.raises(SettingsError, match="--max-macs"):
        multiply_adds_limit("much", "cpu", 64)


def test_json_is_the_only_thing_on_stdout(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(tmp_path, images, "--run", "a", "--json", monkeypatch=monkeypatch, trials=2) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    best = max(read_records(tmp_path / "a" / "study.db"), key=lambda r: (r.budget, r.score or 0))
    assert found["trials"] == 2
    assert found["best"]["trial"] == best.number
    assert found["finals"] is None
    assert "2/2" in shown.err


def test_quiet_prints_nothing(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(tmp_path, images, "--quiet", monkeypatch=monkeypatch, trials=1) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_tracker_without_its_library_is_refused_before_anything_is_done(
    tmp_path: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    status = search(tmp_path, images, "--track", "wandb", monkeypatch=monkeypatch)
    assert 'pip install ".[wandb]"' in refused(capsys, status)
    assert list(tmp_path.glob("*/run.json")) == []
