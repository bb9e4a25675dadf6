"""What ``--space`` may be: a name of SPACES, a TOML file, or a class in a Python file."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas.errors import SettingsError
from nas.genome import ImageShape
from search_spaces import SPACES, from_code, from_toml
from search_spaces.base import GenomeSpace

TOML = ".toml"
CODE = ".py"


@dataclass(frozen=True)
class LoadedSpace:
    """A space, and what a run keeps of it.

    Attributes:
        space: itself.
        label: what a run is named after by default: its name in SPACES, or its file's.
        definition: plain values, equal for equal choices: the fields of a dataclass but for the
            image, or class and checksum of the code.
        starts: parameters to try first.
        code: content of the Python file that it is from; None if it is from none.
    """

    space: GenomeSpace
    label: str
    definition: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]] = ()
    code: bytes | None = None


def load(wish: str, image: ImageShape) -> LoadedSpace:
    """The space that ``--space`` asks for, for images of a shape.

    Raises:
        SettingsError: there is none of that name, or its file cannot be used.
    """
    file, _, name = wish.rpartition(":")
    if wish in SPACES:
        space = SPACES[wish](image)
        return LoadedSpace(space, wish, _definition(space), space.warm_starts())
    if wish.endswith(TOML):
        space = from_toml.read_space(Path(wish), image)
        return LoadedSpace(space, _label(wish), _definition(space), space.warm_starts())
    if file.endswith(CODE) and name:
        return _from_code(Path(file), name, image)
    if wish.rstrip(":").endswith(CODE):
        raise SettingsError(
            f"--space must name the class in a Python file, but is {wish!r}; for example "
            f"--space {wish.rstrip(':')}:MySpace"
        )
    raise SettingsError(
        f"--space must be one of {', '.join(SPACES)}, a {TOML} file, or FILE{CODE}:CLASS, but is "
        f"{wish!r}; --space list tells what these are"
    )


def listing() -> str:
    """Every space of SPACES with what can be chosen, as TOML; for people."""
    lines = []
    for name, make in SPACES.items():
        lines += [f"{name}: {_summary(make)}", ""]
        lines += [f"    {from_toml.toml_line(from_toml.BASE, name)}"]
        chosen = from_toml.defaults(name)
        lines += [f"    {from_toml.toml_line(key, value)}" for key, value in chosen.items()]
        lines += [""]
    return "\n".join(
        [
            *lines,
            "--space NAME searches one of these. Its lines in a file, changed as you like,",
            "make another one of them: --space my_space.toml (what is left out stays as it is).",
            "A class of your own is --space my_space.py:MyClass; README.md has both.",
        ]
    )


def _summary(make: object) -> str:
    """The first line of the file that a space is defined in."""
    module = inspect.getmodule(make)
    return (inspect.getdoc(module) or "").partition("\n")[0]


def _from_code(path: Path, name: str, image: ImageShape) -> LoadedSpace:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"--space must name a file that can be read, but {path} cannot be "
            f"({error.strerror or error}); mend the path"
        ) from None
    space = from_code.made(content, path, name, image)
    definition = {"class": name, "sha256": sha256(content).hexdigest()}
    starts = from_code.starts(space, path)
    return LoadedSpace(space, _label(str(path)), definition, starts, content)


def _definition(space: Any) -> dict[str, Any]:
    # Sizes of images have a place of their own in the manifest, which has lists for tuples.
    chosen = {name: value for name, value in asdict(space).items() if name != from_toml.IMAGE}
    plain: dict[str, Any] = json.loads(json.dumps(chosen))
    return plain


def _label(file: str) -> str:
    """A file's name as a part of a run's."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", Path(file).stem).strip("-") or "space"
