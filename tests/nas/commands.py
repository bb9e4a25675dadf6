"""What the tests of the command lines share."""

import pytest


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one sentence on stderr of a command that was refused."""
    assert status == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    return shown
