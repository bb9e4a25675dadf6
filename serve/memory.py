"""Memory that large images leave behind."""

import asyncio
import ctypes
import gc
import sys
from typing import Any

PAUSE_S = 1.0
"""At most so often: what one image left the next may use."""


ARENA_MAX = -8
"""M_ARENA_MAX in malloc.h."""


def one_arena() -> None:
    """Have all threads allocate from one heap; before the first thread is started.

    glibc gives each thread its own, and can hand back only what is free within them, not the end of
    any but the first: 20 to 70 MB stayed with the threads that had decoded large images.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(ARENA_MAX, 1)


class Tidier:
    """Hands free memory back to the system, a moment after images were decoded.

    glibc keeps up to 140 MB of what large images needed. To forbid it that once and for all
    (MALLOC_MMAP_THRESHOLD_) makes every pass through a network slower by 10 % and more; to ask for
    it once a second takes few milliseconds. Not right after decoding: an error that is on its way
    still holds what it was raised from.
    """

    def __init__(self) -> None:
        self._trim = _of_libc("malloc_trim")
        self._planned: asyncio.TimerHandle | None = None

    def soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do it in a moment, unless that is planned already."""
        if self._trim is not None and self._planned is None:
            self._planned = loop.call_later(PAUSE_S, self._now)

    def _now(self) -> None:
        self._planned = None
        gc.collect()  # errors and their tracebacks hold on to each other, and to what was decoded
        if self._trim is not None:
            self._trim(0)


def _of_libc(name: str) -> Any | None:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
