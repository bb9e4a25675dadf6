"""A space as code: what a class must have, and how what is wrong is told."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nas.errors import SettingsError
from nas.genome import Genome, ImageShape
from search_spaces.base import SparseSpace
from search_spaces.loading import LoadedSpace, load
from tests.strategies import fixed

IMAGE = ImageShape(1, 16, 16)

GOOD = """
from nas.genome import ConvBlock, Genome

class Small:
    name = "small"

    def __init__(self, image):
        self.image = image

    def suggest(self, trial):
        return Genome((ConvBlock(trial.suggest_int("filters", 1, 8), 3),))
"""


def loaded(folder: Path, code: str, name: str = "Small", image: ImageShape = IMAGE) -> LoadedSpace:
    path = folder / "mine.py"
    path.write_text(code)
    return load(f"{path}:{name}", image)


def refused(folder: Path, code: str, name: str = "Small") -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, code, name)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{folder}/mine.py")
    assert "; " in said or ": " in said
    return said.removeprefix(f"{folder}/mine.py")


def test_a_class_of_ones_own(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD, image=ImageShape(3, 9, 12))
    space: Any = found.space
    assert space.image == ImageShape(3, 9, 12)
    genome = space.suggest(fixed({"filters": 5}))
    assert isinstance(genome, Genome)
    assert genome.blocks[0].to_json()["filters"] == 5
    assert found.starts == []
    assert found.label == "mine"
    assert found.code == GOOD.encode()
    assert found.definition == {"class": "Small", "sha256": sha256(GOOD.encode()).hexdigest()}
    assert not isinstance(space, SparseSpace)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.py"]  # and no __pycache__


def test_a_changed_file_is_another_space(tmp_path: Path) -> None:
    first = loaded(tmp_path, GOOD)
    second = loaded(tmp_path, GOOD.replace("8", "9"))
    second.space.suggest(fixed({"filters": 9}))
    assert first.definition != second.definition
    assert loaded(tmp_path, GOOD).definition == first.definition


def test_what_else_a_space_may_have_is_there(tmp_path: Path) -> None:
    code = GOOD + (
        "\n    def warm_starts(self):\n        return [{'filters': 4}, {'filters': 8}]\n"
        "\n    def used(self, values):\n        return {}\n"
    )
    found = loaded(tmp_path, code)
    assert found.starts == [{"filters": 4}, {"filters": 8}]
    assert isinstance(found.space, SparseSpace)


def test_a_dataclass_with_annotations_as_text(tmp_path: Path) -> None:
    """Dataclasses look their module up by its name."""
    code = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from nas.genome import ConvBlock, Genome, ImageShape

@dataclass(frozen=True)
class Small:
    name: ClassVar[str] = "small"
    image: ImageShape
    most: int = 4

    def suggest(self, trial):
        return Genome((ConvBlock(trial.suggest_int("filters", 1, self.most), 3),))
"""
    assert loaded(tmp_path, code).space.name == "small"


def test_a_function_that_makes_a_space_will_do(tmp_path: Path) -> None:
    code = GOOD + "\ndef small(image):\n    return Small(image)\n"
    assert loaded(tmp_path, code, "small").space.name == "small"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Small(", ": the file of --space must run, but that raised SyntaxError ("),
        ("import nowhere", ", line 1: the file of --space must run, but that raised "
         "ModuleNotFoundError (No module named 'nowhere'); mend the file"),
        ("\n1 / 0", ", line 2: the file of --space must run, but that raised ZeroDivisionError"),
        ("import sys\nsys.exit()", ", line 2: the file of --space must run, but that raised "
         "SystemExit; mend the file"),
        ("raise ValueError('a\\nb')", "that raised ValueError (a b); mend"),
        ("null\0", "must run, but that raised SyntaxError"),
        ("", " must have the class that --space names, but has no Small; its classes are none"),
        ("from nas.genome import Genome\nclass Big: pass\nclass Tiny: pass",
         "but has no Small; its classes are Big, Tiny: name one of these"),
        ("Small = 3", "but has no Small"),
    ],
)  # fmt: skip
def test_files_without_the_class(code: str, words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, code)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("self, image):", "self):", ": Small must be callable with an ImageShape, but that raised "
         "TypeError (Small.__init__() takes 1 positional argument but 2 were given)"),
        ("self.image = image", "raise RuntimeError", ", line 8: Small must be callable with an "
         "ImageShape, but that raised RuntimeError; mend the file"),
        ('name = "small"', "", ": Small must have a name, which is kept with the run, but it is "
         'None; add name = "..." to the class'),
        ('name = "small"', "name = 3", "but it is 3; add"),
        ('name = "small"', 'name = ""', "but it is ''; add"),
        ("def suggest", "def propose", ": Small must have a method suggest, but has none; add "
         "def suggest(self, trial), which returns a Genome"),
        ('trial.suggest_int("filters", 1, 8)', "filters", ", line 11: suggest of Small must give a "
         "Genome, but that raised NameError (name 'filters' is not defined); mend the file"),
        ("ConvBlock(trial", "ConvBlock(5000 + trial", ", line 11: suggest of Small must give a "
         "Genome, but that raised GenomeError (conv: filters must be"),
        ("return Genome", "Genome", ": suggest of Small must give a nas.genome.Genome, but gave a "
         "NoneType; end it with return Genome(...)"),
        ("return Genome", "return list", "but gave a list; end it"),
        ("class Small", "class Own(Genome):\n    pass\n\nclass Small", None),
        ("return Genome", "return type('Own', (Genome,), {})", "but gave a Own; end it"),
        ('trial.suggest_int("filters", 1, 8)', "__import__('random').randint(1, 4000)",
         ": suggest of Small must give the same genome for the same parameters, but {} gave two"),
        ('trial.suggest_int("filters", 1, 8)', 'trial.suggest_categorical("filters", '
         "[1 + trial.number])", "must give a Genome, but that raised ValueError (CategoricalDist"),
        ("3),", "3, pool='max'),) * 9 + (", ": every genome of Small must fit images of 16×16, but "
         "that raised GenomeError (pool5: pooling needs an input of at least 2×2, but the layer "
         "before it gives 1×1; remove a pooling or enlarge the images); mend the file"),
    ],
)  # fmt: skip
def test_classes_that_make_no_space(old: str, new: str, words: str | None, tmp_path: Path) -> None:
    assert GOOD.count(old) == 1
    code = GOOD.replace(old, new)
    if words is None:  # it does no harm
        loaded(tmp_path, code)
    else:
        assert words in refused(tmp_path, code)


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        ("[{'filters': 9}]", ": warm_starts of Small must be what suggest could ask for, but one "
         "is {'filters': 9}; give every parameter a value of its range"),
        ("[{'filters': 4}, {}]", "but one is {};"),
        ("[{'filters': 'many'}]", "but one is {'filters': 'many'}"),
        ("3", "warm_starts of Small must give a list of parameters, but that raised TypeError"),
        ("[3]", "warm_starts of Small must give a list of parameters, but that raised TypeError"),
        ("1 / 0", ", line 14: warm_starts of Small must give a list"),
    ],
)  # fmt: skip
def test_warm_starts_that_are_no_members(starts: str, words: str, tmp_path: Path) -> None:
    code = GOOD + f"\n    def warm_starts(self):\n        return {starts}\n"
    assert words in refused(tmp_path, code)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"mine\.py cannot be \(No such file or directory\)"):
        load(f"{tmp_path}/mine.py:Small", IMAGE)


def test_the_traceback_is_kept_for_those_who_ask(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, "1 / 0")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_file_may_be_named_as_a_module_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(GOOD)
    assert load(f"{tmp_path}/json.py:Small", IMAGE).space.name == "small"
    assert sys.modules["json"].__file__ != str(tmp_path / "json.py")
