import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from serve.settings import (
    DEFAULT_UPLOAD_BYTES,
    RULES,
    Settings,
    unknown_variables,
    variable,
    warn_of_unknown,
)

BOUNDS = {
    "max_upload_bytes": (1024, 1 << 30),
    "queue": (1, 10_000),
    "batch": (1, 256),
    "batch_wait_ms": (0.0, 1000.0),
    "deadline_s": (0.1, 600.0),
    "batch_files": (1, 256),
    "watch_s": (0.0, 3600.0),
}
KEY = "k3y-of-sixteen-c"


def refused(environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    text = str(caught.value)
    assert "\n" not in text
    assert "leave it unset" in text
    return text


def test_every_setting_has_a_rule() -> None:
    assert [one.name for one in fields(Settings)] == list(RULES)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings(None, Path("runs"), 32 << 20, 64, 16, 2.0, 30.0, 32, 5.0, None, ())


def test_empty_values_count_as_unset() -> None:
    assert Settings.from_environment({variable(name): "" for name in RULES}) == Settings()


def test_everything_can_be_set() -> None:
    environment = {
        "NAS_MODEL": "a/b.pth",
        "NAS_RUNS": "elsewhere",
        "NAS_MAX_UPLOAD_BYTES": "4096",
        "NAS_QUEUE": "7",
        "NAS_BATCH": "3",
        "NAS_BATCH_WAIT_MS": "0.5",
        "NAS_DEADLINE_S": "1",
        "NAS_BATCH_FILES": "9",
        "NAS_WATCH_S": "0",
        "NAS_API_KEY": KEY,
        "NAS_CORS_ORIGINS": "https://a.example, http://localhost:3000",
    }
    assert set(environment) == set(map(variable, RULES))
    origins = ("https://a.example", "http://localhost:3000")
    assert Settings.from_environment(environment) == Settings(
        Path("a/b.pth"), Path("elsewhere"), 4096, 7, 3, 0.5, 1.0, 9, 0.0, KEY, origins
    )


@given(st.sampled_from(sorted(BOUNDS)), st.data())
def test_numbers_within_their_bounds_are_taken(name: str, data: st.DataObject) -> None:
    low, high = BOUNDS[name]
    value: Any = data.draw(
        st.integers(low, high)
        if isinstance(low, int) and isinstance(high, int)
        else st.floats(low, high).map(lambda number: round(number, 6))
    )
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    assert getattr(Settings.from_environment({variable(name): text}), name) == value


@given(st.sampled_from(sorted(BOUNDS)), st.data())
def test_numbers_outside_their_bounds_are_refused(name: str, data: st.DataObject) -> None:
    low, high = map(math.floor, BOUNDS[name])
    beyond = st.integers(high + 1, 10**18) | st.integers(-(10**18), low - 1)
    text = str(data.draw(beyond))
    error = refused({variable(name): text})
    assert error.startswith(f"{variable(name)} must be")
    assert text in error


@pytest.mark.parametrize(("name", "bounds"), BOUNDS.items())
def test_the_bounds_themselves_are_allowed(name: str, bounds: tuple[float, float]) -> None:
    for value in bounds:
        assert getattr(Settings.from_environment({variable(name): str(value)}), name) == value


@given(st.sampled_from(sorted(BOUNDS)), st.text(min_size=1))
def test_any_text_is_a_number_or_one_sentence(name: str, text: str) -> None:
    low, high = BOUNDS[name]
    try:
        value = getattr(Settings.from_environment({variable(name): text}), name)
    except SettingsError as error:
        assert variable(name) in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert low <= value <= high


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "1023", "1073741825", "32MB", "1e6", "1_000_000", " 4096", "٤٠٩٦", "9" * 9999],
)
def test_a_bad_upload_limit_names_rule_value_and_remedy(value: str) -> None:
    text = refused({"NAS_MAX_UPLOAD_BYTES": value})
    assert "NAS_MAX_UPLOAD_BYTES must be" in text
    assert value in text
    assert str(DEFAULT_UPLOAD_BYTES) in text


@pytest.mark.parametrize("value", [True, 1.5, "64", math.nan, None])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match="NAS_QUEUE must be"):
        Settings(queue=value)


@pytest.mark.parametrize("value", ["nan", "inf", "1e2", "0x1", "1,5", "."])
def test_odd_numbers_are_refused(value: str) -> None:
    assert value in refused({"NAS_DEADLINE_S": value})


@pytest.mark.parametrize(
    "value",
    [
        *("*", "https://*.example", "https://a.example,*", "a.example", "https://a.example/"),
        *("https://a.example:0", "https://a.example:65536", "ftp://a.example", "HTTPS://A.EXAMPLE"),
        *("https://a.example,", "null", "https://user@a.example"),
    ],
)
def test_no_origin_but_plain_ones(value: str) -> None:
    text = refused({"NAS_CORS_ORIGINS": value})
    assert "none may be *" in text
    assert value in text


@pytest.mark.parametrize("key", ["short", "x" * 15, "with a space inside", "schlüssel-schlüssel"])
def test_a_bad_key_is_refused_and_not_shown(key: str) -> None:
    text = refused({"NAS_API_KEY": key})
    assert "NAS_API_KEY must be at least 16" in text
    assert key not in text


def test_the_key_is_shown_nowhere() -> None:
    settings = Settings(api_key=KEY)
    assert KEY not in repr(settings)
    assert KEY not in "\n".join(settings.lines())


def test_lines_show_all_settings() -> None:
    lines = Settings(cors_origins=("https://a.example", "https://b.example")).lines()
    assert [line.partition("=")[0] for line in lines] == list(map(variable, RULES))
    assert "NAS_QUEUE=64" in lines
    assert "NAS_MODEL=(unset)" in lines
    assert "NAS_API_KEY=(unset)" in lines
    assert "NAS_CORS_ORIGINS=https://a.example,https://b.example" in lines


def test_misspelt_variables_are_found() -> None:
    environment = {"NAS_QEUE": "3", "NAS_QUEUE": "3", "PATH": "", "NAS_APIKEY": "x"}
    assert unknown_variables(environment) == ["NAS_APIKEY", "NAS_QEUE"]


def test_a_misspelt_variable_is_warned_of_by_name_only(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unknown({"NAS_APIKEY": KEY, "NAS_QUEUE": "3"})
    assert "NAS_APIKEY is no setting" in caplog.text
    assert KEY not in caplog.text
