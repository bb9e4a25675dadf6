import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from nas.data.audit import audit
from nas.data.audit_page import page
from nas.data.audit_values import Audit
from nas.data.prepare import Prepared, prepare
from tests.pictures import write_pictures

HOSTILE = 'train/B/"><script>alert(1)<\\script>&amp;\x1b\u202e.png'
VOID = {"meta", "img", "br", "path"}


class Reader(HTMLParser):
    """Tags with their attributes, the tags that were open around each, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}, tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Prepared, Path, str]:
    root, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    paths = [f"{s}/{c}/{s}{c}{i}.png" for s in ("train", "test") for c in "AB" for i in range(25)]
    write_pictures(root, paths)
    copy = (root / "train/A/trainA1.png").read_bytes()
    for number in range(40):  # of 40 groups 30 are shown
        same = root / f"train/A/same{number}.png"
        write_pictures(root, [f"train/A/same{number}.png"])
        (root / f"train/A/again{number}.png").write_bytes(same.read_bytes())
    (root / "train/B/other.png").write_bytes(copy)
    name = HOSTILE.rpartition("/")[2]
    (root / "train/B" / name).write_bytes(b"broken")
    prepared = prepare(str(root), cache)
    result = audit(prepared, cache)
    return result, prepared, cache, page(result, prepared, cache)


@pytest.fixture(scope="module")
def reader(made: tuple[Audit, Prepared, Path, str]) -> Reader:
    found = Reader()
    found.feed(made[3])
    assert found.open == []  # every tag was closed
    return found


def test_it_needs_nothing_from_outside(reader: Reader) -> None:
    assert not {tag for tag, _, _ in reader.tags} & {"script", "link", "iframe", "form", "base"}
    for _, attributes, _ in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "href" not in attributes
        assert attributes.get("src", "data:image/").startswith("data:image/")
    (policy,) = [one["content"] for one in reader.all("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script" not in policy


def test_style_needs_nothing_from_outside(made: tuple[Audit, Prepared, Path, str]) -> None:
    assert "url(" not in made[3]
    assert "@import" not in made[3]
    assert "prefers-color-scheme: dark" in made[3]
    assert "@media print" in made[3]


def test_names_are_escaped(made: tuple[Audit, Prepared, Path, str], reader: Reader) -> None:
    assert "<script" not in made[3]
    assert "\x1b" not in made[3]
    assert "\u202e" not in made[3]
    assert HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e") in reader.words
    made[3].encode()


def test_it_can_be_read_aloud(reader: Reader) -> None:
    assert reader.all("html") == [{"lang": "en"}]
    assert len(reader.all("h1")) == 1
    assert all(one["scope"] in {"col", "row"} for one in reader.all("th"))
    assert all(one["alt"] for one in reader.all("img"))
    assert all(one["role"] == "img" and "median" in one["aria-label"] for one in reader.all("svg"))
    assert len(reader.all("caption")) == len(reader.all("table"))


def test_verdict_comes_first_and_findings_follow(
    made: tuple[Audit, Prepared, Path, str], reader: Reader
) -> None:
    text = " ".join(reader.words)
    assert text.index(made[0].verdict) < text.index("Findings") < text.index("Images and patients")
    assert len(reader.all("li")) == len(made[0].findings)
    assert "Research use only. Not a medical device. Not for diagnosis." in text


def test_images_are_pictures_and_small_ones_stay_small(reader: Reader) -> None:
    sources = [one["src"] for one in reader.all("img")]
    for source in sources[:5]:
        kind, _, data = source.partition(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert (image.format, kind, image.size) == ("PNG", "data:image/png", (12, 12))


def test_examples_of_the_test_split_are_behind_a_door(reader: Reader) -> None:
    hidden = [
        one["alt"] for tag, one, around in reader.tags if tag == "img" and "details" in around
    ]
    assert hidden == ["A, test"] * 12 + ["B, test"] * 12
    assert reader.all("details") == [{}]  # closed
    outside = [
        one["alt"] for tag, one, around in reader.tags if tag == "img" and "details" not in around
    ]
    assert set(outside) == {"A, train", "B, train"}


def test_contradicting_copies_come_first_and_the_rest_is_counted(
    made: tuple[Audit, Prepared, Path, str], reader: Reader
) -> None:
    assert len(made[0].identical) == 41
    assert reader.words.count("several labels") == 1
    text = "\n".join(reader.words)
    after = text[text.index("Byte-identical files: 41") :]
    assert after.index("several labels") < after.index("train/A/again")
    assert "And 11 more groups." in text
    assert sum(one.get("class") == "group" for one in reader.all("div")) == 30


def test_copies_within_the_test_split_are_behind_a_door(tmp_path: Path) -> None:
    parts = [f"{split}/{name}" for split in ("train", "test") for name in "AB"]
    write_pictures(tmp_path / "d", [f"{part}/{part[:2]}{i}.png" for part in parts for i in "123"])
    for part in ("train/A", "test/A"):
        copy = (tmp_path / "d" / part / f"{part[:2]}1.png").read_bytes()
        (tmp_path / "d" / part / "copy.png").write_bytes(copy)
    prepared = prepare(str(tmp_path / "d"), tmp_path / "cache")
    reader = Reader()
    reader.feed(page(audit(prepared, tmp_path / "cache"), prepared, tmp_path / "cache"))
    doors = ["details" in around for tag, one, around in reader.tags if one.get("class") == "group"]
    assert doors == [False, True]


def test_it_is_the_same_every_time(made: tuple[Audit, Prepared, Path, str]) -> None:
    result, prepared, cache, html = made
    assert page(result, prepared, cache) == html


def test_an_image_that_is_gone_is_said_so(
    made: tuple[Audit, Prepared, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, prepared, cache, _ = made

    def gone(*_: object) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(type(prepared.source.store), "read", gone)
    html = page(result, prepared, cache)
    assert "cannot be shown" in html
    assert "<img" not in html


def test_colour_and_shape_are_kept(tmp_path: Path) -> None:
    for part in ("train/A", "train/B", "test/A", "test/B"):
        for number in range(2):
            file = tmp_path / "d" / part / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shade = (number * 40 + len(part), ord(part[-1]), 9)
            Image.effect_noise((40, 300), 60 + number).convert("RGB").save(file)
            with Image.open(file) as image:
                image.load()
                Image.blend(image, Image.new("RGB", image.size, shade), 0.5).save(file)
    prepared = prepare(str(tmp_path / "d"), tmp_path / "cache")
    html = page(audit(prepared, tmp_path / "cache"), prepared, tmp_path / "cache")
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        assert (image.mode, image.size) == ("RGB", (144, 144))
        assert isinstance(pixel := image.getpixel((2, 72)), tuple)
        assert max(pixel) < 20  # black beside the narrow picture


def test_a_page_without_any_readable_image(tmp_path: Path) -> None:
    for part in ("train/A", "train/B", "test/A", "test/B"):
        (tmp_path / "d" / part).mkdir(parents=True)
        (tmp_path / "d" / part / "b.png").write_bytes(part.encode())
    prepared = prepare(str(tmp_path / "d"), tmp_path / "cache")
    html = page(audit(prepared, tmp_path / "cache"), prepared, tmp_path / "cache")
    assert "cannot be decoded: 4 files." in html
    assert "too few images to measure" in html
