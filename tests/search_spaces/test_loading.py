"""What --space may be."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nas.errors import SettingsError
from nas.genome import ImageShape
from search_spaces import SPACES
from search_spaces.loading import listing, load
from tests.strategies import distributions

IMAGE = ImageShape(1, 64, 64)


@pytest.mark.parametrize("name", SPACES)
def test_a_name_of_the_table(name: str) -> None:
    found = load(name, IMAGE)
    plain = SPACES[name](IMAGE)
    assert found.space == plain
    assert (found.label, found.code) == (name, None)
    assert found.starts == plain.warm_starts()
    assert json.loads(json.dumps(found.definition)) == found.definition
    assert "image" not in found.definition
    # Runs on images of several sizes are of one space.
    assert load(name, ImageShape(3, 224, 32)).definition == found.definition


def test_a_file_that_changes_nothing_defines_the_same_space(tmp_path: Path) -> None:
    path = tmp_path / "as it is.toml"
    path.write_text('space = "chain"\ndepth = [2, 8]\n')
    found = load(str(path), IMAGE)
    assert found.space == load("chain", IMAGE).space
    assert found.definition == load("chain", IMAGE).definition
    assert found.label == "as-it-is"


def test_other_choices_are_another_definition(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('space = "chain"\ndepth = [2, 3]\n')
    found = load(str(path), IMAGE)
    assert found.definition["depth"] == [2, 3]
    assert found.space.name == "chain"
    assert found.starts == []
    assert {**found.definition, "depth": [2, 8]} == load("chain", IMAGE).definition


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("nowhere", "a .toml file, or FILE.py:CLASS, but is 'nowhere'; --space list tells what"),
        ("", "--space must be one of chain"),
        ("chain.json", "--space must be one of chain"),
        ("Chain", "--space must be one of chain"),
        ("chain:Small", "--space must be one of chain"),
        ("mine.py", "--space must name the class in a Python file, but is 'mine.py'; for example "
         "--space mine.py:MySpace"),
        ("mine.py:", "for example --space mine.py:MySpace"),
        ("nowhere.toml", "nowhere.toml cannot be (No such file or directory); mend the path"),
        ("nowhere.py:Mine", "nowhere.py cannot be (No such file or directory); mend the path"),
    ],
)  # fmt: skip
def test_what_is_no_space(
    wish: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        load(wish, IMAGE)
    assert words in str(caught.value)


def test_the_list_has_every_space_with_its_choices() -> None:
    shown = listing()
    for name in SPACES:
        summary = (sys.modules[f"search_spaces.{name}"].__doc__ or "").splitlines()[0]
        assert f"\n{name}: {summary}\n" in f"\n{shown}"
        definition: Mapping[str, object] = load(name, IMAGE).definition
        lines = [f"    {key} = {json.dumps(value)}" for key, value in definition.items()]
        assert "\n".join([f'    space = "{name}"', *lines]) in shown
    assert "\n    depth = [2, 8]\n" in shown


def test_the_definition_tells_all_that_is_asked() -> None:
    """Every choice of the chain changes what Optuna is asked, or the genome that comes of it."""
    assert len(load("chain", IMAGE).definition) == 7
    assert len(distributions("chain")) == 41
