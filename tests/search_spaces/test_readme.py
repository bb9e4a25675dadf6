"""What README shows of search spaces works."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.genome import ConvBlock, Genome, ImageShape
from search_spaces.chain import ChainSpace
from search_spaces.loading import LoadedSpace, listing, load
from tests.search_spaces.readme import README, shown_file, written
from tests.strategies import asked_by, fixed, parameters_in

IMAGE = ImageShape(1, 64, 64)
FILES = {"shallow.toml": "shallow.toml", "my_space.py": "my_space.py:TwoConvs"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    for name in FILES:
        written(name, path)
    return path


def loaded(folder: Path, wish: str, image: ImageShape = IMAGE) -> LoadedSpace:
    return load(f"{folder}/{wish}", image)


@pytest.mark.parametrize("wish", FILES.values())
@given(data=st.data())
def test_its_spaces_suggest_genomes(folder: Path, wish: str, data: st.DataObject) -> None:
    side = data.draw(st.integers(8, 224))
    image = ImageShape(data.draw(st.sampled_from([1, 3])), side, side)
    space = loaded(folder, wish, image).space
    genome = space.suggest(fixed(data.draw(parameters_in(asked_by(space)))))
    assert isinstance(genome, Genome)
    genome.layers(image, 2)
    assert f"--space {wish}\n" in README.read_text()


def test_the_file_is_the_space_that_it_says(folder: Path) -> None:
    assert loaded(folder, "shallow.toml").space == ChainSpace(
        IMAGE,
        depth=(2, 4),
        filters=(8, 16, 32, 64),
        activations=("relu", "silu"),
        repeats=(2, 2),
    )
    assert len(shown_file("shallow.toml").splitlines()) == 6


def test_the_class_is_the_space_that_it_says(folder: Path) -> None:
    space = loaded(folder, "my_space.py:TwoConvs").space
    values = {"filters": 16, "kernel": 3, "pool": "max", "stages": 2}
    genome = space.suggest(fixed(values))
    assert genome == Genome(
        (ConvBlock(16, 3, pool="max", repeats=2), ConvBlock(32, 3, pool="max", repeats=2))  # type: ignore[arg-type]
    )
    code = [line for line in shown_file("my_space.py").splitlines() if line.strip()]
    assert len(code) <= 14


def test_the_list_begins_as_shown() -> None:
    text = README.read_text()
    begin = text.index("    chain: ")
    shown = text[begin : text.index("        …", begin)].rstrip()
    assert listing().startswith("\n".join(line[4:] for line in shown.splitlines()))
