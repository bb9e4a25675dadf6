"""How long to wait for others' machines."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Bound every wait on sockets opened within, for libraries that pass no timeout of their own.

    It holds for the whole process, so it is for commands, not for servers.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
