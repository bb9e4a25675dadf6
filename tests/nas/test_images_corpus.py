"""The decoder and the corpus of hostile files: it never crashes, hangs or exceeds 512 MB."""

import json
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.errors import ImageError
from nas.images import MAX_BYTES, MAX_PIXELS, MAX_SIDE, decode, look
from tests.nas.hostile import bmp, chunk, corpus, encoded, exif, plain_tiff, zeros_png

MOST_MIB = 512
ENDLESS_SECONDS = 110
"""The whole corpus takes about ten; this only ends what would never end."""

# In a process of its own, since the tests' own has torch in memory. Not ru_maxrss, into which Linux
# counts the process that was forked.
CHILD = """
import json, sys, time
from pathlib import Path
from nas.images import ImageError, decode, look

assert "torch" not in sys.modules

def outcome(function, *args, **options):
    try:
        result = function(*args, **options)
    except ImageError as error:
        return str(error)
    return [str(result.dtype), *result.shape] if hasattr(result, "shape") else result.format

results = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data, start = path.read_bytes(), time.perf_counter()
    shapes = [outcome(decode, data, size=int(sys.argv[2]), channels=c) for c in (1, 3)]
    results[path.name] = {"look": outcome(look, data), "decode": shapes}
    results[path.name]["seconds"] = time.perf_counter() - start
status = Path("/proc/self/status").read_text()
kib = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({"results": results, "mib": kib / 1024}))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def decoded_apart(folder: Path, size: int) -> tuple[dict[str, Any], float]:
    """What becomes of every file in a folder, and the peak memory in MiB."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), str(size)]
    process = subprocess.run(command, capture_output=True, timeout=ENDLESS_SECONDS, check=False)
    assert process.returncode == 0, process.stderr.decode()[-2000:]
    told = json.loads(process.stdout)
    return told["results"], told["mib"]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return corpus()


@pytest.fixture(scope="module")
def told(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], float]:
    folder = tmp_path_factory.mktemp("corpus")
    for number, data in enumerate(files.values()):
        (folder / f"{number:04}").write_bytes(data)
    results, mib = decoded_apart(folder, 64)
    for path in folder.iterdir():
        path.unlink()
    return dict(zip(files, results.values(), strict=True)), mib


def check_words(message: str) -> None:
    """A rule, what was found and a remedy, in one sentence."""
    assert message.startswith("an image must ")
    assert message.count("; ") == 1
    assert len(message) < 200


def test_the_corpus_is_large_and_varied(files: dict[str, bytes]) -> None:
    assert len(set(files.values())) >= 800


def test_every_file_is_an_image_or_refused_in_a_sentence(
    told: tuple[dict[str, Any], float],
) -> None:
    decoded = 0
    for name, result in told[0].items():
        gray, colour = result["decode"]
        if isinstance(gray, str):
            assert gray == colour, name
            check_words(gray)
        else:
            assert [gray, colour] == [["uint8", 1, 64, 64], ["uint8", 3, 64, 64]], name
            decoded += 1
    # Both happen: else the corpus would test only one half of the decoder.
    assert 200 < decoded < len(told[0]) - 200


def test_the_whole_corpus_takes_little_memory(told: tuple[dict[str, Any], float]) -> None:
    assert told[1] < MOST_MIB


def test_look_refuses_what_decode_refuses_before_decoding(
    told: tuple[dict[str, Any], float],
) -> None:
    later = 0
    for name, result in told[0].items():
        gray = result["decode"][0]
        if not isinstance(gray, str):
            assert result["look"] in {"JPEG", "PNG", "BMP", "TIFF", "MPO"}, name
        elif result["look"] != gray:
            assert "whole and readable" in gray or "too much EXIF" in gray or "parts" in gray, name
            later += 1
    assert later > 50


def test_what_hides_its_cost_is_refused_for_it(told: tuple[dict[str, Any], float]) -> None:
    """Each by its own guard: without it, these take minutes or gigabytes."""
    wanted = {
        "png said to be 30000×30000": "pixels",
        "png chunks": "parts",
        "png chunks late": "parts",
        "png empty IDATs": "parts",
        "png nameless texts": "too many texts",
        "png exif as text": "too much EXIF",
        "png many numbers": "too much EXIF",
        "png many numbers late": "too much EXIF",
        "png animated": "one frame",
        "jpeg comments": "parts",
        "jpeg stray bytes": "parts",
        "jpeg EXIF segments": "EXIF data in many segments",
        "tiff strips": "numbers in its tags",
        "tiff bits": "numbers in its tags",
        "tiff rationals": "numbers in its tags",
        "tiff of 64 bits": "numbers in its tags",
        "tiff strips of one row": "more strips than it needs",
        "tiff tiles of one row": "tiles of 30000000×1 pixels",
        "tiff wide": "a side",
        "tiff next chain": "one frame",
        "tiff next beyond": "one frame",
        "tiff 12 bits, sample format 1": "8 or 16 bits",
        "bmp coding 1 step 6000": "run-length",
        "bmp said to be 40000000×1": "a side",
    }
    for name, part in wanted.items():
        for answer in told[0][name]["decode"]:
            assert part in answer, (name, answer)


def test_what_only_looks_hostile_is_decoded(told: tuple[dict[str, Any], float]) -> None:
    names = [
        "jpeg ICC",
        "jpeg 11 scans",
        "tiff next itself",
        "tiff planes",
        "png texts",
        "jpeg EXIF loop",
    ]
    names += ["jpeg Photoshop", "tiff rationals in a child", "png 16 bits, colour 6", "bmp 32 bits"]
    for name in [*names, "png RGB and a ZIP", "jpeg RGB and a ZIP", "TIFF RGBA (3, 5000)"]:
        assert told[0][name]["decode"][1] == ["uint8", 3, 64, 64], name


# The largest that are allowed ---------------------------------------------------------------------

SIDES = 8000, 5000
TURNED = (b"eXIf", exif(6))


def jpeg(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new(mode, (width, height)), "JPEG", exif=exif, **options)


def strip(samples: int, bits: int, *, photometric: int = 2, coding: int = 8) -> bytes:
    """A turned TIFF in one strip."""
    body = bytes(MAX_PIXELS * samples * bits // 8)
    tags = {259: [coding], 262: [photometric], 277: [samples], 258: [bits] * samples, 274: [6]}
    tags |= {338: [2]} if samples in (2, 4) and photometric < 5 else {}
    body = zlib.compress(body, 1) if coding == 8 else body
    return plain_tiff(tags, body, width=SIDES[0], height=SIDES[1])


LARGEST: Mapping[str, Callable[[], bytes]] = {
    "png L": lambda: zeros_png(*SIDES, 8, 0),
    "png 16": lambda: zeros_png(*SIDES, 16, 0, TURNED),
    "png 16 transparent": lambda: zeros_png(*SIDES, 16, 0, (b"tRNS", b"\0\0"), TURNED),
    "png L transparent": lambda: zeros_png(*SIDES, 8, 0, (b"tRNS", b"\0\0"), TURNED),
    "png P transparent": lambda: zeros_png(
        *SIDES, 8, 3, (b"PLTE", bytes(768)), (b"tRNS", bytes(256)), TURNED
    ),
    "png LA": lambda: zeros_png(*SIDES, 8, 4, TURNED),
    "png RGB transparent": lambda: zeros_png(*SIDES, 8, 2, (b"tRNS", bytes(6)), TURNED),
    "png RGBA": lambda: zeros_png(*SIDES, 8, 6, TURNED),
    "png 16 RGBA": lambda: zeros_png(*SIDES, 16, 6, TURNED),
    "png RGBA, tall": lambda: zeros_png(MAX_PIXELS // MAX_SIDE, MAX_SIDE, 8, 6, TURNED),
    "jpeg CMYK": lambda: jpeg(*SIDES, "CMYK"),
    "jpeg progressive": lambda: jpeg(*SIDES, progressive=True, subsampling=0),
    "jpeg progressive, tall": lambda: jpeg(1220, MAX_SIDE, progressive=True, subsampling=0),
    "jpeg CMYK progressive": lambda: jpeg(800, MAX_SIDE, "CMYK", progressive=True, subsampling=0),
    "tiff RGB strip": lambda: strip(3, 8),
    "tiff RGBA strip": lambda: strip(4, 8),
    "tiff 16 strip": lambda: strip(1, 16, photometric=1),
    "tiff CMYK raw": lambda: strip(4, 8, photometric=5, coding=1),
    "tiff RGBA raw": lambda: strip(4, 8, coding=1),
    "tiff YCbCr strip": lambda: strip(3, 8, photometric=6),
    "bmp RGB": lambda: bmp(*SIDES, bytes(4 * MAX_PIXELS), bits=32),
}


def peak_of(data: bytes, folder: Path) -> float:
    (folder / "file").write_bytes(data)
    results, mib = decoded_apart(folder, 1024)
    (folder / "file").unlink()
    assert results["file"]["decode"] == [["uint8", 1, 1024, 1024], ["uint8", 3, 1024, 1024]]
    print(f"{mib:.0f} MiB, {results['file']['seconds']:.1f} s")
    return mib


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_allowed_files_stay_below_the_limit(kind: str, tmp_path: Path) -> None:
    assert peak_of(LARGEST[kind](), tmp_path) < MOST_MIB


def test_one_of_the_largest(tmp_path: Path) -> None:
    """The one with the usual forms' highest peak: two images of 160 MB."""
    assert peak_of(LARGEST["png RGBA"](), tmp_path) < MOST_MIB


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: zeros_png(1, MAX_SIDE + 1, 8, 0), "a side"),
        (lambda: zeros_png(8001, 5000, 1, 0), f"at most {MAX_PIXELS:,} pixels"),
        (lambda: bytes(MAX_BYTES + 1), f"at most {MAX_BYTES:,} bytes"),
        (lambda: jpeg(6500, 6000, "CMYK", progressive=True), "scans"),
        (lambda: bmp(2001, 2000, bytes(9), coding=1), "run-length"),
        (lambda: plain_tiff({259: [8], 277: [3], 262: [2], 258: [16] * 3}, width=8000, height=5000),
         "strips of 240,000,000 bytes"),
    ],
)  # fmt: skip
def test_what_is_just_too_large_is_refused(make: Callable[[], bytes], part: str) -> None:
    with pytest.raises(ImageError, match=part):
        look(make())


def test_just_within_the_limits() -> None:
    assert decode(zeros_png(1, MAX_SIDE, 8, 0), size=8, channels=1).shape == (1, 8, 8)
    assert look(zeros_png(8000, 5000, 1, 0)).width == 8000
    with pytest.raises(ImageError, match="whole and readable"):
        decode(bmp(2000, 2000, bytes(9), coding=1), size=8, channels=1)


# Fuzzing ------------------------------------------------------------------------------------------

places = st.floats(0, 1, exclude_max=True)
changes = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("cut"), places, st.integers(1, 64)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("repeat"), places, st.integers(2, 50)),
    st.tuples(st.just("splice"), places, st.integers(0, 2000)),
    st.tuples(st.just("number"), places, st.sampled_from([0, 1, 255, 2**15, 2**16 - 1])),
)


def changed(data: bytes, how: str, place: float, what: Any, other: bytes) -> bytes:
    at = int(place * len(data))
    head, tail = data[:at], data[at:]
    match how:
        case "flip":
            return head + bytes([tail[0] ^ 1 << what]) + tail[1:] if tail else data
        case "cut":
            return head + tail[int(what) :]
        case "insert":
            return head + bytes(what) + tail
        case "repeat":
            return head + tail[:16] * int(what) + tail
        case "splice":
            return head + other[what % (len(other) + 1) :]
    return head + int(what).to_bytes(2) + tail[2:]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.lists(changes, min_size=1, max_size=4))
@settings(max_examples=200)
def test_mutations_of_the_corpus_are_decoded_or_image_errors(
    files: dict[str, bytes], first: int, second: int, mutations: list[tuple[str, float, Any]]
) -> None:
    small = [data for data in files.values() if len(data) < 20_000]
    data, other = small[first % len(small)], small[second % len(small)]
    for how, place, what in mutations:
        data = changed(data, how, place, what, other)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for resize in ("squash", "crop", "letterbox"):
            try:
                pixels = decode(data, size=8, channels=3, resize=resize)
            except ImageError as error:
                check_words(str(error))
            else:
                assert pixels.shape == (3, 8, 8)
                assert pixels.dtype == np.uint8


def test_a_png_whose_chunks_are_right_again_after_the_change() -> None:
    """Checksums hide the parsers behind them from mutations."""
    random = np.random.default_rng(5)
    for kind in (b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"iTXt", b"zTXt", b"pHYs", b"gAMA", b"cHRM"):
        for colour in (0, 2, 3):
            noise = random.integers(0, 256, random.integers(0, 40), np.uint8).tobytes()
            data = zeros_png(8, 8, 8, colour)
            data = data[:33] + chunk(kind, noise) + data[33:]
            try:
                assert decode(data, size=8, channels=3).shape == (3, 8, 8)
            except ImageError as error:
                check_words(str(error))
