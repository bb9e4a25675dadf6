import hashlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from nas.data import medmnist
from nas.data.medmnist import open_medmnist, published
from nas.data.npz import read_npz
from nas.errors import DataError, SettingsError
from tests.nas.data.arraysets import Parts, md5, noise, parts, write_npz


@dataclass
class Site:
    """What a server on the loopback gives, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            data = site.files.get(self.path.removeprefix("/").partition("?")[0])
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: site.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(medmnist, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with nothing in it, no proxy, and no way to the real site."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(medmnist, "BASE_URL", "http://127.0.0.1:1/")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def publish(
    monkeypatch: pytest.MonkeyPatch, path: Path, given: Parts, name: str = "breastmnist"
) -> bytes:
    """Write a file and make its MD5 the published one for every size. Returns its content."""
    data = write_npz(path, given).read_bytes()
    digests = dict.fromkeys((28, 64, 128, 224), md5(data))
    monkeypatch.setitem(published(), name, replace(published()[name], md5=digests))
    return data


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file that counts as the published breastmnist."""
    given = parts({"train": 6, "val": 100, "test": 4}, (28, 28))
    return publish(monkeypatch, tmp_path / "made" / "x.npz", given)


# The table


def test_the_published_facts() -> None:
    assert len(published()) == 12
    for name, facts in published().items():
        assert list(facts.md5) == [28, 64, 128, 224]
        assert all(re.fullmatch(r"[0-9a-f]{32}", digest) for digest in facts.md5.values())
        assert bool(facts.classes) != bool(facts.findings)
        labels = facts.classes or facts.findings
        assert len(set(labels)) == len(labels) >= 2
        assert facts.licence == ("CC BY-NC 4.0" if name == "dermamnist" else "CC BY 4.0")
    digests = [digest for facts in published().values() for digest in facts.md5.values()]
    assert len(set(digests)) == 48
    counts = {name: len(facts.classes or facts.findings) for name, facts in published().items()}
    assert counts == {
        "pathmnist": 9,
        "chestmnist": 14,
        "dermamnist": 7,
        "octmnist": 4,
        "pneumoniamnist": 2,
        "retinamnist": 5,
        "breastmnist": 2,
        "bloodmnist": 8,
        "tissuemnist": 8,
        "organamnist": 11,
        "organcmnist": 11,
        "organsmnist": 11,
    }


@pytest.mark.parametrize(
    ("text", "name", "file", "spec"),
    [
        ("pneumoniamnist", "pneumoniamnist", "pneumoniamnist.npz", "pneumoniamnist@28:{default}"),
        ("PneumoniaMNIST@64", "pneumoniamnist", "pneumoniamnist_64.npz", "{name}@64:{default}"),
        ("octmnist@28:/a/b", "octmnist", "octmnist.npz", "octmnist@28:/a/b"),
        ("octmnist:c:/d@e.f", "octmnist", "octmnist.npz", "octmnist@28:{here}/c:/d@e.f"),
        ("octmnist:~/x", "octmnist", "octmnist.npz", "octmnist@28:{here}/home/x"),
        ("octmnist@224:", "octmnist", "octmnist_224.npz", "octmnist@224:{default}"),
        ("chestmnist.Edema@128", "chestmnist", "chestmnist_128.npz", "{name}.edema@128:{default}"),
    ],
)
def test_what_names_a_set(text: str, name: str, file: str, spec: str, tmp_path: Path) -> None:
    wanted = medmnist.parse(text)
    assert (wanted.name, wanted.file) == (name, file)
    default = tmp_path / "data" / "medmnist"
    assert wanted.text == "medmnist:" + spec.format(name=name, here=tmp_path, default=default)
    assert medmnist.parse(wanted.text.removeprefix("medmnist:")) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must name one of the two-dimensional sets, pathmnist, chestmnist, .* but is ''"),
        ("catmnist", "organsmnist, but is 'catmnist'"),
        ("organmnist3d", "two-dimensional"),
        ("organmnist3d@64", "two-dimensional"),
        ("@64", "but is '@64'"),
        ("octmnist@32", "28, 64, 128, 224, but is '32'"),
        ("octmnist@064", "but is '064'"),
        ("octmnist@", "must name one"),
        ("octmnist@28@64", "but is '28@64'"),
        ("octmnist.drusen", "must be left out, but is 'drusen'"),
        ("chestmnist", r"give medmnist:chestmnist.atelectasis, or another of .* hernia"),
        ("chestmnist@64", "one must be named"),
        ("chestmnist.cough", "atelectasis, .*, but is 'cough'"),
        ("../breastmnist", "must name one"),
    ],
)
def test_what_names_none(text: str, words: str, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        open_medmnist(text, cache)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


# Downloading


def test_a_set_is_downloaded_once(
    made: bytes, site: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["breastmnist_64.npz"] = made
    source = open_medmnist("breastmnist@64", cache)
    assert site.asked == ["/breastmnist_64.npz?download=1"]
    folder = tmp_path / "data" / "medmnist"
    assert [path.name for path in folder.iterdir()] == ["breastmnist_64.npz"]
    assert (folder / "breastmnist_64.npz").read_bytes() == made
    assert source.name == "breastmnist-64"
    assert source.spec == f"medmnist:breastmnist@64:{folder}"
    assert source.classes == ("malignant", "normal, benign")
    assert source.licence == "CC BY 4.0"
    assert source.notes[0] == "MedMNIST v2, Yang et al. 2023, CC BY 4.0"
    assert source.published
    assert source.table["split"].value_counts().to_dict() == {"train": 6, "val": 100, "test": 4}

    monkeypatch.setattr(hashlib, "file_digest", None)  # nor is it hashed again
    monkeypatch.chdir(tmp_path / "home")
    again = open_medmnist(source.spec.removeprefix("medmnist:"), cache)
    assert len(site.asked) == 1
    assert again.table.equals(source.table)
    assert (again.spec, again.name) == (source.spec, source.name)


def test_the_smallest_size_has_the_plain_name(made: bytes, site: Site, cache: Path) -> None:
    site.files["breastmnist.npz"] = made
    assert open_medmnist("breastmnist", cache).name == "breastmnist"


def test_the_package_s_own_download_is_used(made: bytes, home: Path, cache: Path) -> None:
    (home / ".medmnist").mkdir()
    (home / ".medmnist" / "breastmnist_128.npz").write_bytes(made)
    source = open_medmnist("breastmnist@128", cache)
    assert source.spec.endswith("/data/medmnist")
    assert [path.name for path in (home / ".medmnist").iterdir()] == ["breastmnist_128.npz"]


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_another_md5_is_not_kept(made: bytes, site: Site, cache: Path, tmp_path: Path) -> None:
    site.files["breastmnist.npz"] = made[:-1] + b"x"
    with pytest.raises(DataError, match=f"must be {md5(made)}, as published, .* was not kept"):
        open_medmnist("breastmnist", cache)
    assert not left(tmp_path)
    assert not cache.exists()


def test_a_download_that_is_cut_off(made: bytes, site: Site, cache: Path, tmp_path: Path) -> None:
    site.files["breastmnist.npz"] = made
    site.cut = len(made) // 2
    with pytest.raises(DataError, match=r"cut off after [\d,]+ of \d+ bytes"):
        open_medmnist("breastmnist", cache)
    assert not left(tmp_path)
    site.cut = None
    open_medmnist("breastmnist", cache)


def test_a_download_without_end(
    made: bytes, site: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["breastmnist.npz"] = made
    monkeypatch.setattr(medmnist, "MAX_DOWNLOAD_BYTES", len(made) - 1)
    with pytest.raises(DataError, match="more than"):
        open_medmnist("breastmnist", cache)
    assert not left(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_site_without_the_file_or_no_site(
    there: bool, request: pytest.FixtureRequest, made: bytes, cache: Path, tmp_path: Path
) -> None:
    if there:
        request.getfixturevalue("site")
    with pytest.raises(DataError) as caught:
        open_medmnist("breastmnist@64", cache)
    message = str(caught.value)
    assert ("Not Found" if there else "refused") in message
    assert f"{medmnist.BASE_URL}breastmnist_64.npz?download=1" in message
    assert f"put breastmnist_64.npz into {tmp_path / 'data' / 'medmnist'} by hand" in message
    assert not left(tmp_path)


def test_a_silent_site_is_given_up(
    made: bytes, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(medmnist, "BASE_URL", f"http://127.0.0.1:{port}/")
        monkeypatch.setattr(medmnist, "TIMEOUT_S", 0.1)
        with pytest.raises(DataError, match="timed out"):
            open_medmnist("breastmnist", cache)
    assert not left(tmp_path)


def test_a_folder_that_cannot_be_written(made: bytes, site: Site, cache: Path) -> None:
    site.files["breastmnist.npz"] = made
    Path("taken").touch()
    with pytest.raises(DataError, match=r"downloading \S+ failed"):
        open_medmnist("breastmnist:taken", cache)


# Files that lie there


def test_a_wrong_file_that_was_put_there_stays(made: bytes, cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "breastmnist.npz"
    mine.parent.mkdir()
    mine.write_bytes(made + b"x")
    with pytest.raises(DataError, match="nothing was deleted: move it away"):
        open_medmnist("breastmnist:mine", cache)
    assert mine.read_bytes() == made + b"x"
    assert not cache.exists()
    mine.write_bytes(made)
    open_medmnist("breastmnist:mine", cache)


def test_what_was_unpacked_unchecked_does_not_count(
    made: bytes, cache: Path, tmp_path: Path
) -> None:
    """A file that is read by its name, without its MD5, is not trusted afterwards."""
    file = write_npz(tmp_path / "mine" / "breastmnist.npz", parts({"train": 4}))
    read_npz(file, cache)
    with pytest.raises(DataError, match="as published"):
        open_medmnist("breastmnist:mine", cache)


# One finding of several


def test_one_finding_against_all_others(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (12, 14), dtype=np.uint8)
    labels[:2, 6] = 0, 1
    given = {"train": (noise(12, 4, 4), labels), "test": (noise(12, 4, 4, seed=1), 1 - labels)}
    publish(monkeypatch, tmp_path / "data/medmnist/chestmnist_64.npz", given, "chestmnist")
    source = open_medmnist("chestmnist.pneumonia@64", cache)
    assert source.classes == ("no pneumonia", "pneumonia")
    assert source.name == "chestmnist-pneumonia-64"
    wanted = [*labels[:, 6].tolist(), *(1 - labels[:, 6]).tolist()]
    assert source.table["label"].tolist() == wanted
    other = open_medmnist("chestmnist.hernia@64", cache)
    assert other.table["label"].tolist()[:12] == labels[:, 13].tolist()
    assert len(list(cache.iterdir())) == 1  # unpacked once for all findings


def test_findings_must_all_be_there(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = parts({"train": 4})
    publish(monkeypatch, tmp_path / "data/medmnist/chestmnist.npz", given, "chestmnist")
    with pytest.raises(DataError, match=r"4 images need 14 labels each, \(4, 14\)"):
        open_medmnist("chestmnist.mass", cache)
