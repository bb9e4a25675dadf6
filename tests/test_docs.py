"""What the pages say can be done: their code runs, and their commands are such as exist."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nas.command import Parser
from tests.nas.tables import PairSpace, TableEvaluator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "runs" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN, RUN_BY = "not run: ", "run by "

MAINS = {"nas.search": "nas.search_command"} | {
    f"nas.{name}": f"nas.{name}.__main__"
    for name in ("data", "bundle", "genome", "baselines", "report")
}
"""Where the parser of ``python -m MODULE`` is, if not in the module itself."""


def fences(kind: str) -> Iterator[Any]:
    for page in PAGES:
        for found in FENCE.finditer(page.read_text()):
            if found["kind"] == kind:
                line = page.read_text()[: found.start("code")].count("\n") + 1
                where = f"{page.relative_to(ROOT)}:{line}"
                yield pytest.param(found["code"], found["mark"] or "", id=where)


def indented() -> Iterator[Any]:
    """Blocks of Python that are set off by four spaces."""
    for page in PAGES:
        text = re.sub(FENCE, lambda found: "\n" * found[0].count("\n"), page.read_text())
        for found in re.finditer(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE):
            code = re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE).strip("\n")
            code = code.partition("\n$ ")[0]
            if re.match(r"(?:#.*\n)*(?:from|import) ", code):
                line = text[: found.start()].count("\n") + 2
                yield pytest.param(code, id=f"{page.relative_to(ROOT)}:{line}")


def commands() -> Iterator[Any]:
    """Every command with options that a page has: in a fence, set off, or within a sentence."""
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"^ {4}\$ (python -m .*)$|`(python -m [^`]*)`", text, re.MULTILINE)
        found = [one or other for one, other in lines]
        for fence in FENCE.finditer(text):
            if fence["kind"] == "bash":
                found += [part for part in fence["code"].splitlines() if "python -m" in part]
        for line in dict.fromkeys(" ".join(one.split()) for one in found):
            words = shlex.split(line.rstrip("&"), comments=True)
            words = words[words.index("-m") + 1 :]
            yield pytest.param(words, id=f"{page.relative_to(ROOT)}: {line}")


@pytest.mark.parametrize(("code", "mark"), list(fences("python")))
def test_python_runs(code: str, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mark.startswith(RUN_BY):
        test = ROOT / mark.removeprefix(RUN_BY)
        assert "python" in test.read_text()
        return
    if mark.startswith(NOT_RUN):
        return
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "page", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("code", list(indented()))
def test_indented_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small space and evaluator under the names that pages use for any."""
    monkeypatch.chdir(tmp_path)
    names = {"space": PairSpace(), "evaluator": TableEvaluator(), "Path": Path}
    exec(compile(code, "page", "exec"), {"__name__": "page", **names})


class Parsed(BaseException):
    """The options were understood; nothing more is wanted."""


@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module, options = words[0], words[1:]
    if module == "uvicorn":
        assert options == ["serve.main:app"]
        return
    home = import_module(MAINS.get(module, module))
    if not module.startswith("nas.") or not options:
        return  # it is only named, and there is such a module

    def parse(parser: Parser, *_: Any) -> Any:
        parser.parse_known_args()
        unknown = parser.parse_known_args()[1]
        assert not unknown, unknown
        raise Parsed

    monkeypatch.setattr(Parser, "parse_args", parse)
    monkeypatch.setattr("sys.argv", [module, *options])
    with pytest.raises(Parsed):
        home.main()


@pytest.mark.parametrize(("code", "mark"), list(fences("bash")))
def test_bash_that_is_not_run_says_why(code: str, mark: str) -> None:
    """What is neither run by the test below nor parsed above needs a reason."""
    ours = [line for line in code.splitlines() if line.startswith("python -m nas.")]
    assert mark.startswith(NOT_RUN) or len(ours) == len(code.splitlines())


SMALL = {
    "nas.search": "--trials 3 --epochs 2 --size 32 --finals 2 --finals-epochs 1 --finals-seeds 1",
    "nas.export": "--baseline none",
}
"""Options that make the tutorial's commands quick; a later one of the same name counts."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    """Every command, in their order, on a few of the demo's pictures."""
    from nas.data.demo import cohort, write_demo

    write_demo(tmp_path / "demo")
    for split, count in (("train", 160), ("test", 40)):
        for folder in sorted((tmp_path / "demo" / split).iterdir()):
            target = tmp_path / "data" / "chestxrays" / split / folder.name
            target.mkdir(parents=True)
            for picture in sorted(folder.iterdir())[:count]:
                picture.rename(target / picture.name)
    assert cohort()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    for fence in FENCE.finditer((ROOT / "docs" / "tutorial.md").read_text()):
        if fence["kind"] != "bash" or (fence["mark"] or "").startswith(NOT_RUN):
            continue
        for line in fence["code"].splitlines():
            words = shlex.split(line, comments=True)
            more = shlex.split(SMALL.get(words[2], ""))
            done = subprocess.run(
                [sys.executable, *words[1:], *more],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            fine = (0, 1) if words[2] == "nas.data" else (0,)
            assert done.returncode in fine, f"{line}\n{done.stdout}\n{done.stderr}"
