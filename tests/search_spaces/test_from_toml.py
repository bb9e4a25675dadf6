"""A space as data: what a TOML file may say, and how it is refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.genome import ImageShape
from search_spaces import SPACES
from search_spaces.chain import ChainSpace
from search_spaces.from_toml import choices, defaults, read_space, toml_line
from tests.search_spaces.test_chain import chains

IMAGE = ImageShape(1, 64, 64)


def read(folder: Path, text: str, image: ImageShape = IMAGE) -> Any:
    path = folder / "my.toml"
    path.write_text(text)
    return read_space(path, image)


def test_what_is_left_out_stays_as_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, 'space = "chain"') == ChainSpace(IMAGE)
    found = read(tmp_path, 'space = "chain"\ndepth = [2, 4]\nactivations = ["relu"]\n')
    assert found == ChainSpace(IMAGE, depth=(2, 4), activations=("relu",))
    assert read(tmp_path, 'space = "chain"', ImageShape(3, 8, 9)).image == ImageShape(3, 8, 9)


def test_choices_can_be_wider_too(tmp_path: Path) -> None:
    found = read(tmp_path, 'space = "chain"\nkernels = [1, 7]\nfilters = [4, 256]\ndropout = 0\n')
    assert found == ChainSpace(IMAGE, kernels=(1, 7), filters=(4, 256), dropout=0.0)
    assert isinstance(found.dropout, float)


@given(space=chains())
def test_any_choices_can_be_written_and_read(
    space: ChainSpace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [toml_line(key, getattr(space, key)) for key in choices("chain")]
    folder = tmp_path_factory.mktemp("space")
    assert read(folder, "\n".join(['space = "chain"', *lines]), space.image) == space


@pytest.mark.parametrize("name", SPACES)
def test_the_defaults_of_every_space_are_what_they_read_as(name: str, tmp_path: Path) -> None:
    lines = [toml_line("space", name)]
    lines += [toml_line(key, value) for key, value in defaults(name).items()]
    assert read(tmp_path, "\n".join(lines)) == SPACES[name](IMAGE)


WRONG = {  # of a kind of which no field is
    "truth": "[[1]]",
    "text": "1979-05-27",
    "table": "{ a = 1 }",
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_every_choice_of_every_space_has_a_rule(name: str, value: str, tmp_path: Path) -> None:
    for key in choices(name):
        with pytest.raises(
            SettingsError, match=rf"my\.toml: {key} must be .*; for example {key} ="
        ):
            read(tmp_path, f'space = "{name}"\n{key} = {value}')


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("depth = 3", "depth must be 2 whole numbers, but is 3; for example depth = [2, 8]"),
        ("depth = [3]", "depth must be 2 whole numbers, but is [3]"),
        ("depth = [1, 2, 3]", "depth must be 2 whole numbers"),
        ("depth = [2.0, 3.0]", "depth must be 2 whole numbers"),
        ("depth = [false, true]", "depth must be 2 whole numbers"),
        ('depth = ["2", "3"]', "depth must be 2 whole numbers"),
        ("depth = []", "depth must be 2 whole numbers, but is []"),
        ("depth = [[2, 3]]", "depth must be 2 whole numbers"),
        ("depth = { low = 2, high = 3 }", "depth must be 2 whole numbers"),
        ("filters = []", "filters must be a list of whole numbers, at least one, but is []"),
        ("filters = 8", "filters must be a list of whole numbers"),
        ("activations = []", "activations must be a list of texts, at least one, but is []"),
        ('activations = "relu"', "must be a list of texts, at least one, but is 'relu'"),
        ("activations = [1]", 'for example activations = ["relu", "leaky_relu", "elu"'),
        ('dropout = "0.2"', "dropout must be a number, but is '0.2'; for example dropout = 0.2"),
        ("dropout = nan", "dropout must be a number, but is nan"),
        ("dropout = true", "dropout must be a number, but is True"),
        # Of the right kind, but outside the space's rule
        ("depth = [4, 2]", "chain: depth must be two whole numbers from 1 to 64, the lower first"),
        ('activations = ["mish"]', "chain: activations must be different ones of relu"),
        # Others
        ("depths = [2, 4]", "the choices of chain are depth, filters, kernels, activations, pools, "
         "repeats, dropout, but one is called depths; name one of these, or leave it out"),
        ("image = [1, 64, 64]", "the choices of chain are depth"),
        ('name = "mine"', "the choices of chain are depth"),
        ("[chain]\ndepth = [2, 4]", "but one is called chain"),
    ],
)  # fmt: skip
def test_wrong_lines_get_one_sentence(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, f'space = "chain"\n{line}\n')
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/my.toml: ")
    assert words in said
    assert "\n" not in said
    assert "; " in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "my.toml: space must be one of chain"),
        ('space = "nowhere"', "but is 'nowhere'; begin with space = \"chain\""),
        ("space = 3", "but is 3; begin with"),
        ('space = ["chain"]', "but is ['chain']; begin with"),
        ("depth = [2,", "must be a TOML file, but is not (Invalid value"),
        ('space = "chain"\nspace = "chain"', "must be a TOML file, but is not (Cannot overwrite"),
        ("space: chain", "as in depth = [2, 4]"),
    ],
)
def test_files_that_name_no_space(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"my\.toml cannot be \(No such file or directory\)"):
        read_space(tmp_path / "my.toml", IMAGE)
    (tmp_path / "my.toml").mkdir()
    with pytest.raises(SettingsError, match=r"cannot be \(Is a directory\); mend the path"):
        read_space(tmp_path / "my.toml", IMAGE)
    (tmp_path / "latin.toml").write_bytes(b"space = 'ch\xe4in'")
    with pytest.raises(SettingsError, match="must be a TOML file, but is not"):
        read_space(tmp_path / "latin.toml", IMAGE)


@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "my.toml"
    for prefix in (b"", b'space = "chain"\n'):
        path.write_bytes(prefix + content)
        with suppress(SettingsError):
            assert isinstance(read_space(path, IMAGE), ChainSpace)


json_values = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["relu", "max", ""]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(key=st.sampled_from(list(choices("chain"))), value=json_values)
def test_any_value_is_taken_or_refused(
    key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with suppress(SettingsError):
        found = read(folder, f'space = "chain"\n{key} = {json.dumps(value)}')
        assert json.loads(json.dumps(getattr(found, key))) == value
