"""What can be set from outside, and its bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nas.errors import SettingsError

DEFAULT_UPLOAD_BYTES = 32 << 20
"""A 16-bit radiograph of 4,000 × 4,000 pixels, uncompressed, is just as large."""

UPLOAD_BYTES_RANGE = (1 << 10, 1 << 30)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told when it starts.

    Attributes:
        model: the bundle to serve; None serves the newest export under ``runs``.
        runs: the folder that holds one folder per search.
        max_upload_bytes: the largest request body, 1 KiB to 1 GiB.
    """

    model: Path | None = None
    runs: Path = Path("runs")
    max_upload_bytes: int = DEFAULT_UPLOAD_BYTES

    def __post_init__(self) -> None:
        value, (low, high) = self.max_upload_bytes, UPLOAD_BYTES_RANGE
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SettingsError(_upload_rule(value))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Settings from NAS_MODEL, NAS_RUNS and NAS_MAX_UPLOAD_BYTES; unset or empty is default.

        Raises:
            SettingsError: a value outside its rule; says which, and what to give instead.
        """
        model = environment.get("NAS_MODEL", "")
        runs = environment.get("NAS_RUNS", "")
        upload = environment.get("NAS_MAX_UPLOAD_BYTES", "")
        # Longer digits are far out of range, and int() has a limit of its own for them.
        if upload and not (upload.isascii() and upload.isdigit() and len(upload) <= 20):
            raise SettingsError(_upload_rule(upload))
        return cls(
            model=Path(model) if model else None,
            runs=Path(runs or "runs"),
            max_upload_bytes=int(upload) if upload else DEFAULT_UPLOAD_BYTES,
        )


def _upload_rule(value: object) -> str:
    low, high = UPLOAD_BYTES_RANGE
    return (
        f"NAS_MAX_UPLOAD_BYTES must be a whole number of bytes from {low:,} to {high:,}, "
        f"but is {value!r}; give {DEFAULT_UPLOAD_BYTES}, for example, or leave it unset"
    )
