"""Memory that large images leave behind."""

import asyncio
import ctypes
import sys

PAUSE_S = 1.0
"""At most so often: what one image left the next may use."""


class Tidier:
    """Hands free memory back to the system, a moment after images were decoded.

    glibc keeps up to 140 MB of what large images needed. To forbid it that once and for all
    (MALLOC_MMAP_THRESHOLD_) makes every pass through a network slower by 10 % and more; to ask for
    it once a second takes less than 1 ms. Not right after decoding: an error that is on its way
    still holds what it was raised from.
    """

    def __init__(self) -> None:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        self._trim = trim  # None where the C library cannot
        self._planned: asyncio.TimerHandle | None = None

    def soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do it in a moment, unless that is planned already."""
        if self._trim is not None and self._planned is None:
            self._planned = loop.call_later(PAUSE_S, self._now)

    def _now(self) -> None:
        self._planned = None
        if self._trim is not None:
            self._trim(0)
