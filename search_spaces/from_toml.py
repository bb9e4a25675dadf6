"""A space as data: a TOML file that names a space of SPACES and chooses otherwise.

    space = "chain"
    depth = [2, 4]
    activations = ["relu"]

Every field of the space's dataclass but ``image`` is a key; what is left out stays as it is.
"""

import json
import math
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from nas.errors import NasError, SettingsError
from nas.genome import ImageShape
from search_spaces import SPACES, NetworkSpace

BASE = "space"
IMAGE = "image"

KINDS = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
}
"""What values of a type are called, one and several."""


def read_space(path: Path, image: ImageShape) -> NetworkSpace:
    """The space that a file describes, for images of a shape.

    Raises:
        SettingsError: the file cannot be read, is no TOML, names no space of SPACES, has a key that
            the space lacks, or a value of another kind than the space's or outside its rule.
    """
    data = _parsed(path)
    base = data.pop(BASE, None)
    if not isinstance(base, str) or base not in SPACES:
        raise SettingsError(
            f"{path}: {BASE} must be one of {', '.join(SPACES)}, but is {base!r}; begin with "
            f'{BASE} = "{next(iter(SPACES))}"'
        )
    hints, chosen = choices(base), {}
    for key, value in data.items():
        if key not in hints:
            raise SettingsError(
                f"{path}: the choices of {base} are {', '.join(hints)}, but one is called {key}; "
                "name one of these, or leave it out"
            )
        chosen[key] = _fitted(hints[key], value)
        if chosen[key] is None:
            raise SettingsError(
                f"{path}: {key} must be {_rule(hints[key])}, but is {value!r}; for example "
                f"{toml_line(key, defaults(base)[key])}"
            )
    make: Any = SPACES[base]
    try:
        made: NetworkSpace = make(image, **chosen)
    except NasError as error:
        raise SettingsError(f"{path}: {error}") from None
    return made


def choices(base: str) -> dict[str, Any]:
    """Names of what can be chosen of a space of SPACES, each with its type."""
    hints = get_type_hints(SPACES[base])
    return {name: hints[name] for name in defaults(base)}


def defaults(base: str) -> dict[str, Any]:
    """What a space of SPACES chooses by itself."""
    made: Any = SPACES[base]
    assert is_dataclass(made)
    return {
        field.name: field.default
        for field in fields(made)
        if field.name != IMAGE and field.default is not MISSING
    }


def toml_line(key: str, value: object) -> str:
    """A key with a value of one of the types that spaces have, as TOML."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"  # which TOML writes alike


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(
            f"--space must name a file that can be read, but {path} cannot be "
            f"({error.strerror or error}); mend the path"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} must be a TOML file, but is not ({error}); write NAME = VALUE on each "
            "line, as in depth = [2, 4]"
        ) from None


def _fitted(hint: Any, value: object) -> Any:
    """The value as a field of this type holds it; None where it is of another kind."""
    if get_origin(hint) is not tuple:
        return _one(hint, value)
    kind, *rest = get_args(hint)
    if not isinstance(value, list) or not value:
        return None
    if rest != [Ellipsis] and len(value) != 1 + len(rest):
        return None
    found = tuple(_one(kind, one) for one in value)
    return None if None in found else found


def _one(kind: type, value: object) -> Any:
    if kind is float and type(value) in (int, float):
        number = float(value)  # type: ignore[arg-type]
        return number if math.isfinite(number) else None
    return value if type(value) is kind else None


def _rule(hint: Any) -> str:
    if get_origin(hint) is not tuple:
        return KINDS[hint][0]
    kind, *rest = get_args(hint)
    many = KINDS[kind][1]
    return f"a list of {many}, at least one" if rest == [Ellipsis] else f"{1 + len(rest)} {many}"
