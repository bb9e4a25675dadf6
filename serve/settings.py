"""What can be set from outside, and its bounds."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from nas.errors import SettingsError

LOGGER = logging.getLogger("uvicorn.error.serve.settings")
"""Below the logger of serve.errors, with its settings."""

DEFAULT_UPLOAD_BYTES = 32 << 20
"""A 16-bit radiograph of 4,000 × 4,000 pixels, uncompressed, is just as large."""

LEAST_KEY = 16
"""Characters of an API key: of random letters and digits they hold some 95 bits."""

_WHOLE = re.compile(r"-?[0-9]{1,20}")
# Longer digits are far out of range, and int() has a limit of its own for them.
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?")
_KEY = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one setting is read from text, and which values it may have.

    Attributes:
        text: the rule in words, "must …".
        example: a value that keeps it.
        read: from text to the value; ValueError where it has no such form.
        holds: whether a value keeps the rule.
        secret: a value is never shown.
    """

    text: str
    example: str
    read: Callable[[str], Any]
    holds: Callable[[Any], bool]
    secret: bool = False


def _whole(low: int, high: int, example: int, of: str) -> Rule:
    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise ValueError
        return int(text)

    def holds(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Rule(f"a whole number of {of} from {low:,} to {high:,}", str(example), read, holds)


def _number(low: float, high: float, example: float, of: str) -> Rule:
    def read(text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError
        return float(text)

    def holds(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and low <= value <= high

    return Rule(f"a number of {of} from {low:g} to {high:g}", f"{example:g}", read, holds)


def _origin(value: object) -> bool:
    """``scheme://host[:port]`` as a browser sends it: small letters, no path."""
    if not isinstance(value, str) or not _ORIGIN.fullmatch(value):
        return False
    port = re.search(r":([0-9]+)$", value)
    return port is None or 1 <= int(port[1]) <= 65535


_PATH = Rule("a path", "runs", Path, lambda value: value is None or isinstance(value, Path))
_KEY_RULE = Rule(
    f"at least {LEAST_KEY} visible ASCII characters",
    "what `openssl rand -hex 16` prints",
    str,
    lambda value: (
        value is None
        or (isinstance(value, str) and len(value) >= LEAST_KEY and bool(_KEY.fullmatch(value)))
    ),
    secret=True,
)
_ORIGINS = Rule(
    "web origins scheme://host[:port] with commas between them, and none may be *",
    "https://viewer.example",
    lambda text: tuple(part.strip() for part in text.split(",")),
    lambda value: isinstance(value, tuple) and all(map(_origin, value)),
)

RULES: Mapping[str, Rule] = {
    "model": _PATH,
    "runs": _PATH,
    "max_upload_bytes": _whole(1 << 10, 1 << 30, DEFAULT_UPLOAD_BYTES, "bytes"),
    "queue": _whole(1, 10_000, 64, "images"),
    "batch": _whole(1, 256, 16, "images"),
    "batch_wait_ms": _number(0, 1000, 2, "milliseconds"),
    "deadline_s": _number(0.1, 600, 30, "seconds"),
    "batch_files": _whole(1, 256, 32, "files"),
    "watch_s": _number(0, 3600, 5, "seconds"),
    "api_key": _KEY_RULE,
    "cors_origins": _ORIGINS,
}
"""One rule for each field of Settings; the environment's name is NAS_ and the field's."""

PREFIX = "NAS_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told when it starts.

    Attributes:
        model: the bundle to serve; None serves the newest export under ``runs``.
        runs: the folder that holds one folder per search.
        max_upload_bytes: the largest request body, 1 KiB to 1 GiB.
        queue: images admitted at once, waiting or worked on; more are refused.
        batch: images that one pass through the network takes at most.
        batch_wait_ms: milliseconds that an image waits for others to share its pass.
        deadline_s: seconds from admission after which an image is given up.
        batch_files: files that one request to /predict/batch may have.
        watch_s: seconds between looks for a new export; 0 never looks.
        api_key: what a client must show to use the model; None asks for none.
        cors_origins: web origins whose pages may call this server; empty allows none.
    """

    model: Path | None = None
    runs: Path = Path("runs")
    max_upload_bytes: int = DEFAULT_UPLOAD_BYTES
    queue: int = 64
    batch: int = 16
    batch_wait_ms: float = 2.0
    deadline_s: float = 30.0
    batch_files: int = 32
    watch_s: float = 5.0
    api_key: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            if not rule.holds(value := getattr(self, name)):
                raise _broken(name, value)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Settings from NAS_MODEL, NAS_QUEUE and so on; unset or empty is the default.

        Raises:
            SettingsError: a value outside its rule; says which, and what to give instead.
        """
        given: dict[str, Any] = {}
        for name, rule in RULES.items():
            if text := environment.get(variable(name), ""):
                try:
                    given[name] = rule.read(text)
                except ValueError:
                    raise _broken(name, text) from None
        return cls(**given)

    def lines(self) -> list[str]:
        """One line for each setting, ``NAS_QUEUE=64``, without secrets."""
        return [
            f"{variable(one.name)}={_shown(one.name, getattr(self, one.name))}"
            for one in fields(self)
        ]


def variable(name: str) -> str:
    """The environment's name of a field of Settings."""
    return PREFIX + name.upper()


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names that look like settings and are none, sorted: most likely misspelt ones.

    No other part of this project reads the environment for names that begin with NAS_.
    """
    known = {variable(name) for name in RULES}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def warn_of_unknown(environment: Mapping[str, str]) -> None:
    """Log a warning for each misspelt setting, by name only: its value may be a key."""
    names = ", ".join(map(variable, RULES))
    for name in unknown_variables(environment):
        LOGGER.warning(
            "%s is no setting of this server, so it does nothing; there are %s", name, names
        )


def _shown(name: str, value: object) -> str:
    if value is None or value == ():
        return "(unset)"
    if RULES[name].secret:
        return "(set, not shown)"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _broken(name: str, value: object) -> SettingsError:
    rule = RULES[name]
    if rule.secret:  # its value stays out of logs, even a bad one
        found = f"has {len(value)}" if isinstance(value, str) else "is no text"
        if isinstance(value, str) and len(value) >= LEAST_KEY:
            found = "has others"
    else:
        found = f"is {','.join(map(str, value)) if isinstance(value, tuple) else value!r}"
    return SettingsError(
        f"{variable(name)} must be {rule.text}, but {found}; "
        f"give {rule.example}, for example, or leave it unset"
    )
