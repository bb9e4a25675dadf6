"""The files that README shows, for the tests that use them."""

from pathlib import Path
from textwrap import dedent

README = Path(__file__).parents[2] / "README.md"


def shown_file(name: str) -> str:
    """The indented block of README that begins with the comment ``# name``."""
    lines = README.read_text().splitlines()
    begin = lines.index(f"    # {name}")
    block = []
    for line in lines[begin:]:
        if line and not line.startswith("    "):
            break
        if line.startswith("    $ "):
            break
        block.append(line)
    return dedent("\n".join(block)).strip() + "\n"


def written(name: str, folder: Path) -> Path:
    """The same as a file in a folder."""
    path = folder / name
    path.write_text(shown_file(name))
    return path
