"""docs/http.md names all that there is."""

import re
from pathlib import Path

from serve.codes import STATUS
from serve.main import create_app
from serve.schemas import PredictionAnswer
from serve.settings import RULES, Settings, variable

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def rows(section: str) -> dict[str, str]:
    """First cell -> the rest, of the first table below a heading."""
    lines = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    cells = [line.strip("|").split("|", 1) for line in lines if line.startswith("| ")]
    return {first.strip(): rest for first, rest in cells}


def test_every_setting_is_there_with_its_default() -> None:
    table = rows("Settings")
    for name in RULES:
        default = getattr(Settings(), name)
        shown = table[f"`{variable(name)}`"].split("|")[0].strip().strip("`").replace(",", "")
        if default not in (None, ()):
            assert shown == (f"{default:g}" if isinstance(default, float) else str(default)), name
    assert len(table) == len(RULES) + 1  # and the heading


def test_every_code_is_there_with_its_status() -> None:
    table = rows("Errors")
    for code, status in STATUS.items():
        assert f"`{code}`" in table[str(status)], code
    assert len(re.findall("`[a-z_]+`", "".join(table.values()))) == len(STATUS)


def test_every_address_and_field_is_there() -> None:
    addresses = "\n".join(rows("Addresses"))
    for path, item in create_app(Settings()).openapi()["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in addresses
    fields = "\n".join(rows("A prediction"))
    for name in PredictionAnswer.model_fields:
        assert f"`{name}`" in fields or name == "disclaimer"
