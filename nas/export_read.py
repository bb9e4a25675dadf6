"""The figures of an export, read back from its evaluation.json."""

import json
from collections.abc import Mapping
from typing import Any

from nas.errors import RunError
from nas.runfolder import RunFolder


def exported_figures(run: RunFolder) -> Mapping[str, Mapping[str, Any]] | None:
    """Figures by the name of their model; None where nothing was exported.

    Raises:
        RunError: the file is damaged.
    """
    path = run.export / "evaluation.json"
    if not path.is_file():
        return None
    try:
        models: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text())["models"]
        return {name: dict(figures) for name, figures in models.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} must be what an export wrote, but is not ({type(error).__name__}); "
            "export the run again"
        ) from None
