import json
from pathlib import Path

import pytest

from nas import self_test as module
from nas.devices import Device, HalfPrecision
from nas.errors import SettingsError
from nas.genome.summary import has_depthwise
from nas.self_test import (
    DEPTHWISE,
    GAIN,
    IMAGE,
    PLAIN,
    SelfTest,
    kept_file,
    machine,
    main,
    measure,
    self_test,
    speed,
    together,
)

FOUND = SelfTest(HalfPrecision(plain=True, depthwise=False), 4, {"1 worker": 10.0})
OTHER = SelfTest(HalfPrecision(plain=False, depthwise=True), 1, {})


def counting(monkeypatch: pytest.MonkeyPatch, found: SelfTest = FOUND) -> list[str]:
    asked: list[str] = []

    def measured() -> SelfTest:
        asked.append(machine())
        return found

    monkeypatch.setattr(module, "measure", measured)
    return asked


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = counting(monkeypatch), list[str]()
    for _ in range(3):
        assert self_test(tmp_path / "kept" / "test.json", told.append) == FOUND
    assert len(asked) == len(told) == 1


def test_each_machine_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.json"
    counting(monkeypatch)
    assert self_test(path) == FOUND
    monkeypatch.setattr(module, "machine", lambda: "another")
    counting(monkeypatch, OTHER)
    assert self_test(path) == OTHER
    monkeypatch.setattr(module, "machine", machine)
    assert self_test(path) == FOUND
    assert len(json.loads(path.read_text())) == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "null", '{"MACHINE": 3}', '{"MACHINE": {"half": {}, "workers": 1}}',
     '{"MACHINE": {"half": {"plain": true, "depthwise": true}, "workers": 0, "measured": {}}}'],
)  # fmt: skip
def test_what_is_damaged_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "test.json"
    path.write_text(content.replace("MACHINE", machine()))
    asked = counting(monkeypatch)
    assert self_test(path) == self_test(path) == FOUND
    assert len(asked) == 1


def test_where_nothing_can_be_kept_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    asked, told = counting(monkeypatch), list[str]()
    for _ in range(2):
        assert self_test(tmp_path / "file" / "test.json", told.append) == FOUND
    assert len(asked) == 2
    assert sum("could not be kept" in text for text in told) == 2


def test_a_search_does_not_end_for_a_measurement_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> SelfTest:
        raise SettingsError("a worker process must start, but ended with status 1; mend it")

    monkeypatch.setattr(module, "measure", failing)
    told: list[str] = []
    assert self_test(tmp_path / "test.json", told.append).workers == 1
    assert "must start" in told[-1]
    assert not (tmp_path / "test.json").exists()


def test_the_command_measures_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["nas.self_test"])
    for found in (OTHER, FOUND):
        counting(monkeypatch, found)
        assert main() == 0
        assert self_test(kept_file()) == found
    told = capsys.readouterr().out
    assert "bfloat16 for depthwise convolutions, 1 at a time" in told
    assert "10 images/s  1 worker\nbfloat16 for plain convolutions, 4 at a time" in told


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_file() == tmp_path / "nas" / "self_test.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kept_file() == tmp_path / "home" / ".cache" / "nas" / "self_test.json"


@pytest.mark.parametrize(
    ("half", "depthwise_half", "several", "expected"),
    [
        (200.0, 50.0, 201.0, SelfTest(HalfPrecision(True, False), 1, {})),
        (90.0, 150.0, 200.0 * GAIN + 1, SelfTest(HalfPrecision(False, True), 8, {})),
        (100.0, 100.0, 200.0 * GAIN, SelfTest(HalfPrecision(False, False), 1, {})),
    ],
)
def test_decisions(
    monkeypatch: pytest.MonkeyPatch,
    half: float,
    depthwise_half: float,
    several: float,
    expected: SelfTest,
) -> None:
    def fake_speed(genome: object, device: Device) -> float:
        if not device.bf16:
            return 100.0
        return half if genome is PLAIN else depthwise_half

    monkeypatch.setattr(module, "choose", lambda _: Device("cpu", True, True))
    monkeypatch.setattr(module, "speed", fake_speed)
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    monkeypatch.setattr(module, "together", lambda count: 200.0 if count == 1 else several)
    found = measure()
    assert (found.half, found.workers) == (expected.half, expected.workers)
    assert found.measured["1 worker"] == 200.0
    assert SelfTest.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_one_core_and_no_bfloat16_leave_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "choose", lambda _: Device("cpu", False, True))
    monkeypatch.setattr(module, "speed", lambda *_: 100.0)
    monkeypatch.setattr(module, "usable_cores", lambda: 1)
    assert measure() == SelfTest(
        HalfPrecision(False, False),
        1,
        {"plain in float32": 100.0, "depthwise in float32": 100.0},
    )


def test_speed_is_that_of_real_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 2)
    assert 1 < speed(DEPTHWISE, Device("cpu", False, True)) < 1e6


def test_the_networks_that_are_measured_are_what_they_are_called() -> None:
    assert has_depthwise(DEPTHWISE, IMAGE, 2)
    assert not has_depthwise(PLAIN, IMAGE, 2)


@pytest.mark.slow
def test_workers_train_together() -> None:
    assert 1 < together(2) < 1e6
