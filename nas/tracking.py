"""The seam of trackers: whoever is told what happens in a search, beside the study.

A tracker has two methods. None of them can end a search: one that fails is dropped, with one
warning. All are called in the process of the driver alone.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol, Self

LOG = logging.getLogger(__name__)


class Tracker(Protocol):
    """Is told of events; see nas.events for their names."""

    def event(self, name: str, **values: Any) -> None:
        """Something happened; ``values`` are plain values, as in JSON."""

    def close(self) -> None:
        """Nothing more comes."""


class Trackers:
    """Several trackers as one, of which each may fail without harm.

    Args:
        trackers: by their name in messages.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def event(self, name: str, **values: Any) -> None:
        """Tell all of them."""
        for which, tracker in tuple(self._trackers.items()):
            try:
                tracker.event(name, **values)
            except Exception as error:  # noqa: BLE001 - other people's code; the search goes on
                self._drop(which, error)

    def close(self) -> None:
        """Close all of them."""
        for which, tracker in tuple(self._trackers.items()):
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._drop(which, error)
        self._trackers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop(self, which: str, error: Exception) -> None:
        del self._trackers[which]
        LOG.warning(
            "a tracker must take every event, but %s failed (%s: %s); the search goes on without "
            "it",
            which,
            type(error).__name__,
            error,
        )
