"""How many images may be in work at once."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serve.codes import Code
from serve.errors import ApiError

SMOOTHING = 0.2
"""Weight of the newest request in the mean time that one takes."""


class Gate:
    """Admits images up to a bound, exactly, and refuses the next with 503.

    A queue that grows without a bound answers everybody too late; a bound answers those whom it
    admits in time, and tells the others at once when to come again.

    Args:
        bound: the most images admitted at once.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._count = 0
        self._mean_s = 0.0

    def __len__(self) -> int:
        """Images admitted and not yet answered."""
        return self._count

    @contextmanager
    def admitted(self, images: int = 1) -> Iterator[None]:
        """Hold ``images`` places.

        Raises:
            ApiError: there are not so many (503, with Retry-After).
        """
        with self._lock:
            if self._count + images > self._bound:
                raise self._full()
            self._count += images
        begin = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._count -= images
                self._mean_s += SMOOTHING * (time.monotonic() - begin - self._mean_s)

    def look(self) -> None:
        """Refuse already now what would be refused in any case, before its body is read.

        Raises:
            ApiError: no place is left (503, with Retry-After).
        """
        with self._lock:
            if self._count >= self._bound:
                raise self._full()

    def _full(self) -> ApiError:
        # A full queue has been worked off after about the time that a request takes now.
        seconds = max(1, math.ceil(self._mean_s))
        return ApiError(
            Code.OVERLOADED,
            f"at most {self._bound} images are in work at once, and now there is no place",
            f"try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
