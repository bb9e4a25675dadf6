"""What finals keep, below ``finals/`` of the run folder.

settings.json                   how much is spent; a run's finals keep to it
TRIAL-DIVISION-SEED/            one training
    checkpoint.pt               to go on from, until it has ended
    weights.pt                  averaged weights
    result.json                 its scores; written last
finals.json                     the standings, the winner, and the members of the model
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.errors import RunError
from nas.files import write_json
from nas.finals import Final, FinalsSettings

FORMAT = 1


@dataclass(frozen=True, slots=True)
class FinalsFolder:
    """Paths of a run's finals, and their small files."""

    path: Path

    @property
    def summary(self) -> Path:
        """finals.json, there once all is decided."""
        return self.path / "finals.json"

    def training(self, final: Final) -> Path:
        """Folder of one training."""
        return self.path / final.name

    def checkpoint(self, final: Final) -> Path:
        """To go on from."""
        return self.training(final) / "checkpoint.pt"

    def begin(self, settings: FinalsSettings) -> None:
        """Note how much is spent.

        Raises:
            RunError: finals with other epochs or seeds are there, which do not compare.
        """
        kept = self.path / "settings.json"
        wanted = {"format": FORMAT, "epochs": settings.epochs, "seeds": settings.seeds}
        if kept.is_file():
            known = _read(kept)
            if known != wanted:
                raise RunError(
                    f"a run's finals keep to {known.get('epochs')} epochs and "
                    f"{known.get('seeds')} seeds, but {settings.epochs} and {settings.seeds} are "
                    f"asked for; give the old values, or delete {self.path}"
                )
        write_json(kept, wanted)

    def result(self, final: Final) -> dict[str, Any] | None:
        """How a training ended; None if it has not yet."""
        path = self.training(final) / "result.json"
        return _read(path) if path.is_file() else None

    def keep(self, final: Final, result: Mapping[str, Any]) -> None:
        """Write how a training ended, and free the room of its checkpoint."""
        write_json(self.training(final) / "result.json", {**asdict(final), **result})
        self.checkpoint(final).unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """finals.json; None where finals were not decided.

        Raises:
            RunError: it is damaged.
        """
        if not self.summary.is_file():
            return None
        found = _read(self.summary)
        if found.get("format") != FORMAT:
            raise RunError(
                f"{self.summary} must have format {FORMAT}, but has {found.get('format')}; delete "
                "it, and the same search command writes it again"
            )
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} must be readable JSON, but is not ({error}); delete it, and the same search "
            "command makes it again"
        ) from None
    return content
