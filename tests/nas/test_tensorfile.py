import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas import tensorfile

CONTENT: dict[str, Any] = {
    "text": "words",
    "numbers": [1, 2.5, None, True],
    "tensors": {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3, dtype=torch.int64)},
}


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


FILE = saved(CONTENT)
OLD = saved(CONTENT, _use_new_zipfile_serialization=False)
"""What torch wrote before 1.6: bare pickles, without checksums."""


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.pt"
    tensorfile.write(path, CONTENT)
    assert same(tensorfile.read(path), CONTENT)
    assert same(tensorfile.read(io.BytesIO(path.read_bytes())), CONTENT)
    assert [p.name for p in path.parent.iterdir()] == ["file.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    tensorfile.write(path, CONTENT)
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        tensorfile.write(path, {"function": lambda: None})
    assert same(tensorfile.read(path), CONTENT)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tensorfile.read(tmp_path / "none.pt")


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["new", "old", "plain"])
def test_no_code_is_run(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "it ran"
    content = {"trap": Trap(mark)}
    data = {
        "new": lambda: saved(content),
        "old": lambda: saved(content, _use_new_zipfile_serialization=False),
        "plain": lambda: pickle.dumps(content, protocol=2),
    }[form]()
    with pytest.raises(ValueError, match=r"^UnpicklingError$"):
        tensorfile.read(io.BytesIO(data))
    assert not mark.exists()
    if form == "plain":
        pickle.loads(data)
        assert mark.exists()  # so the trap was armed


@pytest.mark.parametrize("content", [[1, 2], "text", 3, None, torch.ones(2)])
def test_what_is_no_dictionary_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match=r"^not a dictionary$"):
        tensorfile.read(io.BytesIO(saved(content)))


def _zip(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"text",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02.",
        b"PK\x03\x04",
        b"PK\x03\x04" + bytes(100),
        pickle.dumps(3, protocol=2),
        pickle.dumps(object(), protocol=2),
        _zip(),
        _zip(other=b"x"),
        _zip(**{"archive/data.pkl": b""}),
        _zip(**{"archive/data.pkl": b"\x80\x02", "archive/version": b"3"}),
        _zip(**{"archive/data.pkl": pickle.dumps([Path]), "archive/version": b"3\n"}),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(ValueError, match=r"^\w+$|^not a dictionary$") as caught:
            tensorfile.read(source)
        assert caught.type is ValueError  # and none of its kinds: the message is what is promised


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Error$"):
        tensorfile.read(tmp_path)


def test_truncated_files_are_refused() -> None:
    for end in [*range(0, len(FILE) - 1, 13), len(FILE) - 1]:
        with pytest.raises(ValueError, match=r"^\w+$"):
            tensorfile.read(io.BytesIO(FILE[:end]))


def test_weights_that_were_published_long_ago_can_be_read(tmp_path: Path) -> None:
    assert same(tensorfile.read(io.BytesIO(OLD)), CONTENT)
    (tmp_path / "old.pth").write_bytes(OLD)
    assert same(tensorfile.read(tmp_path / "old.pth"), CONTENT)
    for end in range(0, len(OLD) - 1, 13):
        with pytest.raises(ValueError, match=r"^\w+$"):
            tensorfile.read(io.BytesIO(OLD[:end]))


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1))
@settings(max_examples=100)
def test_damaged_old_files_are_read_or_refused(changes: list[tuple[float, int]]) -> None:
    damaged = bytearray(OLD)
    for where, value in changes:
        damaged[int(where * len(OLD))] = value
    content = attempt(bytes(damaged))
    assert content is None or isinstance(content, dict)


def test_a_storage_that_was_never_stored_is_refused() -> None:
    """The old form's keys are checked by an assertion of torch."""
    key = OLD.index(b"X", OLD.index(b"FloatStorage")) + 5
    lists_keys = OLD.rindex(OLD[key : key + 8])
    damaged = OLD[:lists_keys] + b"#" + OLD[lists_keys + 1 :]
    with pytest.raises(ValueError, match=r"^AssertionError$"):
        tensorfile.read(io.BytesIO(damaged))


@pytest.mark.parametrize("what", [b"words", torch.arange(6.0).numpy().tobytes()])
def test_a_flipped_bit_is_refused_although_torch_would_not_notice(what: bytes) -> None:
    damaged = bytearray(FILE)
    damaged[FILE.index(what) + len(what) - 1] ^= 0x01
    assert not same(torch.load(io.BytesIO(damaged), weights_only=True), CONTENT)
    with pytest.raises(ValueError, match=r"^BadZipFile$"):
        tensorfile.read(io.BytesIO(damaged))


def test_compressed_files_are_refused() -> None:
    """Whole, but a small one could expand without end."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(FILE)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    buffer.seek(0)
    assert same(torch.load(buffer, weights_only=True), CONTENT)
    buffer.seek(0)
    with pytest.raises(ValueError, match=r"^BadZipFile$"):
        tensorfile.read(buffer)


def attempt(data: bytes) -> dict[str, Any] | None:
    """What is read, or None for a ValueError; torch may warn about what it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tensorfile.read(io.BytesIO(data))
        except ValueError:
            return None


def test_the_helper_reads_whole_files() -> None:
    assert same(attempt(FILE), CONTENT)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert attempt(data) is None


places = st.floats(0, 1, exclude_max=True)


@given(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1))
@settings(max_examples=100)
def test_damaged_files_are_refused_or_read_as_they_were(changes: list[tuple[float, int]]) -> None:
    damaged = bytearray(FILE)
    for where, value in changes:
        damaged[int(where * len(FILE))] = value
    content = attempt(bytes(damaged))
    assert content is None or same(content, CONTENT)


@given(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200)
def test_whole_zips_of_hostile_pickles_are_read_or_refused(
    changes: list[tuple[float, int]],
) -> None:
    """Checksums stop accidents, not a forger, so torch's reader must not raise anything else."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(FILE)) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for name in source.namelist():
            entry = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for where, value in changes:
                    entry[int(where * len(entry))] = value
            target.writestr(name, bytes(entry))
    content = attempt(buffer.getvalue())
    assert content is None or isinstance(content, dict)
