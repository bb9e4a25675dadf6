"""docs/spaces.md: every space is there, and its files are spaces."""

import re
from pathlib import Path

import pytest

from nas.genome import ImageShape
from search_spaces import SPACES
from search_spaces.from_toml import read_space
from tests.search_spaces.counting import every_point
from tests.strategies import distributions

TEXT = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}

spaces = pytest.mark.parametrize("name", SPACES)


def test_every_space_has_a_section_and_a_line() -> None:
    assert list(SECTIONS) == list(SPACES)
    assert re.findall(r"^\| `(\w+)` ", TEXT, re.MULTILINE) == list(SPACES)


@spaces
def test_its_file_is_a_space(name: str, tmp_path: Path) -> None:
    lines = [line[4:] for line in SECTIONS[name].splitlines() if re.match(r"    \w+ = ", line)]
    file = tmp_path / "space.toml"
    file.write_text("\n".join(lines))
    space = read_space(file, ImageShape(1, 64, 64))
    assert space.name == name
    assert space != SPACES[name](ImageShape(1, 64, 64))
    assert next(every_point(space))


@spaces
def test_its_parameters_are_named(name: str) -> None:
    for parameter in distributions(name):
        if name != "macro":  # which names the first and the last of eight
            assert f"`{re.sub('_[0-9]$', '_N', parameter)}`" in SECTIONS[name], parameter
