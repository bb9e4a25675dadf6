"""The page: what it answers to whom, and what a browser makes of it."""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from nas.predictor import Predictor
from serve.page import PARTS
from tests.serve.conftest import CLASSES, write_bundle
from tests.serve.pictures import array, encoded, photo, png
from tests.serve.test_server import port_of, server

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROMIUM = which("chromium")


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/*", True),
        ("*/*", False),
        ("application/json", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=much, application/json;q=0.1", False),
    ],
)
def test_who_prefers_html_gets_the_page(client: TestClient, accept: str, page: bool) -> None:
    answer = client.get("/", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["vary"] == "Accept"
    wanted = "text/html; charset=utf-8" if page else "application/json"
    assert answer.headers["content-type"] == wanted


@pytest.mark.parametrize("path", ["/", *(f"/{name}" for name in PARTS)])
def test_the_page_and_its_parts_are_guarded_and_kept(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Accept": BROWSER})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == "no-cache"
    known = {"Accept": BROWSER, "If-None-Match": f'"other", W/{answer.headers["etag"]}'}
    again = client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("path", ["/", "/health", "/nope", "/page.css", "/openapi.json"])
def test_no_answer_is_sniffed(client: TestClient, path: str) -> None:
    assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_no_document_loads_scripts_from_elsewhere(client: TestClient) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 200


# In a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian's package chromium)")
    with playwright.sync_playwright() as driver:
        yield driver


@pytest.fixture
def browser(driver: Any) -> Iterator[Any]:
    """A fresh one each time, so that no test finds what another left."""
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def address(driver: Any, model: Path) -> Iterator[str]:
    with server(NAS_MODEL=str(model)) as (process, lines):
        yield f"http://127.0.0.1:{port_of(process, lines)}/"


class Visit:
    """A page that was opened, and what its browser complained of."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(address)

    def _heard(self, message: Any) -> None:
        # A browser notes each refusal of the server by itself; all else is a fault of the page.
        noted = ("status of 401", "status of 415")
        if message.type in ("error", "warning") and not any(n in message.text for n in noted):
            self.faults.append(message.text)

    def _asked(self, url: str) -> None:
        if url.startswith("http"):
            self.hosts.add(urlsplit(url).netloc)

    def leave(self, address: str) -> None:
        self.context.close()
        assert self.faults == []
        assert self.hosts == {urlsplit(address).netloc}


def upload(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def test_an_image_is_answered_with_class_bar_and_heat(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    page = visit.page
    page.set_input_files("#files", [upload("chest.png", png())])
    page.locator(".card .heat").wait_for()
    assert page.locator(".verdict strong").inner_text() in CLASSES
    assert "threshold 50.0 %" in page.locator("[role=meter]").get_attribute("aria-valuetext")
    assert page.locator(".mark").count() == 1
    heat = page.locator(".heat")
    box, picture = heat.bounding_box(), page.locator(".picture").bounding_box()
    assert box == pytest.approx(picture, abs=1)
    page.locator("input[type=range]").fill("20")
    assert heat.evaluate("element => getComputedStyle(element).opacity") == "0.2"
    page.get_by_label("as the model sees it").check()
    assert page.locator(".picture").get_attribute("src").startswith("data:image/png")
    assert "Not for diagnosis" in page.locator("#disclaimer").inner_text()
    assert "chest.png" in page.locator("#news").inner_text()
    page.locator("#model summary").click()
    assert "not measured" in page.locator("#model-body").inner_text()
    visit.leave(address)


def test_one_broken_file_of_several_harms_no_other(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    page = visit.page
    files = [upload("<b>one</b>.png", png()), upload("b.txt", b"no image"), upload("c.png", png(1))]
    page.set_input_files("#files", files)
    page.locator(".card .heat").nth(1).wait_for()
    page.locator(".complaint").wait_for()
    assert page.locator(".card").count() == 3
    assert "must be one of JPEG" in page.locator(".failed .complaint").inner_text()
    assert "onvert" in page.locator(".failed .complaint").inner_text()
    assert page.locator("h3 b").count() == 0
    assert page.locator("h3", has_text="<b>one</b>.png").count() == 1
    visit.leave(address)


def test_what_is_doubtful_says_so(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    page = visit.page
    page.set_input_files("#files", [upload("photo.png", photo()), upload("chest.png", png())])
    page.locator(".card .heat").nth(1).wait_for()
    first, second = page.locator(".card").nth(0), page.locator(".card").nth(1)
    assert "in colour" in first.locator(".warning").inner_text()
    assert second.locator(".warning").count() == 0
    # The tests' network is untrained, so what it says is close to its threshold.
    assert second.locator(".tag").inner_text() == "uncertain"
    visit.leave(address)


def pressed_until(page: Any, key: str, done: Callable[[], bool], *, times: int = 5) -> None:
    """Press a key until it works, as a person would who pressed it too early; at most so often."""
    for _ in range(times):
        page.keyboard.press(key)
        for _ in range(20):
            if done():
                return
            page.wait_for_timeout(100)  # hands events out; nothing else of the browser can tell
    raise AssertionError(f"{times} times {key} did nothing")


def test_the_keyboard_is_enough(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    page = visit.page
    # Listened for from the beginning: choosers are caught only once the browser knows that somebody
    # listens, and a key pressed right after that may come first.
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    # Chromium may drop a key that comes before a page is drawn.
    page.locator("#model-brief:not(:empty)").wait_for()
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("id") == "files"
    pressed_until(page, "Space", lambda: bool(choosers))
    choosers[0].set_files([upload("chest.png", png())])
    page.locator(".card .heat").wait_for()
    for _ in range(2):  # Remove all, Remove this one
        page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("aria-label") == "Remove chest.png"
    page.keyboard.press("Tab")
    before = page.locator("input[type=range]").input_value()
    page.keyboard.press("ArrowLeft")
    assert page.locator("input[type=range]").input_value() != before
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.locator(".card").wait_for(state="detached")
    assert page.locator(":focus").get_attribute("id") == "files"
    visit.leave(address)


def test_a_narrow_dark_phone(browser: Any, address: str) -> None:
    phone = {"width": 360, "height": 640}
    visit = Visit(browser, address, viewport=phone, color_scheme="dark", reduced_motion="reduce")
    page = visit.page
    page.set_input_files("#files", [upload(f"{'long' * 30}.png", png())])
    page.locator(".card .heat").wait_for()
    page.locator("#model summary").click()
    page.locator("#model-body dl").wait_for()
    assert page.locator("html").evaluate("element => element.scrollWidth") <= 360
    ground = page.locator("body").evaluate("element => getComputedStyle(element).backgroundColor")
    assert ground == "rgb(16, 24, 26)"
    page.mouse.wheel(0, 5000)
    assert page.locator("#disclaimer").bounding_box()["y"] == pytest.approx(0, abs=1)
    visit.leave(address)


KEY = "a-key-of-24-characters-x"


def test_a_key_is_asked_for_and_the_model_chosen(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "export"
    write_bundle(folder / "the_nas_model.pth", seed=1)
    other = Predictor.load(write_bundle(folder / "baseline.pth", seed=2))
    with server(NAS_MODEL="", NAS_RUNS=str(tmp_path), NAS_API_KEY=KEY) as (process, lines):
        address = f"http://127.0.0.1:{port_of(process, lines)}/"
        visit = Visit(browser, address)
        page = visit.page
        dialog = page.locator("#key")
        dialog.wait_for()
        page.locator("#key-value").fill("not the key at all")
        page.keyboard.press("Enter")
        page.locator("#key-why:has-text('key')").wait_for()
        page.locator("#key-value:focus").fill(KEY)
        page.keyboard.press("Enter")
        dialog.wait_for(state="hidden")
        page.locator("#model-brief:has-text('the_nas_model')").wait_for()
        page.locator("#model-name").select_option("baseline")
        page.locator("#model-brief:has-text('baseline')").wait_for()
        page.set_input_files("#files", [upload("chest.png", png())])
        page.locator(".card .heat").wait_for()
        wanted = other.predict([png()])[0]
        assert page.locator(".verdict strong").inner_text() == wanted.label
        assert "baseline" in page.locator(".card").inner_text()
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            0,
            0,
            "",
        ]
        visit.leave(address)
    assert KEY not in "".join(lines)


PASTE = """data => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const moved = new DataTransfer();
    moved.items.add(new File([bytes], "KIND.png", { type: "image/png" }));
    EVENT
}"""
EVENTS = {
    "pasted": "const event = new ClipboardEvent('paste', { clipboardData: moved, bubbles: true });"
    "document.body.dispatchEvent(event);",
    "dropped": "for (const type of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent("
    "new DragEvent(type, { dataTransfer: moved, bubbles: true, cancelable: true }));",
}


def test_images_are_pasted_and_dropped(browser: Any, address: str) -> None:
    visit = Visit(browser, address)
    for kind, event in EVENTS.items():
        script = PASTE.replace("KIND", kind).replace("EVENT", event)
        visit.page.evaluate(script, b64encode(png()).decode())
        visit.page.locator(f".card:has-text('{kind}.png') .heat").wait_for()
    assert visit.page.locator(".card").count() == 2
    visit.leave(address)


def test_a_kind_that_no_browser_draws_is_shown_as_the_model_sees_it(
    browser: Any, address: str
) -> None:
    visit = Visit(browser, address)
    tiff = encoded(Image.fromarray(array()), "TIFF")
    visit.page.set_input_files("#files", [upload("chest.tiff", tiff)])
    visit.page.locator(".card .heat").wait_for()
    picture = visit.page.locator(".card .picture")
    assert picture.get_attribute("src").startswith("data:image/png")
    assert picture.evaluate("element => element.naturalWidth") > 0
    visit.leave(address)
