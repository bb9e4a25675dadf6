from pathlib import Path

import pytest

from nas.errors import SettingsError
from serve.settings import DEFAULT_UPLOAD_BYTES, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings(None, Path("runs"), 32 << 20)


def test_empty_values_count_as_unset() -> None:
    names = ("NAS_MODEL", "NAS_RUNS", "NAS_MAX_UPLOAD_BYTES")
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings()


def test_everything_can_be_set() -> None:
    environment = {"NAS_MODEL": "a/b.pth", "NAS_RUNS": "elsewhere", "NAS_MAX_UPLOAD_BYTES": "4096"}
    assert Settings.from_environment(environment) == Settings(
        Path("a/b.pth"), Path("elsewhere"), 4096
    )


@pytest.mark.parametrize("value", [1024, 1 << 30])
def test_the_bounds_themselves_are_allowed(value: int) -> None:
    settings = Settings.from_environment({"NAS_MAX_UPLOAD_BYTES": str(value)})
    assert settings.max_upload_bytes == value


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "1023", "1073741825", "32MB", "1e6", "1_000_000", " 4096", "٤٠٩٦", "9" * 9999],
)
def test_a_bad_upload_limit_names_rule_value_and_remedy(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"NAS_MAX_UPLOAD_BYTES": value})
    text = str(caught.value)
    assert "NAS_MAX_UPLOAD_BYTES must be" in text
    assert value in text
    assert str(DEFAULT_UPLOAD_BYTES) in text
    assert "\n" not in text
